package configs

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestTheSchemaIsCurrent(t *testing.T) {
	schema, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "schema.json", string(schema))
	if !json.Valid(schema) {
		t.Error("it is not JSON")
	}
	for _, path := range paths(reflect.TypeFor[Config](), "") {
		name := path[strings.LastIndexByte(path, '.')+1:]
		if !strings.Contains(string(schema), `"`+name+`": {`) {
			t.Errorf("no %s in the schema", path)
		}
	}
}

package configs

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"

	"github.com/invopop/jsonschema"
)

//go:generate go test -run TestTheSchemaIsCurrent -update .

// Schema writes a JSON schema of the configuration, for editors. It says what the
// fields' tags say; what values have to do with each other only Parse knows.
func Schema() ([]byte, error) {
	reflector := jsonschema.Reflector{
		FieldNameTag: "yaml", DoNotReference: true, Anonymous: true,
		RequiredFromJSONSchemaTags: true, Mapper: plainText,
	}
	schema := reflector.Reflect(&Config{})
	schema.Title = "Proxima configuration"
	describe(schema, reflect.TypeFor[Config]())
	var out bytes.Buffer
	writer := json.NewEncoder(&out)
	writer.SetEscapeHTML(false)
	writer.SetIndent("", "  ")
	err := writer.Encode(schema)
	return out.Bytes(), err
}

// plainText makes text of the types that are written as one piece of text.
func plainText(t reflect.Type) *jsonschema.Schema {
	if t == reflect.TypeFor[StatusRanges]() {
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string"}, {Type: "integer", Minimum: "100", Maximum: "599"}}}
	}
	if t.Implements(reflect.TypeFor[scalar]()) || reflect.PointerTo(t).Implements(reflect.TypeFor[scalar]()) {
		return &jsonschema.Schema{Type: "string"}
	}
	return nil
}

// describe puts what the tags of a struct say into its schema.
func describe(group *jsonschema.Schema, t reflect.Type) {
	for _, o := range options(t) {
		field := t.FieldByIndex(o.index).Type
		schema, _ := group.Properties.Get(o.name)
		if o.tag.Get("required") != "" {
			group.Required = append(group.Required, o.name)
		}
		switch schema.Type {
		case "object":
			describe(schema, field)
		case "array":
			schema = describeList(schema, field.Elem(), o.tag)
		default:
			schema = describeValue(schema, o.tag)
		}
		schema.Description = o.tag.Get("doc")
		group.Properties.Set(o.name, schema)
	}
}

func describeList(list *jsonschema.Schema, entry reflect.Type, tag reflect.StructTag) *jsonschema.Schema {
	if list.Items.Type == "object" {
		describe(list.Items, entry)
	}
	fewest, most := number(tag.Get("atleast")), number(tag.Get("limit"))
	if tag.Get("keyed") != "" {
		return &jsonschema.Schema{
			Type: "object", AdditionalProperties: nullable(list.Items),
			MinProperties: fewest, MaxProperties: most,
		}
	}
	list.MinItems, list.MaxItems = fewest, most
	return list
}

// nullable lets an entry be written as a name alone.
func nullable(entry *jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{entry, {Type: "null"}}}
}

// describeValue gives a value its default and bounds; a number or a word may also
// be a ${…}.
func describeValue(value *jsonschema.Schema, tag reflect.StructTag) *jsonschema.Schema {
	value.Default = typed(value.Type, tag.Get("default"))
	least, most, bounded := strings.Cut(tag.Get("range"), "..")
	if bounded && (value.Type == "integer" || value.Type == "number") {
		value.Minimum, value.Maximum = json.Number(least), json.Number(most)
	}
	if words := tag.Get("enum"); words != "" {
		for word := range strings.SplitSeq(words, ",") {
			value.Enum = append(value.Enum, word)
		}
	}
	if len(value.AnyOf) > 0 || value.Type == "string" && len(value.Enum) == 0 {
		return value
	}
	outer := &jsonschema.Schema{Default: value.Default}
	value.Default = nil
	outer.AnyOf = []*jsonschema.Schema{value, {Type: "string", Pattern: `\$\{`}}
	return outer
}

func typed(kind, text string) any {
	switch {
	case text == "":
		return nil
	case kind == "integer" || kind == "number" || kind == "boolean":
		return json.RawMessage(text)
	}
	return text
}

func number(text string) *uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

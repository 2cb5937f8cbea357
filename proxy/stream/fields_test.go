package stream

import (
	"encoding/json"
	"maps"
	"testing"

	"pgregory.net/rapid"
)

// document is any JSON value, as encoding/json writes it, with spaces or without.
var document = rapid.Custom(func(t *rapid.T) []byte {
	text, err := json.Marshal(anyValue(t, 3))
	if err == nil && rapid.Bool().Draw(t, "spaced") {
		text, err = json.MarshalIndent(json.RawMessage(text), " ", "\t")
	}
	if err != nil {
		t.Fatal(err)
	}
	return text
})

func anyValue(t *rapid.T, depth int) any {
	kind := rapid.IntRange(0, 5).Draw(t, "kind")
	if depth == 0 {
		kind %= 4
	}
	switch kind {
	case 0:
		return rapid.String().Draw(t, "string")
	case 1:
		return rapid.Float64Range(-1e9, 1e9).Draw(t, "number")
	case 2:
		return rapid.Bool().Draw(t, "bool")
	case 3:
		return nil
	case 4:
		list := []any{}
		for range rapid.IntRange(0, 4).Draw(t, "elements") {
			list = append(list, anyValue(t, depth-1))
		}
		return list
	}
	object := map[string]any{}
	for range rapid.IntRange(0, 4).Draw(t, "fields") {
		object[rapid.String().Draw(t, "key")] = anyValue(t, depth-1)
	}
	return object
}

func TestFieldsAndElementsAreWhatADecoderFinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := document.Draw(t, "document")
		found := map[string]string{}
		for key, value := range fields(text) {
			var name string
			if err := json.Unmarshal([]byte(`"`+string(key)+`"`), &name); err != nil {
				t.Fatal(err)
			}
			found[name] = string(value)
		}
		list := []string{}
		for value := range elements(text) {
			list = append(list, string(value))
		}

		object, array := map[string]json.RawMessage{}, []json.RawMessage{}
		_, _ = json.Unmarshal(text, &object), json.Unmarshal(text, &array)

		if !maps.EqualFunc(found, object, func(a string, b json.RawMessage) bool { return a == string(b) }) {
			t.Fatalf("the fields of %s are %q", text, found)
		}
		if len(list) != len(array) {
			t.Fatalf("the elements of %s are %q", text, list)
		}
		for i, value := range array {
			if list[i] != string(value) {
				t.Fatalf("element %d of %s is %s", i, text, list[i])
			}
		}
	})
}

func TestRewritingKeepsWhatIsNotEdited(t *testing.T) {
	const before = ` { "a" : 1.50 , "b":{"c" : [ 1, 2 ]},"d":"\u00e9\/","e":null } `
	got := rewrite([]byte(before), func(key, value []byte) []byte {
		switch string(key) {
		case "b":
			return nil
		case "e":
			return []byte("2")
		}
		return value
	})
	if want := `{"a":1.50,"d":"\u00e9\/","e":2}`; string(got) != want {
		t.Errorf("rewritten to %s, want %s", got, want)
	}
}

func TestBrokenTextEndsTheWalk(t *testing.T) {
	for _, text := range []string{
		``, `1`, `"a"`, `{`, `{"`, `{"a`, `{"a"`, `{"a":`, `{"a":}`, `{a:1}`, `{,}`, `{"a" 1}`, `[`, `[,`, `[1 2`, `{"a":"`, `{"a":[`, `{"a":"\`,
	} {
		for key, value := range fields([]byte(text)) {
			t.Logf("%s has %s: %s", text, key, value)
		}
		for value := range elements([]byte(text)) {
			t.Logf("%s has %s", text, value)
		}
	}
}

package stream

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// jsonText are JSON texts, and such as are nearly so.
var jsonText = rapid.Custom(func(t *rapid.T) string {
	part := rapid.SampledFrom([]string{
		"{", "}", "[", "]", ",", ":", `"`, `\`, "a", `"a"`, `"a":`, "0", "1", "-", ".", "e", "E+", "12", "1.5e-7", "true", "false", "null", "nul",
		" ", "\t", "\r\n", "\x00", "\x1f", "\x7f", "\v", "é", "\xff", `\u00e9`, `\ud8`, `\n`, `\'`, "eight by", `"eight bytes and more"`, `{"a":[1,{}]}`,
	})
	return strings.Join(rapid.SliceOfN(part, 0, 12).Draw(t, "parts"), "")
})

func TestWhatIsJSONIsAsTheStandardLibrarySays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := jsonText.Draw(t, "text")
		if got, want := isJSON([]byte(text)), json.Valid([]byte(text)); got != want {
			t.Fatalf("%q is JSON: %v, want %v", text, got, want)
		}
	})
}

func TestValuesStandOnlySoDeepWithinValues(t *testing.T) {
	nested := func(depth int) []byte {
		return []byte(strings.Repeat("[", depth) + strings.Repeat("]", depth))
	}
	if !isJSON(nested(maxDepth)) || isJSON(nested(maxDepth+1)) {
		t.Errorf("%d deep: %v, one more: %v", maxDepth, isJSON(nested(maxDepth)), isJSON(nested(maxDepth+1)))
	}
}

func TestAPlainRunEndsAtWhatMeansSomething(t *testing.T) {
	for _, length := range []int{0, 1, 7, 8, 9, 20} {
		plain := strings.Repeat("é", length/2) + strings.Repeat("a", length%2)
		for end, wanted := range map[string]int{"": 0, `"`: 0, `\`: 0, "\x00": 0, "\x1f": 0, " ": 1, "!": 1, "[": 1, "\x7f": 1, "\xff": 1} {
			text := []byte(plain + end)
			if got := PlainRun(text); got != len(plain)+wanted {
				t.Errorf("%q is plain for %d bytes, want %d", text, got, len(plain)+wanted)
			}
		}
	}
}

func FuzzJSON(f *testing.F) {
	for _, text := range streams(f) {
		f.Add(text)
	}
	for _, seed := range []string{`{"a":[1,-0.5e+7,{"\u00e9":null}], "b":true}`, "01", `"\ud8"`, "[1,]", "\xef\xbb\xbf{}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, want := isJSON(text), json.Valid(text)
		if got != want && !(want && strings.Count(string(text), "[")+strings.Count(string(text), "{") > maxDepth) {
			t.Fatalf("%q is JSON: %v, want %v", text, got, want)
		}
	})
}

func BenchmarkIsJSON(b *testing.B) {
	text := chat1KB()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if !isJSON(text) {
			b.Fatal("it is JSON")
		}
	}
}

// chat1KB is a request of a kilobyte.
func chat1KB() []byte {
	return []byte(`{"model":"llama-3-8b","messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"` +
		strings.Repeat("What is the harbour like? ", 33) + `"}],"stream":true,"temperature":0.7,"max_tokens":256}`)
}

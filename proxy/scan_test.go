package proxy

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestLongTextsCostNoMemory(t *testing.T) {
	for _, text := range []string{`{"` + strings.Repeat(`\ud83d\ude00`, 100_000), `{"model":"` + strings.Repeat(`\ud83d`, 100_000), `{"` + strings.Repeat("k", 1_000_000)} {
		s := newScan()
		if err := s.feed([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if len(s.text) > maxModel+utf8.UTFMax {
			t.Errorf("%.20s… keeps %d bytes", text, len(s.text))
		}
	}
}

func TestAnErrorSaysWhereTheTextIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":tru}`:          `not valid JSON at byte 9: found '}' where true, false or null should be`,
		`{"prompt":"abc" 1}`: `not valid JSON at byte 17: found '1' where a comma or an end should be`,
		`{"a":01}`:           `not valid JSON at byte 7: found '1' where a comma or an end should be`,
		`{"prompt":"ab`:      `not valid JSON at byte 13: ends too early`,
	} {
		s := newScan()
		err := s.feed([]byte(text))
		if err == nil {
			err = s.finish()
		}
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// FuzzScan holds the scanner against encoding/json: it takes the objects that
// are valid and refuses the rest, and where exactly one key of the top level is
// "model" in any case, it finds the value that a decoder finds.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{
		`{"model":"m"}`, `{"\u006dodel":"\ud83d\ude00"}`, `{"a":[{"model":1},-1.5e+7,true,null],"model":"m"}`, `{"model":"m","Model":"n"}`,
		`[]`, `{}`, ` {"a" : "\"\\\/\b\f\n\r\t" } `, `{"a":01}`, `{"model":"\ud83dx"}`, "{\"a\":\"\xff\"}", `{"model":""}`, `{"a":1.}`, `{"a":1e}`, `{,}`, `{"a":1,}`,
	} {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, text []byte, step uint8) {
		s, whole := newScan(), newScan()
		err, want := scanPieces(s, text, int(step)+1), scanPieces(whole, text, len(text)+1)
		if (err == nil) != (want == nil) || s.model != whole.model {
			t.Fatalf("in pieces %v %q, whole %v %q", err, s.model, want, whole.model)
		}
		model, usable := decoded(text)
		if usable != (err == nil) {
			t.Fatalf("scan says %v, encoding/json says %v", err, usable)
		}
		if err == nil && s.model != model {
			t.Fatalf("model %q, want %q", s.model, model)
		}
	})
}

func scanPieces(s *scan, text []byte, size int) error {
	for len(text) > 0 {
		piece := text[:min(size, len(text))]
		if err := s.feed(piece); err != nil {
			return err
		}
		text = text[len(piece):]
	}
	return s.finish()
}

// decoded is what encoding/json makes of a text: its model, and whether it is one
// that a request may be routed by.
func decoded(text []byte) (model string, usable bool) {
	if !json.Valid(text) || deepest(text) > maxNesting {
		return "", false
	}
	in := json.NewDecoder(bytes.NewReader(text))
	if open, _ := in.Token(); open != json.Delim('{') {
		return "", false
	}
	found := false
	for in.More() {
		key, err := in.Token()
		var value any
		if err != nil || in.Decode(&value) != nil {
			return "", false
		}
		if !strings.EqualFold(key.(string), "model") {
			continue
		}
		name, is := value.(string)
		good := is && name != "" && len(name) <= maxModel && !strings.ContainsRune(name, utf8.RuneError)
		if found || key != "model" || !good {
			return "", false
		}
		model, found = name, true
	}
	return model, true
}

// deepest is how deep a valid text is nested.
func deepest(text []byte) int {
	in := json.NewDecoder(bytes.NewReader(text))
	depth, most := 0, 0
	for {
		token, err := in.Token()
		if err != nil {
			return most
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		most = max(most, depth)
	}
}

func BenchmarkScan(b *testing.B) {
	message := `{"role":"user","content":"` + strings.Repeat("How far is it from here to there? ", 3) + `"},`
	fill := func(size int) []byte {
		return []byte(`{"model":"m","messages":[` + strings.Repeat(message, size/len(message)) + `{}]}`)
	}
	for name, text := range map[string][]byte{
		"1KiB":       fill(1 << 10),
		"1MiB":       fill(1 << 20),
		"1MiB-image": []byte(`{"model":"m","image":"` + strings.Repeat("iVBORw0K", 1<<17) + `"}`),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				s := newScan()
				if err := s.feed(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

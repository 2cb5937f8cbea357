package stream

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// teller is a model server that always tells the same story, from wherever it has
// come to. How it writes its events is its own.
type teller struct {
	name   string
	tokens []string
	prompt int  // tokens of the client's prompt
	trims  bool // its chat template trims messages, as Llama 3.1's does

	lineEnd    string
	role       string // "", or what the first chunk of a chat says
	pretty     bool   // a chunk takes several data lines
	escapes    bool   // it writes < > & as escapes
	continuous bool   // usage in every chunk
	comments   bool
}

type request struct {
	Prompt    string
	Messages  []struct{ Role, Content string }
	MaxTokens int  `json:"max_tokens"`
	Continue  bool `json:"continue_final_message"`
	Begin     bool `json:"add_generation_prompt"`
}

// stream answers a request with all of its events.
func (s teller) stream(t *rapid.T, d Dialect, body []byte) []byte {
	asked := request{Begin: true}
	if err := json.Unmarshal(body, &asked); err != nil {
		t.Fatalf("%s cannot read %s: %v", s.name, body, err)
	}
	begun := strings.TrimPrefix(asked.Prompt, "Tell: ")
	if d == Chat {
		begun = ""
		if last := asked.Messages[len(asked.Messages)-1]; asked.Continue && !asked.Begin && last.Role == "assistant" {
			begun = last.Content
		}
	}
	if s.trims && d == Chat {
		begun = strings.TrimRight(begun, " \t\r\n")
	}
	from, half := 0, ""
	for begun != "" {
		if from == len(s.tokens) || !strings.HasPrefix(begun, s.tokens[from]) && !strings.HasPrefix(s.tokens[from], begun) {
			t.Fatalf("%s is to go on after %q, which is not the story %q", s.name, begun, s.tokens)
		}
		if len(begun) < len(s.tokens[from]) { // the rest of a token is one too
			half = s.tokens[from][len(begun):]
			break
		}
		begun, from = begun[len(s.tokens[from]):], from+1
	}
	rest, reason := slices.Clone(s.tokens[from:]), "stop"
	if half != "" {
		rest[0] = half
	}
	if len(rest) >= asked.MaxTokens { // that the story ends is a token too
		rest, reason = rest[:asked.MaxTokens], "length"
	}

	var out bytes.Buffer
	prompt := s.prompt + from
	if d == Chat && s.role != "" {
		s.send(&out, d, map[string]any{"role": "assistant", "content": nil}, nil, s.usage(prompt, 0))
	}
	for i, token := range rest {
		s.send(&out, d, map[string]any{"content": token}, nil, s.usage(prompt, i+1))
	}
	s.send(&out, d, map[string]any{}, reason, s.usage(prompt, len(rest)))
	s.write(&out, map[string]any{"id": s.name, "choices": []any{}, "usage": usageOf(prompt, len(rest))})
	out.WriteString("data: [DONE]" + s.lineEnd + s.lineEnd)
	return out.Bytes()
}

func usageOf(prompt, completion int) map[string]int {
	return map[string]int{"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
}

func (s teller) usage(prompt, completion int) any {
	if !s.continuous {
		return nil
	}
	return usageOf(prompt, completion)
}

func (s teller) send(out *bytes.Buffer, d Dialect, delta map[string]any, reason, usage any) {
	choice := map[string]any{"index": 0, "finish_reason": reason, "delta": delta}
	if d == Text {
		text, _ := delta["content"].(string)
		choice = map[string]any{"index": 0, "finish_reason": reason, "text": text}
	}
	s.write(out, map[string]any{
		"id": s.name, "created": len(s.name), "model": "m-" + s.name, "system_fingerprint": s.name,
		"choices": []any{choice}, "usage": usage,
	})
}

func (s teller) write(out *bytes.Buffer, chunk map[string]any) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(s.escapes)
	if s.pretty {
		encoder.SetIndent("", " ")
	}
	if err := encoder.Encode(chunk); err != nil {
		panic(err)
	}
	if s.comments {
		out.WriteString(": " + s.name + s.lineEnd + s.lineEnd)
	}
	for line := range strings.Lines(strings.TrimSpace(text.String())) {
		out.WriteString("data: " + strings.TrimSuffix(line, "\n") + s.lineEnd)
	}
	out.WriteString(s.lineEnd)
}

var tellers = rapid.Custom(func(t *rapid.T) teller {
	return teller{
		name:       rapid.StringMatching(`[a-z]{3,8}`).Draw(t, "name"),
		lineEnd:    rapid.SampledFrom([]string{"\n", "\r\n", "\r"}).Draw(t, "line end"),
		trims:      rapid.Bool().Draw(t, "trims"),
		role:       rapid.SampledFrom([]string{"", "assistant"}).Draw(t, "role"),
		pretty:     rapid.Bool().Draw(t, "pretty"),
		escapes:    rapid.Bool().Draw(t, "escapes"),
		continuous: rapid.Bool().Draw(t, "continuous"),
		comments:   rapid.Bool().Draw(t, "comments"),
	}
})

// answer is what a client understood of a stream.
type answer struct {
	text, reason, id string
	usage            map[string]int
	ends             int // how often [DONE] came
}

func understand(t *rapid.T, stream []byte) answer {
	var a answer
	for len(stream) > 0 {
		var e event
		e, stream = Chat.next(stream)
		switch {
		case len(e.data) == 0:
			continue
		case string(e.data) == "[DONE]":
			a.ends++
			continue
		}
		var chunk struct {
			ID      string
			Choices []struct {
				Delta  struct{ Content string }
				Text   string
				Reason string `json:"finish_reason"`
			}
			Usage map[string]int
		}
		if err := json.Unmarshal(e.data, &chunk); err != nil {
			t.Fatalf("the client cannot read %s: %v", e.data, err)
		}
		if a.id != "" && a.id != chunk.ID {
			t.Fatalf("the client sees %s after %s", chunk.ID, a.id)
		}
		a.id = chunk.ID
		for _, choice := range chunk.Choices {
			a.text += choice.Delta.Content + choice.Text
			a.reason += choice.Reason
		}
		if chunk.Usage != nil {
			a.usage = chunk.Usage
		}
	}
	return a
}

// TestAStreamCutAnywhereIsToldToItsEnd cuts streams at any byte, feeds them in any
// pieces, and has other endpoints go on: the client understands what one endpoint
// alone would have told it.
func TestAStreamCutAnywhereIsToldToItsEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := rapid.SampledFrom([]Dialect{Chat, Text}).Draw(t, "dialect")
		token := rapid.SampledFrom([]string{" a", "b", "\"", "\\", "\n", "é", "😀", "<b>", "\u2028", " [DONE]", "data: x\n\n", "\x00", ".\n", " ", "\t", "\\n"})
		tokens := rapid.SliceOfN(token, 1, 8).Draw(t, "story")
		limit := rapid.IntRange(1, 10).Draw(t, "max_tokens")
		body := fmt.Appendf(nil, `{"stream":true,"max_tokens":%d,"messages":[{"role":"user","content":"Tell"}]}`, limit)
		if d == Text {
			body = fmt.Appendf(nil, `{"stream":true,"max_tokens":%d,"prompt":"Tell: "}`, limit)
		}
		tale, err := NewTale(d, body)
		if err != nil {
			t.Fatal(err)
		}

		var client, sent []byte
		for first, more := true, true; more; first = false {
			s := tellers.Draw(t, "endpoint")
			s.tokens, s.prompt = tokens, 5
			stream := s.stream(t, d, body)
			if first {
				sent = stream
			}
			cut := rapid.IntRange(0, len(stream)).Draw(t, "cut")
			for events := range feed(t, d, stream[:cut]) {
				seen := events
				if first {
					err = tale.Hear(events)
				} else {
					seen, err = tale.Translate(events)
				}
				if err != nil {
					t.Fatalf("%q: %v", events, err)
				}
				client = append(client, seen...)
			}
			if body, more, err = tale.Request(); err != nil {
				t.Fatal(err)
			}
			tale.Resume()
		}
		client = append(client, tale.End()...)

		got, want := understand(t, client), understand(t, sent)
		got.id, want.id = "", ""
		if fmt.Sprint(got.usage) != fmt.Sprint(want.usage) && bytes.Contains(client, []byte(`"choices":[],"usage"`)) {
			t.Fatalf("usage is %v, want %v: %s", got.usage, want.usage, client)
		}
		got.usage, want.usage = nil, nil
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("the client has %q, want %q: %s", fmt.Sprint(got), fmt.Sprint(want), client)
		}
	})
}

// feed gives the whole events of a stream that comes in pieces.
func feed(t *rapid.T, d Dialect, stream []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		var waiting []byte
		for len(stream) > 0 {
			piece := rapid.IntRange(1, len(stream)).Draw(t, "piece")
			from := len(waiting)
			waiting = append(waiting, stream[:piece]...)
			stream = stream[piece:]
			border := d.Border(waiting, from)
			if border > 0 && !yield(waiting[:border]) {
				return
			}
			waiting = bytes.Clone(waiting[border:])
		}
	}
}

// TestWatchSeesTheSameInAnyPieces: how events are grouped changes nothing.
func TestWatchSeesTheSameInAnyPieces(t *testing.T) {
	all := streams(t)
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"chat", "chat-fails", "text", "responses", "messages", "lines"}).Draw(t, "stream")
		kind, _, _ := strings.Cut(name, "-")
		d := dialectNames[kind]
		whole, piecewise := NewWatch(d, 1), NewWatch(d, 1)
		whole.See(all[name])
		for events := range feed(t, d, all[name]) {
			piecewise.See(events)
		}
		whole.form, piecewise.form = nil, nil
		if whole != piecewise {
			t.Fatalf("%s at once: %+v, in pieces: %+v", name, whole, piecewise)
		}
	})
}

func TestWhiteSpaceAtTheSeamIsHeardOnce(t *testing.T) {
	tale := begin(t, Chat, ask(`,"max_tokens":9`))
	tale.mustHear(t, roleOf("a"), said("a", "One"), said("a", `.\n`), said("a", ` \t`))
	body, _, _ := tale.Request()
	want := `{"model":"m","messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"One."}],"stream":true,"max_tokens":8,` +
		`"add_generation_prompt":false,"continue_final_message":true}`
	if string(body) != want || tale.Spoken() != 1 {
		t.Errorf("%d spoken, asked %s", tale.Spoken(), body)
	}
	for name, c := range map[string]struct{ said, want []string }{
		"in one token":       {[]string{`\n \tTwo`}, []string{"Two"}},
		"in many":            {[]string{`\n`, ` `, `\t`, "Two", " "}, []string{"", "", "", "Two", " "}},
		"and more":           {[]string{`\n \t\n`, `\n`}, []string{`\n`, `\n`}},
		"in part":            {[]string{`\n`, "Two", " "}, []string{"", "Two", " "}},
		"not at all":         {[]string{"Two", `\n`}, []string{"Two", `\n`}},
		"another white":      {[]string{`\t`, `\n`}, []string{`\t`, `\n`}},
		"as an escaped word": {[]string{`\\n`}, []string{`\\n`}},
	} {
		tale.Resume()
		var events, want string
		for i := range c.said {
			events += said("b", c.said[i])
			want += strings.Replace(said("a", c.want[i]), `"object":"chat.completion.chunk",`, "", 1)
		}
		got, err := tale.Translate([]byte(events))
		if plain := strings.ReplaceAll(string(got), `"object":"chat.completion.chunk",`, ""); err != nil || plain != want {
			t.Errorf("%s: %v\n got %s\nwant %s", name, err, got, want)
		}
		tale.text = []byte(`One.\n \t`)
	}
}

func TestACompletionGoesOnAfterItsWhiteSpace(t *testing.T) {
	text := func(text string) string {
		return `data: {"choices":[{"index":0,"text":"` + text + `","finish_reason":null}]}` + "\n\n"
	}
	tale := begin(t, Text, askText("")).mustHear(t, text(" upon"), text(`\n`))
	body, _, _ := tale.Request()
	tale.Resume()
	got, err := tale.Translate([]byte(text(`\na`)))
	if want := `{"model":"m","prompt":"Once upon\n","max_tokens":8,"stream":true}`; string(body) != want {
		t.Errorf("asked %s", body)
	}
	if err != nil || string(got) != text(`\na`) {
		t.Errorf("%v, got %s", err, got)
	}
}

func TestOnlyWhiteSpaceAtTheEndIsSpace(t *testing.T) {
	for text, want := range map[string]int{
		``: 0, `a`: 0, `a `: 1, `a\n`: 2, `\t`: 2, `\r`: 2, `\\n`: 0, `\\\n`: 2, `n`: 0, `\\`: 0, `\\ `: 1, `\u0020`: 0, "\u00a0": 0,
	} {
		if got := spaceAtEnd([]byte(text)); got != want {
			t.Errorf("%q ends with %d bytes of white space, want %d", text, got, want)
		}
	}
}

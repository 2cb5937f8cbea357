package stream

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// dialectNames begin the names of the streams in testdata.
var dialectNames = map[string]Dialect{
	"opaque": Opaque, "chat": Chat, "text": Text, "responses": Responses, "messages": Messages, "lines": Lines,
}

func TestWatchKnowsHowFarEachAPIsStreamHasCome(t *testing.T) {
	for name, text := range streams(t) {
		kind, _, _ := strings.Cut(name, "-")
		d := dialectNames[kind]
		w := NewWatch(d, 1)
		var told strings.Builder
		for rest := text; len(rest) > 0; {
			e, after := d.next(rest)
			rest = after
			w.See(e.raw)
			fmt.Fprintf(&told, "%s%s\n\n", e.raw, tell(w))
		}
		golden(t, filepath.Join("testdata", "watch", name+".golden"), told.String())
	}
}

// tell says in words how far a stream has come.
func tell(w Watch) string {
	words := "=>"
	for _, state := range []struct {
		word string
		is   bool
	}{{"began", w.Began()}, {"finished", w.Finished()}, {"done", w.Done()}, {"failed", w.Failed()}, {"whole", w.Whole()}} {
		if state.is {
			words += " " + state.word
		}
	}
	return words
}

func streams(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "watch", "*.stream"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no streams: %v", err)
	}
	texts := map[string][]byte{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[strings.TrimSuffix(filepath.Base(file), ".stream")] = text
	}
	return texts
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run with -update and look at the difference:\n%s", file, got)
	}
}

func TestOddStreamsAreJudgedByWhatTheySay(t *testing.T) {
	const word = `data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}` + "\n\n"
	for name, c := range map[string]struct {
		dialect Dialect
		events  string
		want    string
	}{
		"nothing":                           {Chat, "", "=> whole"},
		"somebody else's":                   {Chat, "data: 1\n\ndata: 2\n\n", "=> began whole"},
		"somebody else's until a chunk":     {Chat, "data: 1\n\n" + word, "=> began"},
		"a word":                            {Chat, word, "=> began"},
		"a reason with spaces around":       {Chat, word + `data: {"choices" : [ {"finish_reason" : "stop"} ] }` + "\n\n", "=> began finished whole"},
		"a reason in a chunk with a word":   {Text, `data: {"choices":[{"text":"a","finish_reason":"length"}]}` + "\n\n", "=> began finished whole"},
		"a reason of no choice":             {Chat, word + `data: {"finish_reason":"stop"}` + "\n\n", "=> began"},
		"a reason in a string":              {Chat, word + `data: {"choices":[{"delta":{"content":"\"finish_reason\":1"}}]}` + "\n\n", "=> began"},
		"a reason as a word":                {Chat, word + `data: {"choices":[{"delta":{"content":"finish_reason"}}]}` + "\n\n", "=> began"},
		"an empty reason":                   {Chat, word + `data: {"choices":[{"delta":{},"finish_reason":""}]}` + "\n\n", "=> began"},
		"a reason over two lines":           {Chat, "data: {\"choices\":[{\"finish_reason\":\ndata: \"stop\"}]}\n\n", "=> began finished whole"},
		"a reason in a comment":             {Chat, word + `: {"choices":[{"finish_reason":"stop"}]}` + "\n\n", "=> began"},
		"an end with CR":                    {Chat, strings.ReplaceAll(word+"data: [DONE]\n\n", "\n", "\r"), "=> began finished done whole"},
		"an end that is said":               {Chat, word + `data: {"choices":[{"delta":{"content":"[DONE]"}}]}` + "\n\n", "=> began"},
		"an error after a word":             {Chat, word + `data: {"error":{"code":500}}` + "\n\n", "=> began failed"},
		"an error that is the reason":       {Chat, word + `data: {"error":{"code":502},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}` + "\n\n", "=> began failed"},
		"an error as a word":                {Chat, word + `data: {"choices":[{"delta":{"content":"error"}}]}` + "\n\n", "=> began"},
		"filters before the prompt":         {Chat, `data: {"choices":[],"prompt_filter_results":[]}` + "\n\n", "=>"},
		"the role with nulls":               {Chat, `data: {"choices":[{"delta":{"role":"assistant","content":null,"tool_calls":[],"refusal":null}}]}` + "\n\n", "=>"},
		"reasoning":                         {Chat, `data: {"choices":[{"delta":{"role":"assistant","reasoning_content":"Hm"}}]}` + "\n\n", "=> began"},
		"messages without names":            {Messages, "data: {\"type\":\"message_start\"}\n\ndata: {\"type\":\"message_stop\"}\n\n", "=> began finished done whole"},
		"messages with names alone":         {Messages, "event: content_block_delta\ndata: {}\n\nevent: message_stop\ndata: {}\n\n", "=> began finished done whole"},
		"messages without a reason":         {Messages, "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":null}}\n\n", "=> began"},
		"a response that is incomplete":     {Responses, "data: {\"type\":\"response.incomplete\"}\n\n", "=> began finished done whole"},
		"a response that failed":            {Responses, "data: {\"type\":\"response.failed\"}\n\n", "=> finished done failed whole"},
		"somebody else's lines":             {Lines, "{\"status\":\"success\"}\n", "=> began whole"},
		"lines that think":                  {Lines, "{\"message\":{\"thinking\":\"Hm\"},\"done\":false}\n", "=> began"},
		"lines that end with spaces around": {Lines, "{\"response\":\"a\",\"done\":false}\r\n{ \"done\" : true }\r\n", "=> began finished done whole"},
		"a body that is no stream":          {Opaque, "{\"choices\":[]}", "=> began whole"},
	} {
		w := NewWatch(c.dialect, 1)
		w.See([]byte(c.events))
		if got := tell(w); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestAStreamIsFinishedWhenEveryChoiceIs(t *testing.T) {
	reason := func(index int) []byte {
		return fmt.Appendf(nil, `data: {"choices":[{"index":%d,"delta":{},"finish_reason":"stop"}]}`+"\n\n", index)
	}
	w := NewWatch(Chat, 3)
	for _, index := range []int{2, 0, 0, 200} {
		w.See(reason(index))
	}
	if w.Finished() || w.Whole() {
		t.Error("one choice is missing, and it is finished")
	}
	w.See(reason(1))
	if !w.Finished() || !w.Whole() || w.Done() {
		t.Errorf("all choices have ended: %s", tell(w))
	}
}

func TestChoicesAreCountedByRequest(t *testing.T) {
	for _, c := range []struct {
		dialect Dialect
		body    string
		want    int
	}{
		{Chat, `{"messages":[{"n":7}]}`, 1},
		{Chat, `{"n":3}`, 3},
		{Chat, `{"n":null}`, 1},
		{Chat, `{"n":-1}`, 1},
		{Chat, `{"n":1000000}`, 128},
		{Chat, `{"prompt":["a","b"]}`, 1},
		{Text, `{"prompt":"a","n":2}`, 2},
		{Text, `{"prompt":["a","b"],"n":2}`, 4},
		{Text, `{"prompt":[1,2,3]}`, 1},
		{Text, `{"prompt":[[1,2],[3]]}`, 2},
		{Text, `{"prompt":[]}`, 1},
		{Text, `no JSON`, 1},
		{Messages, `{"n":3}`, 1},
	} {
		if got := Choices(c.dialect, []byte(c.body)); got != c.want {
			t.Errorf("%s brings %d choices, want %d", c.body, got, c.want)
		}
	}
}

func TestWatchingAllocatesNothingButItsForm(t *testing.T) {
	for name, text := range streams(t) {
		kind, _, _ := strings.Cut(name, "-")
		shared := &form{fixed: make([]byte, 0, maxForm)}
		allocations := testing.AllocsPerRun(100, func() {
			w := NewWatch(dialectNames[kind], 1)
			w.form = shared
			w.See(text)
		})
		if allocations != 0 {
			t.Errorf("%s: %v allocations", name, allocations)
		}
	}
}

func BenchmarkSee(b *testing.B) {
	for name, d := range map[string]Dialect{"chat": Chat, "text": Text, "responses": Responses, "messages": Messages, "lines": Lines} {
		b.Run(name, func(b *testing.B) {
			token := []byte(benchmarkToken[d])
			w := NewWatch(d, 1)
			w.See(token)
			b.SetBytes(int64(len(token)))
			b.ReportAllocs()
			for b.Loop() {
				w.See(token)
			}
			if !w.Began() || w.Finished() {
				b.Fatal("the token was not taken for one")
			}
		})
	}
}

// benchmarkToken is an event in the midst of a stream, as the APIs document it.
var benchmarkToken = map[Dialect]string{
	Chat: `data: {"id":"chatcmpl-7f1b2f6c1d8e4b6a","object":"chat.completion.chunk","created":1760000000,"model":"llama-3-8b",` +
		`"choices":[{"index":0,"delta":{"content":" harbour"},"logprobs":null,"finish_reason":null}]}` + "\n\n",
	Text: `data: {"id":"cmpl-7f1b2f6c1d8e4b6a","object":"text_completion","created":1760000000,"model":"llama-3-8b",` +
		`"choices":[{"index":0,"text":" harbour","logprobs":null,"finish_reason":null,"stop_reason":null}],"usage":null}` + "\n\n",
	Responses: "event: response.output_text.delta\n" +
		`data: {"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0,"delta":" harbour","sequence_number":9}` + "\n\n",
	Messages: "event: content_block_delta\n" +
		`data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" harbour"}}` + "\n\n",
	Lines: `{"model":"llama3.2","created_at":"2025-10-09T08:52:19.385406Z","message":{"role":"assistant","content":" harbour"},"done":false}` + "\n",
}

func BenchmarkChoices(b *testing.B) {
	body := chat1KB()
	b.ReportAllocs()
	for b.Loop() {
		Choices(Chat, body)
	}
}

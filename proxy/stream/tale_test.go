package stream

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// said is a chunk of a chat: one token.
func said(id, text string) string {
	return `data: {"id":"` + id + `","object":"chat.completion.chunk","created":100,"model":"m","choices":[{"index":0,"delta":{"content":"` +
		text + `"},"finish_reason":null}]}` + "\n\n"
}

func roleOf(id string) string {
	return `data: {"id":"` + id + `","object":"chat.completion.chunk","created":100,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}` + "\n\n"
}

func finish(id, reason string) string {
	return `data: {"id":"` + id + `","choices":[{"index":0,"delta":{},"finish_reason":"` + reason + `"}]}` + "\n\n"
}

const lastEvent = "data: [DONE]\n\n"

func begin(t *testing.T, d Dialect, body string) *Tale {
	t.Helper()
	tale, err := NewTale(d, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return tale
}

func (t *Tale) mustHear(test *testing.T, events ...string) *Tale {
	test.Helper()
	if err := t.Hear([]byte(strings.Join(events, ""))); err != nil {
		test.Fatal(err)
	}
	return t
}

func TestTheRequestGoesOnWithTheTextSoFar(t *testing.T) {
	for name, c := range map[string]struct {
		dialect      Dialect
		body, events string
		want         string
	}{
		"nothing said": {
			Chat, ask(`,"max_tokens": 10`), ": wait\n\n" + roleOf("a"),
			ask(`,"max_tokens": 10`),
		},
		"only empty tokens": {
			Chat, ask(`,"max_tokens":10`), roleOf("a") + said("a", ""),
			ask(`,"max_tokens":10`),
		},
		"a chat": {
			Chat, `{ "model" : "m", "messages" : [ {"role":"user","content":"Hi"} ], "temperature":1.50, "stream":true }`,
			roleOf("a") + said("a", `Say\n\"`) + said("a", `caf\u00e9\"`),
			`{"model":"m","messages":[ {"role":"user","content":"Hi"} ,{"role":"assistant","content":"Say\n\"caf\u00e9\""}],` +
				`"temperature":1.50,"stream":true,"add_generation_prompt":false,"continue_final_message":true}`,
		},
		"limits": {
			Chat, ask(`,"max_tokens":10,"max_completion_tokens":10,"min_tokens":1,"n_predict":null`), said("a", "Hello") + said("a", " you"),
			`{"model":"m","messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello you"}],"stream":true,` +
				`"max_tokens":8,"max_completion_tokens":8,"min_tokens":0,"n_predict":null,"add_generation_prompt":false,"continue_final_message":true}`,
		},
		"an answer that continues one": {
			Chat, `{"messages":[{"role":"user","content":"Hi"}, {"content":"Well,\u00a0", "role":"assistant"}],"continue_final_message":true,"add_generation_prompt":false,"stream":true}`,
			said("a", "hello"),
			`{"messages":[{"role":"user","content":"Hi"},{"content":"Well,\u00a0hello","role":"assistant"}],"stream":true,` +
				`"add_generation_prompt":false,"continue_final_message":true}`,
		},
		"a completion": {
			Text, `{"prompt":"Once\u0020","max_tokens":16,"stream":true}`,
			`data: {"choices":[{"index":0,"text":"upon","finish_reason":null}]}` + "\n\n",
			`{"prompt":"Once\u0020upon","max_tokens":15,"stream":true}`,
		},
		"a completion of a list of one": {
			Text, `{"prompt":[ "Once" ],"max_tokens":16,"stream":true,"min_tokens":8}`,
			`data: {"choices":[{"index":0,"text":" upon","finish_reason":null}]}` + "\n\n",
			`{"prompt":["Once upon"],"max_tokens":15,"stream":true,"min_tokens":7}`,
		},
		"usage in every chunk": {
			Chat, ask(`,"max_tokens":10`),
			`data: {"choices":[{"index":0,"delta":{"content":"Hello you"}}],"usage":{"prompt_tokens":3,"total_tokens":7,"completion_tokens":4}}` + "\n\n",
			`{"model":"m","messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello you"}],"stream":true,` +
				`"max_tokens":6,"add_generation_prompt":false,"continue_final_message":true}`,
		},
	} {
		tale := begin(t, c.dialect, c.body).mustHear(t, c.events)
		got, more, err := tale.Request()
		if err != nil || !more || string(got) != c.want {
			t.Errorf("%s: %v %v\n got %s\nwant %s", name, more, err, got, c.want)
		}
	}
}

func TestTheRestIsTranslatedIntoTheFirstEndpointsStream(t *testing.T) {
	tale := begin(t, Chat, ask(`,"stream_options":{"include_usage":true}`))
	tale.mustHear(t, roleOf("first"), said("first", "One"), said("first", " two"))
	tale.Resume()

	got, err := tale.Translate([]byte(": waiting\n\n" +
		`data: {"id":"second","created":200,"model":"m-2","system_fingerprint":"fp","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}` + "\n\n" +
		"event: message\r\ndata: {\"id\":\"second\", \"created\":200, \"model\":\"m-2\",\r\ndata: \"system_fingerprint\":\"fp\", \"choices\": [ {\"index\":0,\r\n" +
		"data: \"delta\":{\"content\":\" three\"}} ], \"x\": 1.50}\r\nid: 7\r\n\r\n" +
		`data: {"id":"second","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}` + "\n\n" +
		`data: {"id":"second","choices":[],"usage":{"prompt_tokens":12,"completion_tokens":2,"total_tokens":14,"prompt_tokens_details":{"cached_tokens":8}}}` + "\n\n" +
		lastEvent + lastEvent))

	want := ": waiting\n\n" +
		"event: message\r\ndata: {\"id\":\"first\",\"created\":100,\"model\":\"m\",\"system_fingerprint\":\"fp\",\"choices\":[ {\"index\":0,\n" +
		"data: \"delta\":{\"content\":\" three\"}} ],\"x\":1.50}\nid: 7\r\n\r\n" +
		`data: {"id":"first","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}` + "\n\n" +
		`data: {"id":"first","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":4,"total_tokens":14,"prompt_tokens_details":{"cached_tokens":8}}}` + "\n\n" +
		lastEvent
	if err != nil || string(got) != want {
		t.Errorf("%v\n got %q\nwant %q", err, got, want)
	}
	if end := tale.End(); end != nil {
		t.Errorf("a whole stream lacks %q", end)
	}
}

func TestPromptTokensNeverFallBelowZero(t *testing.T) {
	tale := begin(t, Chat, ask("")).mustHear(t, said("a", "One"), said("a", " two"))
	tale.Resume()
	got, _ := tale.Translate([]byte(`data: {"usage":{"prompt_tokens":1,"completion_tokens":-1,"total_tokens":null}}` + "\n\n"))
	if want := `data: {"usage":{"prompt_tokens":0,"completion_tokens":-1,"total_tokens":null}}` + "\n\n"; string(got) != want {
		t.Errorf("usage is %s", got)
	}
}

// TestAStreamThatSaidNothingIsTakenFromTheSecond is about a first endpoint that broke
// before any chunk: nothing of the second's is hidden.
func TestAStreamThatSaidNothingIsTakenFromTheSecond(t *testing.T) {
	tale := begin(t, Chat, ask("")).mustHear(t, ": wait\n\n")
	tale.Resume()
	stream := roleOf("b") + said("b", "Hi") + finish("b", "stop") + lastEvent
	if got, err := tale.Translate([]byte(stream)); err != nil || string(got) != stream {
		t.Errorf("%v, got %s", err, got)
	}
}

func TestAStreamMayBreakTwice(t *testing.T) {
	tale := begin(t, Chat, ask(`,"max_tokens":10`)).mustHear(t, roleOf("a"), said("a", "One"))
	tale.Resume()
	if _, err := tale.Translate([]byte(roleOf("b") + said("b", " two"))); err != nil {
		t.Fatal(err)
	}
	tale.Resume()
	body, more, err := tale.Request()
	want := `{"model":"m","messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"One two"}],"stream":true,"max_tokens":8,` +
		`"add_generation_prompt":false,"continue_final_message":true}`
	if err != nil || !more || string(body) != want || tale.Spoken() != 2 {
		t.Errorf("%d spoken, %v %v, %s", tale.Spoken(), more, err, body)
	}
	got, err := tale.Translate([]byte(`data: {"id":"c","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}` + "\n\n"))
	want = `data: {"id":"a","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12}}` + "\n\n"
	if err != nil || string(got) != want {
		t.Errorf("%v, %s", err, got)
	}
}

func TestOnlyTheEndIsMissing(t *testing.T) {
	lengthOf := `data: {"id":"a","created":100,"model":"m","object":"chat.completion.chunk",` +
		`"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}]}` + "\n\n" + lastEvent
	for name, c := range map[string]struct {
		dialect      Dialect
		body, events string
		more         bool
		want         string
	}{
		"midway":                        {Chat, ask(""), said("a", "Hi"), true, ""},
		"tokens left":                   {Chat, ask(`,"max_tokens":2`), said("a", "Hi"), true, ""},
		"tokens used up":                {Chat, ask(`,"max_tokens":2`), said("a", "Hi") + said("a", " you"), false, lengthOf},
		"the finish reason came":        {Chat, ask(`,"max_tokens":1`), said("a", "Hi") + finish("a", "length"), false, lastEvent},
		"the finish reason and [DONE]":  {Chat, ask(""), said("a", "Hi") + finish("a", "stop") + lastEvent, false, ""},
		"[DONE] without finish reasons": {Chat, ask(""), said("a", "Hi") + lastEvent, false, ""},
		"tokens of a completion used up": {
			Text, `{"prompt":"Once","max_tokens":1,"stream":true}`, `data: {"id":"t","choices":[{"index":0,"text":" upon"}]}` + "\n\n", false,
			`data: {"id":"t","object":"text_completion","choices":[{"index":0,"text":"","logprobs":null,"finish_reason":"length"}]}` + "\n\n" + lastEvent,
		},
	} {
		tale := begin(t, c.dialect, c.body).mustHear(t, c.events)
		body, more, err := tale.Request()
		if err != nil || more != c.more || more != (body != nil) {
			t.Errorf("%s: more %v, %v, %s", name, more, err, body)
		}
		if got := tale.End(); string(got) != c.want {
			t.Errorf("%s: it lacks %q, want %q", name, got, c.want)
		}
	}
}

func TestWhatIsNotTextAloneEndsTheTale(t *testing.T) {
	delta := func(fields string) string {
		return `data: {"choices":[{"index":0,"delta":{` + fields + `}}]}` + "\n\n"
	}
	for _, c := range []struct{ events, want string }{
		{"data: hello\n\n", "an event is no JSON object"},
		{"data: [1]\n\n", "an event is no JSON object"},
		{"data: {\"a\":\n\n", "an event is no JSON object"},
		{"\ufeffdata: {}\n\n", "an event has an unknown field"},
		{"event: thread.created\ndata: {}\n\n", `an event is of the unknown kind "thread.created"`},
		{"event: error\ndata: {}\n\n", "the endpoint says that it failed"},
		{"data: {\"error\":{}, \"error\":1}\n\n", "the endpoint says that it failed"},
		{"data: {\"object\":\"error\",\"message\":\"no\"}\n\n", "the endpoint says that it failed"},
		{`data: {"ch\u006fices":[]}` + "\n\n", "a key of an event is written with escapes"},
		{`data: {"choices":[{"index":1,"delta":{"content":"a"}}]}` + "\n\n", "there are several choices"},
		{`data: {"choices":[{"index":0},{"index":0}]}` + "\n\n", "there are several choices"},
		{`data: {"choices":[{"index":0,"logprobs":{"content":[]}}]}` + "\n\n", `a choice has "logprobs"`},
		{`data: {"choices":[{"index":0,"finish_reason":"tool_calls"}]}` + "\n\n", `the answer ends for the reason "tool_calls"`},
		{`data: {"choices":[{"index":0,"finish_reason":"abort"}]}` + "\n\n", "the endpoint says that it failed"},
		{delta(`"role":"assistant","tool_calls":[{"index":0}]`), `the answer has "tool_calls"`},
		{delta(`"function_call":{"name":"f"}`), `the answer has "function_call"`},
		{delta(`"refusal":"No."`), `the answer has "refusal"`},
		{delta(`"reasoning":"Hm"`), `the answer has "reasoning"`},
		{delta(`"reasoning_content":"Hm"`), `the answer has "reasoning_content"`},
		{delta(`"content":[{"type":"text"}]`), "the content is no text"},
		{delta(`"content":"a","content":"b"`), "the content is no text"},
		{delta(`"content":"` + "\xff" + `"`), "the content is no text"},
		{said("a", "<think>Hm</thi") + said("a", "nk>Yes"), "there is reasoning in the text"},
		{said("a", `Hm\u003c/th`) + said("a", `ink\u003eYes`), "there is reasoning in the text"},
		{said("a", strings.Repeat("a", maxText)) + said("a", "a"), "the answer is too long to be kept"},
	} {
		tale := begin(t, Chat, ask(""))
		err := tale.Hear([]byte(roleOf("a") + c.events))
		if !errors.Is(err, ErrNotContinuable) || err.Error() != "the stream cannot go on elsewhere: "+c.want {
			t.Errorf("%.80q: %v, want %q", c.events, err, c.want)
		}
		_, more, again := tale.Request()
		if tale.Continuable() || more || !errors.Is(again, ErrNotContinuable) {
			t.Errorf("%.80q: the tale goes on: %v", c.events, again)
		}
		if err := tale.Hear([]byte(lastEvent)); err == nil {
			t.Errorf("%.80q: the tale lives again", c.events)
		}
	}
}

func TestADeadTaleEndsOnlyWhatHasFinished(t *testing.T) {
	const tool = `data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0}]}}]}` + "\n\n"
	for events, want := range map[string]string{
		tool:                                   "",
		tool + finish("a", "tool_calls"):       lastEvent,
		tool + finish("a", "abort"):            "",
		tool + finish("a", "stop") + lastEvent: "",
	} {
		tale := begin(t, Chat, ask(`,"max_tokens":1`))
		if err := tale.Hear([]byte(said("a", "Hi") + events)); err == nil {
			t.Errorf("%q does not end the tale", events)
		}
		if got := tale.End(); string(got) != want {
			t.Errorf("%q lacks %q, want %q", events, got, want)
		}
	}
}

func TestTheBoundsAreAllThatIsKept(t *testing.T) {
	tale := begin(t, Chat, ask(""))
	tale.mustHear(t, said("a", strings.Repeat("a", maxText)))
	many := fmt.Sprintf(`data: {"choices":[{"index":0,"delta":{"content":""}}],"usage":{"completion_tokens":%d}}`+"\n\n", maxTokens+1)
	tale.mustHear(t, many)
	if err := tale.Hear([]byte(said("a", ""))); err == nil {
		t.Error("it counts for ever")
	}
}

// TestATranslationGoesOnWhenTheTaleEnds: the second stream is not worse for what
// cannot be continued once more.
func TestATranslationGoesOnWhenTheTaleEnds(t *testing.T) {
	tale := begin(t, Chat, ask("")).mustHear(t, roleOf("a"), said("a", "One"))
	tale.Resume()
	got, err := tale.Translate([]byte(
		`data: {"id":"b","choices":[{"index":0,"delta":{"role":"assistant","reasoning":"Hm"}}]}` + "\n\n" +
			"data: odd\n\n" + `data: {"id":"b","choices":[],"usage":{"completion_tokens":1}}` + "\n\n" + lastEvent + lastEvent))
	want := `data: {"id":"a","choices":[{"index":0,"delta":{"role":"assistant","reasoning":"Hm"}}]}` + "\n\n" +
		"data: odd\n\n" + `data: {"id":"a","choices":[],"usage":{"completion_tokens":2}}` + "\n\n" + lastEvent
	if !errors.Is(err, ErrNotContinuable) || string(got) != want {
		t.Errorf("%v\n got %q\nwant %q", err, got, want)
	}
}

func BenchmarkHear(b *testing.B) {
	event := []byte(said("a", " harbour"))
	tale, err := NewTale(Chat, []byte(ask("")))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		tale.text, tale.tokens = tale.text[:0], 0
		if err := tale.Hear(event); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTranslate(b *testing.B) {
	event := []byte(said("b", " harbour"))
	tale, err := NewTale(Chat, []byte(ask("")))
	if err != nil || tale.Hear([]byte(said("a", "One"))) != nil {
		b.Fatal("no tale")
	}
	tale.Resume()
	b.ReportAllocs()
	for b.Loop() {
		tale.text, tale.tokens = tale.text[:0], 0
		if _, err := tale.Translate(event); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNewTale is what a stream costs once.
func BenchmarkNewTale(b *testing.B) {
	body := chat1KB()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := NewTale(Chat, body); err != nil {
			b.Fatal(err)
		}
	}
}

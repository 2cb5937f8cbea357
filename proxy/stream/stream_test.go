package stream

import "testing"

func TestTheDialectFollowsFromPathAndMediaType(t *testing.T) {
	for _, c := range []struct {
		path, mediaType string
		want            Dialect
	}{
		{"/v1/chat/completions", "text/event-stream", Chat},
		{"/openai/deployments/gpt-4o/chat/completions", "text/event-stream", Chat},
		{"/v1/completions/", "text/event-stream", Text},
		{"/v1/responses", "text/event-stream", Responses},
		{"/v1/messages", "text/event-stream", Messages},
		{"/v1/threads/thread_1/messages", "text/event-stream", Opaque},
		{"/v1beta/models/gemini:streamGenerateContent", "text/event-stream", Opaque},
		{"/api/chat", "application/x-ndjson", Lines},
		{"/api/generate", "application/x-ndjson", Lines},
		{"/v1/chat/completions", "application/json", Opaque},
		{"/v1/chat/completions", "", Opaque},
	} {
		if got := DialectOf(c.path, c.mediaType); got != c.want {
			t.Errorf("%s as %s is %v, want %v", c.path, c.mediaType, got, c.want)
		}
	}
}

func TestAFailureIsAnEventOfTheDialect(t *testing.T) {
	openAI := `data: {"error":{"message":"It \"broke\"\nhere.","type":"server_error","param":null,"code":"stream_cut"}}` + "\n\n"
	for d, want := range map[Dialect]string{
		Opaque: openAI,
		Chat:   openAI,
		Text:   openAI,
		Responses: "event: error\n" +
			`data: {"type":"error","code":"stream_cut","message":"It \"broke\"\nhere.","param":null,"sequence_number":0}` + "\n\n",
		Messages: "event: error\n" +
			`data: {"type":"error","error":{"type":"api_error","message":"It \"broke\"\nhere."}}` + "\n\n",
		Lines: `{"error":"It \"broke\"\nhere."}` + "\n",
	} {
		got := d.Failure("server_error", "stream_cut", "It \"broke\"\nhere.")
		if string(got) != want {
			t.Errorf("dialect %v says %q, want %q", d, got, want)
		}
		if d != Opaque && !firstIsError(d, got) {
			t.Errorf("dialect %v does not know its own failure", d)
		}
	}
}

func TestACommentIsOneLineThatChangesNothing(t *testing.T) {
	const want = ": resumed  data: [DONE] é\n\n"
	got := Chat.Comment("resumed\r\ndata: [DONE]\x00é")
	if string(got) != want {
		t.Errorf("the comment is %q, want %q", got, want)
	}
	w := NewWatch(Chat, 1)
	w.See(got)
	if w.Began() || w.Done() {
		t.Errorf("a comment is taken for content: %+v", w)
	}
	if got := Lines.Comment("resumed"); got != nil {
		t.Errorf("lines got the comment %q", got)
	}
}

func TestTheLastEventEndsTheStream(t *testing.T) {
	for d, want := range map[Dialect]bool{Chat: true, Text: true, Messages: true, Responses: false, Lines: false, Opaque: false} {
		w := NewWatch(d, 1)
		w.See(d.Last())
		if w.Done() != want {
			t.Errorf("dialect %v is done: %v", d, w.Done())
		}
	}
}

// firstIsError reports whether a stream, so far, has only the error in it that the
// server reports: then the answer may still come from elsewhere.
func firstIsError(d Dialect, events []byte) bool {
	w := NewWatch(d, 1)
	w.See(events)
	return w.Failed() && !w.Began()
}

func TestAnErrorBeforeAnyContentIsSeen(t *testing.T) {
	const role = `data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}` + "\n\n"
	const word = `data: {"choices":[{"index":0,"delta":{"content":"error"},"finish_reason":null}]}` + "\n\n"
	const fails = `data: {"error":{"message":"no engine"}}` + "\n\n"
	for name, c := range map[string]struct {
		dialect Dialect
		events  string
		want    bool
	}{
		"at once":                       {Chat, fails, true},
		"of a completion":               {Text, fails, true},
		"with its end":                  {Chat, fails + "data: [DONE]\n\n", true},
		"after a comment and the role":  {Chat, ": wait\n\n" + role + fails, true},
		"after a word":                  {Chat, role + word + fails, false},
		"by name":                       {Chat, "event: error\ndata: {\"message\":\"no\"}\n\n", true},
		"as vLLM used to say it":        {Chat, `data: {"object":"error","message":"no","code":400}` + "\n\n", true},
		"as a finish reason":            {Chat, `data: {"choices":[{"index":0,"delta":{"content":""},"finish_reason":"abort"}]}` + "\n\n", true},
		"over two data lines":           {Chat, "data: {\"error\":\ndata: \"no\"}\n\n", true},
		"that is none":                  {Chat, `data: {"error":null,"choices":[]}` + "\n\n", false},
		"after the beginning":           {Messages, "event: ping\ndata: {\"type\":\"ping\"}\n\nevent: error\ndata: {\"type\":\"error\"}\n\n", true},
		"of another kind":               {Messages, "data: {\"error\":\"no\"}\n\n", true},
		"of a response":                 {Responses, "data: {\"type\":\"response.failed\",\"response\":{}}\n\n", true},
		"of Ollama":                     {Lines, "{\"error\":\"no such model\"}\n", true},
		"of an unknown stream":          {Opaque, fails, false},
		"nothing but the role":          {Chat, role, false},
		"nothing":                       {Chat, "", false},
		"only the end, which is no end": {Chat, "data: [DONE]\n\n", false},
	} {
		if got := firstIsError(c.dialect, []byte(c.events)); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

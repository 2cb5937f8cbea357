package stream

import (
	"bytes"
	"strconv"
)

// Bounds of what is kept of a stream.
const (
	maxText   = 1 << 20 // bytes of JSON text; a longer answer is not continued
	maxTokens = 1 << 20
)

// Tale is what a stream of Chat or Text has said so far: enough to ask another
// endpoint for the rest, and to make of the rest what the client expects.
//
// An answer goes on by what vLLM's OpenAI-compatible server documents as extra
// parameters of chat completions. With continue_final_message the conversation is
// rendered with its final message left open, and the model continues that message
// rather than begin a new one; it cannot be had together with add_generation_prompt,
// which is true unless said otherwise. A completion goes on as one of a prompt that
// ends with the text so far. SGLang, and llama.cpp since its pull request 23012, take
// continue_final_message too. Servers that do not know it would begin a new answer.
//
// Usage: to the second endpoint, what the first one said is prompt. So of what it
// counts, the total is the client's total, and the tokens spoken before are taken off
// its prompt tokens and added to its completion tokens.
//
// A Tale belongs to one goroutine at a time.
type Tale struct {
	dialect  Dialect
	body     []byte
	limit    int  // tokens that the answer may have; 0: no limit
	prefixed bool // the request's last message is the answer's beginning

	identity identity
	begun    bool   // the client has an event that says who speaks
	text     []byte // what was said, as it stands between the quotes of a JSON string
	tokens   int    // so far
	spoken   int    // of these, up to the last one that brought text that survives
	before   int    // spoken before the endpoint that speaks now
	owed     []byte // the end of the text that this endpoint was not sent and will say again
	finished bool   // the finish reason is known
	done     bool   // [DONE] came
	dead     error  // why the stream cannot go on elsewhere
	resumed  bool   // what comes is another endpoint's

	form *form  // nil: none was needed so far
	read uint32 // the number of the last form of which an event was read
}

// Hear takes whole events that go to the client as they are. An error wraps
// ErrNotContinuable: what they said is not text alone, is not understood, or is too
// much to keep. The Tale is dead then, and every later call says so again; the stream
// itself may well go on.
func (t *Tale) Hear(events []byte) error {
	for len(events) > 0 {
		if text, rest, alike := t.form.match(events); alike && t.hearAlike(text) {
			t.form.hit()
			events = rest
		} else {
			events = t.hearNext(events, alike)
		}
	}
	return t.dead
}

// hearAlike hears an event of the form, if what that says is known. The first of a form
// must be read: it may have more to learn than text, of what all chunks have alike.
func (t *Tale) hearAlike(text []byte) bool {
	switch {
	case t.dead != nil:
		t.begun = t.begun || t.form.begins
		return true
	case !t.form.tells, t.form.number != t.read:
		return false
	}
	t.hear(&chunk{isObject: true, role: t.form.role, speaks: true, text: text})
	return true
}

// hearNext hears the next event by reading it.
func (t *Tale) hearNext(events []byte, alike bool) (rest []byte) {
	e, rest := t.dialect.next(events)
	c := readChunk(e)
	t.hear(&c)
	if !alike && len(c.text) > 0 {
		if t.form == nil {
			t.form = new(form)
		}
		t.form.missed(t.dialect, e)
		_, _, alike = t.form.match(e.raw)
	}
	if alike {
		t.read = t.form.number
	}
	return rest
}

// Continuable reports whether the stream, should it break now, may go on elsewhere.
func (t *Tale) Continuable() bool { return t.dead == nil }

// Spoken is how many tokens the client has that no other endpoint would have to make
// again: up to the last one with text, in a chat with text that does not end in white
// space. Unless a server says so itself, by usage in every chunk (vLLM's
// stream_options.continuous_usage_stats), each chunk with content counts as one token,
// as vLLM streams by default. A server that puts several tokens in a chunk is counted
// short, and the continued answer may be longer than max_tokens by that much.
func (t *Tale) Spoken() int { return t.spoken }

// Request is the body of the request that continues the stream: the client's, with
// the text so far as the beginning of the answer, max_tokens and its like reduced by
// what was spoken, min_tokens likewise but not below 0, and everything else as it was,
// byte for byte. As long as there is no text it is the client's own. White space at
// the end of a chat's text is left out, because many chat templates would lose it:
// Translate leaves it out of what the endpoint then says. more is false
// when nothing is missing but the End, because the answer is known to have finished,
// or because max_tokens is used up. After the Tale's death it returns what Hear did.
func (t *Tale) Request() (body []byte, more bool, err error) {
	switch {
	case t.dead != nil:
		return nil, false, t.dead
	case t.ended():
		return nil, false, nil
	}
	text := t.firm(t.text)
	if len(text) == 0 {
		return t.body, true, nil
	}
	return t.continued(text), true, nil
}

func (t *Tale) ended() bool {
	return t.finished || t.done || t.limit > 0 && t.spoken >= t.limit
}

// Resume says that the next events come from another endpoint, which was sent the
// Request as it is at this moment.
func (t *Tale) Resume() {
	t.resumed, t.tokens, t.before = true, t.spoken, t.spoken
	t.owed = t.text[len(t.firm(t.text)):]
}

// Translate makes of the other endpoint's events, whole ones, what the client shall
// see of them, and hears them: ids, time, model and fingerprint are those that the
// client knows already, the first chunk that only says who speaks is left out once
// the client has one, usage is summed, and there is one [DONE]. Other fields and their
// values stay as they are, and so do comments, and what is no chunk.
//
// The events are to be sent also when there is an error, which is as Hear's.
func (t *Tale) Translate(events []byte) ([]byte, error) {
	out := make([]byte, 0, len(events)+len(events)/2)
	for len(events) > 0 {
		var e event
		e, events = t.dialect.next(events)
		c := readChunk(e)
		out = t.translate(out, e, &c)
		t.hear(&c)
	}
	return out, t.dead
}

// translate appends an event as the client shall see it, and takes out of the chunk
// what the client has heard already.
func (t *Tale) translate(out []byte, e event, c *chunk) []byte {
	switch {
	case c.done && t.done, c.onlyRole() && t.begun:
		return out
	case !c.isObject:
		return append(out, e.raw...)
	}
	again := 0
	if c.trouble == "" {
		again = t.repeated(c.text)
		c.text = c.text[again:]
	}
	return e.appendWith(out, rewrite(e.data, func(key, value []byte) []byte {
		if again > 0 && string(key) == "choices" {
			return withoutBeginning(value, again)
		}
		return t.edit(key, value)
	}))
}

// edit makes a chunk's value what the client shall see.
func (t *Tale) edit(key, value []byte) []byte {
	if known := t.identity.of(key); known != nil {
		return known
	}
	if string(key) == "usage" && value[0] == '{' && t.before > 0 {
		return rewrite(value, t.editUsage)
	}
	return value
}

func (t *Tale) editUsage(key, value []byte) []byte {
	tokens, counted := countOf(value)
	switch {
	case counted && string(key) == "completion_tokens":
		return strconv.AppendInt(nil, int64(tokens+t.before), 10)
	case counted && string(key) == "prompt_tokens":
		return strconv.AppendInt(nil, int64(max(0, tokens-t.before)), 10)
	}
	return value
}

// hear keeps what a chunk says.
func (t *Tale) hear(c *chunk) {
	t.done = t.done || c.done
	t.begun = t.begun || c.role || c.speaks
	t.finished = t.finished || c.finished
	switch {
	case t.dead != nil:
	case c.trouble != "":
		t.die(c.trouble)
	case len(t.text)+len(c.text) > maxText, t.tokens > maxTokens:
		t.die("the answer is too long to be kept")
	default:
		t.identity.learn(&c.identity)
		t.count(c)
		t.keep(c.text)
	}
}

func (t *Tale) count(c *chunk) {
	switch {
	case c.counted:
		t.tokens = t.before + c.completion
	case c.speaks && !c.onlyRole():
		t.tokens++
	}
	switch firm := len(t.firm(c.text)); {
	case firm == 0:
	case firm < len(c.text): // its end will be made again
		t.spoken = max(t.spoken, t.tokens-1)
	default:
		t.spoken = max(t.spoken, t.tokens)
	}
}

// Chat templates take reasoning out of an assistant's message, those of Qwen3 and
// DeepSeek-R1 by its closing tag, so that the answer would not go on where it was.
const reasoningTag, reasoningTagEscaped = "/think>", `/think\u003e`

func (t *Tale) keep(text []byte) {
	seam := max(0, len(t.text)-len(reasoningTagEscaped))
	t.text = appendTightly(t.text, text)
	if bytes.IndexByte(text, '>') < 0 && bytes.IndexByte(text, '\\') < 0 { // neither way to end a tag
		return
	}
	news := t.text[seam:]
	if bytes.Contains(news, []byte(reasoningTag)) || bytes.Contains(news, []byte(reasoningTagEscaped)) {
		t.die("there is reasoning in the text")
	}
}

// appendTightly is append for a text that grows word by word, one of many at a time: it
// makes room for an eighth more, not for as much again.
func appendTightly(text, more []byte) []byte {
	if need := len(text) + len(more); need > cap(text) {
		text = append(make([]byte, 0, need+max(128, need/8)), text...)
	}
	return append(text, more...)
}

// die forgets what was said: it is of no use any more.
func (t *Tale) die(why string) {
	t.dead = notContinuable("%s", why)
	t.text, t.body = nil, nil
}

// End is what a stream lacks for a good end when Request says that nothing more can
// come: a chunk with the finish reason "length" if none came and max_tokens is used
// up, and [DONE]. A stream that has all of it, or of which more could come, gets nil:
// it must not look complete. So does a dead Tale, unless the finish reason came.
func (t *Tale) End() []byte {
	switch {
	case t.done:
		return nil
	case t.finished:
		return t.dialect.Last()
	case t.dead != nil, !t.ended():
		return nil
	}
	object, choice := "chat.completion.chunk", `[{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}]`
	if t.dialect == Text {
		object, choice = "text_completion", `[{"index":0,"text":"","logprobs":null,"finish_reason":"length"}]`
	}
	end := t.identity.appendTo([]byte("data: {"))
	end = appendField(end, []byte("object"), []byte(`"`+object+`"`))
	end = append(appendField(end, []byte("choices"), []byte(choice)), "}\n\n"...)
	return append(end, t.dialect.Last()...)
}

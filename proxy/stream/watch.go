package stream

import (
	"bytes"
	"strconv"
)

// maxChoices is how many choices are told apart; OpenAI allows 128 for n.
const maxChoices = 128

// Watch follows a stream event by event and knows how far it has come. Most events
// are of the form of one before, and say nothing new. Else it looks for the few keys
// that matter as they stand in the text, where they cannot be part of an answer's
// words, because a string's quotes are escaped; only an event that has one is read,
// and none is decoded. It keeps nothing of what it sees but that form, 640 bytes at
// most. Copies share it: they belong to one goroutine at a time. The zero value
// follows an Opaque stream.
type Watch struct {
	form     *form // nil: none was needed so far
	ended    choiceSet
	dialect  Dialect
	choices  uint8
	ends     uint8 // how many have ended
	known    bool  // something of the dialect was recognised
	began    bool
	finished bool
	done     bool
	failed   bool
}

// choiceSet are the indexes of the choices whose finish reason was seen.
type choiceSet [maxChoices / 64]uint64

func (s *choiceSet) has(index int) bool { return s[index/64]>>(index%64)&1 != 0 }

func (s *choiceSet) add(index int) { s[index/64] |= 1 << (index % 64) }

// NewWatch follows a stream that is to bring so many choices; fewer than one count
// as one, more than 128 as 128. Choices tells how many a request asks for.
func NewWatch(d Dialect, choices int) Watch {
	return Watch{dialect: d, choices: uint8(min(max(choices, 1), maxChoices))}
}

// Choices is how many choices the answer to a request, a JSON object, is to bring:
// n, for each prompt of Text. It costs a walk over the body.
func Choices(d Dialect, body []byte) int {
	if d != Chat && d != Text {
		return 1
	}
	n, prompts := 1, 1
	for key, value := range fields(body) {
		switch {
		case string(key) == "n":
			n, _ = strconv.Atoi(string(value))
		case string(key) == "prompt" && d == Text:
			prompts = countPrompts(value)
		}
	}
	return min(max(n, 1), maxChoices) * prompts
}

// countPrompts counts the strings, or arrays of token numbers, of a prompt. A single
// one needs no array around it.
func countPrompts(prompt []byte) int {
	prompts := 0
	for each := range elements(prompt) {
		if each[0] != '"' && each[0] != '[' {
			return 1
		}
		prompts++
	}
	return min(max(prompts, 1), maxChoices)
}

// See takes the next events, one or more whole ones.
func (w *Watch) See(events []byte) {
	if w.dialect == Opaque && w.began {
		return
	}
	for len(events) > 0 {
		if rest, alike := w.seeAlike(events); alike {
			events = rest
		} else {
			events = w.seeNext(events)
		}
	}
}

// Skim takes events as See does, and Hear, as long as they bring nothing but text, in
// one look at them. It returns how many of the bytes these are; the rest, which need
// not be whole events, is for Border, See and Hear. The tale may be nil, and is not
// skimmed once it is Resumed. Given both, watch and tale keep the form of the events
// once: so Skim before they see and hear the first. An event that is not whole yet
// costs a look at what there is of it, every time: Skim where an event begins, and not
// again for each of its pieces.
func (w *Watch) Skim(t *Tale, buf []byte) (taken int) {
	if t != nil {
		w.shareForm(t)
	}
	if !w.knowsText() || t != nil && t.resumed {
		return 0
	}
	for {
		text, rest, alike := w.form.match(buf[taken:])
		if !alike || t != nil && !t.hearAlike(text) {
			return taken
		}
		w.form.hit()
		taken = len(buf) - len(rest)
	}
}

func (w *Watch) shareForm(t *Tale) {
	if w.form == nil {
		w.form = new(form)
	}
	if t.form != w.form {
		t.form, t.read = w.form, 0
	}
}

// knowsText reports whether an event that brings text says nothing new.
func (w *Watch) knowsText() bool { return w.began && w.known }

// seeAlike takes the next event if it is known to say nothing new.
func (w *Watch) seeAlike(events []byte) (rest []byte, alike bool) {
	if w.form == nil || !w.knowsText() {
		return nil, false
	}
	_, rest, alike = w.form.match(events)
	if alike {
		w.form.hit()
	}
	return rest, alike
}

// seeNext takes the next event by reading it.
func (w *Watch) seeNext(events []byte) (rest []byte) {
	e, rest := w.dialect.next(events)
	knewText := w.knowsText()
	if w.see(e); knewText && len(e.data) > 0 && !w.done {
		if w.form == nil {
			w.form = new(form)
		}
		w.form.missed(w.dialect, e)
	}
	return rest
}

func (w *Watch) see(e event) {
	switch {
	case w.dialect == Opaque:
		w.began = w.began || e.data != nil || e.strange
	case len(e.data) == 0:
	case w.dialect == Lines:
		w.seeLine(e.data)
	case isDone(e.data):
		w.known, w.done = true, true
		w.began = w.began || !w.failed
	case w.dialect == Responses, w.dialect == Messages:
		w.seeTyped(e)
	default:
		w.seeChunk(e)
	}
}

// Began reports whether content was seen: anything but comments, pings, errors, and
// the first events that only say who speaks and that the answer has begun.
func (w *Watch) Began() bool { return w.began }

// Finished reports whether every choice has its finish reason, or the dialect's last
// event was seen: the text is all there, though usage may still come.
func (w *Watch) Finished() bool { return w.finished || w.done }

// Done reports whether the dialect's last event was seen: nothing more may come.
func (w *Watch) Done() bool { return w.done }

// Failed reports whether the server itself said in the stream that it failed, by an
// error event or by a finish reason that says so. What it said may have been seen
// by the client, and whether the stream then ended well is told by Done.
func (w *Watch) Failed() bool { return w.failed }

// Whole reports whether a stream that ended cleanly by its framing is complete. An
// Opaque one is; another one if it is Finished or Done, or if nothing of its dialect
// was recognised at all: then it is somebody else's, and framing decides.
func (w *Watch) Whole() bool {
	return w.dialect == Opaque || !w.known || w.Finished()
}

// What prompts a closer look, and the mark of OpenAI's last event.
var (
	choicesKey = []byte(`"choices"`)
	finishKey  = []byte(`finish_reason"`)
	stopKey    = []byte(`stop_reason"`)
	doneKey    = []byte(`done"`)
	doneMark   = []byte("[DONE]")
)

func isDone(data []byte) bool { return bytes.HasPrefix(data, doneMark) }

// seeChunk is an event of Chat or Text. One that says of a choice that it is not
// finished is neither an end nor an error, and most are so.
func (w *Watch) seeChunk(e event) {
	w.known = w.known || bytes.Contains(e.data, choicesKey)
	if w.began && len(e.name) == 0 && glance(e.data, finishKey) == 'n' {
		return
	}
	failed, isChunk := string(e.name) == "error", false
	for key, value := range fields(e.data) {
		switch string(key) {
		case "choices":
			isChunk = true
			for choice := range elements(value) {
				w.seeChoice(choice)
			}
		case "error":
			failed = failed || !isNothing(value)
		case "object":
			failed = failed || string(value) == `"error"` // older vLLM
		}
	}
	w.known = w.known || failed
	w.failed = w.failed || failed
	w.began = w.began || !failed && !isChunk
}

func (w *Watch) seeChoice(choice []byte) {
	index, reason := 0, []byte("null")
	for key, value := range fields(choice) {
		switch string(key) {
		case "index":
			index, _ = strconv.Atoi(string(value))
		case "finish_reason":
			reason = value
		case "text":
			w.began = w.began || !isNothing(value)
		case "delta":
			w.began = w.began || speaks(value)
		}
	}
	switch string(reason) {
	case "null", `""`:
	case `"error"`, `"abort"`: // OpenRouter's; vLLM's and SGLang's
		w.failed = true
	default:
		w.began = true
		w.end(index)
	}
}

// speaks reports whether a delta, or a message of Ollama's, says more than who speaks.
func speaks(delta []byte) bool {
	for key, value := range fields(delta) {
		if string(key) != "role" && !isNothing(value) {
			return true
		}
	}
	return false
}

func (w *Watch) end(index int) {
	if index < 0 || index >= maxChoices || w.ended.has(index) {
		return
	}
	w.ended.add(index)
	w.ends++
	w.finished = w.finished || w.ends >= w.choices
}

// seeTyped is an event of Responses or Messages. Its type stands in its data, and
// in its name as well.
func (w *Watch) seeTyped(e event) {
	kind, failed := e.name, false
	for key, value := range fields(e.data) {
		if string(key) == "type" && isString(value) {
			kind = inside(value)
			break
		}
		failed = failed || string(key) == "error" && !isNothing(value)
	}
	switch string(kind) {
	case "ping":
		return
	case "error":
		failed = true
	case "message_start", "response.created", "response.queued", "response.in_progress":
		w.known = true
		return
	case "message_delta":
		w.finished = w.finished || glance(e.data, stopKey) == '"'
	case "message_stop", "response.completed", "response.incomplete":
		w.done = true
	case "response.failed":
		w.done, failed = true, true
	}
	w.known = w.known || failed || ofDialect(kind)
	w.failed = w.failed || failed
	w.began = w.began || !failed
}

// ofDialect reports whether an event's type is one of Responses or Messages.
func ofDialect(kind []byte) bool {
	return bytes.HasPrefix(kind, []byte("response.")) ||
		bytes.HasPrefix(kind, []byte("message_")) || bytes.HasPrefix(kind, []byte("content_block_"))
}

// seeLine is a line of Ollama's.
func (w *Watch) seeLine(line []byte) {
	if w.began && w.known && glance(line, doneKey) == 'f' {
		return
	}
	isChunk, failed := false, false
	for key, value := range fields(line) {
		switch string(key) {
		case "done":
			isChunk = true
			w.done = w.done || string(value) == "true"
		case "error":
			failed = !isNothing(value)
		case "response", "thinking":
			w.began = w.began || !isNothing(value)
		case "message":
			w.began = w.began || speaks(value)
		}
	}
	w.known = w.known || isChunk || failed
	w.failed = w.failed || failed
	w.began = w.began || w.done || !failed && !isChunk
}

package stream

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// chunk is what one event of Chat or Text says, as it stands in its JSON. The zero
// value is an event that says nothing: a comment.
type chunk struct {
	isObject   bool
	done       bool // it is [DONE]
	identity   identity
	role       bool   // it says who speaks
	speaks     bool   // it has content, if only an empty one
	text       []byte // between the content's quotes
	finished   bool   // it has the finish reason
	counted    bool   // it has usage
	completion int    // the usage's completion tokens
	trouble    string // why the stream cannot go on elsewhere after it
}

// onlyRole reports whether the chunk says no more than who speaks, as the first of a
// chat does.
func (c *chunk) onlyRole() bool {
	return c.role && len(c.text) == 0 && !c.finished && c.trouble == ""
}

// isText reports whether the chunk says nothing but text.
func (c *chunk) isText() bool {
	return len(c.text) > 0 && !c.finished && !c.counted && c.trouble == ""
}

func (c *chunk) refuse(why string, about ...any) {
	if c.trouble == "" {
		c.trouble = fmt.Sprintf(why, about...)
	}
}

func readChunk(e event) chunk {
	var c chunk
	switch {
	case e.strange:
		c.refuse("an event has an unknown field")
	case len(e.data) == 0:
	case string(e.name) == "error":
		c.refuse("the endpoint says that it failed")
	case len(e.name) > 0 && string(e.name) != "message":
		c.refuse("an event is of the unknown kind %.40q", e.name)
	case isDone(e.data):
		c.done = true
	default:
		c.read(e.data)
	}
	return c
}

func (c *chunk) read(data []byte) {
	if !isJSON(data) || trimLeft(data)[0] != '{' {
		c.refuse("an event is no JSON object")
		return
	}
	c.isObject = true
	for key, value := range fields(data) {
		switch string(key) {
		case "id", "created", "model", "system_fingerprint":
			c.identity.set(key, value)
		case "choices":
			c.readChoices(value)
		case "usage":
			c.readUsage(value)
		case "error":
			if !isNothing(value) {
				c.refuse("the endpoint says that it failed")
			}
		case "object":
			if string(value) == `"error"` {
				c.refuse("the endpoint says that it failed")
			}
		default:
			if bytes.IndexByte(key, '\\') >= 0 {
				c.refuse("a key of an event is written with escapes")
			}
		}
	}
}

func (c *chunk) readChoices(choices []byte) {
	first := true
	for choice := range elements(choices) {
		if !first {
			c.refuse("there are several choices")
		}
		first = false
		c.readChoice(choice)
	}
}

func (c *chunk) readChoice(choice []byte) {
	for key, value := range fields(choice) {
		switch string(key) {
		case "index":
			if string(value) != "0" {
				c.refuse("there are several choices")
			}
		case "delta":
			c.readDelta(value)
		case "text":
			c.readText(value)
		case "finish_reason":
			c.readReason(value)
		case "stop_reason", "matched_stop", "content_filter_results", "content_filter_offsets": // vLLM's, SGLang's, Azure's
		default:
			if !isNothing(value) {
				c.refuse("a choice has %.40q", key)
			}
		}
	}
}

func (c *chunk) readDelta(delta []byte) {
	for key, value := range fields(delta) {
		switch string(key) {
		case "role":
			c.role = !isNothing(value)
		case "content":
			c.readText(value)
		default:
			if !isNothing(value) {
				c.refuse("the answer has %.40q", key)
			}
		}
	}
}

func (c *chunk) readText(text []byte) {
	switch {
	case string(text) == "null":
		return
	case !isString(text) || c.speaks || !utf8.Valid(text):
		c.refuse("the content is no text")
		return
	}
	c.speaks, c.text = true, inside(text)
}

func (c *chunk) readReason(reason []byte) {
	switch string(reason) {
	case "null", `""`:
	case `"stop"`, `"length"`, `"content_filter"`, `"eos_token"`, `"stop_sequence"`: // OpenAI's, TGI's
		c.finished = true
	case `"error"`, `"abort"`:
		c.refuse("the endpoint says that it failed")
	default:
		c.finished = true
		c.refuse("the answer ends for the reason %.40s", reason)
	}
}

func (c *chunk) readUsage(usage []byte) {
	for key, value := range fields(usage) {
		if string(key) == "completion_tokens" {
			c.completion, c.counted = countOf(value)
		}
	}
}

// countOf reads a number of tokens; absurd ones are none.
func countOf(value []byte) (tokens int, is bool) {
	tokens, err := strconv.Atoi(string(value))
	return tokens, err == nil && tokens >= 0 && tokens <= 1<<30
}

// identity is what all chunks of a stream have alike, as JSON, in the order in which
// OpenAI writes it.
type identity [4][]byte

var identityKeys = [len(identity{})]string{"id", "created", "model", "system_fingerprint"}

func (i *identity) set(key, value []byte) {
	for at, name := range identityKeys {
		if string(key) == name {
			i[at] = value
		}
	}
}

// of returns the value of a key; nil when it is not known, or not one of these.
func (i *identity) of(key []byte) []byte {
	for at, name := range identityKeys {
		if string(key) == name {
			return i[at]
		}
	}
	return nil
}

// learn keeps what is not known yet.
func (i *identity) learn(from *identity) {
	size := 0
	for at, value := range from {
		if i[at] == nil {
			size += len(value)
		}
	}
	if size == 0 {
		return
	}
	news := make([]byte, 0, size)
	for at, value := range from {
		if i[at] == nil && value != nil {
			before := len(news)
			news = append(news, value...)
			i[at] = news[before:len(news):len(news)]
		}
	}
}

func (i *identity) appendTo(object []byte) []byte {
	for at, value := range i {
		if value != nil {
			object = appendField(object, []byte(identityKeys[at]), value)
		}
	}
	return object
}

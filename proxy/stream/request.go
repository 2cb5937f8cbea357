package stream

import (
	"bytes"
	"slices"
	"strconv"
)

// continued is the request that asks for the rest of an answer: with the text so
// far as its beginning, and with so many tokens fewer as were spoken.
func (t *Tale) continued(text []byte) []byte {
	longer := rewrite(t.body, func(key, value []byte) []byte { return t.editRequest(key, value, text) })
	if t.dialect == Text {
		return longer
	}
	open := longer[:len(longer)-1]
	open = appendField(open, []byte("add_generation_prompt"), []byte("false"))
	open = appendField(open, []byte("continue_final_message"), []byte("true"))
	return append(open, '}')
}

func (t *Tale) editRequest(key, value, text []byte) []byte {
	switch name := string(key); {
	case name == "prompt" && t.dialect == Text:
		return longerPrompt(value, text)
	case name == "messages" && t.prefixed:
		return longerMessage(value, text)
	case name == "messages":
		return moreMessages(value, text)
	case name == "min_tokens", slices.Contains(limitNames, name):
		return fewer(value, t.spoken)
	case t.dialect == Chat && (name == "add_generation_prompt" || name == "continue_final_message"):
		return nil
	}
	return value
}

// fewer reduces a number of tokens, but not below 0. null stays.
func fewer(number []byte, by int) []byte {
	n, err := strconv.Atoi(string(number))
	if err != nil {
		return number
	}
	return strconv.AppendInt(nil, int64(max(0, n-by)), 10)
}

// longerPrompt adds the text so far to the prompt, which is a string or a list of one.
func longerPrompt(prompt, text []byte) []byte {
	if isString(prompt) {
		return appendInside(prompt, text)
	}
	longer := []byte("[")
	for only := range elements(prompt) {
		longer = append(longer, appendInside(only, text)...)
	}
	return append(longer, ']')
}

// moreMessages adds a message of the assistant's with the text so far.
func moreMessages(messages, text []byte) []byte {
	more := make([]byte, 0, len(messages)+len(text)+64)
	more = append(more, messages[:len(messages)-1]...)
	more = append(more, `,{"role":"assistant","content":"`...)
	return append(append(more, text...), `"}]`...)
}

// longerMessage adds the text so far to the last message, which is the assistant's.
func longerMessage(messages, text []byte) []byte {
	all := slices.Collect(elements(messages))
	last := &all[len(all)-1]
	*last = rewrite(*last, func(key, value []byte) []byte {
		if string(key) == "content" {
			return appendInside(value, text)
		}
		return value
	})
	return append(append([]byte("["), bytes.Join(all, []byte(","))...), ']')
}

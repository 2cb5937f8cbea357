package stream

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrNotContinuable is what every reason not to continue a stream wraps. The whole
// error says the reason, in words for a log.
var ErrNotContinuable = errors.New("the stream cannot go on elsewhere")

func notContinuable(why string, about ...any) error {
	return fmt.Errorf("%w: "+why, append([]any{ErrNotContinuable}, about...)...)
}

// NewTale begins the tale of the answer to a request, given the request's whole
// body, which must not change as long as the tale is used. An error wraps
// ErrNotContinuable and says why an answer to this request must not be continued:
// because the text so far does not say all that the next endpoint needs to know
// (tools, logprobs, several choices, reasoning), because a grammar would begin anew
// in the midst of the text, because images or audio are in play, or because servers
// differ in what such a request means.
//
// The parameters that are refused are OpenAI's and those that vLLM, SGLang and
// llama.cpp add to them. Any other is taken to say only how tokens are picked.
// Sampling begins anew at the seam: with the same seed another continuation may come
// than the first endpoint would have sent, unless the temperature is 0, and penalties
// on repeated output do not count what came before.
func NewTale(d Dialect, body []byte) (*Tale, error) {
	if d != Chat && d != Text {
		return nil, notContinuable("only chat completions and completions can")
	}
	if !isJSON(body) {
		return nil, notContinuable("the request is not JSON")
	}
	p, seen := plan{dialect: d}, make(names, 0, usualNames)
	for key, value := range fields(body) {
		if err := seen.add(key); err != nil {
			return nil, err
		}
		if err := p.read(string(key), value); err != nil {
			return nil, err
		}
	}
	if err := p.judge(); err != nil {
		return nil, err
	}
	return &Tale{dialect: d, body: body, limit: p.limit, prefixed: p.prefixed}, nil
}

// plan is what a request says that matters for its continuation.
type plan struct {
	dialect  Dialect
	streams  bool
	asks     bool    // it has messages, or a prompt
	last     message // the last of the messages
	limit    int     // tokens that the answer may have; 0: not said
	bare     bool    // add_generation_prompt is false: the assistant's turn is not begun
	prefixed bool    // continue_final_message is true: the last message is the answer's beginning
}

// limitNames are the names of the most tokens that an answer may have. n_predict is
// llama.cpp's.
var limitNames = []string{"max_tokens", "max_completion_tokens", "n_predict"}

// read takes one of the request's parameters.
func (p *plan) read(name string, value []byte) error {
	switch {
	case name == "stream":
		p.streams = string(value) == "true"
	case name == "messages" && p.dialect == Chat:
		return p.readMessages(value)
	case name == "prompt" && p.dialect == Text:
		return p.readPrompt(value)
	case slices.Contains(limitNames, name):
		return p.readLimit(name, value)
	case name == "add_generation_prompt":
		p.bare = string(value) == "false"
		return mustBeBool(name, value)
	case name == "continue_final_message":
		p.prefixed = string(value) == "true"
		return mustBeBool(name, value)
	}
	return judgeParameter(name, value)
}

// names are the keys of an object so far.
type names [][]byte

// Requests have some ten keys, and no server knows more than the most of them.
const usualNames, mostNames = 16, 256

// add takes a key that every server reads alike: it stands there once, without
// escapes, and in lower case, because some servers do not tell cases apart.
func (n *names) add(key []byte) error {
	for _, c := range key {
		if c <= ' ' || c == '\\' || c >= 0x7f || 'A' <= c && c <= 'Z' {
			return notContinuable("some servers may know %.40q by another name", key)
		}
	}
	for _, known := range *n {
		if bytes.Equal(key, known) {
			return notContinuable("%.40q stands twice in an object", key)
		}
	}
	if len(*n) == mostNames {
		return notContinuable("an object has more than %d keys", mostNames)
	}
	*n = append(*n, key)
	return nil
}

func mustBeBool(name string, value []byte) error {
	switch string(value) {
	case "true", "false", "null":
		return nil
	}
	return notContinuable("%s is neither true nor false", name)
}

func (p *plan) readLimit(name string, value []byte) error {
	if string(value) == "null" {
		return nil
	}
	limit, err := strconv.Atoi(string(value))
	if err != nil || limit < 1 {
		return notContinuable("%s is not a number of tokens", name)
	}
	if p.limit != 0 && p.limit != limit {
		return notContinuable("the request limits its tokens in two ways")
	}
	p.limit = limit
	return nil
}

// refusals are the parameters that an answer cannot be continued with, and why.
var refusals = []struct {
	names, parts []string // whole names, and parts of names
	why          string
}{
	{
		names: []string{"tools", "functions", "tool_choice", "function_call", "web_search_options"},
		why:   "tools are offered",
	},
	{
		names: []string{"n_probs", "return_token_ids", "return_tokens_as_token_ids", "return_hidden_states"},
		parts: []string{"logprob"}, why: "more is asked for than text",
	},
	{
		parts: []string{"guided_", "grammar", "json", "schema", "regex", "ebnf", "structur"},
		why:   "a grammar binds the answer",
	},
	{
		parts: []string{"image", "audio", "video", "multi_modal", "multimodal", "mm_processor", "embeds"},
		why:   "there is more than text in it",
	},
	{
		names: []string{"echo", "suffix", "input_prefix", "input_suffix", "input_extra"},
		why:   "the text is not to follow its prompt alone",
	},
	{
		names: []string{"prompt", "messages", "prompt_token_ids", "input_ids"},
		why:   "the prompt is none of this API's",
	},
	{
		names: []string{
			"use_beam_search", "logits_processors", "custom_logit_processor", "truncate_prompt_tokens",
			"kv_transfer_params", "session_params",
		},
		why: "more decides on the next token than the text so far",
	},
}

// judgeParameter says no to a parameter that the answer cannot be continued with.
func judgeParameter(name string, value []byte) error {
	if isDefault(name, value) {
		return nil
	}
	switch name {
	case "n", "best_of":
		return notContinuable("%s is not 1", name)
	case "min_tokens":
		if least, err := strconv.Atoi(string(value)); err != nil || least < 0 {
			return notContinuable("%s is not a number of tokens", name)
		}
	case "response_format":
		return notContinuable("the answer is bound to a format")
	case "modalities":
		return notContinuable("there is more than text in it")
	}
	for _, refusal := range refusals {
		part := func(part string) bool { return strings.Contains(name, part) }
		if slices.Contains(refusal.names, name) || slices.ContainsFunc(refusal.parts, part) {
			return notContinuable("%s: %.60s", refusal.why, name)
		}
	}
	return nil
}

// isDefault reports whether a parameter's value is what it is without it.
func isDefault(name string, value []byte) bool {
	switch name {
	case "n", "best_of":
		return string(value) == "1" || string(value) == "null"
	case "top_logprobs", "n_probs":
		return string(value) == "0" || isNothing(value)
	case "tool_choice", "function_call":
		return string(value) == `"none"` || isNothing(value)
	case "response_format":
		return string(value) == "null" || onlyText(value)
	case "modalities":
		return string(value) == "null" || slices.EqualFunc(slices.Collect(elements(value)), []string{`"text"`},
			func(mode []byte, text string) bool { return string(mode) == text })
	}
	return isNothing(value)
}

// onlyText reports whether an object is {"type":"text"}.
func onlyText(format []byte) bool {
	is := false
	for key, value := range fields(format) {
		if is = string(key) == "type" && string(value) == `"text"`; !is {
			return false
		}
	}
	return is
}

func (p *plan) readPrompt(prompt []byte) error {
	texts := [][]byte{prompt}
	if prompt[0] == '[' {
		texts = slices.Collect(elements(prompt))
	}
	if len(texts) != 1 || !isString(texts[0]) {
		return notContinuable("the prompt is not one text")
	}
	p.asks = true
	return nil
}

func (p *plan) readMessages(messages []byte) error {
	if messages[0] != '[' {
		return notContinuable("the messages are no list")
	}
	seen := make(names, 0, 4)
	for each := range elements(messages) {
		m, err := readMessage(each, seen)
		if err != nil {
			return err
		}
		p.last, p.asks = m, true
	}
	return nil
}

// message is one of a chat request's.
type message struct {
	role  []byte // as JSON
	plain bool   // its content is a string, not a list of parts
}

// readMessage takes one message. Seen is room for its keys.
func readMessage(text []byte, seen names) (message, error) {
	var m message
	for key, value := range fields(text) {
		if err := seen.add(key); err != nil {
			return m, err
		}
		switch string(key) {
		case "role":
			m.role = value
		case "content":
			m.plain = isString(value)
			if !m.plain && !onlyTextParts(value) {
				return m, notContinuable("there is more than text in it")
			}
		case "tool_calls", "tool_call_id", "function_call":
			if !isNothing(value) {
				return m, notContinuable("tools were called")
			}
		case "audio":
			if !isNothing(value) {
				return m, notContinuable("there is more than text in it")
			}
		}
	}
	switch string(m.role) {
	case `"system"`, `"developer"`, `"user"`, `"assistant"`:
		return m, nil
	case `"tool"`, `"function"`:
		return m, notContinuable("tools were called")
	}
	return m, notContinuable("a message is of nobody known")
}

// onlyTextParts reports whether a content is a list of text parts, or missing.
func onlyTextParts(content []byte) bool {
	if string(content) == "null" {
		return true
	}
	if content[0] != '[' {
		return false
	}
	for part := range elements(content) {
		kind := ""
		for key, value := range fields(part) {
			if string(key) == "type" {
				kind = string(value)
			}
		}
		if kind != `"text"` {
			return false
		}
	}
	return true
}

// judge says no to a request as a whole.
func (p *plan) judge() error {
	switch assistant := string(p.last.role) == `"assistant"`; {
	case !p.streams:
		return notContinuable("the request does not ask for a stream")
	case !p.asks:
		return notContinuable("the request has no prompt")
	case p.dialect == Text && p.limit == 0:
		return notContinuable("without max_tokens, servers differ in how long a completion is: set it")
	case p.dialect == Text:
		return nil
	case p.prefixed && !(assistant && p.last.plain):
		return notContinuable("continue_final_message is set, but the last message is no text of the assistant's")
	case !p.prefixed && assistant:
		return notContinuable("the assistant has the last word, and servers differ in whether the answer goes on with it")
	case !p.prefixed && p.bare:
		return notContinuable("add_generation_prompt is false, so that the answer may not begin as the assistant's")
	}
	return nil
}

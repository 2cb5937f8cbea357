// Package stream knows what an answer that comes token by token says: where its
// events end, whether it is complete, and how it can go on at another endpoint
// when the first one breaks off. It is pure: bytes come in as values and go out
// as values; who reads, waits and writes is the caller's business.
//
// Start with Dialect, which tells whose stream it is. Watch follows any stream at
// the price of some nanoseconds an event and decodes nothing. Tale follows a
// stream closely enough to continue it, and says no where that could go wrong.
package stream

import (
	"encoding/json"
	"strings"
)

// Dialect is whose stream it is: what its events look like, and which of them ends it.
type Dialect uint8

const (
	Opaque    Dialect = iota // events that are not understood: framing alone says whether they are all there
	Chat                     // OpenAI's /v1/chat/completions
	Text                     // OpenAI's /v1/completions
	Responses                // OpenAI's /v1/responses
	Messages                 // Anthropic's /v1/messages
	Lines                    // a JSON document a line: Ollama's /api/chat and /api/generate
)

// Media types of answers that come token by token.
const (
	eventStream = "text/event-stream"
	jsonLines   = "application/x-ndjson"
)

// DialectOf tells the dialect by the end of the request's path and by the answer's
// media type, lower case and without parameters as mime.ParseMediaType gives it.
func DialectOf(path, mediaType string) Dialect {
	path = strings.TrimSuffix(path, "/")
	ollama := strings.HasSuffix(path, "/api/chat") || strings.HasSuffix(path, "/api/generate")
	switch {
	case mediaType == jsonLines && ollama:
		return Lines
	case mediaType != eventStream:
		return Opaque
	case strings.HasSuffix(path, "/chat/completions"):
		return Chat
	case strings.HasSuffix(path, "/completions"):
		return Text
	case strings.HasSuffix(path, "/responses"):
		return Responses
	case strings.HasSuffix(path, "/v1/messages"):
		return Messages
	}
	return Opaque
}

// Failure is an event that tells the client in its dialect that the stream failed,
// in the shape that the API's documentation gives: OpenAI's error object, which an
// Opaque stream gets too, Anthropic's and Responses' error events, Ollama's line.
// It is a whole event when what came before ended at a Border. Anthropic's types
// are a closed list, and Ollama has none, so there only the message is told.
func (d Dialect) Failure(kind, code, message string) []byte {
	switch d {
	case Responses:
		return dispatch("error", struct {
			Type     string  `json:"type"`
			Code     string  `json:"code"`
			Message  string  `json:"message"`
			Param    *string `json:"param"`
			Sequence int     `json:"sequence_number"`
		}{"error", code, message, nil, 0})
	case Messages:
		type inner struct {
			Type    string `json:"type"`
			Message string `json:"message"`
		}
		return dispatch("error", struct {
			Type  string `json:"type"`
			Error inner  `json:"error"`
		}{"error", inner{"api_error", message}})
	case Lines:
		return append(encode(struct {
			Error string `json:"error"`
		}{message}), '\n')
	}
	type inner struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    string  `json:"code"`
	}
	return dispatch("", struct {
		Error inner `json:"error"`
	}{inner{message, kind, nil, code}})
}

// Comment is a note that clients ignore, which keeps a silent stream alive. Control
// characters of the text become spaces. Lines know no comments: nil.
func (d Dialect) Comment(text string) []byte {
	if d == Lines {
		return nil
	}
	oneLine := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	return []byte(": " + oneLine + "\n\n")
}

// Last is the event that ends a good stream: [DONE] for Chat and Text, message_stop
// for Messages. Elsewhere the last event has content that only the server knows, or
// there is none: nil.
func (d Dialect) Last() []byte {
	switch d {
	case Chat, Text:
		return []byte("data: [DONE]\n\n")
	case Messages:
		return []byte("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
	}
	return nil
}

// dispatch writes a server-sent event; without a name it is a plain message.
func dispatch(name string, document any) []byte {
	var event []byte
	if name != "" {
		event = append(event, "event: "+name+"\n"...)
	}
	event = append(event, "data: "...)
	return append(append(event, encode(document)...), "\n\n"...)
}

// encode is for values of this package, all of which JSON can express.
func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

package proxy

import (
	"mime"
	"net/http"
)

// kindOf is the media type of a message's content, without parameters; "" when none
// can be read. What model servers and their clients nearly always write needs no
// parser.
func kindOf(h http.Header) string {
	switch value := field(h, "Content-Type"); value {
	case "", "application/json", "text/event-stream", "application/x-ndjson":
		return value
	case "application/json; charset=utf-8":
		return "application/json"
	case "text/event-stream; charset=utf-8":
		return "text/event-stream"
	default:
		kind, _, _ := mime.ParseMediaType(value)
		return kind
	}
}

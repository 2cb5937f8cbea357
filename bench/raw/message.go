package raw

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Chat is one question, as a client sends it over and over.
type Chat struct {
	Client    string        // X-Forwarded-For: whom the sender speaks for
	BodyBytes int           // the body is padded to this size
	Every     time.Duration // a stream with a token that often; 0: one whole answer
}

// Bytes is the whole request.
func (c Chat) Bytes() []byte {
	form, cadence := `{"model":"llama-3-8b","messages":[{"role":"user","content":"%s"}]}`, ""
	if c.Every > 0 {
		form = `{"model":"llama-3-8b","stream":true,"messages":[{"role":"user","content":"%s"}]}`
		cadence = everyField + ": " + c.Every.String() + "\r\n"
	}
	padding := strings.Repeat("x", max(0, c.BodyBytes-len(form)+len("%s")))
	body := fmt.Sprintf(form, padding)
	return fmt.Appendf(nil, "POST /v1/chat/completions HTTP/1.1\r\nHost: models.example\r\nUser-Agent: bench\r\n"+
		"Accept: */*\r\nContent-Type: application/json\r\nX-Forwarded-For: %s\r\n%sContent-Length: %d\r\n\r\n%s",
		c.Client, cadence, len(body), body)
}

// everyField tells the model server how often to send a token.
const everyField = "Token-Every"

const answerBytes = 600 // of the body of a whole answer

// wholeAnswer answers a question that asks for no stream.
func wholeAnswer() []byte {
	const form = `{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"llama-3-8b",` +
		`"choices":[{"index":0,"message":{"role":"assistant","content":"%s"},"finish_reason":"stop"}],` +
		`"usage":{"prompt_tokens":256,"completion_tokens":100,"total_tokens":356}}`
	body := fmt.Sprintf(form, strings.Repeat("x", answerBytes-len(form)+len("%s")))
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

const streamHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"

// A token says when it was sent: mark, and the Unix time in nanoseconds.
const (
	mark       = '@'
	timeDigits = 19
)

// token is one event of a stream as a chunk. Its text is the time.
type token struct {
	chunk []byte
	time  []byte // within chunk
}

func newToken() token {
	const event = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"llama-3-8b",` +
		`"choices":[{"index":0,"delta":{"content":"@0000000000000000000 "},"finish_reason":null}]}` + "\n\n"
	chunk := fmt.Appendf(nil, "%x\r\n%s\r\n", len(event), event)
	at := bytes.IndexByte(chunk, mark) + 1
	return token{chunk, chunk[at : at : at+timeDigits]}
}

// at is the token sent at that time. It is good until the next.
func (t token) at(now time.Time) []byte {
	strconv.AppendInt(t.time, now.UnixNano(), 10)
	return t.chunk
}

// sent looks for the next token in a stream: when it was sent, and what follows
// it. Found is false when there is none, or not all of it; then rest is what must
// stand before the bytes that come next.
func sent(stream []byte) (at time.Time, rest []byte, found bool) {
	for {
		start := bytes.IndexByte(stream, mark)
		if start < 0 {
			return at, nil, false
		}
		stream = stream[start:]
		if len(stream) <= timeDigits {
			return at, stream, false
		}
		ns, err := strconv.ParseInt(string(stream[1:1+timeDigits]), 10, 64)
		stream = stream[1+timeDigits:]
		if err == nil { // else a router tore it into two chunks
			return time.Unix(0, ns), stream, true
		}
	}
}

// message returns the head of the HTTP message that b begins with, and how long it
// is with its body. The length is 0 when not all of it is there.
func message(b []byte) (head []byte, length int) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return nil, 0
	}
	head, body := b[:end+2], b[end+4:]
	size, err := strconv.Atoi(string(field(head, "Content-Length")))
	if err != nil {
		size = 0
		if len(field(head, "Transfer-Encoding")) > 0 {
			size = chunkedSize(body)
		}
	}
	if size < 0 || len(body) < size {
		return head, 0
	}
	return head, end + 4 + size
}

// chunkedSize is the length of a chunked body without trailers, -1 when its end
// is not there yet.
func chunkedSize(body []byte) int {
	const last = "0\r\n\r\n"
	if bytes.HasPrefix(body, []byte(last)) {
		return len(last)
	}
	end := bytes.Index(body, []byte("\r\n"+last))
	if end < 0 {
		return -1
	}
	return end + len("\r\n"+last)
}

// field is the value of a header field, nil when there is none.
func field(head []byte, name string) []byte {
	for len(head) > 0 {
		line, rest, _ := bytes.Cut(head, []byte("\r\n"))
		if len(line) > len(name) && line[len(name)] == ':' && strings.EqualFold(string(line[:len(name)]), name) {
			return bytes.TrimSpace(line[len(name)+1:])
		}
		head = rest
	}
	return nil
}

package http1

import (
	"bytes"
	"net/http"
)

// ParseResponse reads the head of the answer to a request with that method into r:
// Status, StatusCode, Proto, ProtoMajor, ProtoMinor, Header, ContentLength (-1:
// unknown), TransferEncoding, Trailer (the names that are announced) and Close: whether
// the connection ends with the answer, which it also does when nothing but its end
// says where the answer's is. They are as net/http's client leaves them, without
// Transfer-Encoding and, when the body is chunked, Trailer; but Connection stays, since
// it may name fields that are not to be passed on. Body and all else is the caller's.
//
// Lines may end in LF alone and be continued on the next, names may have spaces behind
// them: in head, and in the copy of it that r gets, they are mended. What says the
// length of the body must be beyond doubt. An error is a Malformed, and r then is of no
// use.
func ParseResponse(head []byte, method string, r *http.Response) error {
	var line statusLine
	at, err := line.read(head)
	if err != nil {
		return err
	}
	var room [usualFields]field
	says := framing{old: line.old}
	list, err := says.readFields(head, at, room[:0])
	if err != nil {
		return err
	}
	text := string(head)
	line.fill(text, r)
	says.fillResponse(method, r)
	if r.Trailer, err = says.trailer(list, text); err != nil {
		return err
	}
	values := make([]string, 1+len(list))
	r.TransferEncoding = says.coding(values[:1:1])
	r.Header = list.header(text, values[1:])
	return nil
}

// fillResponse says where the answer ends (RFC 9112 §6.3).
func (says *framing) fillResponse(method string, r *http.Response) {
	r.Close = says.closes()
	r.ContentLength = -1
	if says.hasLength {
		r.ContentLength = says.length
	}
	switch code := r.StatusCode; {
	case method == http.MethodHead:
	case code < 200 || code == http.StatusNoContent || code == http.StatusNotModified:
		r.ContentLength = 0
	case !says.hasLength && !says.chunked:
		r.Close = true
	}
}

// statusLine is where the parts of an answer's first line stand.
type statusLine struct {
	proto, status extent
	code          int
	old           bool // HTTP/1.0
}

// read takes the line that b begins with, and returns where the next one begins.
func (l *statusLine) read(b []byte) (next int, err error) {
	const proto = len("HTTP/1.1")
	to, next := looseLineEnd(b, 0)
	if err := beginsAnswer(b); err != nil {
		return 0, err
	}
	if to <= proto || b[proto-1] < '0' || b[proto-1] > '9' || b[proto] != ' ' {
		return 0, errVersion
	}
	at := proto
	for at < to && b[at] == ' ' {
		at++
	}
	l.proto, l.old, l.status = extent{0, proto}, b[proto-1] == '0', extent{at, to}
	if valueSpan(b[at:to]) < to-at {
		return 0, errReason
	}
	l.code = statusCode(b[at:to])
	if l.code < 100 {
		return 0, errStatusCode
	}
	return next, nil
}

func (l *statusLine) fill(text string, r *http.Response) {
	r.Proto, r.ProtoMajor, r.ProtoMinor = l.proto.of(text), 1, minor(l.proto.of(text))
	r.Status, r.StatusCode = l.status.of(text), l.code
}

// statusCode is the number of three digits that a status begins with; 0: none.
func statusCode(status []byte) int {
	code, _, _ := bytes.Cut(status, []byte(" "))
	if len(code) != 3 {
		return 0
	}
	n := 0
	for _, c := range code {
		if c < '0' || c > '9' {
			return 0
		}
		n = 10*n + int(c-'0')
	}
	return n
}

const (
	errReason     = Malformed("the reason phrase holds a byte that it may not")
	errStatusCode = Malformed("the status code is none")
)

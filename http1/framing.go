package http1

import (
	"math"
	"net/http"
)

// framing is what a head says about the message itself: where the body ends, and
// whether the connection goes on behind it.
type framing struct {
	strict bool // it is a request
	old    bool // HTTP/1.0

	hasHost     bool
	host        extent
	hasLength   bool
	length      int64
	chunked     bool
	announces   bool // there is a Trailer
	close, keep bool // what Connection says
}

// note takes note of a field. What is not for the header is dropped.
func (says *framing) note(head []byte, f *field) error {
	value := f.value.in(head)
	switch string(f.name.in(head)) {
	case "Content-Length":
		return says.noteLength(value, f)
	case "Transfer-Encoding":
		f.drop()
		return says.noteCoding(value)
	case "Connection":
		says.close = says.close || HasToken(value, "close")
		says.keep = says.keep || says.old && HasToken(value, "keep-alive")
	case "Trailer":
		says.announces = true
	case "Host":
		return says.noteHost(value, f)
	case "Content_length", "Transfer_encoding":
		if says.strict {
			return Malformed("a name has an underscore where some read a hyphen")
		}
	}
	return nil
}

// noteLength takes a length that an answer says twice for one, as net/http does.
func (says *framing) noteLength(value []byte, f *field) error {
	n, err := parseLength(value)
	switch {
	case err != nil:
		return err
	case says.chunked, says.hasLength && (says.strict || says.length != n):
		return errFraming
	case says.hasLength:
		f.drop()
	}
	says.hasLength, says.length = true, n
	return nil
}

// parseLength is the number that a Content-Length is.
func parseLength(value []byte) (n int64, err error) {
	if len(value) == 0 {
		return 0, Malformed("Content-Length is not a number")
	}
	for _, c := range value {
		digit := int64(c) - '0'
		switch {
		case digit < 0 || digit > 9:
			return 0, Malformed("Content-Length is not a number")
		case n > (math.MaxInt64-digit)/10:
			return 0, Malformed("Content-Length is too large a number")
		}
		n = 10*n + digit
	}
	return n, nil
}

// noteCoding takes the one coding that says where a body ends.
func (says *framing) noteCoding(value []byte) error {
	switch {
	case says.chunked, says.hasLength, says.old:
		return errFraming
	case !equalFold(value, "chunked"):
		return Malformed("Transfer-Encoding is not chunked")
	}
	says.chunked = true
	return nil
}

func (says *framing) noteHost(value []byte, f *field) error {
	switch {
	case !says.strict:
		return nil
	case says.hasHost:
		return Malformed("there are two Hosts")
	case !validHost(value):
		return errHost
	}
	says.hasHost, says.host = true, f.value
	f.drop()
	return nil
}

// closes reports whether the connection ends with the message.
func (says *framing) closes() bool { return says.close || says.old && !says.keep }

// trailer is what a message in chunks announces for its trailer.
func (says *framing) trailer(list fields, text string) (http.Header, error) {
	if !says.announces || !says.chunked {
		return nil, nil
	}
	return list.announced(text)
}

// coding is the transfer coding as net/http has it, in one string's room.
func (says *framing) coding(room []string) []string {
	if !says.chunked {
		return nil
	}
	room[0] = "chunked"
	return room
}

// HasToken reports whether a field's line is a list with the token among its members
// (RFC 9110 §5.6.1). The token is in lower case, the member need not be.
func HasToken[text []byte | string](line text, token string) bool {
	for from := 0; from+len(token) <= len(line); {
		to := from
		for to < len(line) && line[to] != ',' {
			to++
		}
		if equalFold(trim(line[from:to]), token) {
			return true
		}
		from = to + 1
	}
	return false
}

// AnyHasToken reports whether one of a field's lines has the token.
func AnyHasToken(lines []string, token string) bool {
	for _, line := range lines {
		if HasToken(line, token) {
			return true
		}
	}
	return false
}

// trim takes away the spaces around a text.
func trim[text []byte | string](t text) text {
	for len(t) > 0 && is(t[0], isSpace) {
		t = t[1:]
	}
	for len(t) > 0 && is(t[len(t)-1], isSpace) {
		t = t[:len(t)-1]
	}
	return t
}

// equalFold compares ASCII, in upper or lower case, with what is in lower case. Letters
// beyond ASCII are none of its: strings.EqualFold takes the sign of Kelvin for a k.
func equalFold[text []byte | string](t text, lowerCase string) bool {
	if len(t) != len(lowerCase) {
		return false
	}
	for i := range len(t) {
		c := t[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lowerCase[i] {
			return false
		}
	}
	return true
}

const (
	errHost    = Malformed("the host is none, or its port")
	errFraming = Malformed("the length of the body is said twice, or chunked in HTTP/1.0")
)

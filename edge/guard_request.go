package edge

import (
	"bytes"
	"math"
)

// request follows one request from byte to byte (RFC 9112 §3, §5 and §6). What
// comes next is a step: it takes the bytes that belong to it and says which step
// follows. The zero value waits for a request to begin.
type request struct {
	at    step // nil: nothing has come
	over  bool // the request has come to its end
	token [maxToken]byte
	count int // bytes of the step under way, of which token has the first

	options bool // the method is OPTIONS
	old     bool // HTTP/1.0
	host    bool // there is a Host
	length  bool // there is a Content-Length
	chunked bool // there is a Transfer-Encoding
	trailer bool // the fields that come are those of the trailer

	left int64 // bytes of the body, or of the chunk under way, that are to come
	part part  // of a chunk extension
}

// step takes some of what came, b, which has a byte at least, and returns how many
// bytes were good. An error is about the byte behind those.
type step func(r *request, b []byte) (good int, err error)

// malformed says what is wrong with a request.
type malformed string

func (m malformed) Error() string { return string(m) }

// Malformed lets a handler whose read of the body ended with this tell a client that
// sends nonsense from one that is gone.
func (m malformed) Malformed() {}

// maxToken is the longest text that is looked at as a whole: a host's name, of 253
// bytes at most (RFC 1035 §2.3.4), and its port.
const maxToken = 253 + len(":65535")

// scan follows what came up to the request's end, and returns how many bytes were good.
func (r *request) scan(b []byte) (good int, err error) {
	if r.at == nil && len(b) > 0 {
		r.at = (*request).begin
	}
	for good < len(b) && !r.over && err == nil {
		var n int
		n, err = r.at(r, b[good:])
		good += n
	}
	return good, err
}

func (r *request) then(next step) { r.at, r.count = next, 0 }

// keep notes bytes of a token.
func (r *request) keep(b []byte) {
	if r.count < len(r.token) {
		copy(r.token[r.count:], b)
	}
	r.count += len(b)
}

// kept is the token; nil when it was too long.
func (r *request) kept() []byte {
	if r.count > len(r.token) {
		return nil
	}
	return r.token[:r.count]
}

// begin lets two empty lines pass before a request. RFC 9112 §2.2 asks for one.
func (r *request) begin(b []byte) (int, error) {
	switch {
	case b[0] != '\r':
		r.then((*request).method)
		return 0, nil
	case r.count == 2:
		return 0, malformed("more than two empty lines before a request")
	}
	r.count++
	r.at = (*request).emptyLine
	return 1, nil
}

func (r *request) emptyLine(b []byte) (int, error) {
	if b[0] != '\n' {
		return 0, errBareCR
	}
	r.at = (*request).begin
	return 1, nil
}

func (r *request) method(b []byte) (int, error) {
	n := span(b, inToken)
	r.keep(b[:n])
	switch {
	case n == len(b):
		return n, nil
	case b[n] != ' ' || r.count == 0:
		return n, malformed("no method, a token and a space behind it, begins the request")
	case string(r.kept()) == "CONNECT":
		return n, malformed("CONNECT is not served")
	}
	r.options = string(r.kept()) == "OPTIONS"
	r.then((*request).target)
	return n + 1, nil
}

// target tells the forms of RFC 9112 §3.2 apart.
func (r *request) target(b []byte) (int, error) {
	switch {
	case b[0] == '/':
		r.then((*request).path)
	case b[0] == '*' && r.options:
		r.then((*request).targetEnd)
		return 1, nil
	default:
		r.then((*request).scheme)
	}
	return 0, nil
}

func (r *request) scheme(b []byte) (int, error) {
	c := b[0]
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	r.keep([]byte{c})
	switch text := r.kept(); {
	case string(text) == "http://" || string(text) == "https://":
		r.then((*request).authority)
	case !bytes.HasPrefix([]byte("http://"), text) && !bytes.HasPrefix([]byte("https://"), text):
		return 0, malformed("the target is neither a path nor an http or https URL")
	}
	return 1, nil
}

func (r *request) authority(b []byte) (int, error) {
	n := bytes.IndexAny(b, "/? ")
	if n < 0 {
		n = len(b)
	}
	if bad := span(b[:n], inHost); bad < n {
		return bad, errHost
	}
	r.keep(b[:n])
	if n == len(b) {
		return n, nil
	}
	if !validHost(r.kept()) {
		return n, errHost
	}
	r.then((*request).path)
	return n, nil
}

// path is the rest of the target, with the query.
func (r *request) path(b []byte) (int, error) {
	n := span(b, inTarget)
	if n < len(b) {
		r.then((*request).targetEnd)
	}
	return n, nil
}

func (r *request) targetEnd(b []byte) (int, error) {
	if b[0] != ' ' {
		return 0, malformed("the target holds a byte that no URL may")
	}
	r.then((*request).version)
	return 1, nil
}

// version takes every HTTP/1.x: by RFC 9110 §2.5 a higher minor version is the
// highest that is known, 1.1.
func (r *request) version(b []byte) (int, error) {
	const name = "HTTP/1."
	switch {
	case r.count < len(name) && b[0] == name[r.count]:
		r.count++
	case r.count == len(name) && '0' <= b[0] && b[0] <= '9':
		r.old = b[0] == '0'
		r.then((*request).lineEnd)
	default:
		return 0, malformed("the version is not HTTP/1.0 or HTTP/1.1")
	}
	return 1, nil
}

func (r *request) lineEnd(b []byte) (int, error) {
	if b[0] != '\r' {
		return 0, malformed("no CRLF ends the line")
	}
	r.then((*request).lineFeed)
	return 1, nil
}

func (r *request) lineFeed(b []byte) (int, error) {
	if b[0] != '\n' {
		return 0, errBareCR
	}
	r.then((*request).field)
	return 1, nil
}

// field is where a header or trailer field begins, or the empty line that ends them.
func (r *request) field(b []byte) (int, error) {
	switch b[0] {
	case ' ', '\t':
		return 0, malformed("a field is continued on another line, or begins with a space")
	case '\r':
		if !r.trailer && !r.host && !r.old {
			return 0, malformed("there is no Host")
		}
		r.then((*request).headEnd)
		return 1, nil
	}
	r.then((*request).name)
	return 0, nil
}

func (r *request) name(b []byte) (int, error) {
	n := span(b, inToken)
	r.keep(b[:n])
	switch {
	case n == len(b):
		return n, nil
	case b[n] != ':' || r.count == 0:
		return n, malformed("no name, a token and a colon behind it, begins the field")
	}
	value, err := r.valueOf(r.kept())
	if err != nil {
		return n, err
	}
	r.then(value)
	return n + 1, nil
}

// valueOf is the step for the value of a field. Those of a trailer mean nothing
// here, and endpoints never see them.
func (r *request) valueOf(name []byte) (step, error) {
	switch {
	case r.trailer:
	case named(name, "Host"):
		if r.host {
			return nil, malformed("there are two Hosts")
		}
		r.host = true
		return (*request).hostValue, nil
	case named(name, "Content-Length"):
		if r.length || r.chunked {
			return nil, errFraming
		}
		r.length = true
		return (*request).lengthValue, nil
	case named(name, "Transfer-Encoding"):
		if r.length || r.chunked || r.old {
			return nil, errFraming
		}
		r.chunked = true
		return (*request).codingValue, nil
	case named(name, "Content_Length"), named(name, "Transfer_Encoding"):
		return nil, errUnderscore
	}
	return (*request).value, nil
}

func named(name []byte, field string) bool {
	return len(name) == len(field) && bytes.EqualFold(name, []byte(field))
}

func (r *request) value(b []byte) (int, error) {
	n := span(b, inValue)
	if n == len(b) {
		return n, nil
	}
	return r.endValue(b, n)
}

// endValue is the end of a field's line at b[n].
func (r *request) endValue(b []byte, n int) (int, error) {
	if b[n] != '\r' {
		return n, malformed("a field's value holds a byte that it may not")
	}
	r.then((*request).lineFeed)
	return n + 1, nil
}

func (r *request) hostValue(b []byte) (int, error) {
	n := span(b, inValue)
	r.keep(b[:n])
	if n == len(b) {
		return n, nil
	}
	if !validHost(bytes.Trim(r.kept(), " \t")) {
		return n, errHost
	}
	return r.endValue(b, n)
}

func (r *request) lengthValue(b []byte) (int, error) {
	n := 0
	if r.count == 0 {
		n = span(b, isSpace)
	}
	for ; n < len(b) && '0' <= b[n] && b[n] <= '9'; n++ {
		digit := int64(b[n] - '0')
		if r.left > (math.MaxInt64-digit)/10 {
			return n, malformed("Content-Length is too large a number")
		}
		r.left = 10*r.left + digit
		r.count++
	}
	switch {
	case n == len(b):
	case r.count == 0:
		return n, malformed("Content-Length is not a number")
	default:
		r.then((*request).valueEnd)
	}
	return n, nil
}

func (r *request) codingValue(b []byte) (int, error) {
	const chunked = "chunked"
	n := 0
	if r.count == 0 {
		n = span(b, isSpace)
	}
	for ; n < len(b) && r.count < len(chunked); n++ {
		if b[n]|0x20 != chunked[r.count] {
			return n, malformed("Transfer-Encoding is not chunked")
		}
		r.count++
	}
	if r.count == len(chunked) {
		r.then((*request).valueEnd)
	}
	return n, nil
}

// valueEnd is what may stand behind a value that is complete.
func (r *request) valueEnd(b []byte) (int, error) {
	n := span(b, isSpace)
	if n == len(b) {
		return n, nil
	}
	return r.endValue(b, n)
}

// headEnd is the last byte of the head, or of the trailer.
func (r *request) headEnd(b []byte) (int, error) {
	if b[0] != '\n' {
		return 0, errBareCR
	}
	switch {
	case r.trailer:
		r.over = true
	case r.chunked:
		r.then((*request).size)
	case r.left > 0:
		r.then((*request).body)
	default:
		r.over = true
	}
	return 1, nil
}

const (
	errBareCR     = malformed("a CR stands alone")
	errHost       = malformed("the host is none, or its port")
	errFraming    = malformed("the length of the body is said twice, or chunked in HTTP/1.0")
	errUnderscore = malformed("a name has an underscore where some read a hyphen")
)

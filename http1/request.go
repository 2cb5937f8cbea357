package http1

import (
	"net/http"
	"net/url"
)

// ParseRequest reads a head, which is all of it up to the empty line at its end, into
// r: Method, RequestURI, URL, Proto, ProtoMajor, ProtoMinor, Host, Header, ContentLength
// (-1: chunked), TransferEncoding, Trailer (the names that are announced) and Close.
// They are as net/http's server leaves them: the names of fields are canonical; Host,
// Transfer-Encoding and, when the body is chunked, Trailer are not in Header. Two empty
// lines may stand before the request. Body and all else is the caller's.
//
// The names in head are made canonical where they stand. What r gets is a copy, one string
// of which all others are parts: clone what is to be kept when the request is over. An
// error is a Malformed, and r then is of no use.
func ParseRequest(head []byte, r *http.Request) error {
	var line requestLine
	at, err := skipEmptyLines(head)
	if err != nil {
		return err
	}
	if at, err = line.read(head, at); err != nil {
		return err
	}
	var room [usualFields]field
	says := framing{strict: true, old: line.old}
	list, err := says.readFields(head, at, room[:0])
	if err != nil {
		return err
	}
	text := string(head)
	line.fill(text, r)
	says.fillRequest(text, r)
	return fillHeader(text, &says, list, r)
}

func (says *framing) fillRequest(text string, r *http.Request) {
	r.Host = says.host.of(text)
	r.Close = says.closes()
	r.ContentLength = says.length
	if says.chunked {
		r.ContentLength = -1
	}
}

// fillHeader makes what r points to. One piece holds the URL and all values.
func fillHeader(text string, says *framing, list fields, r *http.Request) (err error) {
	var room struct {
		url    url.URL
		values [1 + usualFields]string
	}
	if room.url, err = parseTarget(r.RequestURI); err != nil {
		return err
	}
	if r.URL = &room.url; r.URL.Host != "" {
		r.Host = r.URL.Host
	}
	if r.Trailer, err = says.trailer(list, text); err != nil {
		return err
	}
	r.TransferEncoding = says.coding(room.values[:1:1])
	r.Header = list.header(text, room.values[1:])
	return nil
}

// requestLine is where the parts of a request's first line stand.
type requestLine struct {
	method, target, proto extent
	old                   bool // HTTP/1.0
}

// read takes the line that begins at b[at], and returns where the next one does. It takes
// every HTTP/1.x: by RFC 9110 §2.5 a higher minor version is the highest that is
// known, 1.1.
func (l *requestLine) read(b []byte, at int) (next int, err error) {
	n := span(b[at:], inToken)
	l.method = extent{at, at + n}
	at += n
	switch {
	case n == 0 || at == len(b) || b[at] != ' ':
		return 0, errNoMethod
	case string(b[l.method.from:at]) == http.MethodConnect:
		return 0, Malformed("CONNECT is not served")
	}
	l.target.from = at + 1
	if l.target.to, err = l.readTarget(b, at+1); err != nil {
		return 0, err
	}
	return l.readVersion(b, l.target.to)
}

func (l *requestLine) fill(text string, r *http.Request) {
	r.Method, r.RequestURI = l.method.of(text), l.target.of(text)
	r.Proto, r.ProtoMajor, r.ProtoMinor = l.proto.of(text), 1, minor(l.proto.of(text))
}

// minor is the last digit of a version.
func minor(proto string) int { return int(proto[len(proto)-1] - '0') }

func (l *requestLine) readVersion(b []byte, at int) (next int, err error) {
	const name = "HTTP/1."
	l.proto = extent{at + 1, at + 1 + len(name) + 1}
	switch rest := b[at:]; {
	case len(rest) == 0 || rest[0] != ' ':
		return 0, Malformed("the target holds a byte that no URL may")
	case len(rest) < len(" HTTP/1.1") || string(rest[1:1+len(name)]) != name || rest[8] < '0' || rest[8] > '9':
		return 0, errVersion
	default:
		l.old = rest[8] == '0'
	}
	return lineEnd(b, l.proto.to)
}

// readTarget tells the forms of RFC 9112 §3.2 apart, and returns where the target ends.
func (l *requestLine) readTarget(b []byte, at int) (end int, err error) {
	switch {
	case at < len(b) && b[at] == '/':
	case at < len(b) && b[at] == '*' && string(b[l.method.from:l.method.to]) == http.MethodOptions:
		return at + 1, nil
	default:
		if at, err = readAuthority(b, at); err != nil {
			return 0, err
		}
	}
	return at + span(b[at:], inTarget), nil
}

// readAuthority takes the first part of an http or https URL.
func readAuthority(b []byte, at int) (end int, err error) {
	n := schemeOf(b[at:])
	if n == 0 {
		return 0, Malformed("the target is neither a path nor an http or https URL")
	}
	at += n
	end = at + span(b[at:], inHost)
	if end == len(b) || !oneOf(b[end], "/? ") || !validHost(b[at:end]) {
		return 0, errHost
	}
	return end, nil
}

// schemeOf is the length of the scheme that b begins with; 0: it is another one.
func schemeOf(b []byte) int {
	for _, scheme := range []string{"http://", "https://"} {
		if len(b) >= len(scheme) && equalFold(b[:len(scheme)], scheme) {
			return len(scheme)
		}
	}
	return 0
}

// parseTarget is url.ParseRequestURI. Most targets are a path that needs no decoding,
// which takes no more than to find the question mark.
func parseTarget(target string) (url.URL, error) {
	n := span(target, inPath)
	switch {
	case target[0] != '/':
	case n == len(target):
		return url.URL{Path: target}, nil
	case target[n] == '?':
		query := target[n+1:]
		return url.URL{Path: target[:n], RawQuery: query, ForceQuery: query == ""}, nil
	}
	parsed, err := url.ParseRequestURI(target)
	if err != nil {
		return url.URL{}, Malformed("the target's percent-encoding is wrong")
	}
	return *parsed, nil
}

// lineEnd takes the CRLF at b[at].
func lineEnd(b []byte, at int) (next int, err error) {
	switch {
	case at == len(b) || b[at] != '\r':
		return 0, errLineEnd
	case at+1 == len(b) || b[at+1] != '\n':
		return 0, errBareCR
	}
	return at + 2, nil
}

const (
	errBareCR   = Malformed("a CR stands alone")
	errLineEnd  = Malformed("no CRLF ends the line")
	errNoMethod = Malformed("no method, a token and a space behind it, begins the request")
	errVersion  = Malformed("the version is not HTTP/1.0 or HTTP/1.1")
)

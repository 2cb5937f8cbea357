package transport

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"proxima/http1"
)

// atOnce is how much of a body goes out in one piece with the head, if it is at hand. What
// is longer, or still comes, goes out beside the answer: an endpoint may answer early.
const atOnce = 32 << 10

// lastWords is how long an answer may take that was on its way when the connection
// broke under the request: an endpoint that refuses a body says why, and hangs up.
const lastWords = time.Second

var (
	errTarget = errors.New("the request's URL holds a space or a control character")
	errShort  = errors.New("the request's body is shorter than its ContentLength")
	errLong   = errors.New("the request's body is longer than its ContentLength")
)

// drafts hold a request until it is written. Larger ones are not put back.
var drafts = sync.Pool{New: func() any { return &draft{text: make([]byte, 0, bufferSize)} }}

type draft struct{ text []byte }

func (d *draft) free() {
	if cap(d.text) <= 2*atOnce {
		d.text = d.text[:0]
		drafts.Put(d)
	}
}

// send writes the request, or has it written beside the answer. A connection that does
// not take it is no error yet: there may be an answer that says why.
func (a *answer) send(body io.ReadCloser) error {
	length := lengthOf(a.to)
	d := drafts.Get().(*draft)
	var err error
	if d.text, err = appendHead(d.text, a.to, length); err != nil {
		closeBody(body)
		d.free()
		return err
	}
	if !isAtHand(a.to, length) {
		a.sending = &sending{conn: a.conn, done: make(chan struct{})}
		a.trip.Sent()
		go a.sending.run(d, body, length, a.to.GetBody != nil)
		return nil
	}
	defer d.free()
	d.text, err = appendBody(d.text, body, length)
	closeBody(body)
	if err != nil {
		return err
	}
	a.trip.Sent()
	if a.wrote, a.unsent = a.conn.Write(d.text); a.unsent != nil {
		_ = a.conn.SetReadDeadline(time.Now().Add(lastWords))
	}
	return nil
}

// lengthOf is how long the request's body is; -1: unknown. A body of length 0 that is not
// http.NoBody is unknown, too (documented at http.Request).
func lengthOf(r *http.Request) int64 {
	switch {
	case !hasBody(r):
		return max(r.ContentLength, 0)
	case r.ContentLength <= 0:
		return -1
	}
	return r.ContentLength
}

// isAtHand reports whether no read of the body will wait: whoever can give it again has
// it. A body without GetBody may still be on its way from somebody else.
func isAtHand(r *http.Request, length int64) bool {
	return !hasBody(r) || r.GetBody != nil && 0 <= length && length <= atOnce
}

func appendHead(b []byte, r *http.Request, length int64) ([]byte, error) {
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	b = append(append(b, method...), ' ')
	from := len(b)
	b = appendTarget(b, r.URL)
	if slices.ContainsFunc(b[from:], isSpaceOrControl) {
		return b, errTarget
	}
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	b = append(append(b, " HTTP/1.1\r\nHost: "...), host...)
	b = append(b, "\r\n"...)
	b = appendFraming(b, method, length)
	if r.Close {
		b = append(b, "Connection: close\r\n"...)
	}
	b = http1.AppendHeader(b, r.Header, skips(r.Header))
	return append(b, "\r\n"...), nil
}

func isSpaceOrControl(c byte) bool { return c <= ' ' || c == 0x7f }

// appendTarget appends what url.URL.RequestURI returns, without making a string of it.
func appendTarget(b []byte, u *url.URL) []byte {
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	b = append(b, path...)
	if u.RawQuery != "" || u.ForceQuery {
		b = append(append(b, '?'), u.RawQuery...)
	}
	return b
}

// appendFraming says how long the body is. RFC 9110 §8.6 wants that said of no body, too,
// where the method means one.
func appendFraming(b []byte, method string, length int64) []byte {
	switch {
	case length < 0:
		return append(b, "Transfer-Encoding: chunked\r\n"...)
	case length == 0 && method != http.MethodPost && method != http.MethodPut && method != http.MethodPatch:
		return b
	}
	b = strconv.AppendInt(append(b, "Content-Length: "...), length, 10)
	return append(b, "\r\n"...)
}

// skips tells which fields are not sent as they stand in a header. An empty User-Agent
// is how requests say that they want none.
func skips(h http.Header) func(name string) bool {
	if agent := h["User-Agent"]; len(agent) == 1 && agent[0] == "" {
		return isFramingOrAgent
	}
	return isFraming
}

func isFramingOrAgent(name string) bool { return name == "User-Agent" || isFraming(name) }

// isFraming reports whether a field says where a message ends, or whom it is for. Those
// are never the header's to say, in whatever case it names them.
func isFraming(name string) bool {
	switch len(name) {
	case len("Host"):
		return strings.EqualFold(name, "Host")
	case len("Trailer"):
		return strings.EqualFold(name, "Trailer")
	case len("Content-Length"):
		return strings.EqualFold(name, "Content-Length")
	case len("Transfer-Encoding"):
		return strings.EqualFold(name, "Transfer-Encoding")
	}
	return false
}

// appendBody appends all of a body that is at hand. Nothing was sent yet, so that one
// which is not as long as it should be costs the endpoint nothing.
func appendBody(b []byte, body io.Reader, length int64) ([]byte, error) {
	if length == 0 {
		return b, nil
	}
	if body == nil {
		return b, errShort
	}
	from, to := len(b), len(b)+int(length)
	b = slices.Grow(b, int(length)+1)
	n, err := io.ReadFull(body, b[from:to+1])
	switch {
	case err == nil:
		return b[:from], errLong
	case err != io.ErrUnexpectedEOF && err != io.EOF:
		return b[:from], err
	case from+n < to:
		return b[:from], errShort
	}
	return b[:to], nil
}

// sending is a request on its way out beside its answer on its way in.
type sending struct {
	conn  *connection
	done  chan struct{} // closed at its end
	wrote int64         // bytes, once it is done

	mu    sync.Mutex // guards what follows
	fault error      // of the body
	err   error      // why not all of it went out, the fault included
}

// run writes the request. A connection that does not take it may have an answer that
// says why; a body that fails leaves the endpoint with half a request, so it ends the
// connection.
func (s *sending) run(d *draft, body io.ReadCloser, length int64, atHand bool) {
	defer close(s.done)
	defer d.free()
	defer closeBody(body)
	fault, err := s.write(d, body, length, atHand)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault, s.err = fault, cmp.Or(fault, err)
	switch {
	case fault != nil:
		s.conn.abort()
	case err != nil:
		_ = s.conn.SetReadDeadline(time.Now().Add(lastWords))
	}
}

// pieces are what longer bodies are copied in.
var pieces = sync.Pool{New: func() any { return new([atOnce]byte) }}

// write copies the body piece by piece. The head does not wait for one that may be slow.
func (s *sending) write(d *draft, body io.Reader, length int64, atHand bool) (fault, err error) {
	if !atHand {
		if err = s.put(d.take()); err != nil {
			return nil, err
		}
	}
	p := pieces.Get().(*[atOnce]byte)
	defer pieces.Put(p)
	for left, end := length, false; !end; {
		n, err := body.Read(p[:])
		left, end = left-int64(n), err == io.EOF
		switch {
		case length >= 0 && left < 0:
			return errLong, nil
		case end && left > 0:
			return errShort, nil
		case err != nil && !end:
			return err, nil
		}
		if err = s.put(d.frame(p[:n], length < 0, end)); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (s *sending) put(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	n, err := s.conn.Write(text)
	s.wrote += int64(n)
	return err
}

// take empties the draft. What it returns is good until something is put in.
func (d *draft) take() []byte {
	text := d.text
	d.text = d.text[:0]
	return text
}

// frame returns what goes out for a piece of the body.
func (d *draft) frame(piece []byte, chunked, last bool) []byte {
	switch {
	case !chunked && len(d.text) == 0:
		return piece
	case !chunked:
		d.text = append(d.text, piece...)
	default:
		d.text = http1.AppendChunk(d.text, piece)
	}
	if chunked && last {
		d.text = http1.AppendLastChunk(d.text, nil)
	}
	return d.take()
}

// failed returns what is known now of why the body could not be read, and of why not all of the
// request went out.
func (s *sending) failed() (fault, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault, s.err
}

// writeWait is how long a whole answer waits for the end of its request, so that the
// connection can be kept: often that has gone out already and nobody has noted it yet.
const writeWait = 50 * time.Millisecond

// isOver reports whether nothing more goes out.
func (s *sending) isOver() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// isWhole reports whether all of the request has gone out.
func (s *sending) isWhole() bool {
	select {
	case <-s.done:
		return s.err == nil
	default:
	}
	patience := time.NewTimer(writeWait)
	defer patience.Stop()
	select {
	case <-s.done:
		return s.err == nil
	case <-patience.C:
		return false
	}
}

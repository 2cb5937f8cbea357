package edge

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"proxima/http1"
)

// answer is the http.ResponseWriter of one request. It is what net/http's is, and can be
// detached besides.
//
// WriteHeader puts the head into a buffer and Write the first piece behind it, so that
// both leave in one system call, with Flush, with the end of the answer, or when they
// are more than the buffer holds. How the body's end is told (RFC 9112 §6.3) is
// decided as late as that, so that a short answer gets a Content-Length.
type answer struct {
	exchange *exchange
	header   http.Header
	status   int   // 0: nobody has said
	length   int64 // that the handler declared; -1: none
	written  int64 // of the body
	framing  framing
	typed    bool // the handler said what the content is, or that it says nothing
	closes   bool // the connection ends with this answer
	hijacked bool

	out  []byte // on its way to the client
	held []byte // of the body, as long as framing is undecided
	err  error  // what came of writing; nothing more is written

	interim     sync.Mutex // one of sayContinue and the answer goes first
	controlling sync.Mutex
	over        bool // the connection is not the handler's any more; guarded by controlling
}

// heldAtMost is how long a body of unknown length may be and yet get a Content-Length.
const heldAtMost = 2 << 10

// Header is a http.ResponseWriter's.
func (a *answer) Header() http.Header {
	if a.header == nil {
		a.header = make(http.Header)
	}
	return a.header
}

// WriteHeader is a http.ResponseWriter's. It sends nothing, unless it is an interim
// answer, which goes out at once. Transfer-Encoding in the header means nothing.
func (a *answer) WriteHeader(status int) {
	switch {
	case status < 100 || status > 999:
		panic("edge: a handler answers with status " + strconv.Itoa(status))
	case a.hijacked || a.status != 0:
		a.exchange.front.server.logf("a handler answers with %d after it has answered with %d", status, a.status)
	case status < 200 && status != http.StatusSwitchingProtocols:
		a.writeInterim(status)
	default:
		a.begin(status)
	}
}

// writeInterim leaves out what only belongs to the answer itself. HTTP/1.0 has none
// (RFC 9110 §15.2).
func (a *answer) writeInterim(status int) {
	if a.exchange.old {
		return
	}
	if status == http.StatusContinue {
		a.forgetContinue()
	}
	a.appendStatus(status)
	a.out = http1.AppendHeader(a.out, a.header, isFraming)
	a.out = append(a.out, "\r\n"...)
	_ = a.send() // it shows when the answer is written
}

func isFraming(name string) bool {
	return name == "Content-Length" || name == "Transfer-Encoding"
}

// begin puts the head into the buffer, as far as it is certain.
func (a *answer) begin(status int) {
	a.forgetContinue()
	a.status = status
	a.length = a.declared()
	_, a.typed = a.header["Content-Type"]
	a.typed = a.typed || a.header.Get("Content-Encoding") != ""
	a.appendStatus(status)
	skip := isOurs
	if status == http.StatusNotModified {
		skip = isOursOrType
	}
	a.out = http1.AppendHeader(a.out, a.header, skip)
	if _, given := a.header["Date"]; !given {
		a.out = a.exchange.front.server.clock.appendDate(a.out)
	}
}

// isOurs names what frame decides on, and trailers that have no place in the head.
func isOurs(name string) bool {
	switch name {
	case "Connection", "Content-Length", "Transfer-Encoding":
		return true
	}
	return strings.HasPrefix(name, http.TrailerPrefix)
}

func isOursOrType(name string) bool { return name == "Content-Type" || isOurs(name) }

// appendStatus is the first line.
func (a *answer) appendStatus(status int) {
	a.reserve()
	version := "HTTP/1.1 "
	if a.exchange.old {
		version = "HTTP/1.0 "
	}
	a.out = append(a.out, version...)
	a.out = strconv.AppendInt(a.out, int64(status), 10)
	a.out = append(a.out, ' ')
	a.out = append(a.out, http.StatusText(status)...)
	a.out = append(a.out, "\r\n"...)
}

// declared is the Content-Length that the handler gave; -1: none.
func (a *answer) declared() int64 {
	text := a.header.Get("Content-Length")
	if text == "" {
		return -1
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		a.exchange.front.server.logf("a handler's Content-Length is %q", text)
		return -1
	}
	return int64(n)
}

// Write is a http.ResponseWriter's. After it has failed, everything fails.
func (a *answer) Write(p []byte) (int, error) {
	if a.hijacked {
		return 0, http.ErrHijacked
	}
	if a.status == 0 {
		a.begin(http.StatusOK)
	}
	switch {
	case len(p) == 0:
		return 0, nil
	case !mayHaveBody(a.status):
		return 0, http.ErrBodyNotAllowed
	}
	a.written += int64(len(p))
	if a.length >= 0 && a.written > a.length {
		return 0, http.ErrContentLength
	}
	if err := a.take(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// take takes some of the body.
func (a *answer) take(p []byte) error {
	if a.framing == undecided && a.length < 0 && len(a.held)+len(p) <= heldAtMost {
		if a.held == nil {
			a.held = a.exchange.front.server.buffers.take()[:0]
		}
		a.held = append(a.held, p...)
		return a.err
	}
	a.frame(p, false)
	return a.put(p)
}

// put writes some of the body: into the buffer, or with it when it does not fit there.
func (a *answer) put(p []byte) error {
	switch {
	case a.err != nil:
		return a.err
	case a.framing == bodiless:
		return nil
	}
	a.reserve()
	const around = len("ffffffffffffffff\r\n\r\n") // of a chunk
	if len(a.out)+len(p)+around <= len(buffer{}) {
		a.append(p)
		return nil
	}
	var end []byte
	if a.framing == chunked {
		a.out = strconv.AppendUint(a.out, uint64(len(p)), 16)
		a.out = append(a.out, "\r\n"...)
		end = a.out[len(a.out)-len("\r\n"):]
	}
	return a.sendWith(p, end)
}

// Flush is a http.Flusher's.
func (a *answer) Flush() { _ = a.FlushError() }

// FlushError sends what was written so far, and returns when the kernel has it.
func (a *answer) FlushError() error {
	if a.hijacked {
		return http.ErrHijacked
	}
	if a.status == 0 {
		a.begin(http.StatusOK)
	}
	a.frame(nil, false)
	return a.send()
}

// end sends what is left of the answer, and reports whether another may follow it. No more
// is taken, from whoever still has it.
func (a *answer) end() (goesOn bool, err error) {
	if a.status == 0 {
		a.begin(http.StatusOK)
	}
	a.frame(nil, true)
	if a.framing == chunked {
		a.reserve()
		a.out = http1.AppendLastChunk(a.out, a.trailer())
	}
	whole := a.framing != counted || a.written == a.length
	err = a.send()
	a.err = errOver
	return whole && !a.closes && a.status != http.StatusSwitchingProtocols, err
}

var errOver = errors.New("the answer is over")

// breakOff sends what is left of the answer without its end, as far as that goes out at once.
func (a *answer) breakOff() {
	if a.hijacked || a.framing == undecided {
		a.drop()
		return
	}
	client := a.exchange.front.client
	_ = client.SetWriteDeadline(time.Now().Add(lingering))
	client.socket.hurry(true)
	_ = a.send()
}

// reserve sees that there is a buffer.
func (a *answer) reserve() {
	if a.out == nil {
		a.out = a.exchange.front.server.buffers.take()[:0]
	}
}

// drop gives the buffers back.
func (a *answer) drop() {
	pool := &a.exchange.front.server.buffers
	pool.reuse(a.out)
	pool.reuse(a.held)
	a.out, a.held = nil, nil
}

// send sends what is in the buffer, and what was kept when somebody did not want to wait.
func (a *answer) send() error { return a.sendWith(nil, nil) }

func (a *answer) sendWith(p, end []byte) error {
	if a.err == nil {
		if err := a.exchange.front.write(a.out, p, end); err != nil {
			a.err = err
			a.exchange.life.end(context.Canceled) // the client is gone
		}
	}
	a.exchange.front.server.buffers.reuse(a.out)
	a.out = nil
	return a.err
}

package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"sync"
	"sync/atomic"

	"proxima/http1"
)

// answer is one exchange on a connection, from the request to the last byte of its answer,
// and it is the answer's body.
type answer struct {
	response http.Response
	to       *http.Request // nil once the answer rests
	ctx      context.Context
	last     bool // the request says that its connection ends with it
	trip     Trip
	conn     *connection
	reused   bool        // the connection had served another exchange
	heard    bool        // something of an answer came
	release  func() bool // lets the context go; nil: it never ends
	ended    atomic.Bool // the connection is nothing to this exchange any more

	wrote   int      // bytes of the request
	unsent  error    // why that was not all
	sending *sending // that knows instead; nil: it was written at once

	mu      sync.Mutex // held while the body is read; guards what follows
	small   *buffer    // room, while it is from the pool
	room    []byte     // where the head comes in, and what comes with it
	ahead   []byte     // the part of room that nobody has read yet
	chunked bool
	chunks  http1.Chunks
	left    int64 // bytes that the connection has yet to bring; -1: nobody knows
	err     error // how the body ends, behind what is ahead
}

var (
	errNoAnswer    = errors.New("the endpoint closed the connection without an answer")
	errHead        = errors.New("the answer's header is too long")
	errInterim     = errors.New("the endpoint sent too many interim answers")
	errEarlySwitch = errors.New("the endpoint switched protocols before it had the whole request")
)

// Bounds on what an endpoint may send before its answer. An endpoint that shows by 102
// Processing that it still works may do so for long.
const (
	mostHead    = 256 << 10
	mostInterim = 100
)

// carry sends the request and waits for the head of its answer. With an error, nothing
// is left of the exchange but perhaps a goroutine that still reads the request's body.
func (a *answer) carry(body io.ReadCloser) error {
	a.trip.Got(a.reused, false)
	a.ctx = a.to.Context()
	a.last = a.to.Close || http1.AnyHasToken(a.to.Header["Connection"], "close")
	if a.ctx.Done() != nil {
		a.release = context.AfterFunc(a.ctx, a.conn.abort)
	}
	err := a.send(body)
	if err == nil {
		err = a.hear()
	}
	if err == nil {
		err = a.begin()
	}
	if err != nil {
		a.finish(false)
		a.free()
		return a.explain(err)
	}
	return nil
}

// hear reads up to the end of the head.
func (a *answer) hear() error {
	for range mostInterim + 1 {
		head, err := a.head()
		if err != nil {
			return err
		}
		r := &a.response
		if err := http1.ParseResponse(head, a.to.Method, r); err != nil {
			return malformed(err)
		}
		if r.StatusCode >= 200 || r.StatusCode == http.StatusSwitchingProtocols {
			return nil
		}
		if r.StatusCode != http.StatusContinue {
			if err := a.trip.Inform(r.StatusCode, textproto.MIMEHeader(r.Header)); err != nil {
				return err
			}
		}
		*r = http.Response{}
	}
	return errInterim
}

// malformed tells whose doing it is. It does not wrap http1.Malformed: that would be taken
// for what is wrong with a client's request.
func malformed(err error) error {
	return fmt.Errorf("the endpoint's answer is malformed: %v", err)
}

// head reads one, and leaves what follows it ahead.
func (a *answer) head() ([]byte, error) {
	for seen := 0; ; {
		if len(a.ahead) > seen {
			end, err := http1.Head(a.ahead, seen, false)
			switch {
			case err != nil:
				return nil, malformed(err)
			case end > 0:
				head := a.ahead[:end:end]
				a.ahead = a.ahead[end:]
				return head, nil
			}
			seen = len(a.ahead)
		}
		if err := a.fill(); err != nil {
			return nil, err
		}
	}
}

// fill reads more of the head.
func (a *answer) fill() error {
	if a.small == nil && a.room == nil {
		return a.fillFirst()
	}
	if err := a.makeRoom(); err != nil {
		return err
	}
	have := len(a.ahead)
	n, err := a.conn.read(a.room[have:])
	a.ahead = a.room[:have+n]
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (a *answer) fillFirst() error {
	small, n, err := a.conn.readFirst()
	if err == io.EOF {
		return errNoAnswer
	}
	if err != nil {
		return err
	}
	a.heard = true
	a.small, a.room = small, small[:]
	a.ahead = a.room[:n]
	return nil
}

// makeRoom moves what is ahead to the front, and into a larger room if it fills this one.
func (a *answer) makeRoom() error {
	room := a.room
	switch {
	case len(a.ahead) < len(room):
	case len(room) >= mostHead:
		return errHead
	default:
		room = make([]byte, min(2*len(room), mostHead))
	}
	n := copy(room, a.ahead)
	a.room, a.ahead = room, room[:n]
	if a.small != nil && &room[0] != &a.small[0] {
		buffers.Put(a.small)
		a.small = nil
	}
	return nil
}

// free gives the room back.
func (a *answer) free() {
	if a.small != nil {
		buffers.Put(a.small)
	}
	a.small, a.room, a.ahead = nil, nil, nil
}

// begin finds out what follows the head.
func (a *answer) begin() error {
	r := &a.response
	r.Request = a.to
	r.Body = a
	if a.isSwitch() {
		if !a.isSent() {
			return errEarlySwitch
		}
		a.left = -1
		r.Body = switched{a}
		return nil
	}
	if a.hasBody() {
		a.left, a.chunked = r.ContentLength, len(r.TransferEncoding) > 0
	}
	a.ahead = a.digest(a.ahead)
	if len(a.ahead) > 0 {
		return nil
	}
	a.free()
	if a.left == 0 && !a.chunked {
		r.Body = http.NoBody
	}
	return nil
}

// isSwitch reports whether both sides speak another protocol from here on.
func (a *answer) isSwitch() bool {
	r := &a.response
	return r.StatusCode == http.StatusSwitchingProtocols && len(r.Header["Upgrade"]) > 0 && http1.AnyHasToken(r.Header["Connection"], "upgrade")
}

// hasBody reports whether a body follows the head at all (RFC 9112 §6.3).
func (a *answer) hasBody() bool {
	switch a.response.StatusCode {
	case http.StatusSwitchingProtocols, http.StatusNoContent, http.StatusNotModified:
		return false
	}
	return a.to.Method != http.MethodHead
}

// isSent reports whether the whole request has gone out.
func (a *answer) isSent() bool {
	if a.sending != nil {
		return a.sending.isWhole()
	}
	return a.unsent == nil
}

// finish lets go of the connection. It is kept if that is clean: nothing of this
// exchange is still to come on it. Of two who finish, the first one decides.
func (a *answer) finish(clean bool) {
	clean = clean && a.mayKeep() && a.isSent()
	if !a.ended.CompareAndSwap(false, true) {
		return
	}
	if a.release != nil && !a.release() {
		clean = false // the context has ended, and is closing it
	}
	if clean {
		a.conn.pool.keep(a.conn)
		return
	}
	a.conn.Close()
}

// mayKeep reports whether neither side said that the connection ends with this exchange.
func (a *answer) mayKeep() bool {
	r := &a.response
	return !r.Close && r.StatusCode != http.StatusSwitchingProtocols && !a.last
}

// explain returns what an exchange failed of: its context, the request's body, the
// way to the endpoint or the way back, in that order.
func (a *answer) explain(err error) error {
	if a.ctx.Err() != nil {
		return context.Cause(a.ctx)
	}
	var fault error
	unsent := a.unsent
	if a.sending != nil {
		fault, unsent = a.sending.failed()
	}
	switch {
	case fault != nil:
		return fault
	case unsent != nil && !a.heard:
		return unsent
	}
	return err
}

// mayRepeat reports whether a request that failed on a kept connection may be sent once
// more, on a new one. That a kept one turns out to be closed is nobody's fault, as long as
// nothing of an answer came.
func (a *answer) mayRepeat() bool {
	switch {
	case a.heard, a.ctx.Err() != nil, hasBody(a.to) && a.to.GetBody == nil:
		return false
	}
	return a.trip.Repeats() || a.isUntouched()
}

// isUntouched reports whether nothing of the request has gone out.
func (a *answer) isUntouched() bool {
	if a.sending == nil {
		return a.unsent != nil && a.wrote == 0
	}
	<-a.sending.done // the body is at hand and the connection closed, so it is over soon
	return a.sending.wrote == 0
}

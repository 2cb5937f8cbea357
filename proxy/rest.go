package proxy

import (
	"errors"
	"net/url"
	"strings"
	"sync/atomic"

	"proxima/router"
)

// A stream of tokens lasts for minutes, and nearly all of that time nothing comes. So it
// soon lets go of its goroutine, whose stack would take more memory than all that is
// known of the stream: it rests. When something comes, whoever noticed it carries that
// to the client, as long as nothing has to be waited for. A client that does not keep
// up, a break, and the end are matters for a goroutine again.
//
//	         ┌── run: in a goroutine; may wait ──┐
//	ServeHTTP│                                   │nothing has come
//	         │           step: waits for nothing ▼
//	         └────── full, broken or over ◄── at rest

// detacher is what a http.ResponseWriter has whose answer may go on after the handler
// has returned. edge's HTTP/1 has it.
type detacher interface {
	// Detach lets the handler return. finish ends the answer then.
	Detach() (finish func(), ok bool)

	// TryWrite writes and flushes all of p, but does not wait: what the client does not
	// take at once is kept, which full says, until a Flush.
	TryWrite(p []byte) (full bool, err error)

	// Abort makes finish close the connection without a proper end.
	Abort()
}

// rester is what an answer's body has that can be read without waiting.
type rester interface {
	// Rest makes every Read return transport.ErrNothing instead of waiting, and calls ready
	// whenever it may bring something since, its end included. ready must not wait, and
	// may be called once more after the body is closed. false: it cannot be done.
	Rest(ready func()) bool
}

// What ended a pump that is not over.
var (
	errResting = errors.New("nothing has come")
	errFull    = errors.New("the client has yet to take what came")
	errMore    = errors.New("others have their turn")
)

// inTurn is how many pieces of one stream are carried before others have their turn. One
// that brings more than that at a time gets a goroutine, which Go's scheduler interrupts.
const inTurn = 4

// mayRest lets the stream rest from now on whenever nothing comes, if it can. That it
// is asked with the first piece means a dozen system calls a stream, to move its connection
// from one poller to another and back: what two tokens cost.
func (f *flow) mayRest() {
	if f.from.rests || f.fixed || !f.events {
		return
	}
	body, can := f.from.rest.(rester)
	if !can || !f.detach() {
		f.fixed = true
		return
	}
	f.from.rests = body.Rest(f.wake)
	f.fixed = !f.from.rests
	f.forget()
}

// forget lets go of what nobody needs any more of an exchange that may last for minutes.
// What endpoints are sent is kept only where another one may be sent it.
func (f *flow) forget() {
	f.answer.Header = nil
	f.in = f.out
	f.doubts = nil
	if f.tale != nil {
		return
	}
	f.handler.kept.give(f.body.taken)
	f.body.kept, f.body.taken, f.prefix = nil, 0, nil
	f.forgetHead()
}

// forgetHead keeps copies of what is still asked for of the request. All strings of it
// are parts of its head, which a client makes as long as it likes.
func (f *flow) forgetHead() {
	r := &f.record
	r.ID, r.Method, r.Path = strings.Clone(r.ID), strings.Clone(r.Method), strings.Clone(r.Path)
	r.Model = router.Model(strings.Clone(string(r.Model)))
	f.out.Method, f.out.Host, f.out.Proto, f.out.Header = r.Method, "", "", nil
	f.out.URL = &url.URL{Path: r.Path}
	f.query, f.attempt.query = router.Query{}, router.Query{}
}

// detach takes the answer off the goroutine of the client's connection.
func (f *flow) detach() bool {
	if f.finish != nil {
		return true
	}
	to, can := f.w.(detacher)
	if !can || !f.in.ProtoAtLeast(1, 1) { // cut has to hijack an older one
		return false
	}
	finish, done := to.Detach()
	if done {
		f.handler.detached.Add(1)
		f.finish, f.abort = finish, to.Abort
		f.to.detach(to)
	}
	return done
}

// wake carries on a stream at rest. It does not wait.
func (f *flow) wake() {
	if f.turn.take() {
		f.step()
	}
}

// step does what can be done without waiting.
func (f *flow) step() {
	defer func() {
		if bug := recover(); bug != nil {
			go f.fail(bug)
		}
	}()
	f.waits, f.pieces = false, 0
	for {
		err := f.pump()
		switch {
		case err != errResting:
			go f.goOn(err)
			return
		case f.turn.giveBack():
			return
		}
	}
}

// drainSoon lets a goroutine wait for a client that does not keep up, if the stream is
// at rest. Whoever carries it notices by himself.
func (f *flow) drainSoon() {
	if f.to.full.Load() && f.turn.take() {
		go f.goOn(errFull)
	}
}

// goOn carries on in a goroutine, because of what the pump came to.
func (f *flow) goOn(err error) {
	var rests bool
	defer f.handler.conclude(f.exchange, &rests)
	rests = f.run(err)
}

// fail ends the exchange because of a bug.
func (f *flow) fail(bug any) {
	var rests bool
	defer f.handler.conclude(f.exchange, &rests)
	panic(bug)
}

// turn says whether somebody carries a stream. The zero value: nobody does.
type turn struct{ state atomic.Int32 }

const (
	nobodys = iota
	taken
	wanted // somebody else has noticed something meanwhile
)

// take takes the turn. When it is somebody else's, that one is told to look again.
func (t *turn) take() bool {
	for {
		if t.state.CompareAndSwap(nobodys, taken) {
			return true
		}
		if t.state.CompareAndSwap(taken, wanted) || t.state.Load() == wanted {
			return false
		}
	}
}

// giveBack ends the turn, unless there may be more to do.
func (t *turn) giveBack() bool {
	if t.state.CompareAndSwap(taken, nobodys) {
		return true
	}
	t.state.Store(taken)
	return false
}

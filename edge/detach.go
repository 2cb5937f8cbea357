package edge

import "context"

// A stream that brings a token now and then lasts for minutes, and a goroutine that waits
// for it costs more memory than all that is known of it. So a handler may detach the
// answer and return: the connection's goroutine ends, and whoever brings the tokens
// writes them with TryWrite, from whatever goroutine it happens to be in.

// Detach lets the handler return without ending the answer. ok is false where nobody
// could write without waiting; then nothing has changed. Otherwise the answer is that of
// whoever calls finish, once, when it is complete: its methods are called by one
// goroutine at a time, and not by the handler any more. The request's context goes on
// until then.
//
// finish ends the answer as a handler does that returns, after Abort as one does that
// panics with http.ErrAbortHandler. It does not wait, neither for the client nor for the
// handler: the rest is done in another goroutine, and so is the next request.
func (a *answer) Detach() (finish func(), ok bool) {
	x := a.exchange
	if x.detached || a.hijacked || x.front.client.socket.raw == nil {
		return nil, false
	}
	x.detached = true
	x.holders.Store(2)
	x.forgetHead()
	return x.finish, true
}

// forgetHead lets go of what nobody here needs any more of an exchange that may last for
// minutes: the request, once all of it has come, and the answer's header, once it is out.
func (x *exchange) forgetHead() {
	if !x.hasBody() || x.body.ended.Load() {
		x.request = nil
	}
	a := &x.answer
	if a.framing != undecided && !a.hasTrailer() {
		a.header = nil
	}
}

// TryWrite is Write and Flush, but does not wait for the client. It takes all of p or
// fails. full: some of it waits here. It goes out with the next call; Write, Flush and
// finish wait for the client then, and TryWrite keeps more, so that a caller who goes on
// must have a bound of its own.
func (a *answer) TryWrite(p []byte) (full bool, err error) {
	socket := &a.exchange.front.client.socket
	socket.hurry(true)
	defer socket.hurry(false)
	if _, err := a.Write(p); err != nil {
		return false, err
	}
	if err := a.FlushError(); err != nil {
		return false, err
	}
	return socket.isFull(), nil
}

// Abort breaks the answer off: the connection closes with finish, or when the handler
// returns, and the client sees that the answer is not complete.
func (a *answer) Abort() { a.exchange.broken.Store(true) }

// finish is the end of a detached exchange. From the second time on it does nothing.
func (x *exchange) finish() {
	if x.finished.CompareAndSwap(false, true) && x.letGo() {
		go x.front.goOn(x)
	}
}

// letGo is called by the handler's goroutine and by finish. It reports whether the caller
// is the last who has the exchange, and so has to end it.
func (x *exchange) letGo() bool { return x.holders.Add(-1) == 0 }

// goOn ends a detached exchange and serves what the connection brings next.
func (f *front) goOn(x *exchange) {
	defer f.server.contain(f.client)
	if !x.conclude() {
		f.close()
		return
	}
	f.run()
}

// abandon is what a panic of the handler leaves.
func (x *exchange) abandon() {
	x.broken.Store(true)
	x.life.end(context.Canceled) // so that who runs a detached one hears of it
}

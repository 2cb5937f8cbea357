package transport

import (
	"context"
	"errors"
)

// ErrNothing is what a read of an answer's body at rest brings when nothing has come.
var ErrNothing = errors.New("nothing has come yet")

// Rest makes every later Read of the body return ErrNothing instead of waiting, and calls
// ready whenever it may bring something since, its end and that of the request's context
// included. ready must not wait; it may be called once more after the body is closed. It
// reports false, and changes nothing, where that cannot be done. A Read must not be under
// way.
//
// An answer from a plain socket has it, if the Transport has Readable. Go's own poller then
// knows nothing of the socket any more: it would wake up for every token, and there would
// be nobody to tell.
func (a *answer) Rest(ready func()) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.err != nil, a.ended.Load(), a.sending != nil && !a.sending.isOver():
		return false
	case a.release != nil && !a.release():
		return false // its context has ended, and the connection does now
	}
	rests := a.conn.goBare(ready)
	if a.release != nil {
		a.release = context.AfterFunc(a.ctx, a.conn.abort)
	}
	if rests {
		a.to, a.response.Request = nil, nil          // it may last for minutes
		a.response.Status, a.response.Proto = "", "" // parts of the head, all of which they would hold
	}
	return rests
}

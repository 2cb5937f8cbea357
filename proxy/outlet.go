package proxy

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// outlet is the way to the client. One that takes nothing for the limit is gone: the
// endpoint's place is not held for it. The limit is longer than the endpoint's own, so
// that of two silences the endpoint's is noticed. The server lifts it before the
// connection's next request.
type outlet struct {
	control *http.ResponseController
	to      io.Writer
	limit   time.Duration // 0: none
	began   time.Time     // before the first write

	mu       sync.Mutex // one writes at a time
	try      detacher   // nil: every write may wait
	deadline time.Time
	closed   bool         // the handler has left
	resting  bool         // nothing is due to come
	sent     atomic.Int64 // when the client last got something: ns since began
	full     atomic.Bool  // the client has yet to take what was written
}

func (x *exchange) newOutlet() outlet {
	return outlet{control: &x.control, to: x.w, limit: 2 * x.rules.StallTimeout, began: time.Now()}
}

// deadlineStep is how exactly the limit is kept.
const deadlineStep = time.Second

// send writes a piece and sees that it goes out at once. When full says so, the client
// has yet to take some of it, which flush waits for; another piece may be sent all the
// same.
func (o *outlet) send(piece []byte, now time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.write(piece, now)
}

// remark writes a piece to a client that has got nothing for so long. It has when another
// piece is being written.
func (o *outlet) remark(piece []byte, silence time.Duration, now time.Time) {
	if !o.mu.TryLock() {
		return
	}
	defer o.mu.Unlock()
	if o.quiet(now) >= silence && !o.full.Load() {
		_ = o.write(piece, now) // that the client has left is noticed elsewhere
	}
}

func (o *outlet) write(piece []byte, now time.Time) error {
	if o.closed || len(piece) == 0 {
		return nil
	}
	o.sent.Store(int64(now.Sub(o.began)))
	if due := now.Add(o.limit); o.limit > 0 && due.Sub(o.deadline) >= deadlineStep {
		o.deadline = due
		_ = o.control.SetWriteDeadline(due)
	}
	err := o.push(piece)
	if o.resting {
		o.lift()
	}
	return err
}

func (o *outlet) push(piece []byte) error {
	if o.try != nil {
		full, err := o.try.TryWrite(piece)
		o.full.Store(full)
		return err
	}
	if _, err := o.to.Write(piece); err != nil {
		return err
	}
	return o.control.Flush()
}

// flush waits until the client has taken what was written.
func (o *outlet) flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.full.Store(false)
	return o.control.Flush()
}

// detach lets writes no longer wait.
func (o *outlet) detach(to detacher) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.try = to
}

// rest lifts the limit until the next piece: over HTTP/2 it would end the stream also
// while there is nothing to write.
func (o *outlet) rest() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.resting = true
	o.lift()
}

// resume ends the rest.
func (o *outlet) resume() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.resting = false
}

func (o *outlet) lift() {
	if o.limit > 0 {
		o.deadline = time.Time{}
		_ = o.control.SetWriteDeadline(time.Time{})
	}
}

// quiet is how long the client has got nothing.
func (o *outlet) quiet(now time.Time) time.Duration {
	return now.Sub(o.began) - time.Duration(o.sent.Load())
}

// close waits for a write that is under way. None follows.
func (o *outlet) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
}

package proxy

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"proxima/proxy/stream"
	"proxima/router"
)

// flow is an answer on its way to the client. Of a stream of events only whole ones
// go out, so that whatever follows them, an error or the rest from another endpoint,
// is read as what it is.
type flow struct {
	*exchange
	from    *content // where it comes from; nil: nothing more comes
	to      *outlet
	dialect stream.Dialect
	events  bool
	watch   stream.Watch
	tale    *stream.Tale // nil: the stream cannot go on elsewhere
	held    int          // bytes at the start of from's buffer: an event that is not whole yet
	torn    bool         // the event under way is too long to hold and goes out in pieces
	then    stream.Watch // what is known once such an event is over
	gaps    bool         // the tale lacks such an event
	report  []byte       // the endpoint's own event that says it failed
	broke   router.Outcome
	guard   *watchdog
}

func (x *exchange) newFlow(response *http.Response) *flow {
	from := response.Body.(*content)
	f := &flow{
		exchange: x, from: from,
		dialect: from.dialect, events: from.events,
		watch: stream.NewWatch(from.dialect, stream.Choices(from.dialect, x.body.kept)),
		to:    &outlet{control: http.NewResponseController(x.w), to: x.w, limit: 2 * x.rules.StallTimeout, began: time.Now()},
	}
	if x.rules.Resume && x.body.whole() {
		f.tale, _ = stream.NewTale(f.dialect, x.body.kept) // an answer that cannot go on elsewhere has none
	}
	f.guard = f.watchOver()
	return f
}

func (f *flow) close() {
	f.guard.stop()
	f.to.close()
	f.stop()
}

// pump copies until the answer ends, flushing after every read. The error is the
// endpoint's or the client's; nil when the whole answer went out.
func (f *flow) pump() error {
	for f.from != nil {
		n, err := f.read()
		if n > 0 {
			f.attempt.alive(time.Now())
			if wrong := f.take(n); wrong != nil {
				return wrong
			}
		}
		if err != nil {
			return f.end(err)
		}
	}
	return nil
}

// read waits for the endpoint. Only that time counts as its silence.
func (f *flow) read() (int, error) {
	f.guard.begin(f.attempt, !f.torn)
	defer f.guard.end()
	return f.from.Read(f.from.buf[f.held:])
}

// take passes on what n bytes more have brought.
func (f *flow) take(n int) error {
	have := f.held + n
	if !f.events {
		return f.send(f.from.buf[:have])
	}
	whole := f.dialect.Border(f.from.buf[:have], f.held)
	var wrong error
	switch {
	case whole > 0 && f.torn:
		wrong = f.hearLast(f.from.buf[:whole])
	case whole > 0:
		wrong = f.hear(f.from.buf[:whole])
	case f.torn, have == len(f.from.buf):
		whole = have
		wrong = f.tear(f.from.buf[:whole])
	}
	f.held = copy(f.from.buf[:], f.from.buf[whole:have])
	return wrong
}

// tear passes on a piece of an event that is too long to hold. What it says stands at
// its beginning, as far as anything is made of it, and counts when its end is there.
func (f *flow) tear(piece []byte) error {
	if !f.torn {
		f.torn, f.gaps, f.then = true, true, f.watch
		f.then.See(piece)
	}
	return f.send(piece)
}

// hearLast passes on the last piece of such an event, and what follows it.
func (f *flow) hearLast(events []byte) error {
	end := firstEvent(f.dialect, events)
	f.torn, f.watch = false, f.then
	if err := f.send(events[:end]); err != nil {
		return err
	}
	if f.watch.Failed() {
		return errReported
	}
	return f.hear(events[end:])
}

// hear passes on whole events, and learns from them how far the stream has come.
func (f *flow) hear(events []byte) error {
	before := f.watch
	f.watch.See(events)
	if f.watch.Failed() {
		return f.hearFailure(before, events)
	}
	said := f.retell(events)
	if f.watch.Done() && !before.Done() {
		f.note()
	}
	return f.send(said)
}

// retell puts what another endpoint than the first one says in the first one's words.
// What cannot be told twice is told once: then the tale ends, not the stream.
func (f *flow) retell(events []byte) []byte {
	switch {
	case f.tale == nil:
	case f.record.Resumed > 0:
		events, _ = f.tale.Translate(events)
	default:
		_ = f.tale.Hear(events)
	}
	return events
}

// hearFailure passes on the events before the one in which the endpoint says that it
// failed. That one waits: another endpoint may know better.
func (f *flow) hearFailure(watch stream.Watch, events []byte) error {
	good := 0
	for {
		next := good + firstEvent(f.dialect, events[good:])
		f.watch = watch
		if watch.See(events[good:next]); watch.Failed() {
			f.report = bytes.Clone(events[good:next])
			break
		}
		good = next
	}
	if err := f.send(f.retell(events[:good])); err != nil {
		return err
	}
	return errReported
}

// firstEvent is the length of the first of several events.
func firstEvent(d stream.Dialect, events []byte) int {
	for end := 1; end < len(events); end++ {
		if d.Border(events[:end], end-1) == end {
			return end
		}
	}
	return len(events)
}

// end tells whether an answer that has ended is complete.
func (f *flow) end(err error) error {
	switch {
	case err == io.EOF && f.held > 0:
		if wrong := f.endTorn(); wrong != nil {
			return wrong
		}
	case err != io.EOF && f.events && f.watch.Finished() && !f.torn:
		return f.complete() // the connection broke, the answer did not
	case err != io.EOF:
		return err
	}
	if f.events && !f.watch.Whole() {
		return errUnfinished
	}
	f.stop()
	return nil
}

// endTorn passes on a last event without the empty line that should end it, if it is
// all that was missing.
func (f *flow) endTorn() error {
	last := f.from.buf[:f.held]
	watch := f.watch
	watch.See(last)
	if watch.Whole() {
		f.watch, f.held = watch, 0
		return f.send(last)
	}
	return errUnfinished
}

// complete gives a stream that has said everything the end that it lacks.
func (f *flow) complete() error {
	f.stop()
	switch {
	case f.watch.Done():
		return nil
	case f.tale != nil && !f.gaps:
		f.note()
		return f.send(f.tale.End())
	}
	return f.send(f.dialect.Last())
}

// stop leaves the endpoint: nothing more comes from it.
func (f *flow) stop() {
	if f.from != nil {
		f.from.Close()
		f.from, f.held = nil, 0
	}
}

func (f *flow) send(piece []byte) error {
	if err := f.to.send(piece, time.Now()); err != nil {
		return errClientLeft
	}
	f.record.Bytes += int64(len(piece))
	return nil
}

// outlet is the way to the client. One that takes nothing for the limit is gone: the
// endpoint's place is not held for it. The limit is longer than the endpoint's own, so
// that of two silences the endpoint's is noticed. net/http lifts it before the
// connection's next request.
type outlet struct {
	control *http.ResponseController
	to      io.Writer
	limit   time.Duration // 0: none
	began   time.Time     // before the first write

	mu       sync.Mutex // one writes at a time
	deadline time.Time
	closed   bool         // the handler has left
	resting  bool         // nothing is due to come
	sent     atomic.Int64 // when the client last got something: ns since began
}

// deadlineStep is how exactly the limit is kept.
const deadlineStep = time.Second

// send writes a piece and sees that it goes out at once.
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
	if o.quiet(now) >= silence {
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
	if _, err := o.to.Write(piece); err != nil {
		return err
	}
	err := o.control.Flush()
	if o.resting {
		o.lift()
	}
	return err
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

package proxy

import (
	"bytes"
	"io"
	"net/http"
	"time"

	"proxima/proxy/stream"
	"proxima/proxy/transport"
	"proxima/router"
)

// flow is an answer on its way to the client. Of a stream of events only whole ones
// go out, so that whatever follows them, an error or the rest from another endpoint,
// is read as what it is.
type flow struct {
	*exchange
	answer  *http.Response // the first endpoint's, without its header
	from    *content       // where it comes from; nil: nothing more comes
	to      outlet
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
	guard   watchdog

	turn   turn      // whose it is to carry on
	now    time.Time // when it last heard from the endpoint
	waits  bool      // who carries on may wait
	pieces int       // that were carried in this turn
	fixed  bool      // it keeps its goroutine

	counted bool // among the streams that are open
}

func (x *exchange) newFlow(response *http.Response) *flow {
	from := response.Body.(*content)
	f := &flow{
		exchange: x, answer: response, from: from,
		dialect: from.dialect, events: from.events,
		watch: stream.NewWatch(from.dialect, x.choices(from)),
		to:    x.newOutlet(),
		waits: true, counted: isStream(response.Header),
	}
	f.turn.take()
	f.now = time.Now()
	if x.rules.Resume && x.body.whole() {
		f.tale, _ = stream.NewTale(f.dialect, x.body.kept) // an answer that cannot go on elsewhere has none
	}
	if f.counted {
		f.handler.Streams(1)
	}
	f.watchOver()
	return f
}

// choices is how many answers in one a stream has.
func (x *exchange) choices(from *content) int {
	if !from.events {
		return 1
	}
	return stream.Choices(from.dialect, x.body.kept)
}

func (f *flow) close() {
	f.guard.stop()
	f.to.close()
	f.stop()
	if f.counted {
		f.handler.Streams(-1)
	}
}

// run carries the answer to its end, after what the pump came to; nil at first. It
// reports true when it left the stream at rest, and somebody else carries it on.
func (f *flow) run(err error) (rests bool) {
	f.waits, f.now = true, time.Now()
	for {
		switch err {
		case nil, errMore:
		case errResting:
			if f.turn.giveBack() {
				return true
			}
		case errFull:
			f.guard.end() // it is the client that is waited for
			err = f.drain()
		default:
			if err = f.mend(err); err != nil {
				f.breakOff(err)
			}
			f.now = time.Now()
		}
		if err == nil || err == errResting || err == errMore {
			err = f.pump()
		}
		if err == nil {
			f.finished()
			return false
		}
	}
}

// pump copies until the answer ends, or can go no further without a wait that nobody
// here is for. Every piece is flushed. The error is the endpoint's or the client's; nil
// when the whole answer went out.
func (f *flow) pump() error {
	for ; f.from != nil; f.pieces++ {
		if f.pieces == inTurn && !f.waits {
			return errMore
		}
		n, err := f.read()
		if n > 0 {
			f.attempt.alive(f.now)
			if wrong := f.take(n); wrong != nil {
				return wrong
			}
		}
		switch {
		case err != nil && err != transport.ErrNothing:
			return f.end(err)
		case f.to.full.Load():
			return errFull
		case err != nil:
			f.from.let(f.held)
			return errResting
		}
		f.mayRest()
	}
	return nil
}

// read waits for the endpoint. Only that time counts as its silence.
func (f *flow) read() (int, error) {
	f.guard.begin(f.attempt, !f.torn)
	n, err := f.from.Read(f.from.room()[f.held:])
	if err != transport.ErrNothing {
		f.now = f.guard.end()
	}
	return n, err
}

// take passes on what n bytes more have brought.
func (f *flow) take(n int) error {
	came := f.from.buf[:f.held+n]
	if !f.events {
		return f.send(came)
	}
	skimmed := f.skim(came)
	if skimmed > 0 {
		if err := f.send(came[:skimmed]); err != nil || skimmed == len(came) {
			return err
		}
	}
	return f.takeRest(came[skimmed:])
}

// skim takes in the events that bring nothing but text, which nearly all do, and returns
// their length. What was held is looked at only once.
func (f *flow) skim(came []byte) int {
	if f.held > 0 || f.torn || f.record.Resumed > 0 {
		return 0
	}
	return f.watch.Skim(f.tale, came)
}

func (f *flow) takeRest(came []byte) error {
	whole := f.dialect.Border(came, f.held)
	var wrong error
	switch {
	case whole > 0 && f.torn:
		wrong = f.hearLast(came[:whole])
	case whole > 0:
		wrong = f.hear(came[:whole])
	case f.torn, len(came) == len(f.from.buf):
		whole = len(came)
		wrong = f.tear(came)
	}
	f.held = copy(f.from.buf[:], came[whole:])
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
	if err := f.to.send(piece, f.now); err != nil {
		return errClientLeft
	}
	f.record.Bytes += int64(len(piece))
	if f.waits && f.to.full.Load() {
		return f.drain()
	}
	return nil
}

// drain waits until the client has taken what was sent.
func (f *flow) drain() error {
	if f.to.flush() != nil {
		return errClientLeft
	}
	return nil
}

package proxy

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// watchdog looks after an answer on its way. It ends an attempt that brings nothing
// for too long, and meanwhile lets the client know that its connection lives. One timer
// does both; it runs when something may be due, not at every token.
type watchdog struct {
	stall     time.Duration // 0: no limit
	keepAlive time.Duration // 0: no comments
	to        *outlet
	comment   []byte
	full      func()    // sees to a client that has yet to take a comment
	began     time.Time // before it is first waited for

	waiting atomic.Int64 // since when the attempt is waited for: ns since began; 0: it is not
	between atomic.Bool  // the client is between two events, where a comment may stand

	mu      sync.Mutex // guards what follows
	attempt *attempt
	stopped bool
	timer   *time.Timer // nil: nothing is ever due; never changes
}

// watchOver sets the watchdog on the flow, unless the whole answer is here already.
func (f *flow) watchOver() {
	if f.from.err == io.EOF && !f.events {
		return
	}
	w := &f.guard
	w.full = f.drainSoon
	w.stall, w.to, w.began = f.rules.StallTimeout, &f.to, f.now.Add(-1)
	if w.comment = f.dialect.Comment("keep-alive"); f.events && w.comment != nil {
		w.keepAlive = f.settings.KeepAlive
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if first := w.shortest(); first > 0 {
		w.timer = time.AfterFunc(first, w.look)
	}
}

// shortest is after how much silence something may be due; 0: nothing ever is.
func (w *watchdog) shortest() time.Duration {
	if w.stall <= 0 || w.keepAlive > 0 && w.keepAlive < w.stall {
		return w.keepAlive
	}
	return w.stall
}

// begin says that an attempt is waited for. Whoever calls it does so in turn.
func (w *watchdog) begin(a *attempt, between bool) {
	if w.timer == nil {
		return
	}
	if w.attempt != a {
		w.mu.Lock()
		w.attempt = a
		w.mu.Unlock()
	}
	w.between.Store(between)
	w.waiting.Store(w.at(time.Now()))
}

// end says that it is not any more, as long as the client takes what it brought. It
// returns the time.
func (w *watchdog) end() time.Time {
	w.waiting.Store(0)
	return time.Now()
}

// at is a time as waiting has it.
func (w *watchdog) at(now time.Time) int64 { return int64(now.Sub(w.began)) }

// look does what is due, and sets the time of the next look.
func (w *watchdog) look() {
	now := time.Now()
	next, comment := w.judge(now)
	if comment {
		w.to.remark(w.comment, w.keepAlive, now)
		w.full()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.timer.Reset(max(next, time.Millisecond))
	}
}

// judge ends the attempt if it was silent for too long, tells whether the client should
// hear something, and after how long to look again.
func (w *watchdog) judge(now time.Time) (next time.Duration, comment bool) {
	quiet := w.to.quiet(now)
	next = w.shortest()
	if since := w.waiting.Load(); w.stall > 0 && since != 0 {
		next = min(next, w.bark(since, now))
	}
	if w.keepAlive > 0 && w.between.Load() {
		left := w.keepAlive - quiet
		if left <= 0 {
			return next, true
		}
		next = min(next, left)
	}
	return next, false
}

// bark ends an attempt that is waited for since then, if that is too long, and returns
// how long it has left. A wait that nobody could watch begins anew.
func (w *watchdog) bark(since int64, now time.Time) (left time.Duration) {
	left = w.stall - time.Duration(w.at(now)-since)
	switch {
	case left < -standstill:
		w.waiting.CompareAndSwap(since, w.at(now))
	case left <= 0 && w.waiting.Load() == since:
		w.mu.Lock()
		defer w.mu.Unlock()
		w.attempt.cancel(errStalled)
	case left > 0:
		return left
	}
	return w.stall
}

// stop ends the watch. A comment that is under way may still go out.
func (w *watchdog) stop() {
	if w.timer == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.timer.Stop()
}

package proxy

import (
	"sync"
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

	mu      sync.Mutex
	attempt *attempt
	waiting time.Time // since when it is waited for; zero: it is not
	between bool      // the client is between two events, where a comment may stand
	stopped bool
	timer   *time.Timer // nil: nothing is ever due
}

// watchOver sets a watchdog on the flow.
func (f *flow) watchOver() *watchdog {
	w := &watchdog{stall: f.rules.StallTimeout, to: f.to}
	if w.comment = f.dialect.Comment("keep-alive"); f.events && w.comment != nil {
		w.keepAlive = f.settings.KeepAlive
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if first := w.shortest(); first > 0 {
		w.timer = time.AfterFunc(first, w.look)
	}
	return w
}

// shortest is after how much silence something may be due; 0: nothing ever is.
func (w *watchdog) shortest() time.Duration {
	if w.stall <= 0 || w.keepAlive > 0 && w.keepAlive < w.stall {
		return w.keepAlive
	}
	return w.stall
}

// begin says that an attempt is waited for.
func (w *watchdog) begin(a *attempt, between bool) {
	if w.timer == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attempt, w.between, w.waiting = a, between, time.Now()
}

// end says that it is not any more, as long as the client takes what it brought.
func (w *watchdog) end() {
	if w.timer == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = time.Time{}
}

// look does what is due, and sets the time of the next look.
func (w *watchdog) look() {
	now := time.Now()
	next, comment := w.judge(now)
	if comment {
		w.to.remark(w.comment, w.keepAlive, now)
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
	w.mu.Lock()
	defer w.mu.Unlock()
	next = w.shortest()
	if w.stall > 0 && !w.waiting.IsZero() {
		left := w.stall - now.Sub(w.waiting)
		switch {
		case left < -standstill:
			w.waiting, left = now, w.stall
		case left <= 0:
			w.attempt.cancel(errStalled)
			left = w.stall
		}
		next = min(next, left)
	}
	if w.keepAlive > 0 && w.between {
		left := w.keepAlive - quiet
		if left <= 0 {
			return next, true
		}
		next = min(next, left)
	}
	return next, false
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

package proxy

import (
	"sync"
	"time"
)

// standstill is by how much a timer must be late to say that this process stood still:
// it was stopped, its machine was, or it got no processor. What came meanwhile lies
// unread, so a wait that such a timer would end begins anew.
const standstill = time.Second

// timeout ends a wait, by calling over once, unless it was stopped before.
type timeout struct {
	limit time.Duration
	over  func()

	mu    sync.Mutex // guards what follows
	due   time.Time
	ended bool
	timer *time.Timer
}

func newTimeout(limit time.Duration, over func()) *timeout {
	t := &timeout{limit: limit, over: over, due: time.Now().Add(limit)}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = time.AfterFunc(limit, func() { t.look(time.Now()) })
	return t
}

func (t *timeout) look(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch late := now.Sub(t.due); {
	case t.ended:
	case late > standstill:
		t.begin(now)
	case late >= 0: // else it began anew in the same instant
		t.ended = true
		t.over()
	}
}

func (t *timeout) begin(now time.Time) {
	t.due = now.Add(t.limit)
	t.timer.Reset(t.limit)
}

// again begins the wait anew, unless it has ended.
func (t *timeout) again() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended {
		t.begin(time.Now())
	}
}

// stop ends the wait without a call.
func (t *timeout) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	t.timer.Stop()
}

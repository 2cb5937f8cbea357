package proxy

import (
	"sync"
	"time"

	"proxima/router"
)

// waiting knows which attempts wait for their first byte, so that they can be
// moved at once when their endpoint is found down, instead of hanging until some
// timeout.
type waiting struct {
	mu    sync.Mutex // guards the list, and what attempts know of their neighbours
	first *attempt
}

// neighbours are the attempts before and behind one in the list.
type neighbours struct{ before, behind *attempt }

func (w *waiting) enter(a *attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.first != nil {
		w.first.beside.before = a
	}
	a.beside = neighbours{behind: w.first}
	w.first = a
}

// leave takes an attempt out. After it returns, nobody abandons the attempt.
func (w *waiting) leave(a *attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before, behind := a.beside.before, a.beside.behind
	switch {
	case before != nil:
		before.beside.behind = behind
	case w.first == a:
		w.first = behind
	}
	if behind != nil {
		behind.beside.before = before
	}
	a.beside = neighbours{}
}

func (w *waiting) abandon(id router.EndpointID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for a := w.first; a != nil; a = a.beside.behind {
		if a.endpoint.ID == id {
			a.moveOn()
		}
	}
}

// foundDown reports whether the endpoint is down now, but was not when it was chosen.
func (a *attempt) foundDown() bool {
	if a.decision.Chosen.Tier == router.TierDown {
		return false
	}
	now := a.exchange.handler.Live.Snapshot()
	if now == a.snapshot {
		return false
	}
	at, there := now.Table.Position(a.endpoint.ID)
	return there && now.Status[at].Health == router.Down
}

// moveOn ends an attempt whose request is better off elsewhere. If it is not, to
// wait is the best that can be done.
func (a *attempt) moveOn() {
	if !a.last && a.harmless() && a.betterElsewhere() && a.exchange.body.recall() {
		a.cancel(errAbandoned)
	}
}

// betterElsewhere reports whether an endpoint that is not down would take the request.
func (a *attempt) betterElsewhere() bool {
	q := a.query
	q.Tried = append(q.Tried, a.endpoint.ID) // clipped: this attempt's own
	buf := loads.Get().(*[]router.Load)
	defer loads.Put(buf)
	_, d := a.exchange.handler.decide(q, time.Now(), buf)
	return d.Found() && d.Chosen.Tier < router.TierDown
}

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
	mu   sync.Mutex
	room map[*attempt]struct{}
}

func (w *waiting) enter(a *attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.room == nil {
		w.room = map[*attempt]struct{}{}
	}
	w.room[a] = struct{}{}
}

// leave takes an attempt out. After it returns, nobody abandons the attempt.
func (w *waiting) leave(a *attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.room, a)
}

func (w *waiting) abandon(id router.EndpointID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for a := range w.room {
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

package proxy

import (
	"time"

	"proxima/router"
)

// place is where a request goes next: an endpoint that already counts it among those
// that it has.
type place struct {
	snapshot *router.Snapshot
	decision router.Decision
	meter    *router.Meter // nil: there is no place
	taken    time.Time
	kb       float64 // of prompt that the endpoint has to compute; 0: unknown
}

func (p *place) found() bool { return p.meter != nil }

func (p *place) chosen() *router.Candidate { return &p.decision.Chosen }

// giveBack ends a place that is not used, if there is one.
func (f *Failover) giveBack(p *place) {
	if !p.found() {
		return
	}
	p.meter.Answered(p.kb)
	p.meter.End()
	f.queue.freed()
}

// claim decides, and takes a place at the endpoint that was chosen. When another
// request has taken the last one meanwhile, it decides again.
func (f *Failover) claim(x *exchange) *place {
	for {
		if p, settled := f.look(x, true); settled {
			return p
		}
	}
}

// look decides, and takes a place at the endpoint that was chosen, at one with a cap
// only in its turn. It reports false when there is a place that it could not take.
func (f *Failover) look(x *exchange, turn bool) (*place, bool) {
	now := time.Now()
	snapshot, decision := x.decide(now)
	if !decision.Found() {
		return &place{decision: decision}, true
	}
	chosen := &decision.Chosen
	p := &place{
		snapshot: snapshot,
		decision: decision,
		taken:    now,
		kb:       max(x.waitKB()-chosen.WarmKB, 0),
	}
	most, meter := snapshot.Table.Endpoints[chosen.Position].MaxInFlight, snapshot.Meter(chosen.Position)
	if most > 0 && !turn || !meter.Admit(p.taken, p.kb, most) {
		return p, false
	}
	p.meter = meter
	return p, true
}

// findPlace finds a request a place. While every endpoint that may serve it is full,
// it waits in the queue for one.
func (f *Failover) findPlace(x *exchange) (*place, error) {
	var p *place
	find := func(turn bool) (settled bool, waitsFor uint64) {
		for {
			p, settled = f.look(x, turn)
			if settled || !turn || p.decision.Reason == router.Full {
				return settled && p.decision.Reason != router.Full, p.decision.Waits
			}
		}
	}
	waited, err := f.queue.enter(x.ctx, x.query.Priority, x.settings.QueueLength, x.settings.QueueWait, find)
	x.record.Queued += waited
	switch {
	case err != nil && x.ctx.Err() != nil:
		return nil, x.cancelled()
	case err != nil:
		x.record.Decision = p.decision
		return nil, problemFull
	case !p.found():
		x.record.Decision = p.decision
		return nil, unavailable(p.decision.Reason, x)
	}
	return p, nil
}

// Waiting is how many requests wait because every endpoint that may serve them is full.
func (f *Failover) Waiting() int { return f.queue.len() }

// Changed lets requests that wait look again: after a change of the table, or of what
// is believed of an endpoint.
func (f *Failover) Changed() { f.queue.freed() }

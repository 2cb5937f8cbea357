package sim

import (
	"math"

	"proxima/internal/sim/server"
	"proxima/router"
)

// breakages is how many kinds of Breakage there are.
const breakages = int(CutsOff) + 1

// fault is a Fault on its hosts.
type fault struct {
	Fault
	hosts  []int
	router int // −1: none
	begun  float64
}

// breakdown lets a fault begin.
func (r *run) breakdown(f *fault) {
	if f.begun == 0 {
		f.begun = r.now
	}
	end := f.To * 1000
	if f.Every > 0 {
		end = min(r.now+f.Every*500, end)
	}
	r.agenda.add(end, repair, r.faultIndex(f), 0, 0)
	if f.router >= 0 {
		r.routers[f.router].severed++
		r.silence(func(a *attempt) bool { return int(a.router) == f.router })
		return
	}
	for _, n := range f.hosts {
		r.advance(n)
		r.hosts[n].broken[f.What] = max(f.Factor, math.SmallestNonzeroFloat64)
		r.hit(n, f)
		r.doze(n)
	}
}

// hit is what a fault does to a host at once.
func (r *run) hit(n int, f *fault) {
	h := &r.hosts[n]
	switch f.What {
	case Refuses:
		h.server.Crash(r.now)
		r.each(func(i int, a *attempt) {
			if int(a.host) == n && a.sent {
				outcome := router.Broken
				if a.began {
					outcome = router.Cut
				}
				r.agenda.add(r.now+a.rtt/2, fail, i, int(outcome), a.generation)
			}
		})
	case Swallows:
		r.silence(func(a *attempt) bool { return int(a.host) == n })
	case Slows:
		h.server.SetSpeed(r.now, f.Factor)
	case Hangs:
		h.server.Freeze(r.now)
		r.each(func(i int, a *attempt) {
			if int(a.host) == n && a.began {
				r.agenda.add(r.now+stallMs, stalled, i, 0, a.generation)
			}
		})
	case Shrinks:
		h.server.SetSlots(r.now, max(int(f.Factor*float64(r.Regions[h.region].Server.Slots)), 1))
	}
}

// silence lets the packets of some attempts vanish: their streams stall, their
// requests wait.
func (r *run) silence(which func(*attempt) bool) {
	r.each(func(i int, a *attempt) {
		if !which(a) || a.silent {
			return
		}
		a.silent = true
		if a.began {
			r.agenda.add(r.now+stallMs, stalled, i, 0, a.generation)
		}
	})
}

// resentMs is when packets that vanished come again, once they can (TCP's timeout for
// sending again, doubled once or twice by then).
const resentMs = 1000.0

// speak lets the packets of silent attempts come again where nothing swallows them.
func (r *run) speak() {
	r.each(func(i int, a *attempt) {
		if !a.silent || r.swallows(a) {
			return
		}
		a.silent = false
		back := r.now + resentMs + a.rtt/2
		switch {
		case !a.sent:
			r.agenda.add(back, reach, i, 0, a.generation)
		case a.held[server.FirstToken]:
			r.agenda.add(back, firstByte, i, 0, a.generation)
		}
		if a.held[server.Done] {
			r.agenda.add(back, finish, i, 0, a.generation)
		}
		a.held = [2]bool{}
	})
}

func (r *run) each(f func(i int, a *attempt)) {
	for i := range r.attempts {
		if a := &r.attempts[i]; a.live {
			f(i, a)
		}
	}
}

// repair ends a fault, until it comes again.
func (r *run) repair(f *fault) {
	if f.router >= 0 {
		r.routers[f.router].severed--
	}
	for _, n := range f.hosts {
		h := &r.hosts[n]
		r.advance(n)
		h.broken[f.What] = 0
		switch f.What {
		case Slows:
			h.server.SetSpeed(r.now, 1)
		case Hangs:
			h.server.Thaw(r.now)
		case Shrinks:
			h.server.SetSlots(r.now, r.Regions[h.region].Server.Slots)
		}
		r.doze(n)
	}
	r.speak()
	if again := r.now + f.Every*500; f.Every > 0 && again < f.To*1000 {
		r.agenda.add(again, breakdown, r.faultIndex(f), 0, 0)
	}
}

func (r *run) faultIndex(f *fault) int {
	for i := range r.faults {
		if &r.faults[i] == f {
			return i
		}
	}
	return -1
}

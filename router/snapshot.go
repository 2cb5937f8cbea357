package router

import (
	"math"
	"slices"
	"time"

	"proxima/geo"
)

// Health is what is believed of an endpoint. Untested comes first, so that an
// endpoint nobody asked yet is not taken for a healthy one.
type Health uint8

const (
	Untested Health = iota // no probe has answered yet
	Up                     // it answers
	Suspect                // a probe failed, too few to call it down
	Ejected                // real requests failed on it; it is left alone for a while
	Down                   // probes say that it does not answer
)

var healthNames = [...]string{"untested", "up", "suspect", "ejected", "down"}

func (h Health) String() string { return healthNames[h] }

// Status is the belief about one endpoint at one instant.
type Status struct {
	Health    Health
	Trial     bool          // half-open: its ejection is over and one real request at a time may try it
	Latency   time.Duration // the last successful probe's, 0: none yet
	Since     time.Time     // when Health last changed
	Cause     string        // what speaks against it, in words for an operator; also of an endpoint that is Up all the same
	Recovered time.Time     // when it last came back from Down or Ejected; zero: never
	Succeeded time.Time     // the last success, of a probe or of a request; coarse
}

// Snapshot is everything a decision may look at, but for the loads: the table
// and drains (intent) and the statuses (belief). It is immutable; Live publishes
// a new one for every change.
type Snapshot struct {
	Table   *Table
	Status  []Status // by endpoint position
	Drained Drains

	meters []*Meter // by endpoint position; shared with other snapshots
	slots  []slot   // by endpoint position
}

// Drains is what an operator took out.
type Drains struct {
	Endpoints map[EndpointID]bool
	Regions   map[RegionID]bool
}

// NewSnapshot puts a table and what is believed of it together. Statuses are by
// endpoint position; missing ones are Untested.
func NewSnapshot(t *Table, status []Status, drains Drains) *Snapshot {
	s := &Snapshot{
		Table:   t,
		Status:  make([]Status, len(t.Endpoints)),
		Drained: drains,
		slots:   slices.Clone(t.slots),
	}
	copy(s.Status, status)
	tripped := s.tripped()
	for at, e := range t.Endpoints {
		slot, status := &s.slots[at], &s.Status[at]
		slot.standing, slot.trial = standing(status.Health), status.Trial && status.Health == Ejected
		if slot.standing == TierReady && tripped.Has(slot.region) {
			slot.standing = TierFull
		}
		if !status.Succeeded.IsZero() {
			slot.succeeded = status.Succeeded.UnixNano()
		}
		slot.drained = drains.Endpoints[e.ID] || drains.Regions[e.Region]
		slot.cap = int32(min(max(e.MaxInFlight, 0), math.MaxInt32))
		slot.gated = slot.drained || slot.cap > 0
	}
	return s
}

func standing(h Health) Tier {
	switch h {
	case Up:
		return TierReady
	case Down:
		return TierDown
	}
	return TierDoubt
}

// tripped are the regions of which half the endpoints or more were ejected, two at
// the least: what failed them is likely to fail the rest.
func (s *Snapshot) tripped() Regions {
	t := s.Table
	ejected, all := make([]int, len(t.Regions)), make([]int, len(t.Regions))
	for at := range t.Endpoints {
		region := t.slots[at].region
		all[region]++
		if s.Status[at].Health == Ejected && !s.Status[at].Trial {
			ejected[region]++
		}
	}
	var tripped Regions
	for region, n := range ejected {
		if n >= 2 && 2*n >= all[region] {
			tripped = tripped.with(region)
		}
	}
	return tripped
}

// IsDrained reports whether the endpoint at a position, or its region, is drained.
func (s *Snapshot) IsDrained(at int) bool { return s.slots[at].drained }

// Meter returns the meter of the endpoint at a position; nil in a snapshot that
// Live did not publish.
func (s *Snapshot) Meter(at int) *Meter { return s.meters[at] }

// Healthy returns the positions of the endpoints that are up, not drained, and
// allowed for a client from there.
func (s *Snapshot) Healthy(from geo.Location) []int {
	var healthy []int
	rules := s.standing(from.Country)
	for at := range s.Table.Endpoints {
		if rules.forbid(at) == "" && s.slots[at].standing == TierReady {
			healthy = append(healthy, at)
		}
	}
	return healthy
}

// Load is what was measured of one endpoint at one instant. The zero Load is an
// idle endpoint of which nothing is known.
type Load struct {
	InFlight  int     // requests of this router that are there now
	Queue     float64 // of all routers, estimated (see Queue); less than InFlight: nothing was reported
	Capacity  float64 // what it was seen to carry at once; 0: not learned yet
	WaitKB    float64 // of prompts there, whose first token has not come
	ServeMs   float64 // expected time to first token on the server alone, when idle; 0: unknown
	PrefillMs float64 // for each KB of prompt; 0: unknown
	PathMs    float64 // the router's round trip to it; 0: unknown
	CoolMs    float64 // how long it still asked to be left alone (Retry-After); 0: it did not
	Withheld  float64 // share of keys not yet given back to it after a recovery, 0 to 1
}

// Measure copies the meters into buf, grown as needed, and returns one Load for
// each endpoint position.
func (s *Snapshot) Measure(buf []Load, now time.Time) []Load {
	if cap(buf) < len(s.meters) {
		buf = make([]Load, len(s.meters))
	}
	buf = buf[:len(s.meters)]
	for at, m := range s.meters {
		m.measure(&buf[at], now)
		buf[at].Withheld = withheld(s.Status[at].Recovered, now, s.Table.Steering.SlowStart)
	}
	return buf
}

// withheld shrinks linearly from 90 % to nothing over the slow start.
func withheld(recovered, now time.Time, slowStart time.Duration) float64 {
	if recovered.IsZero() || slowStart <= 0 {
		return 0
	}
	age := now.Sub(recovered)
	if age >= slowStart {
		return 0
	}
	return 0.9 * (1 - max(0, age.Seconds())/slowStart.Seconds())
}

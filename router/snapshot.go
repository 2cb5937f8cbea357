package router

import (
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
	for at, e := range t.Endpoints {
		s.slots[at].health = s.Status[at].Health
		s.slots[at].drained = drains.Endpoints[e.ID] || drains.Regions[e.Region]
	}
	return s
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
		if rules.forbid(at) == "" && s.slots[at].health == Up {
			healthy = append(healthy, at)
		}
	}
	return healthy
}

// Load is what was measured of one endpoint at one instant. The zero Load is an
// idle endpoint of which nothing is known.
type Load struct {
	InFlight int
	ServeMs  float64 // expected time to first token on the server alone; 0: unknown
	PathMs   float64 // the router's round trip to it; 0: unknown
	CoolMs   float64 // how long it still asked to be left alone (Retry-After); 0: it did not
	Withheld float64 // share of keys not yet given back to it after a recovery, 0 to 1
}

// Measure copies the meters into buf, grown as needed, and returns one Load for
// each endpoint position.
func (s *Snapshot) Measure(buf []Load, now time.Time) []Load {
	if cap(buf) < len(s.meters) {
		buf = make([]Load, len(s.meters))
	}
	buf = buf[:len(s.meters)]
	for at, m := range s.meters {
		buf[at] = m.load(now)
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

package router

import (
	"math"
	"slices"
	"time"

	"proxima/geo"
)

// Query is one request as the decision sees it.
type Query struct {
	From   geo.Location // where the client is
	Model  Model        // "" when it names none
	Key    uint64       // what should stay together: see Key
	Prefer RegionID     // the client's wish, granted within the deciding tier; "" for none
	Tried  []EndpointID // where this request was already
}

// Tier ranks what an endpoint can do for a request now. The lowest tier that has
// a candidate decides; cost speaks only within it.
type Tier uint8

const (
	TierReady Tier = iota // up, with room
	TierFull              // up, but full, cooling down, or not yet given this key back
	TierDoubt             // untested, suspect or ejected
	TierDown              // down
	tiers
)

// Decision is where a request goes, and the terms that decided. When no endpoint
// may take it, Reason says why and Chosen is the zero Candidate.
type Decision struct {
	Chosen   Candidate
	Eligible int    // endpoints that no hard rule refused
	Reason   Reason // "" when Chosen is an endpoint
}

// Found reports whether the decision has an endpoint.
func (d *Decision) Found() bool { return d.Reason == "" }

// FailOpen reports whether no healthy endpoint was eligible, so that a doubtful
// or dead one is tried rather than nobody.
func (d *Decision) FailOpen() bool { return d.Found() && d.Chosen.Tier >= TierDoubt }

// Decide picks the endpoint for a query: hard rules first (model, residency,
// drained, tried, detour), then the lowest tier, then cost, and within the band
// of nearly equal costs the rendezvous of the query's key. load is by endpoint
// position, from Measure. The same snapshot, query and loads always give the
// same decision. It does not allocate up to 256 eligible endpoints.
func (s *Snapshot) Decide(q Query, load []Load) Decision {
	pool, known := s.Table.Serving(q.Model)
	if !known {
		return Decision{Reason: NoSuchModel}
	}
	price := s.pricer(&q, pool, load)
	rules := s.rules(&q, &price, pool)
	var room [256]contender
	field := s.contenders(q.Key, &price, &rules, pool, room[:0])
	if field.eligible == 0 {
		return Decision{Reason: rules.nobody(pool)}
	}
	c := price.price(s.pick(&q, field))
	c.Tier = field.tier
	return Decision{Chosen: c, Eligible: field.eligible}
}

// field is who competes: the contenders of the lowest tier that has any.
type field struct {
	tier       Tier
	eligible   int // endpoints of every tier that no hard rule refuses
	contenders []contender
}

// contender is what the choice needs to remember of a candidate.
type contender struct {
	position int
	costMs   float64
}

// contenders prices every endpoint that no hard rule refuses and that stands in
// no worse tier than another. It asks the rules only about endpoints that have
// something to ask about: most have not, and this is the loop that every request
// goes through.
func (s *Snapshot) contenders(key uint64, price *pricer, rules *hard, pool []int, of []contender) field {
	lowest, eligible := tiers, 0
	for _, at := range pool {
		slot, load := &s.slots[at], &price.load[at]
		if (rules.strict || slot.drained) && rules.refuse(at) != "" {
			continue
		}
		eligible++
		tier := TierReady
		if slot.health != Up || load.InFlight >= slot.limit || load.CoolMs > 0 || load.Withheld > 0 {
			tier = s.tier(at, load, key)
		}
		if tier > lowest {
			continue
		}
		if tier < lowest {
			lowest, of = tier, of[:0]
		}
		net := price.net(slot, load)
		serve, u := price.server(slot, load)
		of = append(of, contender{at, cost(net, serve, u, 0, slot.biasMs)})
	}
	return field{lowest, eligible, of}
}

// hard are the rules that no health and no cost can overrule, for one query.
type hard struct {
	snapshot *Snapshot
	tried    []EndpointID
	ruled    bool    // a residency rule speaks of the client's country
	allowed  Regions // where it may go then
	price    *pricer
	strict   bool    // there is more to ask than drains
	limited  bool    // the operator limits detours
	mostMs   float64 // the furthest that the limit allows
}

// standing are the rules that hold for every request from a country: residency
// and drains.
func (s *Snapshot) standing(country string) hard {
	h := hard{snapshot: s}
	h.allowed, h.ruled = s.Table.residency(country)
	return h
}

func (s *Snapshot) rules(q *Query, price *pricer, pool []int) hard {
	h := s.standing(q.From.Country)
	h.tried, h.price = q.Tried, price
	if limit := s.Table.Steering.MaxDetour; limit > 0 {
		h.limited = true
		h.mostMs = h.nearest(pool) + ms(limit)
	}
	h.strict = h.ruled || h.limited || len(h.tried) > 0
	return h
}

// nearest is the network time to the nearest endpoint that residency and drains
// allow. Endpoints already tried count: a detour does not grow with retries.
func (h *hard) nearest(pool []int) float64 {
	best := math.Inf(1)
	for _, at := range pool {
		if h.forbid(at) == "" {
			best = min(best, h.price.netAt(at))
		}
	}
	return best
}

// refuse names the rule that keeps the query from the endpoint at a position, of
// those that serve its model; "" when none does.
func (h *hard) refuse(at int) Reason {
	if reason := h.forbid(at); reason != "" {
		return reason
	}
	if slices.Contains(h.tried, h.snapshot.Table.Endpoints[at].ID) {
		return ReasonTried
	}
	if h.limited && h.price.netAt(at) > h.mostMs {
		return ReasonDetour
	}
	return ""
}

func (h *hard) forbid(at int) Reason {
	slot := &h.snapshot.slots[at]
	switch {
	case h.ruled && !h.allowed.Has(slot.region):
		return ReasonResidency
	case slot.drained:
		return ReasonDrained
	}
	return ""
}

func (s *Snapshot) tier(at int, load *Load, key uint64) Tier {
	slot := &s.slots[at]
	switch {
	case slot.health == Down:
		return TierDown
	case slot.health != Up:
		return TierDoubt
	case load.InFlight >= slot.limit, load.CoolMs > 0:
		return TierFull
	case load.Withheld > 0 && !admits(key, slot.hash, load.Withheld):
		return TierFull
	}
	return TierReady
}

// pick chooses within the deciding tier. In the healthy tiers the band of costs
// decides; in the others whoever answered last, and cost among those.
func (s *Snapshot) pick(q *Query, f field) int {
	if f.tier >= TierDoubt {
		f.contenders = s.latest(f.contenders)
	}
	if q.Prefer != "" {
		f.contenders = s.preferred(q.Prefer, f.contenders)
	}
	best := math.Inf(1)
	for i := range f.contenders {
		best = min(best, f.contenders[i].costMs)
	}
	best += ms(s.Table.Steering.Slack)
	chosen, claim := -1, math.Inf(-1)
	for i := range f.contenders {
		if f.contenders[i].costMs > best {
			continue
		}
		at := f.contenders[i].position
		if mine := rendezvous(q.Key, s.slots[at].hash, s.slots[at].weight, s.Table.even); mine > claim {
			chosen, claim = at, mine
		}
	}
	return chosen
}

// successStep is how far apart two last successes must be to order endpoints
// that are all in doubt: less says nothing about them.
const successStep = 10 * time.Second

// latest keeps, of doubtful endpoints, those that succeeded most recently.
func (s *Snapshot) latest(of []contender) []contender {
	var last time.Time
	for _, c := range of {
		if at := s.Status[c.position].Succeeded; at.After(last) {
			last = at
		}
	}
	return slices.DeleteFunc(of, func(c contender) bool {
		return last.Sub(s.Status[c.position].Succeeded) >= successStep
	})
}

// preferred keeps the client's region when it has a contender.
func (s *Snapshot) preferred(id RegionID, of []contender) []contender {
	region, given := s.Table.region[id]
	elsewhere := func(c contender) bool { return s.slots[c.position].region != region }
	there := func(c contender) bool { return !elsewhere(c) }
	if !given || !slices.ContainsFunc(of, there) {
		return of
	}
	return slices.DeleteFunc(of, elsewhere)
}

// nobody says why no endpoint of the pool is eligible: the reason that would
// remain if every softer one were lifted.
func (h *hard) nobody(pool []int) Reason {
	inReach := func(at int) bool { return h.forbid(at) != ReasonResidency }
	if h.ruled && !slices.ContainsFunc(pool, inReach) {
		return NoRegion
	}
	if len(h.tried) > 0 {
		return NoneLeft
	}
	return NoneAvailable
}

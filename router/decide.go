package router

import (
	"math"
	"slices"

	"proxima/geo"
)

// Query is one request as the decision sees it.
type Query struct {
	From   geo.Location // where the client is
	Model  Model        // "" when it names none
	Key    uint64       // what should stay together: see Key
	Sticky bool         // the key is that of a session or a prompt: within the slack it stays where it is
	Prefer RegionID     // the client's wish, granted within the deciding tier; "" for none
	Tried  []EndpointID // where this request was already

	Learned  Learned  // what was learned about the client's neighbourhood
	Warm     Warm     // where the beginning of its prompt was last
	Priority Priority // who is turned away first when everything is full
}

// Tier ranks what an endpoint can do for a request now. The lowest tier that has
// a candidate decides; cost speaks only within it.
type Tier uint8

const (
	TierReady Tier = iota // up, with room
	TierFull              // up, but full, cooling down, not yet given this key back, or in a region that tripped
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

	// Waits says, when Reason is Full, for which endpoints: two requests with the same
	// number can use the same places, so where one finds none the other finds none.
	Waits uint64
}

// Found reports whether the decision has an endpoint.
func (d *Decision) Found() bool { return d.Reason == "" }

// FailOpen reports whether no healthy endpoint was eligible, so that a doubtful
// or dead one is tried rather than nobody.
func (d *Decision) FailOpen() bool { return d.Found() && d.Chosen.Tier >= TierDoubt }

// Decide picks the endpoint for a query: hard rules first (model, residency,
// drained, tried, detour, full), then the lowest tier, then cost, and within the
// band of nearly equal costs the rendezvous of the query's key. load is by endpoint
// position, from Measure. The same snapshot, query and loads always give the
// same decision. It does not allocate.
func (s *Snapshot) Decide(q Query, load []Load) Decision {
	pool, known := s.Table.Serving(q.Model)
	if !known {
		return Decision{Reason: NoSuchModel}
	}
	price := s.pricer(&q, pool, load)
	rules := s.rules(&q, &price, pool)
	c := contest{
		snapshot: s, query: &q, price: &price, rules: &rules, pool: pool,
		slackMs: s.slackMs(&q), region: -1,
	}
	c.hold()
	if c.waits() {
		return Decision{Eligible: c.eligible, Reason: Full, Waits: c.full}
	}
	if c.eligible == 0 {
		return Decision{Reason: rules.nobody(pool)}
	}
	if c.sheds() {
		return Decision{Eligible: c.eligible, Reason: Shed}
	}
	eligible := c.eligible
	c.narrow()
	chosen := price.price(c.pick())
	chosen.Tier = c.tier
	return Decision{Chosen: chosen, Eligible: eligible}
}

// slackMs is what a request may cost more than the cheapest, to be where its key
// belongs. One that belongs nowhere takes the cheapest; its key decides between equals.
func (s *Snapshot) slackMs(q *Query) float64 {
	if q.Sticky {
		return ms(s.Table.Steering.Slack)
	}
	return 0
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

// beenIn reports whether the request was at an endpoint of a region.
func (h *hard) beenIn(region int) bool {
	for _, id := range h.tried {
		if at, there := h.snapshot.Table.position[id]; there && h.snapshot.slots[at].region == region {
			return true
		}
	}
	return false
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
	if h.snapshot.slots[at].atCap(&h.price.load[at]) {
		return ReasonFull
	}
	return ""
}

// closed reports whether the endpoint takes no request at all now.
func (s *slot) closed(load *Load) bool { return s.drained || s.atCap(load) }

// atCap reports whether as many requests of this router are there as may be.
func (s *slot) atCap(load *Load) bool { return s.cap > 0 && load.InFlight >= int(s.cap) }

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

// tier ranks an endpoint for a request with this key.
func (s *slot) tier(load *Load, key uint64) Tier {
	switch {
	case s.standing != TierReady && (!s.trial || load.InFlight > 0 || load.CoolMs > 0):
		return s.standing
	case load.CoolMs > 0, !s.trial && !s.room(load):
		return TierFull
	case !s.trial && load.Withheld > 0 && !admits(key, s.hash, load.Withheld):
		return TierFull
	}
	return TierReady
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

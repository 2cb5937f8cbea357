package router

import (
	"math"
	"time"
)

// contest is who competes for one query: the endpoints that no hard rule refuses,
// of the lowest tier that has any, at the least cost. Every request goes through
// it, past every endpoint of its model, so it computes what may still matter and
// no more: an endpoint that the way there alone puts out of the band is not priced,
// and a region that a bound from below puts out of it is not measured out.
type contest struct {
	snapshot *Snapshot
	query    *Query
	price    *pricer
	rules    *hard
	pool     []int
	slackMs  float64

	// What narrows the field beyond the rules.
	region int   // only endpoints here; −1: everywhere
	since  int64 // only endpoints that succeeded after this; 0: all
	fresh  bool  // only regions where this request was not yet

	// What hold finds.
	eligible int     // endpoints of every tier
	tier     Tier    // the lowest
	bestMs   float64 // the least cost in it
	latest   int64   // the last success in it
	roomy    bool    // somebody in it is below the load at which the query is shed
	full     uint64  // who is refused only for being full, as a sum of hashes; 0: nobody
	alive    bool    // somebody of them is not down
	band     [bandRoom]contender
	n        int  // of band
	over     bool // the band did not hold them all

	chosen int // the endpoint with the largest claim in the band; −1: none
	claim  float64
}

// contender is a candidate that was in the band when it was met.
type contender struct {
	position int
	costMs   float64
}

// bandRoom is how many contenders are remembered; with more the field is walked
// once more.
const bandRoom = 16

// hold holds the contest. The best cost only falls while the field is walked, so
// the band ends up with all that are within the slack of it, and some that were.
func (c *contest) hold() {
	c.reset(tiers)
	c.eligible, c.full, c.alive = 0, 0, false
	slots, loads, warmAt := c.snapshot.slots, c.price.load, c.query.Warm.Endpoint
	asks, narrowed := c.rules.strict, c.region >= 0 || c.since != 0 || c.fresh
	region, least := -1, 0.0 // neighbours share a bound of the way to them
	limit := math.Inf(1)     // what a contender may cost
	for _, at := range c.pool {
		slot, load := &slots[at], &loads[at]
		if (asks || slot.gated && slot.closed(load)) && c.refuses(at) || narrowed && c.outside(at) {
			continue
		}
		c.eligible++
		tier := TierReady
		if slot.standing != TierReady || load.CoolMs > 0 || load.Withheld > 0 || !slot.room(load) {
			tier = slot.tier(load, c.query.Key)
		}
		if tier != c.tier {
			if tier > c.tier {
				continue
			}
			c.reset(tier)
			limit = math.Inf(1)
		}
		if tier != TierReady {
			c.note(at)
		}
		if slot.region != region {
			region, least = slot.region, c.price.least(slot.region)
		}
		if least+load.ServeMs+slot.biasMs > limit && load.ServeMs <= math.MaxFloat32 && uint32(slot.hash>>32) != warmAt {
			continue // what is in its queue makes it no cheaper
		}
		server := c.price.server(slot, load)
		if least+server > limit {
			continue
		}
		if cost := c.price.net(slot, load) + server; cost <= limit {
			c.bestMs = min(c.bestMs, cost)
			limit = c.bestMs + c.slackMs
			c.keep(at, cost)
		}
	}
}

// reset begins anew with a tier.
func (c *contest) reset(tier Tier) {
	c.tier, c.bestMs, c.n, c.over, c.roomy, c.latest = tier, math.Inf(1), 0, false, false, 0
}

// refuses asks the hard rules, and notes who would be let in if it had a place.
func (c *contest) refuses(at int) bool {
	reason := c.rules.refuse(at)
	if reason == ReasonFull {
		slot := &c.snapshot.slots[at]
		c.full += slot.hash
		c.alive = c.alive || slot.standing < TierDown
	}
	return reason != ""
}

// waits reports whether the request is better off with the next place that is free: an
// endpoint that is down is not tried while one that lives has only no place.
func (c *contest) waits() bool {
	return c.eligible == 0 && c.full != 0 || c.tier == TierDown && c.alive
}

// outside reports whether the field was narrowed to others.
func (c *contest) outside(at int) bool {
	if c.region >= 0 && c.snapshot.slots[at].region != c.region {
		return true
	}
	if c.fresh && c.rules.beenIn(c.snapshot.slots[at].region) {
		return true
	}
	return c.since != 0 && c.snapshot.slots[at].succeeded <= c.since
}

// note looks at what matters only where nobody is ready.
func (c *contest) note(at int) {
	slot, load := &c.snapshot.slots[at], &c.price.load[at]
	c.latest = max(c.latest, slot.succeeded)
	if limit := c.snapshot.Table.Steering.Shed[c.query.Priority]; load.CoolMs <= 0 && slot.load(load) < limit {
		c.roomy = true
	}
}

func (c *contest) keep(at int, costMs float64) {
	if c.n == bandRoom {
		c.over = true
		return
	}
	c.band[c.n] = contender{at, costMs}
	c.n++
}

// sheds reports whether the request is turned away: everybody is full, and the
// operator's limit for its priority is reached at each.
func (c *contest) sheds() bool {
	return c.tier == TierFull && c.snapshot.Table.Steering.Shed[c.query.Priority] > 0 && !c.roomy
}

// successStep is how far apart two last successes must be to order endpoints
// that are all in doubt: less says nothing about them.
const successStep = 10 * time.Second

// narrow leaves, of doubtful endpoints, those that succeeded most recently; after two
// failures those in regions where the request was not yet, for what failed two
// endpoints is likely to fail their neighbours; and those in the region that the client prefers. A wish that would
// leave nobody of the deciding tier is not granted.
func (c *contest) narrow() {
	if c.tier >= TierDoubt && c.latest != 0 {
		c.since = c.latest - int64(successStep)
		c.hold()
	}
	tier := c.tier
	if len(c.query.Tried) > 1 {
		c.fresh = true
		if c.hold(); c.tier != tier {
			c.fresh = false
			c.hold()
		}
	}
	at, given := c.snapshot.Table.region[c.query.Prefer]
	if c.query.Prefer == "" || !given {
		return
	}
	c.region = at
	if c.hold(); c.tier != tier {
		c.region = -1
		c.hold()
	}
}

// pick chooses in the band: the largest claim on the key.
func (c *contest) pick() int {
	c.chosen, c.claim = -1, math.Inf(-1)
	if c.over {
		c.walk()
		return c.chosen
	}
	for _, x := range c.band[:c.n] {
		c.consider(x.position, x.costMs)
	}
	return c.chosen
}

// walk goes over the field once more, for a band that did not fit.
func (c *contest) walk() {
	for _, at := range c.pool {
		slot, load := &c.snapshot.slots[at], &c.price.load[at]
		if c.rules.refuse(at) == "" && !c.outside(at) && slot.tier(load, c.query.Key) == c.tier {
			c.consider(at, c.price.net(slot, load)+c.price.server(slot, load))
		}
	}
}

func (c *contest) consider(at int, costMs float64) {
	if costMs > c.bestMs+c.slackMs {
		return
	}
	slot := &c.snapshot.slots[at]
	if mine := rendezvous(c.query.Key, slot.hash, slot.weight, c.snapshot.Table.even); mine > c.claim {
		c.chosen, c.claim = at, mine
	}
}

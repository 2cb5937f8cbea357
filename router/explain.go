package router

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Explanation is a decision at length: every endpoint of the table is either a
// candidate with its terms or rejected with a reason.
type Explanation struct {
	Decision   Decision
	Candidates []Candidate // the deciding tier, cheapest first
	Rejected   []Rejection // in table order
}

// Rejection says why an endpoint did not compete.
type Rejection struct {
	Endpoint EndpointID
	Region   RegionID
	Reason   Reason
	Detail   string // in words, with the names and figures that decided
}

// Explain decides as Decide does, by the same rules, and keeps what Decide
// throws away. It allocates; it is for people.
func (s *Snapshot) Explain(q Query, load []Load) Explanation {
	x := Explanation{Decision: s.Decide(q, load)}
	pool, _ := s.Table.Serving(q.Model)
	price := s.pricer(&q, pool, load)
	rules := s.rules(&q, &price, pool)
	for at := range s.Table.Endpoints {
		reason := ReasonModel
		if _, serves := slices.BinarySearch(pool, at); serves {
			reason = rules.refuse(at)
		}
		c := price.price(at)
		c.Tier = s.tier(at, &load[at], q.Key)
		if reason == "" && c.Tier > x.Decision.Chosen.Tier {
			reason = ReasonTier
		}
		if reason == "" {
			x.Candidates = append(x.Candidates, c)
			continue
		}
		x.Rejected = append(x.Rejected, Rejection{
			Endpoint: c.Endpoint, Region: c.Region, Reason: reason,
			Detail: s.detail(reason, &q, c, load, rules.mostMs),
		})
	}
	slices.SortStableFunc(x.Candidates, func(a, b Candidate) int { return cmp.Compare(a.CostMs, b.CostMs) })
	return x
}

func (s *Snapshot) detail(reason Reason, q *Query, c Candidate, load []Load, mostMs float64) string {
	e := &s.Table.Endpoints[c.Position]
	switch reason {
	case ReasonModel:
		return fmt.Sprintf("serves %s, not %q", list(e.Models), q.Model)
	case ReasonResidency:
		return fmt.Sprintf("residency %s keeps clients in %s out of region %s",
			strings.Join(s.Table.rules(q.From.Country), " and "), q.From.Country, c.Region)
	case ReasonDrained:
		if s.Drained.Endpoints[e.ID] {
			return "endpoint drained by an operator"
		}
		return fmt.Sprintf("region %s drained by an operator", c.Region)
	case ReasonTried:
		return "this request was there already"
	case ReasonDetour:
		return fmt.Sprintf("network time %.1f ms is over the limit of %.1f ms: the nearest and max_detour", c.NetMs, mostMs)
	}
	return s.tierDetail(c, &load[c.Position])
}

func (s *Snapshot) tierDetail(c Candidate, load *Load) string {
	status := &s.Status[c.Position]
	e := &s.Table.Endpoints[c.Position]
	switch {
	case c.Tier >= TierDoubt && status.Cause != "":
		return fmt.Sprintf("%s: %s", status.Health, status.Cause)
	case c.Tier >= TierDoubt:
		return status.Health.String()
	case load.CoolMs > 0:
		return fmt.Sprintf("cooling down: it asked to be left alone for another %.1f s", load.CoolMs/1000)
	case load.InFlight >= s.slots[c.Position].limit:
		return fmt.Sprintf("full: %d of %d in flight", load.InFlight, e.Capacity)
	}
	return fmt.Sprintf("recovering: %.0f %% of the traffic is still withheld", load.Withheld*100)
}

func list(models []Model) string {
	names := make([]string, len(models))
	for i, m := range models {
		names[i] = string(m)
	}
	return strings.Join(names, ", ")
}

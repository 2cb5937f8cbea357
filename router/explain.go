package router

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Explanation is a decision at length: every endpoint of the table is either a
// candidate with its terms or rejected with a reason.
type Explanation struct {
	Decision   Decision
	BandMs     float64     // what a candidate may cost to share the traffic: the best cost and the slack
	Candidates []Candidate // the deciding tier, cheapest first
	Rejected   []Rejection // in table order
	RunnerUp   RunnerUp
	Otherwise  Otherwise
}

// RunnerUp is where the request would go if the chosen endpoint were not there.
type RunnerUp struct {
	Candidate
	Found  bool   // somebody else may serve it
	Detail string // why it lost, in words
}

// Otherwise is the same question under the other setting of steering.by. The
// difference of the two costs is what the present setting costs, if the other
// one's idea of the network is the true one.
type Otherwise struct {
	By     By
	Chosen Candidate // what it would choose, priced its way
	Ours   Candidate // what is chosen now, priced its way
	Found  bool      // both are there
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
		c.Tier = s.slots[at].tier(&load[at], q.Key)
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
	if x.Decision.Found() {
		x.BandMs = x.Candidates[0].CostMs + s.slackMs(&q)
		x.RunnerUp = s.runnerUp(q, load, &x)
		x.Otherwise = s.Otherwise(q, load, x.Decision)
	}
	return x
}

// runnerUp asks again without the chosen endpoint.
func (s *Snapshot) runnerUp(q Query, load []Load, x *Explanation) RunnerUp {
	chosen := x.Decision.Chosen
	q.Tried = append(slices.Clip(q.Tried), chosen.Endpoint)
	d := s.Decide(q, load)
	if !d.Found() {
		return RunnerUp{}
	}
	r := RunnerUp{Candidate: d.Chosen, Found: true}
	switch {
	case r.Tier > chosen.Tier:
		r.Detail = s.tierDetail(r.Candidate, &load[r.Position])
	case r.CostMs > x.BandMs:
		r.Detail = fmt.Sprintf("costs %+.1f ms: %s", r.CostMs-chosen.CostMs, dearer(&r.Candidate, &chosen))
	case q.Prefer != "" && r.Region != chosen.Region && chosen.Region == q.Prefer:
		r.Detail = "the client prefers " + string(q.Prefer)
	case chosen.Tier >= TierDoubt:
		r.Detail = "it did not answer later than the chosen one"
	default:
		r.Detail = fmt.Sprintf("its cost is within the band, where the key of the session or request decides (%+.1f ms)", r.CostMs-chosen.CostMs)
	}
	return r
}

// dearer says in which terms of the cost one candidate is dearer than another.
func dearer(this, that *Candidate) string {
	queue := func(c *Candidate) float64 { return c.ServeMs * c.Load * c.Load * c.Load }
	var terms []string
	for _, term := range []struct {
		name string
		ms   float64
	}{
		{"network", this.NetMs - that.NetMs},
		{"server", this.ServeMs - that.ServeMs},
		{"load", queue(this) - queue(that)},
		{"wait", this.WaitMs - that.WaitMs},
		{"cache", that.WarmMs - this.WarmMs},
		{"bias", this.BiasMs - that.BiasMs},
	} {
		if math.Abs(term.ms) >= 0.05 {
			terms = append(terms, fmt.Sprintf("%s %+.1f", term.name, term.ms))
		}
	}
	return strings.Join(terms, ", ")
}

// Otherwise decides as if steering.by were the other one.
func (s *Snapshot) Otherwise(q Query, load []Load, d Decision) Otherwise {
	other, table := *s, *s.Table
	table.Steering.By = ByPath - table.Steering.By
	other.Table = &table
	o := Otherwise{By: table.Steering.By}
	if theirs := other.Decide(q, load); d.Found() && theirs.Found() {
		pool, _ := table.Serving(q.Model)
		price := other.pricer(&q, pool, load)
		o.Chosen, o.Ours, o.Found = theirs.Chosen, price.price(d.Chosen.Position), true
		o.Ours.Tier = d.Chosen.Tier
	}
	return o
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
	case ReasonFull:
		return fmt.Sprintf("%d requests of this router are there, and its max_in_flight is %d", load[c.Position].InFlight, e.MaxInFlight)
	}
	return s.tierDetail(c, &load[c.Position])
}

func (s *Snapshot) tierDetail(c Candidate, load *Load) string {
	status := &s.Status[c.Position]
	e := &s.Table.Endpoints[c.Position]
	switch {
	case status.Health == Up && s.slots[c.Position].standing == TierFull:
		return fmt.Sprintf("up, but half of the endpoints of region %s or more are ejected", e.Region)
	case c.Tier >= TierDoubt && status.Cause != "":
		return fmt.Sprintf("%s: %s", status.Health, status.Cause)
	case c.Tier >= TierDoubt:
		return status.Health.String()
	case load.CoolMs > 0:
		return fmt.Sprintf("cooling down: it asked to be left alone for another %.1f s", load.CoolMs/1000)
	case !s.slots[c.Position].room(load):
		return full(load, e.Capacity)
	}
	return fmt.Sprintf("recovering: %.0f %% of the traffic is still withheld", load.Withheld*100)
}

// full says of what the endpoint is full: of what it declares, or of what it was
// seen to carry.
func full(load *Load, declared int) string {
	if load.Capacity > 0 && (declared == 0 || load.Capacity < float64(declared)) {
		return fmt.Sprintf("full: %d in flight, and it was seen to carry %.1f", load.InFlight, load.Capacity)
	}
	return fmt.Sprintf("full: %d of %d in flight", load.InFlight, declared)
}

func list(models []Model) string {
	names := make([]string, len(models))
	for i, m := range models {
		names[i] = string(m)
	}
	return strings.Join(names, ", ")
}

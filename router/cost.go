package router

import (
	"math"
	"time"

	"proxima/geo"
)

// What a distance costs before anything was measured: round trips between 33
// cloud regions fit 10 ms + 15.7 ms per 1,000 km of great circle (r 0.84 to 0.89,
// inter-region medians published by cloudping.co, 2025-07).
const (
	netFloorMs = 10.0
	netPerKmMs = 15.7 / 1000
)

// Assumptions while an operator or a measurement has not said better.
const (
	assumedServeMs  = 150.0 // time to first token when no endpoint ever answered
	assumedCapacity = 64    // of an endpoint that declares none; its Load is 1 at the most
)

// Candidate is an endpoint that competes for a request, with every term of its
// cost. All are milliseconds but Load, which is (in flight + 1) / capacity:
//
//	CostMs = NetMs + ServeMs·(1 + Load³) − WarmMs + BiasMs
type Candidate struct {
	Position int // in Table.Endpoints
	Endpoint EndpointID
	Region   RegionID
	Tier     Tier
	NetMs    float64 // network time from client or router to the region
	ServeMs  float64 // expected time to first token on an idle server
	Load     float64
	WarmMs   float64 // prefill saved by a warm cache
	BiasMs   float64 // the operator's toll
	CostMs   float64
}

// pricer prices the candidates of one query. It remembers the last region's
// distance, because neighbours in the table share it.
type pricer struct {
	snapshot  *Snapshot
	pool      []int // who serves the model
	load      []Load
	placed    bool      // the client is somewhere
	point     geo.Point // and that is here
	byPath    bool      // a measured round trip beats the distance
	region    int       // the region that priorMs is for
	priorMs   float64
	typicalMs float64 // 0: not asked for yet
}

func (s *Snapshot) pricer(q *Query, pool []int, load []Load) pricer {
	return pricer{
		snapshot: s, pool: pool, load: load,
		placed: q.From.Placed, point: q.From.Point(),
		byPath: !q.From.Placed || s.Table.Steering.By == ByPath,
		region: -1,
	}
}

// price returns the terms of the endpoint at a position, all but its tier.
func (p *pricer) price(at int) Candidate {
	e := &p.snapshot.Table.Endpoints[at]
	c := Candidate{Position: at, Endpoint: e.ID, Region: e.Region}
	c.NetMs, c.ServeMs, c.Load, c.WarmMs, c.BiasMs = p.terms(at)
	c.CostMs = cost(c.NetMs, c.ServeMs, c.Load, c.WarmMs, c.BiasMs)
	return c
}

// costMs is the price alone.
func (p *pricer) costMs(at int) float64 { return cost(p.terms(at)) }

func (p *pricer) terms(at int) (net, serve, u, warm, bias float64) {
	slot, load := &p.snapshot.slots[at], &p.load[at]
	serve = max(p.serve(load.ServeMs), load.CoolMs)
	u = float64(load.InFlight+1) / slot.weight
	if slot.capacity == 0 {
		u = min(u, 1) // nobody said what full is
	}
	return p.net(at), serve, u, 0, slot.biasMs
}

// serve is an endpoint's own time, or, while it has none, the median of those in
// the pool that have: to be new is neither good nor bad.
func (p *pricer) serve(own float64) float64 {
	if own > 0 && own <= math.MaxFloat32 {
		return own
	}
	return p.typical()
}

func (p *pricer) typical() float64 {
	if p.typicalMs > 0 {
		return p.typicalMs
	}
	var room [256]float64
	times := room[:0]
	for _, at := range p.pool {
		times = append(times, finite(p.load[at].ServeMs, 0))
	}
	p.typicalMs = finite(median(times), assumedServeMs)
	return p.typicalMs
}

func cost(net, serve, u, warm, bias float64) float64 {
	return net + serve*(1+u*u*u) - warm + bias
}

// net is the network term. By client: the distance prior. By path: the router's
// own round trip once it was measured, which is also the best guess for a client
// whose place is unknown.
func (p *pricer) net(at int) float64 {
	if p.byPath {
		if measured := finite(p.load[at].PathMs, 0); measured > 0 {
			return measured
		}
	}
	if region := p.snapshot.slots[at].region; region != p.region {
		p.approach(region)
	}
	return p.priorMs
}

func (p *pricer) approach(region int) {
	p.region, p.priorMs = region, 0
	if p.placed {
		p.priorMs = netFloorMs + netPerKmMs*p.point.Km(p.snapshot.Table.points[region])
	}
}

// finite returns x when it is a usable positive number, else the assumption, so
// that no measurement can make a cost NaN or infinite.
func finite(x, otherwise float64) float64 {
	if x > 0 && x <= math.MaxFloat32 {
		return x
	}
	return otherwise
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// ServerCost is what the next request at the endpoint at a position costs without
// the way there, in milliseconds.
func (s *Snapshot) ServerCost(at int, load []Load) float64 {
	pool, _ := s.Table.Serving(s.Table.Endpoints[at].firstModel())
	price := s.pricer(&Query{}, pool, load)
	c := price.price(at)
	return c.CostMs - c.NetMs
}

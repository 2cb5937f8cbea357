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
	region    int       // the region that priorMs is for; -1: none yet
	priorMs   float64   // its distance, in time
	typicalMs float64   // 0: not asked for yet
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
	e, slot, load := &p.snapshot.Table.Endpoints[at], &p.snapshot.slots[at], &p.load[at]
	c := Candidate{Position: at, Endpoint: e.ID, Region: e.Region, BiasMs: slot.biasMs}
	c.NetMs = p.net(slot, load)
	c.ServeMs, c.Load = p.server(slot, load)
	c.CostMs = cost(c.NetMs, c.ServeMs, c.Load, c.WarmMs, c.BiasMs)
	return c
}

// server returns the terms of the server itself: its time when idle, and its load.
func (p *pricer) server(slot *slot, load *Load) (serve, u float64) {
	serve = p.serve(load.ServeMs)
	if load.CoolMs > serve {
		serve = load.CoolMs
	}
	u = float64(load.InFlight+1) * slot.share
	if u > 1 && slot.capacity == 0 {
		u = 1 // nobody said what full is
	}
	return serve, u
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
func (p *pricer) net(slot *slot, load *Load) float64 {
	if slot.region == p.region {
		return p.priorMs
	}
	return p.approach(slot.region, load)
}

func (p *pricer) netAt(at int) float64 { return p.net(&p.snapshot.slots[at], &p.load[at]) }

// approach prices the way to an endpoint. The distance holds for those in the same
// region that follow; a round trip is each endpoint's own.
func (p *pricer) approach(region int, load *Load) (net float64) {
	if p.byPath {
		if measured := finite(load.PathMs, 0); measured > 0 {
			return measured
		}
	}
	if p.placed {
		net = netFloorMs + netPerKmMs*p.point.Km(p.snapshot.Table.points[region])
	}
	if !p.byPath {
		p.region, p.priorMs = region, net
	}
	return net
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

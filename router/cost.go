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
	assumedCapacity = 64    // of an endpoint that declares none and showed none; its Load is 1 at the most
)

// Candidate is an endpoint that competes for a request, with every term of its
// cost. All are milliseconds but Load, which is (in flight + 1) / capacity:
//
//	CostMs = NetMs + ServeMs·(1 + Load³) + WaitMs − WarmMs + BiasMs
type Candidate struct {
	Position int // in Table.Endpoints
	Endpoint EndpointID
	Region   RegionID
	Tier     Tier
	NetMs    float64 // network time from client or router to the region
	ServeMs  float64 // expected time to first token on an idle server
	Queue    float64 // requests there, of all routers as far as is known
	Load     float64
	WaitKB   float64 // prompts there, that are computed before it
	WaitMs   float64 // their prefill
	WarmKB   float64 // of the prompt, that it has from before
	WarmMs   float64 // prefill saved by a warm cache
	BiasMs   float64 // the operator's toll
	CostMs   float64
}

// pricer prices the candidates of one query. It remembers the last region's
// distance, because neighbours in the table share it.
type pricer struct {
	snapshot  *Snapshot
	query     *Query
	pool      []int // who serves the model
	load      []Load
	point     geo.Point // where the client is
	byPath    bool      // a measured round trip beats the distance
	region    int       // the region that priorMs is for; -1: none yet
	priorMs   float64   // its distance, in time
	typicalMs float64   // 0: not asked for yet
}

func (s *Snapshot) pricer(q *Query, pool []int, load []Load) pricer {
	return pricer{
		snapshot: s, query: q, pool: pool, load: load,
		point:  q.From.Point(),
		byPath: !q.From.Placed || s.Table.Steering.By == ByPath,
		region: -1,
	}
}

// price returns the terms of the endpoint at a position, all but its tier.
func (p *pricer) price(at int) Candidate {
	e, slot, load := &p.snapshot.Table.Endpoints[at], &p.snapshot.slots[at], &p.load[at]
	c := Candidate{Position: at, Endpoint: e.ID, Region: e.Region, BiasMs: slot.biasMs}
	c.NetMs = p.net(slot, load)
	c.ServeMs, c.Queue, c.Load = p.serve(load), load.queue(), slot.load(load)
	c.WaitKB = finite(load.WaitKB, 0)
	c.WaitMs, c.WarmMs = wait(load), p.warm(slot, load, c.ServeMs)
	if p.isWarm(slot) {
		c.WarmKB = p.query.Warm.KB
	}
	c.CostMs = c.NetMs + serverMs(c.ServeMs, c.Load, c.WaitMs-c.WarmMs, c.BiasMs)
	return c
}

// server is the cost of an endpoint without the way to it.
func (p *pricer) server(slot *slot, load *Load) float64 {
	serve := p.serve(load)
	return serverMs(serve, slot.load(load), wait(load)-p.warm(slot, load, serve), slot.biasMs)
}

func serverMs(serve, u, prefill, bias float64) float64 { return serve*(1+u*u*u) + prefill + bias }

// wait is the prefill of the prompts that come before.
func wait(load *Load) float64 {
	if ms := load.PrefillMs * load.WaitKB; ms > 0 && ms <= math.MaxFloat32 {
		return ms
	}
	return 0
}

// load is how full the endpoint is with one more request: 1 is full. What it
// declares bounds what it was seen to carry. When neither is known, nobody said
// what full is, and it is never more than 1. What other routers report makes it look
// full, and not more: they may be wrong.
func (s *slot) load(load *Load) float64 {
	capacity, own := s.carries(load), float64(load.InFlight)
	if math.IsInf(capacity, 1) {
		return min((load.queue()+1)*s.share, 1)
	}
	return max(own+1, min(load.queue()+1, capacity)) / capacity
}

// queue is how many requests are there, of all routers as far as they reported.
func (l *Load) queue() float64 {
	own := float64(l.InFlight)
	if l.Queue > own && l.Queue <= math.MaxFloat32 {
		return l.Queue
	}
	return own
}

// room reports whether the endpoint takes one more request of this router without
// a queue. What other routers report makes an endpoint dearer, never full.
func (s *slot) room(load *Load) bool {
	return float64(load.InFlight)+1 <= s.carries(load)
}

// carries is the smaller of what an endpoint declares and what was learned of it; +Inf:
// neither is known.
func (s *slot) carries(load *Load) float64 {
	if load.Capacity > 0 && load.Capacity < s.most {
		return load.Capacity
	}
	return s.most
}

// serve is the server's own time when idle. One that asked to be left alone is as
// slow as the rest of that time.
func (p *pricer) serve(load *Load) float64 {
	serve := load.ServeMs
	if !(serve > 0 && serve <= math.MaxFloat32) {
		serve = p.typical()
	}
	return max(serve, load.CoolMs)
}

// warm is the prefill that the endpoint saves because it saw the beginning of
// this prompt last: never more than all of its time.
func (p *pricer) warm(slot *slot, load *Load, serve float64) float64 {
	if !p.isWarm(slot) {
		return 0
	}
	return min(finite(load.PrefillMs, 0)*p.query.Warm.KB, serve)
}

func (p *pricer) isWarm(slot *slot) bool {
	warm := &p.query.Warm
	return warm.KB > 0 && warm.Endpoint == uint32(slot.hash>>32)
}

// typical is the median of the times in the pool that are known, in a large one of
// those of every second, third or so: to be new is neither good nor bad.
func (p *pricer) typical() float64 {
	if p.typicalMs > 0 {
		return p.typicalMs
	}
	var room [256]float64
	times := room[:0]
	step := (len(p.pool)-1)/len(room) + 1
	for i := 0; i < len(p.pool); i += step {
		times = append(times, finite(p.load[p.pool[i]].ServeMs, 0))
	}
	p.typicalMs = finite(median(times), assumedServeMs)
	return p.typicalMs
}

// net is the network term. By client: the distance, corrected by what was learned
// about the client's neighbourhood. By path: the router's own round trip once it
// was measured, which is also the best guess for a client whose place is unknown.
func (p *pricer) net(slot *slot, load *Load) float64 {
	if slot.region == p.region {
		return p.priorMs
	}
	return p.approach(slot.region, load)
}

// aMetre, in km, is what a distance may be below its bound.
const aMetre = 0.001

// least is a network time that the way to a region is not below, for a fraction of
// the work.
func (p *pricer) least(region int) float64 {
	if p.byPath || !p.snapshot.Table.placed {
		return 0
	}
	near := netFloorMs + netPerKmMs*(p.point.LeastKm(&p.snapshot.Table.points[region])-aMetre)
	return max(near+p.query.Learned.CorrectionMs(region), 0)
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
	if p.query.From.Placed {
		net = DistanceMs(p.point, p.snapshot.Table.points[region])
		net = max(net+p.query.Learned.CorrectionMs(region), 0)
	}
	if !p.byPath {
		p.region, p.priorMs = region, net
	}
	return net
}

// DistanceMs is the round trip that a distance makes likely before anything was
// measured, in milliseconds.
func DistanceMs(from, to geo.Point) float64 { return netFloorMs + netPerKmMs*from.Km(to) }

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

package sim

import (
	"math"
	"net/url"
	"os"
	"syscall"
	"time"

	"proxima/healthcheck"
	"proxima/router"
)

// mind is what one router knows. Proxima's policy reads it through live, as the
// real router does; the other policies read the same meters and statuses, and
// what their own kind of proxy measures besides.
type mind struct {
	live      *router.Live
	beliefs   []*healthcheck.Belief // by endpoint position
	suspicion healthcheck.Suspicion
	wronged   []bool // by endpoint position: it was taken out although it was well
	budget    router.Budget
	index     int // among the routers
	place     int // of the network; -1: it is wherever its client is
	severed   int // faults that cut its own network

	load     []router.Load // used again for each decision
	inFlight []int         // by endpoint position
	fleet    []float64     // the others' in flight, as last reported; by endpoint position
	pending  []float64     // prompt tokens of requests without a first byte
	peak     []peak        // Finagle's moving average
	history  [][]int       // in flight at the last gossips, the newest first
	recent   []float64     // requests sent in this second
	shares   [][]float64   // of the traffic, in the seconds before
}

// question is a request as a policy sees it.
type question struct {
	query    router.Query
	request  *request
	home     int    // the region nearest to the client
	metro    int    // the place from where the router sends
	affinity uint64 // of the session or the shared prefix; 0: neither
	kb       float64
	warm     router.Warm
	warmAt   int // the endpoint position of warm; -1: nowhere
}

// bytesPerToken of English text, about.
const bytesPerToken = 4

// keptKB is how much of the prompt a later one of the same session, or with the same
// system prompt, begins with.
func (k *question) keptKB() float64 {
	if k.request.Session != 0 {
		return k.kb
	}
	return float64(k.request.PrefixTokens) * bytesPerToken / 1024
}

// cold is how many prompt tokens an endpoint would have to compute, as far as the
// router knows.
func (k *question) cold(at int) float64 {
	tokens := float64(k.request.Context)
	if at == k.warmAt {
		tokens -= min(k.warm.KB*1024/bytesPerToken, tokens-1)
	}
	return tokens
}

func (r *run) ask(m *mind, q *request) question {
	c := &r.clients[q.Client]
	k := question{request: q, home: r.homes[q.Client], metro: m.place, warmAt: -1}
	if m.place < 0 {
		k.metro = c.Metro
	}
	k.kb = float64(q.Context) * bytesPerToken / 1024
	k.query = router.Query{
		From: c.Believed, Tried: q.tried, Priority: q.class, Key: hashed(q.key()),
		Learned: m.live.Cells.Find(c.Prefix.Addr(), c.Believed.Country),
	}
	if k.affinity = q.affinity(); k.affinity != 0 {
		k.query.Key, k.query.Sticky = hashed(k.affinity), true
		if warm, known := m.live.Affinity.Find(k.affinity, r.time()); known {
			k.warm = warm
			k.warm.KB = min(warm.KB, k.kb)
			k.warmAt = r.position(m, warm.Endpoint)
		}
		k.query.Warm = k.warm
	}
	return k
}

// position finds an endpoint by the beginning of its hash.
func (r *run) position(m *mind, hash uint32) int {
	for at, e := range m.live.Snapshot().Table.Endpoints {
		if uint32(router.Key(string(e.ID))>>32) == hash {
			return at
		}
	}
	return -1
}

// hashed spreads a number over all 64 bits (SplitMix64's finaliser).
func hashed(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// learnPaths is what the first connections and probes teach: the way from a
// router to each endpoint.
func (m *mind) learnPaths(r *run) {
	if m.place < 0 {
		return // it has no place of its own to measure from
	}
	for at := range r.hosts {
		rtt := r.net.RTT(m.place, r.hosts[at].place)
		m.live.Snapshot().Meter(at).Probed(duration(rtt))
	}
}

// served takes in a first byte, as the real router does.
func (m *mind) served(r *run, a *attempt, q *request) {
	c := &r.clients[q.Client]
	metro := m.place
	elapsed := r.now - a.started
	if m.place < 0 { // it measures from where the client is
		metro = c.Metro
		elapsed = max(elapsed-r.net.RTT(metro, r.hosts[a.host].place), 0.1)
	}
	m.live.Snapshot().Meter(int(a.host)).Served(router.Sample{
		At: r.time(), Elapsed: duration(elapsed), Load: a.chosen.Load, Queue: a.chosen.Queue, WaitKB: a.chosen.WaitKB, KB: a.cold * bytesPerToken / 1024, Streamed: true,
	})
	m.peak[a.host].add(r.now-a.started, r.now)
	m.attempted(r, a, router.Served)
	for region := range r.Regions {
		prior := router.DistanceMs(c.Believed.Point(), r.place(region).Point())
		path := r.net.RTT(metro, r.regionPlace(region))
		m.live.Cells.Learn(c.Prefix.Addr(), c.Believed.Country, region, router.Approach(prior, q.lastMile, path)-prior)
	}
}

// attempted takes in how an attempt ended.
func (m *mind) attempted(r *run, a *attempt, outcome router.Outcome) {
	ended := router.Attempt{Endpoint: r.id(int(a.host)), Started: at(a.started), Outcome: outcome}
	switch {
	case a.silent:
		ended.Err = os.ErrDeadlineExceeded
	case outcome == router.Refused:
		ended.Err = syscall.ECONNREFUSED
	}
	m.witness(r, int(a.host), healthcheck.AttemptEvidence(ended))
	m.hear(r, int(a.host), func(b *healthcheck.Belief) { b.Attempted(ended, r.time(), r.rng.Float64()) })
}

// completed takes in that an answer came to its end.
func (m *mind) completed(r *run, n int) {
	m.hear(r, n, func(b *healthcheck.Belief) { b.Completed(r.time()) })
}

// witness lets the router judge its own network.
func (m *mind) witness(r *run, n int, e healthcheck.Evidence) {
	switch verdict := m.suspicion.Hear(r.id(n), e, r.time()); verdict {
	case healthcheck.Suspected:
		for i := range m.beliefs {
			m.hear(r, i, func(b *healthcheck.Belief) { b.Freeze(m.suspicion.Horizon()) })
		}
	case healthcheck.Cleared, healthcheck.Confirmed:
		for i := range m.beliefs {
			m.hear(r, i, func(b *healthcheck.Belief) { b.Thaw(r.time(), verdict == healthcheck.Confirmed) })
		}
	}
}

// hear lets a belief change, and publishes what changed.
func (m *mind) hear(r *run, n int, event func(*healthcheck.Belief)) {
	b := m.beliefs[n]
	before := b.Status()
	event(b)
	after := b.Status()
	if before.Health == after.Health && before.Trial == after.Trial && after.Succeeded.Sub(before.Succeeded) < 5*time.Second {
		return
	}
	m.live.SetStatus(r.id(n), after)
	m.audit(r, n, before, after)
	if after.Health == router.Down && before.Health != router.Down {
		r.abandon(m, n)
	}
}

// audit counts endpoints that were taken out although nothing is wrong with them. One
// that is put back as if nothing had been was not taken out.
func (m *mind) audit(r *run, n int, before, after router.Status) {
	out := func(h router.Health) bool { return h == router.Down || h == router.Ejected }
	switch {
	case !out(before.Health) && out(after.Health) && r.hosts[n].well():
		m.wronged[n] = true
		r.tally.wrong++
	case out(before.Health) && !out(after.Health):
		if m.wronged[n] && after.Recovered.Equal(before.Recovered) {
			r.tally.wrong--
		}
		m.wronged[n] = false
	}
}

// well reports whether nothing is broken at a host.
func (h *host) well() bool { return h.broken == [breakages]float64{} }

// abandon moves the requests that wait for an endpoint which is down.
func (r *run) abandon(m *mind, n int) {
	for i := range r.attempts {
		a := &r.attempts[i]
		if a.live && !a.began && int(a.host) == n && r.routers[a.router] == m {
			r.agenda.add(r.now, fail, i, int(router.Abandoned), a.generation)
		}
	}
}

// probe sends one probe.
func (r *run) probe(m *mind, n int) {
	h := &r.hosts[n]
	m.beliefs[n].Tick(r.time())
	m.beliefs[n].Probing()
	rtt := 20.0
	if m.place >= 0 {
		rtt = r.net.RTT(m.place, h.place)
	}
	switch {
	case h.broken[Swallows] > 0, m.severed > 0:
		r.agenda.add(r.now+1000, probed, m.index, n, 0)
	case h.broken[Refuses] > 0, r.chance(h.broken[Fails]):
		r.agenda.add(r.now+rtt, probed, m.index, n, 0)
	default:
		r.agenda.add(r.now+rtt, probed, m.index, n, 1)
	}
}

func (r *run) probed(m *mind, n int, well bool) {
	result := healthcheck.Result{At: r.time(), Latency: 20 * time.Millisecond, Status: 200}
	if !well {
		result = healthcheck.Result{At: r.time(), Cause: "simulated", Kind: healthcheck.KindTimeout}
		if r.hosts[n].broken[Refuses] > 0 {
			result.Kind = healthcheck.KindRefused
		}
	}
	m.witness(r, n, m.beliefs[n].Evidence(result))
	m.hear(r, n, func(b *healthcheck.Belief) { b.Probed(result) })
	pause := m.beliefs[n].Next(r.time(), r.rng.Float64())
	if r.open > 0 || r.now < r.endMs {
		r.agenda.add(r.now+float64(pause)/float64(time.Millisecond), probe, m.index, n, 0)
	}
}

// gossipMs is how often routers tell each other what they have in flight.
const gossipMs = 500.0

// gossip brings each router what all had in flight some time ago.
func (r *run) gossip() {
	age := int(math.Round(r.ReportAge * 1000 / gossipMs))
	for _, m := range r.routers {
		m.history = append([][]int{append([]int(nil), m.inFlight...)}, m.history[:min(len(m.history), age)]...)
	}
	for i, m := range r.routers {
		if len(m.history) > age && !r.chance(r.ReportLoss) {
			r.report(i, m, age)
		}
	}
	if r.open > 0 || r.now < r.endMs {
		r.agenda.add(r.now+gossipMs, gossip, 0, 0, 0)
	}
}

func (r *run) report(i int, m *mind, age int) {
	peers := make([]float64, 0, len(r.routers))
	for n := range r.hosts {
		peers = peers[:0]
		for j, other := range r.routers {
			if j == i || len(other.history) <= age {
				continue
			}
			said := float64(other.history[age][n])
			if r.Liar && j == 0 {
				said = 100 * (said + 1)
			}
			peers = append(peers, said)
		}
		most := float64(r.Regions[r.hosts[n].region].Server.Slots)
		others := router.Fold(peers, most)
		own := float64(m.history[age][n])
		m.fleet[n] = others
		m.live.Snapshot().Meter(n).Reported(others+own, own, len(r.routers))
	}
}

// peak is Finagle's moving average of round trips: a rise counts at once, a fall
// bit by bit, with a time constant of ten seconds.
type peak struct{ ms, at float64 }

func (p *peak) add(sample, now float64) {
	if sample >= p.ms {
		p.ms, p.at = sample, now
		return
	}
	kept := math.Exp(-(now - p.at) / 10_000)
	p.ms, p.at = p.ms*kept+sample*(1-kept), now
}

func newMind(r *run, table *router.Table, place int) *mind {
	n := len(table.Endpoints)
	m := &mind{
		live: router.NewLive(table), place: place,
		load: make([]router.Load, n), inFlight: make([]int, n), fleet: make([]float64, n),
		pending: make([]float64, n), peak: make([]peak, n), recent: make([]float64, n), wronged: make([]bool, n),
	}
	for at := range n {
		b := healthcheck.NewBelief(healthcheck.DefaultPolicy())
		b.Probed(healthcheck.Result{At: r.time(), Latency: 20 * time.Millisecond, Status: 200})
		m.beliefs = append(m.beliefs, b)
		m.live.SetStatus(table.Endpoints[at].ID, b.Status())
	}
	m.suspicion.Watch(table.Endpoints, healthcheck.DefaultPolicy())
	for _, e := range table.Endpoints {
		m.suspicion.Hear(e.ID, healthcheck.Reached, r.time())
	}
	m.live.Settle(r.time())
	return m
}

// table is the configuration that the routers run with.
func (sc *Scenario) table() (*router.Table, error) {
	if sc.Table != nil {
		return sc.Table, nil
	}
	var regions []router.Region
	var endpoints []router.Endpoint
	for i := range sc.Regions {
		region := &sc.Regions[i]
		place, _ := sc.Network.Place(region.Name)
		regions = append(regions, router.Region{ID: router.RegionID(region.Name), Place: place})
		for n := range region.Endpoints {
			id := router.EndpointID(region.Name + "/" + string(rune('a'+n)))
			capacity := int(math.Round(sc.Declared * float64(region.Server.Slots)))
			endpoints = append(endpoints, router.Endpoint{
				ID: id, Region: router.RegionID(region.Name), Capacity: capacity,
				URL: &url.URL{Scheme: "http", Host: string(id)},
			})
		}
	}
	return router.NewTable(regions, endpoints, sc.Steering)
}

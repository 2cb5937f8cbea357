package sim

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"proxima/internal/sim/network"
	"proxima/internal/sim/server"
	"proxima/internal/sim/workload"
	"proxima/router"
)

// How every policy dials, tries again and gives up.
const (
	patienceMs  = 30_000.0 // a client waits so long for a first byte
	mostTries   = 3
	retryRatio  = 0.2
	retryFloor  = 3
	dialFloorMs = 250.0 // a connection is there after this and three round trips, or never
	retryAfter  = time.Second
	stallMs     = 30_000.0 // silence that ends a stream
	endlessMs   = 3_600_000.0
)

// Run plays a scenario once under a policy.
func Run(sc *Scenario, policy string, seed uint64) (*Result, error) {
	r, err := newRun(sc, policy, seed)
	if err != nil {
		return nil, err
	}
	if err := r.watched(context.Background(), func(event) {}); err != nil {
		return nil, err
	}
	return r.tally.result(r, seed), nil
}

// run is a world while it turns.
type run struct {
	*Scenario
	policy   policy
	rng      *rand.Rand
	net      *network.Table
	clients  []workload.Client
	homes    []int // by client: the region nearest to it
	requests []request
	hosts    []host        // by endpoint position
	byRTT    map[int][]int // regions from a place of the network, the nearest first
	routers  []*mind
	faults   []fault
	attempts []attempt
	free     []int32
	open     int // requests without an end
	agenda   agenda
	now      float64 // ms
	endMs    float64
	tally    tally
	tell     func(server.Event) // made once
}

// request is one question of a client, and what became of it.
type request struct {
	workload.Request
	router    int32
	tries     int8
	done      bool // it has its first byte, or never will
	attempt   int32
	tried     []router.EndpointID
	arrived   float64 // at its router
	lastMile  float64 // round trip between client and router
	generated int     // tokens that the client has, of attempts before this one
	class     router.Priority
}

// key is of the request alone; affinity is of its session, else of its system prompt,
// 0 when it has neither.
func (q *request) key() uint64 { return math.Float64bits(q.AtMs) ^ uint64(q.Client)<<32 }

func (q *request) affinity() uint64 {
	if q.Session != 0 {
		return q.Session
	}
	return q.Prefix
}

// host is the machine of an endpoint.
type host struct {
	server *server.Server
	region int
	place  int     // of the network
	awake  float64 // when its next wake is due
	broken [breakages]float64
}

// attempt is a request on its way to, at, or on its way back from a host. Attempts
// are used again; the generation tells an old event that its attempt is over.
type attempt struct {
	generation uint32
	request    int32
	host       int32
	router     int32
	live       bool
	sent       bool    // the host has it
	silent     bool    // its packets vanish
	held       [2]bool // its first and its last byte are ready, and vanish
	began      bool    // its first byte is back
	started    float64
	rtt        float64
	chosen     router.Candidate
	kb         float64 // of the prompt
	cold       float64 // tokens of the prompt that no cache was thought to have
}

func (r *run) happen(e event) {
	switch e.kind {
	case arrive:
		r.arrive(e.a)
	case reach:
		r.with(e, r.reach)
	case firstByte:
		r.with(e, r.firstByte)
	case finish:
		r.with(e, r.finish)
	case fail:
		r.with(e, func(a *attempt) { r.fail(a, router.Outcome(e.b)) })
	case stalled:
		r.with(e, r.stalled)
	case giveUp:
		r.giveUp(e.a)
	case wake:
		r.wake(int(e.a))
	case probe:
		r.probe(r.routers[e.a], int(e.b))
	case probed:
		r.probed(r.routers[e.a], int(e.b), e.of != 0)
	case settle:
		r.settle()
	case gossip:
		r.gossip()
	case breakdown:
		r.breakdown(&r.faults[e.a])
	case repair:
		r.repair(&r.faults[e.a])
	}
}

// with calls f with the attempt of an event, unless that is over.
func (r *run) with(e event, f func(*attempt)) {
	if a := &r.attempts[e.a]; a.live && a.generation == e.of {
		f(a)
	}
}

func (r *run) begin() {
	for i := range r.requests {
		q := &r.requests[i]
		r.agenda.add(q.arrived, arrive, i, 0, 0)
	}
	r.open = len(r.requests)
	for i, m := range r.routers {
		for at := range r.hosts {
			r.agenda.add(r.rng.Float64()*200, probe, i, at, 0)
		}
		m.learnPaths(r)
	}
	for i := range r.faults {
		r.agenda.add(r.faults[i].From*1000, breakdown, i, 0, 0)
	}
	r.agenda.add(1000, settle, 0, 0, 0)
	if r.ReportAge > 0 && len(r.routers) > 1 {
		r.agenda.add(gossipMs, gossip, 0, 0, 0)
	}
}

func (r *run) time() time.Time { return at(r.now) }

// at is an instant of simulated time.
func at(ms float64) time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(duration(ms))
}

func duration(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

// arrive is a request at its router.
func (r *run) arrive(i int32) {
	q := &r.requests[i]
	m := r.routers[q.router]
	m.budget.Request(r.time(), retryRatio, retryFloor)
	r.agenda.add(r.now+patienceMs, giveUp, int(i), 0, 0)
	r.dispatch(i)
}

// dispatch asks the policy where a request goes, and sends it there.
func (r *run) dispatch(i int32) {
	q := &r.requests[i]
	m := r.routers[q.router]
	ask := r.ask(m, q)
	choice, reason := r.policy.choose(r, m, &ask)
	if choice.Position < 0 {
		r.refuse(q, reason)
		return
	}
	r.start(i, m, &ask, choice)
}

// start sends a request to a host.
func (r *run) start(i int32, m *mind, ask *question, choice router.Candidate) {
	q := &r.requests[i]
	n := r.attempt()
	a := &r.attempts[n]
	h := &r.hosts[choice.Position]
	*a = attempt{
		generation: a.generation, live: true, request: i, host: int32(choice.Position), router: q.router,
		started: r.now, rtt: r.net.Draw(r.rng, ask.metro, h.place), chosen: choice,
		kb: ask.kb, cold: ask.cold(choice.Position),
	}
	q.attempt, q.tries = n, q.tries+1
	m.inFlight[choice.Position]++
	m.pending[choice.Position] += a.cold
	m.live.Snapshot().Meter(choice.Position).Begin(r.time(), a.cold*bytesPerToken/1024)
	if ask.affinity != 0 {
		m.live.Sent(ask.affinity, r.id(choice.Position), ask.keptKB(), r.time())
		r.tally.followed(r, q, ask, choice.Position)
	}
	r.tally.sent(r, q, m, choice.Position)
	r.agenda.add(r.now+a.rtt/2, reach, int(n), 0, a.generation)
}

// attempt finds room for one.
func (r *run) attempt() int32 {
	if last := len(r.free) - 1; last >= 0 {
		n := r.free[last]
		r.free = r.free[:last]
		return n
	}
	r.attempts = append(r.attempts, attempt{})
	return int32(len(r.attempts) - 1)
}

func (r *run) index(a *attempt) int { return int(r.requests[a.request].attempt) }

// reach is an attempt at its host.
func (r *run) reach(a *attempt) {
	h, n := &r.hosts[a.host], r.index(a)
	back := r.now + a.rtt/2
	switch {
	case r.swallows(a):
		a.silent = true // it waits until the endpoint is found down, or its client has enough
	case h.broken[Refuses] > 0:
		r.agenda.add(back, fail, n, int(router.Refused), a.generation)
	case r.chance(h.broken[Fails]), r.chance(h.broken[FailsFast]):
		a.sent = true
		r.agenda.add(back, fail, n, int(router.Failed), a.generation)
	default:
		r.submit(a, h)
	}
}

func (r *run) chance(share float64) bool { return share > 0 && r.rng.Float64() < share }

// swallows reports whether the packets between a router and a host vanish.
func (r *run) swallows(a *attempt) bool {
	return r.hosts[a.host].broken[Swallows] > 0 || r.routers[a.router].severed > 0
}

func (r *run) submit(a *attempt, h *host) {
	q := &r.requests[a.request]
	a.sent = true
	job := q.job(uint64(r.index(a))<<32 | uint64(a.generation))
	r.advance(int(a.host))
	if !h.server.Submit(r.now, job) {
		r.agenda.add(r.now+a.rtt/2, fail, r.index(a), int(router.Busy), a.generation)
		return
	}
	if r.chance(h.broken[CutsOff]) {
		half := r.now + 0.5*float64(job.Generate)*30
		r.agenda.add(half, fail, r.index(a), int(router.Cut), a.generation)
	}
	r.doze(int(a.host))
}

// job is a request as a server sees it. What the client has of an earlier attempt
// is part of the prompt.
func (q *request) job(id uint64) server.Job {
	return server.Job{
		ID: id, Context: q.Context + q.generated, Generate: max(q.Generate-q.generated, 1),
		Session: q.Session, Shared: q.Shared, Prefix: q.Prefix, PrefixTokens: q.PrefixTokens,
	}
}

// advance lets a host do what it does up to now.
func (r *run) advance(n int) { r.hosts[n].server.Advance(r.now, r.tell) }

// told takes in what a server did.
func (r *run) told(e server.Event) {
	n, generation := int(e.Job>>32), uint32(e.Job)
	a := &r.attempts[n]
	if !a.live || a.generation != generation {
		return
	}
	if a.silent {
		a.held[e.Kind] = true
		return
	}
	k := firstByte
	if e.Kind == server.Done {
		k = finish
	}
	r.agenda.add(e.At+a.rtt/2, k, n, 0, generation)
}

// doze sets the alarm for when a host has something to tell.
func (r *run) doze(n int) {
	h := &r.hosts[n]
	next := h.server.Next()
	if next < h.awake || h.awake <= r.now {
		h.awake = next
		if !math.IsInf(next, 1) {
			r.agenda.add(max(next, r.now), wake, n, 0, 0)
		}
	}
}

func (r *run) wake(n int) {
	r.advance(n)
	if h := &r.hosts[n]; h.awake <= r.now {
		h.awake = math.Inf(1)
	}
	r.doze(n)
}

// firstByte is the first byte of an answer at the router: the client is served.
func (r *run) firstByte(a *attempt) {
	if a.silent { // it was on its way when the packets began to vanish
		a.held[server.FirstToken] = true
		return
	}
	q, m := &r.requests[a.request], r.routers[a.router]
	a.began = true
	m.pending[a.host] -= a.cold
	m.live.Snapshot().Meter(int(a.host)).Answered(a.cold * bytesPerToken / 1024)
	m.served(r, a, q)
	if !q.done {
		q.done = true
		r.tally.first(r, q, a)
	}
}

// finish is the last byte of an answer at the router.
func (r *run) finish(a *attempt) {
	if a.silent {
		a.held[server.Done] = true
		return
	}
	if !a.began { // its first byte vanished, and comes again with the last
		r.firstByte(a)
	}
	r.routers[a.router].completed(r, int(a.host))
	r.release(a)
	r.open--
}

// fail is an attempt that the router gives up.
func (r *run) fail(a *attempt, outcome router.Outcome) {
	q, m := &r.requests[a.request], r.routers[a.router]
	h := &r.hosts[a.host]
	if a.sent && outcome != router.Busy && outcome != router.Failed {
		q.generated += h.server.Tokens(r.now, uint64(r.index(a))<<32|uint64(a.generation))
		r.advance(int(a.host))
		h.server.Cancel(r.now, uint64(r.index(a))<<32|uint64(a.generation))
		r.doze(int(a.host))
	}
	m.attempted(r, a, outcome)
	if outcome == router.Busy && r.policy.cools {
		m.live.Snapshot().Meter(int(a.host)).Cool(r.time(), retryAfter)
	}
	began, sent := a.began, a.sent
	r.release(a)
	if began {
		r.cut(a, q)
		return
	}
	id := r.id(int(a.host))
	q.tried = append(q.tried, id)
	free := !sent || outcome == router.Abandoned
	if q.done || int(q.tries) >= mostTries || !free && !m.budget.Draw(r.time()) {
		r.refuse(q, router.NoneLeft)
		return
	}
	r.dispatch(a.request)
}

// stalled ends a stream whose packets or tokens have not come again.
func (r *run) stalled(a *attempt) {
	if a.silent || r.hosts[a.host].broken[Hangs] > 0 {
		r.fail(a, router.Stalled)
	}
}

// cut is a stream that broke after its first byte.
func (r *run) cut(a *attempt, q *request) {
	m := r.routers[a.router]
	if r.Resume && int(q.tries) < mostTries && q.generated < q.Generate && m.budget.Draw(r.time()) {
		q.tried = append(q.tried, r.id(int(a.host)))
		r.tally.resumed++
		r.dispatch(a.request)
		return
	}
	r.tally.lost(r, q)
	r.open--
}

// refuse tells a client that nobody serves it.
func (r *run) refuse(q *request, reason router.Reason) {
	r.open--
	if q.done { // a stream that could not be resumed
		r.tally.lost(r, q)
		return
	}
	q.done = true
	r.tally.refused(r, q, reason)
}

// giveUp is a client without patience.
func (r *run) giveUp(i int32) {
	q := &r.requests[i]
	if q.done {
		return
	}
	a := &r.attempts[q.attempt]
	if a.sent {
		r.advance(int(a.host))
		r.hosts[a.host].server.Cancel(r.now, uint64(q.attempt)<<32|uint64(a.generation))
		r.doze(int(a.host))
	}
	r.release(a)
	q.done = true
	r.open--
	r.tally.left(r, q)
}

// release gives back what an attempt holds.
func (r *run) release(a *attempt) {
	m := r.routers[a.router]
	if !a.began {
		m.pending[a.host] -= a.cold
		m.live.Snapshot().Meter(int(a.host)).Answered(a.cold * bytesPerToken / 1024)
	}
	m.inFlight[a.host]--
	m.live.Snapshot().Meter(int(a.host)).End()
	a.live = false
	a.generation++
	r.free = append(r.free, int32(r.index(a)))
}

func (r *run) id(host int) router.EndpointID {
	return r.routers[0].live.Snapshot().Table.Endpoints[host].ID
}

// settle is what happens each second.
func (r *run) settle() {
	for _, m := range r.routers {
		m.live.Settle(r.time())
	}
	r.tally.second(r)
	if r.open > 0 || r.now < r.endMs {
		r.agenda.add(r.now+1000, settle, 0, 0, 0)
	}
}

// check reports what does not add up at the end.
func (r *run) check() error {
	for _, m := range r.routers {
		for at, n := range m.inFlight {
			if n != 0 || m.live.Snapshot().Meter(at).InFlight() != 0 {
				return fmt.Errorf("%d requests are still in flight at %s", n, r.id(at))
			}
		}
	}
	return nil
}

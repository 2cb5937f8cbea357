package sim

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"proxima/router"
)

// policy chooses endpoints. Position −1 says that nobody can serve, and why.
type policy struct {
	name   string
	about  string
	cools  bool // it heeds Retry-After
	choose func(r *run, m *mind, k *question) (router.Candidate, router.Reason)
}

// policies are all that can be compared, in the order of the tables.
func policies() []policy {
	return []policy{
		{"nearest", "the nearest region with a healthy endpoint, least connections within it", false, nearest},
		{"envoy", "priorities by distance, spilled by health alone (overprovisioning 1.4), power of two choices", false, envoy},
		{"peak-ewma", "power of two choices by moving average of round trips × in flight (Finagle, Linkerd)", false, peakEWMA},
		{"waterfall", "the nearest region below 80 % of its capacity (Google's load balancing policy)", false, waterfall},
		{"rtt-queue", "round trip + prefill of what is queued and not cached (GORGO)", false, rttQueue},
		{"proxima", "router.Decide with the declared capacity", true, proximaDeclared},
		{"proxima-learned", "router.Decide as it runs, with learned capacity", true, proxima},
		{"oracle", "knows each server's true state, and takes what gives this request the soonest first token", false, oracle},
	}
}

func policyNamed(name string) (policy, error) {
	all := policies()
	at := slices.IndexFunc(all, func(p policy) bool { return p.name == name })
	if at < 0 {
		return policy{}, fmt.Errorf("no policy %q; there are %s", name, PolicyNames())
	}
	return all[at], nil
}

// proxima is the router's own decision.
func proxima(r *run, m *mind, k *question) (router.Candidate, router.Reason) {
	snapshot := m.live.Snapshot()
	m.load = snapshot.Measure(m.load, r.time())
	return decided(snapshot, k, m.load)
}

// proximaDeclared is the router's own decision without learned capacities.
func proximaDeclared(r *run, m *mind, k *question) (router.Candidate, router.Reason) {
	snapshot := m.live.Snapshot()
	m.load = snapshot.Measure(m.load, r.time())
	for i := range m.load {
		m.load[i].Capacity = 0
	}
	return decided(snapshot, k, m.load)
}

func decided(s *router.Snapshot, k *question, load []router.Load) (router.Candidate, router.Reason) {
	d := s.Decide(k.query, load)
	if !d.Found() {
		return router.Candidate{Position: -1}, d.Reason
	}
	return d.Chosen, ""
}

// eligible are the endpoints that a policy of another kind chooses from: allowed,
// not tried, and healthy, or, when none is, any that is allowed.
func (r *run) eligible(m *mind, k *question, into []int) []int {
	snapshot := m.live.Snapshot()
	healthy := func(at int) bool { return snapshot.Status[at].Health == router.Up }
	may := func(at int) bool {
		return r.resident(k, r.hosts[at].region) && !slices.Contains(k.query.Tried, r.id(at))
	}
	for at := range r.hosts {
		if may(at) && healthy(at) {
			into = append(into, at)
		}
	}
	if len(into) > 0 {
		return into
	}
	for at := range r.hosts {
		if may(at) {
			into = append(into, at)
		}
	}
	return into
}

// resident reports whether a residency rule lets the client into a region.
func (r *run) resident(k *question, region int) bool {
	country := r.clients[k.request.Client].Believed.Country
	for _, rule := range r.Steering.Residency {
		if slices.Contains(rule.Countries, country) && !slices.Contains(rule.Regions, router.RegionID(r.Regions[region].Name)) {
			return false
		}
	}
	return true
}

// rtt is the median round trip from where the request is to an endpoint: what a
// proxy with perfect measurements of the network knows.
func (r *run) rtt(k *question, at int) float64 { return r.net.RTT(k.metro, r.hosts[at].place) }

// least returns the position with the least of something.
func least(of []int, cost func(at int) float64) (router.Candidate, router.Reason) {
	best, position := math.Inf(1), -1
	for _, at := range of {
		if c := cost(at); c < best {
			best, position = c, at
		}
	}
	if position < 0 {
		return router.Candidate{Position: -1}, router.NoneAvailable
	}
	return router.Candidate{Position: position}, ""
}

// nearest is what DNS by place and HAProxy's backup servers do.
func nearest(r *run, m *mind, k *question) (router.Candidate, router.Reason) {
	var room [64]int
	of := r.eligible(m, k, room[:0])
	first, none := least(of, func(at int) float64 { return r.rtt(k, at) })
	if none != "" {
		return first, none
	}
	region := r.hosts[first.Position].region
	of = slices.DeleteFunc(of, func(at int) bool { return r.hosts[at].region != region })
	if stuck, yes := sticks(k, of); yes {
		return stuck, ""
	}
	return least(of, func(at int) float64 { return float64(m.inFlight[at]) })
}

// sticks is session affinity: where the session was last, if that is a choice.
func sticks(k *question, of []int) (router.Candidate, bool) {
	return router.Candidate{Position: k.warmAt}, k.warmAt >= 0 && slices.Contains(of, k.warmAt)
}

// envoy fills priorities by their health: a region takes 1.4 times its share of
// healthy endpoints, at most all, of what the nearer ones left.
func envoy(r *run, m *mind, k *question) (router.Candidate, router.Reason) {
	var room [64]int
	of := r.eligible(m, k, room[:0])
	left := r.rng.Float64()
	for _, region := range r.byRTT[k.metro] {
		var own [16]int
		in := own[:0]
		for _, at := range of {
			if r.hosts[at].region == region {
				in = append(in, at)
			}
		}
		left -= min(1.4*float64(len(in))/float64(r.Regions[region].Endpoints), 1)
		if left < 0 && len(in) > 0 {
			return r.betterOfTwo(in, func(at int) float64 { return float64(m.inFlight[at]) })
		}
	}
	return r.betterOfTwo(of, func(at int) float64 { return float64(m.inFlight[at]) })
}

// betterOfTwo draws two and takes the cheaper one.
func (r *run) betterOfTwo(of []int, cost func(at int) float64) (router.Candidate, router.Reason) {
	switch len(of) {
	case 0:
		return router.Candidate{Position: -1}, router.NoneAvailable
	case 1:
		return router.Candidate{Position: of[0]}, ""
	}
	i := r.rng.IntN(len(of))
	j := r.rng.IntN(len(of) - 1)
	if j >= i {
		j++
	}
	return least([]int{of[i], of[j]}, cost)
}

func peakEWMA(r *run, m *mind, k *question) (router.Candidate, router.Reason) {
	var room [64]int
	return r.betterOfTwo(r.eligible(m, k, room[:0]), func(at int) float64 {
		p := m.peak[at]
		usual := p.ms * math.Exp(-(r.now-p.at)/10_000)
		return max(usual, r.rtt(k, at)) * float64(m.inFlight[at]+1)
	})
}

// known is what a policy of another kind knows to be in flight: its own, and what
// the others reported.
func (m *mind) known(at int) float64 { return float64(m.inFlight[at]) + m.fleet[at] }

func waterfall(r *run, m *mind, k *question) (router.Candidate, router.Reason) {
	var room [64]int
	of := r.eligible(m, k, room[:0])
	best, fill := -1, math.Inf(1)
	for _, region := range r.byRTT[k.metro] {
		used, capacity := 0.0, 0.0
		for _, at := range of {
			if r.hosts[at].region == region {
				used, capacity = used+m.known(at), capacity+r.declared(at)
			}
		}
		if capacity == 0 {
			continue
		}
		if full := (used + 1) / (0.8 * capacity); full <= 1 {
			best = region
			break
		} else if full < fill {
			best, fill = region, full
		}
	}
	of = slices.DeleteFunc(of, func(at int) bool { return r.hosts[at].region != best })
	if stuck, yes := sticks(k, of); yes {
		return stuck, ""
	}
	return least(of, func(at int) float64 { return m.known(at) / r.declared(at) })
}

// declared is the capacity in the configuration, or the true one when none is there.
func (r *run) declared(at int) float64 {
	slots := float64(r.Regions[r.hosts[at].region].Server.Slots)
	if r.Declared > 0 {
		return slots * r.Declared
	}
	return slots
}

func rttQueue(r *run, m *mind, k *question) (router.Candidate, router.Reason) {
	var room [64]int
	return least(r.eligible(m, k, room[:0]), func(at int) float64 {
		speed := r.Regions[r.hosts[at].region].Server.PrefillPerMs
		return r.rtt(k, at) + (m.pending[at]+k.cold(at))/speed
	})
}

// oracle asks the servers themselves.
func oracle(r *run, m *mind, k *question) (router.Candidate, router.Reason) {
	var room [64]int
	of := room[:0]
	for at := range r.hosts {
		h := &r.hosts[at]
		dead := h.broken[Swallows] > 0 || h.broken[Refuses] > 0 || h.broken[Hangs] > 0
		if !dead && r.resident(k, h.region) && !slices.Contains(k.query.Tried, r.id(at)) {
			of = append(of, at)
		}
	}
	job, best, soonest := k.request.job(0), -1, math.Inf(1)
	slices.SortFunc(of, func(a, b int) int { return cmp.Compare(r.atLeast(k, a), r.atLeast(k, b)) })
	for _, at := range of {
		if r.atLeast(k, at) >= soonest {
			continue // a prediction costs what the server's line is long
		}
		h := &r.hosts[at]
		failing := 1000 * (h.broken[Fails] + h.broken[FailsFast])
		if wait := r.rtt(k, at) + failing + h.server.Predict(r.now, job); wait < soonest {
			best, soonest = at, wait
		}
	}
	if best < 0 {
		return router.Candidate{Position: -1}, router.NoneAvailable
	}
	return router.Candidate{Position: best}, ""
}

// atLeast is a wait that no prediction is below: the way, and, at a full server, a
// decode step for each that is in line.
func (r *run) atLeast(k *question, at int) float64 {
	h := &r.hosts[at]
	spec := &r.Regions[h.region].Server
	return r.rtt(k, at) + spec.StepMs*float64(1+max(h.server.InFlight()-spec.Slots, 0))
}

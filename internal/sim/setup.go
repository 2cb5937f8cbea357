package sim

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"proxima/geo"
	"proxima/internal/sim/server"
	"proxima/internal/sim/workload"
	"proxima/router"
)

// newRun builds the world. Everything that chance decides before the first request
// is drawn from the seed alone, so that every policy meets the same arrivals.
func newRun(sc *Scenario, name string, seed uint64) (*run, error) {
	p, err := policyNamed(name)
	if err != nil {
		return nil, err
	}
	r := &run{Scenario: sc, policy: p, net: sc.Network, endMs: (sc.Warm + sc.Seconds) * 1000}
	r.tell = r.told
	r.rng = rand.New(rand.NewPCG(seed, 1))
	for i := range sc.Regions {
		if err := r.addRegion(i); err != nil {
			return nil, err
		}
	}
	if err := r.addDemand(rand.New(rand.NewPCG(seed, 2))); err != nil {
		return nil, err
	}
	if err := r.addRouters(); err != nil {
		return nil, err
	}
	return r, r.addFaults()
}

func (r *run) addRegion(i int) error {
	region := &r.Regions[i]
	place := r.net.Index(region.Name)
	if place < 0 {
		return fmt.Errorf("region %q is not in the table of round trips", region.Name)
	}
	for n := range region.Endpoints {
		r.hosts = append(r.hosts, host{server: server.New(region.spec(n)), region: i, place: place, awake: math.Inf(1)})
	}
	return nil
}

// spec is what one of the region's endpoints is like.
func (region *Region) spec(n int) server.Spec {
	if region.Each == nil {
		return region.Server
	}
	return region.Each[n]
}

// sustains is how many requests of a mean size the region answers in a second.
func (region *Region) sustains(context, generate float64) float64 {
	total := 0.0
	for n := range region.Endpoints {
		total += region.spec(n).Capacity(context, generate)
	}
	return total
}

func (r *run) regionPlace(region int) int { return r.net.Index(r.Regions[region].Name) }

func (r *run) place(region int) geo.Location {
	place, _ := r.net.Place(r.Regions[region].Name)
	return place
}

// addDemand draws the clients and their requests.
func (r *run) addDemand(rng *rand.Rand) error {
	n := r.Scenario.Clients
	if n == 0 {
		n = 2000
	}
	r.clients = workload.Population(r.net, n, r.Misplaced, rng)
	r.homes = make([]int, n)
	areas := make([][]int, len(r.Regions))
	for i := range r.clients {
		home := r.nearestRegion(r.clients[i].Metro)
		r.homes[i] = home
		areas[home] = append(areas[home], i)
	}
	return r.addRequests(areas, rng)
}

func (r *run) nearestRegion(metro int) int {
	best := 0
	for region := range r.Regions {
		if r.net.RTT(metro, r.regionPlace(region)) < r.net.RTT(metro, r.regionPlace(best)) {
			best = region
		}
	}
	return best
}

// sustains is how many requests a second all regions can carry together.
func (r *run) sustains() float64 {
	context, generate := r.meanSize()
	total := 0.0
	for i := range r.Regions {
		total += r.Regions[i].sustains(context, generate)
	}
	return total
}

// meanSize is what a request takes on the average. Conversations are longer than the
// trace's requests; how much is seen from a thousand seconds of them.
func (r *run) meanSize() (context, generate float64) {
	if r.Sessions.Share == 0 {
		return r.Trace.Mean()
	}
	often := func(float64) float64 { return 5 }
	sample := workload.Settings{
		Trace: r.Trace, DurationMs: 1e6, Sessions: r.Sessions, Areas: []workload.Area{{Clients: []int{0, 1, 2, 3}, PerSec: often}},
	}
	return workload.Mean(workload.Generate(sample, rand.New(rand.NewPCG(1, 1))))
}

func (r *run) addRequests(areas [][]int, rng *rand.Rand) error {
	all, shares := r.sustains()*r.Load, 0.0
	for i := range r.Regions {
		shares += r.Regions[i].Share
	}
	settings := workload.Settings{
		Trace: r.Trace, Arrivals: r.Arrivals, DurationMs: r.endMs, Sessions: r.Sessions, Classes: r.Classes,
	}
	for i, clients := range areas {
		perSec := all * r.Regions[i].Share / shares
		if perSec > 0 && len(clients) == 0 {
			return fmt.Errorf("no client lives nearest to %s", r.Regions[i].Name)
		}
		settings.Areas = append(settings.Areas, workload.Area{Clients: clients, PerSec: r.demand(i, perSec)})
	}
	for _, q := range workload.Generate(settings, rng) {
		r.requests = append(r.requests, request{Request: q, class: router.Priority(q.Class)})
	}
	return nil
}

// demand is the rate at which one region's clients ask.
func (r *run) demand(region int, perSec float64) func(ms float64) float64 {
	lon := r.place(region).Lon
	return func(ms float64) float64 {
		rate := perSec
		if r.Diurnal { // least at five in the morning, most at five in the afternoon, local time
			hour := ms/3_600_000 + lon/15
			rate *= 1 - 0.5*math.Cos((hour-5)/24*2*math.Pi)
		}
		for _, f := range r.Floods {
			if f.Region == r.Regions[region].Name && ms >= f.From*1000 && ms < f.To*1000 {
				rate *= f.Factor
			}
		}
		return rate
	}
}

// addRouters places the routers and gives each client its own.
func (r *run) addRouters() error {
	table, err := r.table()
	if err != nil {
		return err
	}
	r.byRTT = map[int][]int{}
	for metro := range r.net.Places {
		order := make([]int, len(r.Regions))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int {
			return cmp.Compare(r.net.RTT(metro, r.regionPlace(a)), r.net.RTT(metro, r.regionPlace(b)))
		})
		r.byRTT[metro] = order
	}
	r.routers = append(r.routers, newMind(r, table, -1))
	if r.Scenario.Routers > 0 {
		r.routers = r.routers[:0]
		for i := range r.Scenario.Routers {
			r.routers = append(r.routers, newMind(r, table, r.regionPlace(i%len(r.Regions))))
		}
	}
	for i, m := range r.routers {
		m.index = i
	}
	for i := range r.requests {
		r.assign(&r.requests[i])
	}
	return nil
}

// assign gives a request the router nearest to its client, one of several in turn
// of the clients.
func (r *run) assign(q *request) {
	c := &r.clients[q.Client]
	q.lastMile = c.LastMileMs
	if r.Scenario.Routers > 0 {
		var near []int
		best := math.Inf(1)
		for i, m := range r.routers[:min(len(r.routers), len(r.Regions))] {
			if rtt := r.net.RTT(c.Metro, m.place); rtt < best {
				best, near = rtt, []int{i}
			}
		}
		same := (len(r.routers)-1-near[0])/len(r.Regions) + 1 // routers in that place
		q.router = int32(near[0] + q.Client%same*len(r.Regions))
		q.lastMile += best
	}
	q.arrived = q.AtMs + q.lastMile/2
}

// addFaults finds the hosts of each fault.
func (r *run) addFaults() error {
	for _, f := range r.Scenario.Faults {
		own := fault{Fault: f, router: f.Router - 1}
		first := 0
		for at := range r.hosts {
			if at > 0 && r.hosts[at].region != r.hosts[at-1].region {
				first = at
			}
			if r.Regions[r.hosts[at].region].Name == f.Region && (f.Endpoint == 0 || f.Endpoint == at-first+1) {
				own.hosts = append(own.hosts, at)
			}
		}
		if f.Region != "" && len(own.hosts) == 0 {
			return fmt.Errorf("a fault names region %q, endpoint %d, which is not there", f.Region, f.Endpoint)
		}
		if f.Region == "" && (own.router < 0 || own.router >= len(r.routers)) {
			return fmt.Errorf("a fault names router %d of %d", f.Router, len(r.routers))
		}
		r.faults = append(r.faults, own)
	}
	return nil
}

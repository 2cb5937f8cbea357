package sim

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"proxima/geo"
	"proxima/internal/sim/network"
	"proxima/internal/sim/server"
	"proxima/internal/sim/workload"
	"proxima/router"
)

// Operator is somebody's own configuration, and the traffic to try it with.
type Operator struct {
	Table   *router.Table
	Model   router.Model   // only endpoints that serve it take part; "": all of them, whatever they serve
	Network *network.Table // regions that it lacks are put where they are: see network.Table.With
	Traffic workload.Process
	Load    float64 // of what all endpoints together sustain
	Even    bool    // each region's clients ask as much; else as much as their countries have addresses
}

// AssumedSlots is how many requests an endpoint serves at once that declares no
// capacity.
const AssumedSlots = 32

// Scenarios are the fleet as it is, steady, and what happens when one region dies
// halfway, down/REGION, for each region. Regions without an endpoint are left out.
//
// An endpoint is simulated as a server of an 8-billion-parameter model with as many
// slots as its capacity says, and with as many accelerators as it has 32 of them.
func (o Operator) Scenarios() ([]Scenario, error) {
	steady, err := o.steady()
	if err != nil {
		return nil, err
	}
	all := []Scenario{steady}
	for i := range steady.Regions {
		name := steady.Regions[i].Name
		dies := steady
		dies.Name, dies.About = "down/"+name, fmt.Sprintf("%s dies at %.0f %% load: connections are refused", name, o.Load*100)
		dies.Faults = []Fault{{Region: name, What: Refuses, From: steady.Warm + steady.Seconds/2, To: steady.Warm + steady.Seconds}}
		all = append(all, dies)
	}
	return all, nil
}

func (o Operator) steady() (Scenario, error) {
	table, err := o.served()
	if err != nil {
		return Scenario{}, err
	}
	net, err := o.network(table)
	if err != nil {
		return Scenario{}, err
	}
	sc := Scenario{
		Name: "steady", About: fmt.Sprintf("nothing is broken, %.0f %% load", o.Load*100),
		Network: net, Trace: o.Traffic.Trace, Arrivals: o.Traffic.Arrivals, Diurnal: o.Traffic.Diurnal, Table: table, Load: o.Load,
		Warm: 60, Seconds: 240, Declared: 1, Steering: table.Steering,
	}
	if table.Steering.By == router.ByPath {
		sc.Routers = len(table.Regions) // who measures does so from somewhere
	}
	for _, region := range table.Regions {
		sc.Regions = append(sc.Regions, regionOf(table, region.ID))
	}
	return sc, o.share(&sc)
}

// served is the table with the endpoints that take part and their regions, and
// without models: all of them serve the one that clients ask for.
func (o Operator) served() (*router.Table, error) {
	pool, _ := o.Table.Serving(o.Model)
	var endpoints []router.Endpoint
	for _, at := range pool {
		e := o.Table.Endpoints[at]
		e.Models = nil
		endpoints = append(endpoints, e)
	}
	if len(endpoints) == 0 {
		return nil, fmt.Errorf("no endpoint serves model %q", o.Model)
	}
	empty := func(id router.RegionID) bool {
		return !slices.ContainsFunc(endpoints, func(e router.Endpoint) bool { return e.Region == id })
	}
	regions := slices.DeleteFunc(slices.Clone(o.Table.Regions), func(r router.Region) bool { return empty(r.ID) })
	steering := o.Table.Steering
	steering.Residency = slices.Clone(steering.Residency)
	for i, rule := range steering.Residency {
		steering.Residency[i].Regions = slices.DeleteFunc(slices.Clone(rule.Regions), empty)
	}
	return router.NewTable(regions, endpoints, steering)
}

func (o Operator) network(table *router.Table) (*network.Table, error) {
	places := map[string]geo.Location{}
	for _, region := range table.Regions {
		places[string(region.ID)] = region.Place
	}
	return o.Network.With(places)
}

// regionOf is a region with its endpoints. Policies that take all of them for alike see
// their mean.
func regionOf(table *router.Table, id router.RegionID) Region {
	region, slots := Region{Name: string(id)}, 0
	for i := range table.Endpoints {
		if e := &table.Endpoints[i]; e.Region == id {
			own := cmp.Or(e.Capacity, AssumedSlots)
			region.Each = append(region.Each, accelerated(own))
			slots += own
		}
	}
	region.Endpoints = len(region.Each)
	region.Server = accelerated(int(math.Round(float64(slots) / float64(len(region.Each)))))
	return region
}

// accelerated is a server with so many slots: one small accelerator, or as many as
// there are slots for.
func accelerated(slots int) server.Spec {
	spec := smallGPU
	more := max(float64(slots)/float64(spec.Slots), 1)
	spec.Slots = slots
	spec.PrefillPerMs *= more
	spec.StepPerSeqMs /= more
	spec.KVTokens = int(float64(spec.KVTokens) * more)
	spec.CacheTokens = int(float64(spec.CacheTokens) * more)
	spec.Queue = int(float64(spec.Queue) * more)
	return spec
}

// How many clients are counted to find out where demand comes from, and which share
// of them a region has at least that gets a demand of its own: with fewer, a run's
// 2,000 clients might have nobody there.
const (
	census     = 20_000
	leastShare = 0.005
)

// share divides the demand between the regions.
func (o Operator) share(sc *Scenario) error {
	r, counts := run{Scenario: sc, net: sc.Network}, make([]int, len(sc.Regions))
	for _, client := range workload.Population(sc.Network, census, 0, rand.New(rand.NewPCG(1, 1))) {
		counts[r.nearestRegion(client.Metro)]++
	}
	for i, n := range counts {
		there := float64(n) >= leastShare*census
		switch {
		case o.Even && !there:
			return fmt.Errorf("demand cannot be even: next to nobody lives nearest to region %s", sc.Regions[i].Name)
		case o.Even:
			sc.Regions[i].Share = 1
		case there:
			sc.Regions[i].Share = float64(n)
		}
	}
	return nil
}

package sim

import (
	"fmt"
	"time"

	"proxima/internal/sim/network"
	"proxima/internal/sim/server"
	"proxima/internal/sim/workload"
	"proxima/router"
)

// smallGPU is a model server of the 8-billion-parameter class on one accelerator:
// 8,000 prompt tokens a second, 20 ms a step and 0.6 ms more for each sequence, 32
// slots, room for 120,000 tokens.
var smallGPU = server.Spec{
	PrefillPerMs: 8, StepMs: 20, StepPerSeqMs: 0.6, Slots: 32, KVTokens: 120_000, CacheTokens: 60_000, Queue: 128,
}

// Base is what scenarios start from: which places and which traffic.
type Base struct {
	Network *network.Table
	Trace   *workload.Trace
	Places  []string  // six of the network
	Share   []float64 // of the demand, by place
}

// Developed is the base on which Proxima's parameters were chosen.
func Developed() Base {
	first, _ := workload.Conversation().Split(0.5)
	return Base{
		Network: network.AWS(), Trace: first,
		Places: []string{"us-east-1", "eu-central-1", "ap-northeast-1", "us-west-2", "ap-southeast-1", "sa-east-1"},
		Share:  []float64{0.30, 0.22, 0.16, 0.14, 0.10, 0.08},
	}
}

// HeldOut is a base of which nothing was seen while they were chosen: other
// places, the slower table of round trips, the second half of the trace.
func HeldOut() Base {
	_, second := workload.Conversation().Split(0.5)
	return Base{
		Network: network.AWSSlow(), Trace: second,
		Places: []string{"us-east-2", "eu-west-2", "ap-south-1", "us-west-1", "ap-southeast-2", "af-south-1"},
		Share:  []float64{0.30, 0.22, 0.16, 0.14, 0.10, 0.08},
	}
}

// steady is the scenario that all others vary: a skewed demand, nothing broken.
func (b Base) steady(name, about string, load float64) Scenario {
	sc := Scenario{
		Name: name, About: about, Network: b.Network, Trace: b.Trace, Load: load,
		Warm: 60, Seconds: 240, Declared: 1,
		Steering: router.Steering{Slack: 10 * time.Millisecond, SlowStart: 15 * time.Second},
	}
	for i, place := range b.Places {
		sc.Regions = append(sc.Regions, Region{Name: place, Endpoints: 4, Server: smallGPU, Share: b.Share[i]})
	}
	return sc
}

// Scenarios are all the named ones, experiment by experiment. A name is the
// experiment's, a slash, and the point's.
func (b Base) Scenarios() []Scenario {
	var all []Scenario
	for _, experiment := range []func() []Scenario{
		b.loads, b.deaths, b.cuts, b.gray, b.floods, b.fleets, b.capacities, b.flapping, b.sessions, b.coldStarts, b.overload, b.own, b.days,
	} {
		all = append(all, experiment()...)
	}
	return all
}

// Experiments are the questions that the scenarios answer together. A scenario is of
// the experiment whose name its own begins with, up to the slash.
func Experiments() []About {
	return []About{
		{"e1", "steady demand, from idle to nearly full: who answers soonest?"},
		{"e2", "a region dies, each time in another way: who loses requests, and for how long?"},
		{"e3", "streams break midway: how many does going on elsewhere save?"},
		{"e4", "an endpoint is sick and its probes are well: who keeps sending there?"},
		{"e5", "a crowd at one place: what does it wait, and do others wait with it?"},
		{"e6", "many routers that know little of each other: do they run after the same endpoint?"},
		{"e7", "the declared capacity is wrong, or becomes so: who notices?"},
		{"e8", "an endpoint comes and goes: who falls for it each time?"},
		{"e9", "conversations and shared prompts: who finds the warm caches, and at what price?"},
		{"e10", "nothing is known at the start: how many requests does learning take?"},
		{"e11", "twice what there is room for: do critical requests pass, and does residency hold?"},
		{"e12", "a router's own network fails, or a router lies: who blames endpoints that are well?"},
		{"day", "24 hours with something broken every hour: does everything come back to rest?"},
	}
}

func (b Base) loads() []Scenario {
	var all []Scenario
	for _, load := range []float64{0.30, 0.50, 0.62, 0.75, 0.85, 0.95} {
		all = append(all, b.steady(fmt.Sprintf("e1/skewed-%.0f", load*100),
			fmt.Sprintf("steady, skewed demand, %.0f %% load", load*100), load))
	}
	balanced := b.steady("e1/balanced-30", "steady, even demand, 30 % load", 0.30)
	for i := range balanced.Regions {
		balanced.Regions[i].Share = 1
	}
	return append(all, balanced)
}

// hot is the region with the most demand, and most of what breaks breaks there.
func (b Base) hot() string { return b.Places[0] }

func (b Base) broken(name, about string, f Fault) Scenario {
	sc := b.steady(name, about, 0.62)
	if f.To == 0 {
		f.From, f.To = 120, 240
	}
	sc.Faults = []Fault{f}
	return sc
}

func (b Base) deaths() []Scenario {
	hot := b.hot()
	return []Scenario{
		b.broken("e2/refused", "the busiest region dies: connections refused", Fault{Region: hot, What: Refuses}),
		b.broken("e2/black-hole", "the busiest region dies: packets vanish", Fault{Region: hot, What: Swallows}),
		b.broken("e2/503", "the busiest region answers 503, probes too", Fault{Region: hot, What: Fails, Factor: 1}),
		b.broken("e2/slow", "the busiest region becomes 20 times slower", Fault{Region: hot, What: Slows, Factor: 20}),
	}
}

func (b Base) cuts() []Scenario {
	cut := Fault{Region: b.hot(), What: CutsOff, Factor: 0.1}
	plain := b.broken("e3/cut", "a tenth of the busiest region's streams is cut midway", cut)
	resumed := b.broken("e3/cut-resume", "the same, and streams go on elsewhere", cut)
	resumed.Resume = true
	return []Scenario{plain, resumed}
}

func (b Base) gray() []Scenario {
	hot := b.hot()
	return []Scenario{
		b.broken("e4/slow", "one endpoint is six times slower, its probes are well", Fault{Region: hot, Endpoint: 1, What: Slows, Factor: 6}),
		b.broken("e4/errors", "one endpoint fails 30 % of its requests at once, its probes are well", Fault{Region: hot, Endpoint: 1, What: FailsFast, Factor: 0.3}),
		b.broken("e4/hangs", "one endpoint falls silent for 20 s, its probes are well", Fault{Region: hot, Endpoint: 1, What: Hangs, From: 120, To: 140}),
	}
}

func (b Base) floods() []Scenario {
	var all []Scenario
	for _, factor := range []float64{2.2, 5} {
		load := 0.62
		if factor > 3 {
			load = 0.35
		}
		sc := b.steady(fmt.Sprintf("e5/flash-%.1f", factor),
			fmt.Sprintf("demand of the second region's clients ×%.1f for two minutes, from %.0f %% load", factor, load*100), load)
		sc.Floods = []Flood{{Region: b.Places[1], From: 120, To: 240, Factor: factor}}
		all = append(all, sc)
	}
	return all
}

func (b Base) fleets() []Scenario {
	var all []Scenario
	one := b.steady("e6/one-mind", "one router's knowledge, everywhere, 75 % load", 0.75)
	all = append(all, one)
	for _, routers := range []int{6, 24, 72} {
		for _, age := range []float64{0, 1, 4, 10} {
			sc := b.steady(fmt.Sprintf("e6/routers-%d-age-%.0fs", routers, age),
				fmt.Sprintf("%d routers, reports %.0f s old (0: none), 75 %% load", routers, age), 0.75)
			sc.Routers, sc.ReportAge = routers, age
			all = append(all, sc)
		}
	}
	lossy := b.steady("e6/routers-72-age-4s-lossy", "72 routers, reports 4 s old, half of them lost", 0.75)
	lossy.Routers, lossy.ReportAge, lossy.ReportLoss = 72, 4, 0.5
	return append(all, lossy)
}

func (b Base) capacities() []Scenario {
	var all []Scenario
	for _, factor := range []float64{0, 0.25, 0.5, 1.5, 4} {
		about := fmt.Sprintf("capacity declared ×%.2f, 75 %% load", factor)
		if factor == 0 {
			about = "no capacity declared, 75 % load"
		}
		sc := b.steady(fmt.Sprintf("e7/declared-%.2f", factor), about, 0.75)
		sc.Declared = factor
		all = append(all, sc)
	}
	return append(all, b.broken("e7/shrinks", "an endpoint loses half its slots", Fault{Region: b.hot(), Endpoint: 1, What: Shrinks, Factor: 0.5}))
}

func (b Base) flapping() []Scenario {
	var all []Scenario
	for _, period := range []float64{1, 5, 20, 60} {
		all = append(all, b.broken(fmt.Sprintf("e8/flap-%.0fs", period),
			fmt.Sprintf("an endpoint refuses half of the time, period %.0f s", period),
			Fault{Region: b.hot(), Endpoint: 1, What: Refuses, From: 80, To: 280, Every: period}))
	}
	return all
}

func (b Base) sessions() []Scenario {
	var all []Scenario
	for _, slack := range []int{0, 10, 50} {
		sc := b.steady(fmt.Sprintf("e9/sessions-slack-%dms", slack),
			fmt.Sprintf("conversations and shared system prompts, slack %d ms, 62 %% load", slack), 0.62)
		sc.Sessions = workload.Sessions{Share: 0.8, Turns: 5, ThinkMs: 15_000, Prefixes: 50, PrefixTokens: 600}
		sc.Steering.Slack = time.Duration(slack) * time.Millisecond
		all = append(all, sc)
	}
	return all
}

func (b Base) coldStarts() []Scenario {
	right := b.steady("e10/cold-right", "nothing is known at the start, clients are where the database says", 0.62)
	right.Warm = 0
	wrong := b.steady("e10/cold-wrong", "nothing is known at the start, 30 % of clients are on another continent", 0.62)
	wrong.Warm, wrong.Misplaced = 0, 0.3
	return []Scenario{right, wrong}
}

func (b Base) overload() []Scenario {
	sc := b.steady("e11/overload", "twice what all can carry; a quarter critical, half batch; two countries held in their region", 2)
	sc.Classes = workload.Classes{Critical: 0.25, Batch: 0.5}
	sc.Seconds = 120
	sc.Steering.Shed = [3]float64{router.Standard: 1.1, router.Batch: 1}
	sc.Steering.Residency = []router.Residency{
		{Name: "at-home", Countries: []string{"DE", "FR", "JP"}, Regions: []router.RegionID{router.RegionID(b.Places[1]), router.RegionID(b.Places[2])}},
	}
	return []Scenario{sc}
}

func (b Base) own() []Scenario {
	blind := b.steady("e12/own-network", "the network of one of six routers fails for 8 s", 0.62)
	blind.Routers, blind.ReportAge = 6, 1
	blind.Faults = []Fault{{Router: 1, What: Swallows, From: 120, To: 128}}
	liar := b.steady("e12/liar", "one of six routers reports a hundred times what it has", 0.62)
	liar.Routers, liar.ReportAge, liar.Liar = 6, 1, true
	return []Scenario{blind, liar}
}

// days is a day of three small regions whose demand follows the sun, with something
// broken every hour.
func (b Base) days() []Scenario {
	sc := b.steady("day/faults", "24 hours of three small regions that follow the sun, something broken every hour", 0.35)
	sc.Warm, sc.Seconds, sc.Diurnal = 60, 24*3600-60, true
	sc.Regions = sc.Regions[:3]
	for i := range sc.Regions {
		sc.Regions[i].Endpoints, sc.Regions[i].Share = 2, 1
	}
	sc.Faults = hourly(b.Places[:3], 24)
	return []Scenario{sc}
}

// hourly breaks, hour by hour, one thing after the other at one place after the other.
func hourly(places []string, hours int) []Fault {
	kinds := []Fault{
		{What: Refuses},
		{What: Swallows},
		{What: Fails, Factor: 1},
		{What: Slows, Factor: 8, Endpoint: 1},
		{What: FailsFast, Factor: 0.3, Endpoint: 2},
		{What: Hangs, Endpoint: 1},
		{What: Shrinks, Factor: 0.5},
		{What: CutsOff, Factor: 0.2},
		{What: Refuses, Endpoint: 1, Every: 20},
	}
	var all []Fault
	for hour := range hours {
		f := kinds[hour%len(kinds)]
		f.Region = places[hour%len(places)]
		f.From = float64(hour)*3600 + 1200
		f.To = f.From + 600
		all = append(all, f)
	}
	return all
}

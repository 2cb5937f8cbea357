package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"proxima/configs"
	"proxima/geo"
	"proxima/internal/sim"
	"proxima/internal/sim/network"
	"proxima/internal/sim/workload"
	"proxima/router"
)

// setting is what can be played with the flags given.
type setting struct {
	scenarios []sim.Scenario
	policies  []string // when none are named
	operator  bool     // the scenarios are about a configuration
	about     string   // where it is and what the traffic is like
	assumed   []string // what an operator should know of it, in sentences
}

// Values of --base and --demand.
const (
	developed   = "developed"
	heldOut     = "held-out"
	byAddresses = "addresses"
	evenly      = "even"
)

func (a *app) settingOf(s *simulation) (*setting, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if s.file != "" {
		return a.ownSetting(s)
	}
	return a.experiments(s)
}

// check is about what flags say together.
func (s *simulation) check() error {
	switch {
	case len(s.scenarios) == 0 && s.file == "":
		return usage("which scenario? proxima simulate --scenario e1, or --scenario list")
	case s.seeds < 0 || s.seeds > mostSeeds:
		return usage("--seeds %d: write how many seeds to play, from 1 to %d", s.seeds, mostSeeds)
	case s.seeds > 0 && s.seed != 1:
		return usage("say either --seed %d or --seeds %d", s.seed, s.seeds)
	case s.base != developed && s.base != heldOut:
		return unknown("base", s.base, []string{developed, heldOut}, "")
	case s.places != "" && s.rtt == "":
		return usage("--places says where the places of a table are: name the table with --rtt FILE")
	case s.file == "" && (s.model != "" || s.demand != ""):
		return usage("--model and --demand are about a configuration: name it with -c FILE")
	case s.demand != "" && s.demand != byAddresses && s.demand != evenly:
		return unknown("demand", s.demand, []string{byAddresses, evenly}, "")
	}
	return nil
}

// experiments are where Proxima is compared with other policies.
func (a *app) experiments(s *simulation) (*setting, error) {
	base, traffic, err := s.baseWith(nil)
	if err != nil {
		return nil, err
	}
	places := base.Places
	if base, err = base.On(base.Network); err != nil {
		return nil, fmt.Errorf("--rtt %s: %w", s.rtt, err)
	}
	if !slices.Equal(places, base.Places) {
		fmt.Fprintf(a.stderr, "%s lacks some of %s; the places are %s instead, which are far from each other.\n",
			s.rtt, strings.Join(places, ", "), strings.Join(base.Places, ", "))
	}
	in := &setting{scenarios: base.Scenarios(), policies: policyNames()}
	for i := range in.scenarios {
		sc := &in.scenarios[i]
		sc.Arrivals, sc.Diurnal = traffic.Arrivals, traffic.Diurnal
		if s.load > 0 {
			sc.Load, sc.About = float64(s.load), sc.About+", here at "+percent(float64(s.load))
		}
	}
	in.about = fmt.Sprintf("base %s (%s), %s, requests as in %s", s.base, strings.Join(base.Places, ", "), s.roundTrips(), traffic.Name)
	return in, nil
}

// baseWith is the base of the flags, and its traffic. Places that are no cloud regions
// may be given.
func (s *simulation) baseWith(places map[string]geo.Location) (sim.Base, workload.Process, error) {
	base := sim.Developed()
	if s.base == heldOut {
		base = sim.HeldOut()
	}
	traffic := workload.Process{Name: base.Trace.Name, Trace: base.Trace}
	var err error
	if s.trace != "" {
		if traffic, err = traceNamed(s.trace); err != nil {
			return base, traffic, err
		}
		base.Trace = traffic.Trace
	}
	if s.rtt != "" {
		base.Network, err = s.readRTT(places)
	}
	return base, traffic, err
}

func (s *simulation) roundTrips() string {
	switch {
	case s.rtt != "":
		return "round trips of " + s.rtt
	case s.base == heldOut:
		return "90th percentiles of round trips between AWS regions"
	}
	return "medians of round trips between AWS regions"
}

func (s *simulation) readRTT(places map[string]geo.Location) (*network.Table, error) {
	if s.places != "" {
		own, err := readFile("--places", s.places, network.ReadPlaces)
		if err != nil {
			return nil, err
		}
		maps.Copy(own, places)
		places = own
	}
	return readFile("--rtt", s.rtt, func(file io.Reader, name string) (*network.Table, error) {
		return network.ReadAt(file, name, places)
	})
}

// readFile reads the file that a flag names.
func readFile[T any](flag, path string, read func(io.Reader, string) (T, error)) (found T, err error) {
	file, err := os.Open(path)
	if err == nil {
		defer file.Close()
		found, err = read(file, path)
	}
	if err != nil {
		return found, fmt.Errorf("%s: %w", flag, err)
	}
	return found, nil
}

// traces are the names of what workload.Processes makes, which takes a while.
func traces() []string { return []string{"conversation", "poisson", "bursty", "code", "diurnal"} }

// traceNamed is a named process, or the trace of a file with its own intervals.
func traceNamed(name string) (workload.Process, error) {
	if process, known := workload.Named(name); known {
		return process, nil
	}
	trace, err := readFile("--trace", name, workload.ReadTrace)
	if errors.Is(err, fs.ErrNotExist) {
		return workload.Process{}, unknown("trace", name, traces(), "there is no such file, and no process of that name: "+strings.Join(traces(), ", "))
	}
	return workload.Process{Name: name, Trace: trace, Arrivals: workload.Recorded}, err
}

// usualLoad is what a configuration is tried with unless --load says otherwise.
const usualLoad = 0.62

// ownSetting is made of a configuration's regions and endpoints.
func (a *app) ownSetting(s *simulation) (*setting, error) {
	config, err := configs.Load(s.file, a.env)
	if err != nil {
		return nil, &exit{exitConfig, err}
	}
	table, err := config.Table()
	if err != nil {
		return nil, err
	}
	places := map[string]geo.Location{}
	for _, region := range table.Regions {
		places[string(region.ID)] = region.Place
	}
	base, traffic, err := s.baseWith(places)
	if err != nil {
		return nil, err
	}
	operator := sim.Operator{
		Table: table, Model: router.Model(s.model), Network: base.Network, Traffic: traffic,
		Load: cmp.Or(float64(s.load), usualLoad), Even: s.demand == evenly,
	}
	if _, served := table.Serving(operator.Model); !served {
		return nil, unknown("model", s.model, modelNames(table), "")
	}
	in := &setting{operator: true, policies: []string{"proxima-learned"}}
	if in.scenarios, err = operator.Scenarios(); err != nil {
		return nil, err
	}
	in.assumed = assumptions(operator, in.scenarios[0].Table)
	in.about = fmt.Sprintf("%s, clients by %s, %s, requests as in %s", s.file, clientsBy(s.demand), s.roundTrips(), traffic.Name)
	return in, nil
}

func clientsBy(demand string) string {
	if demand == evenly {
		return "region, the same near each"
	}
	return "their countries' IPv4 addresses"
}

func modelNames(table *router.Table) []string {
	var names []string
	for _, model := range table.Models() {
		names = append(names, string(model))
	}
	return names
}

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"proxima/geo"
	"proxima/internal/sim"
	"proxima/router"
)

// printImpact prints, for one scenario of a configuration, where each policy sent the
// traffic and what clients waited, before a region died and after.
func printImpact(w io.Writer, sc *sim.Scenario, policies []string, results []sim.Result) {
	fmt.Fprintf(w, "%s: %s\n", sc.Name, sc.About)
	parts := partsOf(results)
	for _, policy := range policies {
		heads, rows := traffic(sc, parts, of(policy, results))
		if len(policies) > 1 {
			heads[0] = policy
		}
		fmt.Fprintln(w, numbers(heads, rows).Render())
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, numbers(waits(parts, policies, results)).Render())
	if left := results[0].Impact.After; left != nil {
		fmt.Fprintln(w, verdict(left.Load))
	}
	for _, rule := range homeless(sc) {
		fmt.Fprintf(w, "Residency %s leaves its clients no region: they are refused.\n", rule)
	}
	fmt.Fprintln(w)
}

// part is one of the two that a run has when something breaks in it.
type part struct {
	when string
	of   func(*sim.Result) *sim.Part
}

func partsOf(results []sim.Result) []part {
	before := part{" before", func(r *sim.Result) *sim.Part { return &r.Impact.Before }}
	if results[0].Impact.After == nil {
		before.when = ""
		return []part{before}
	}
	return []part{before, {" after", func(r *sim.Result) *sim.Part { return r.Impact.After }}}
}

// traffic is where requests went.
func traffic(sc *sim.Scenario, parts []part, results []sim.Result) (heads []string, rows [][]string) {
	heads = []string{"region", "endpoints", "of demand"}
	for _, p := range parts {
		heads = append(heads, "of traffic"+p.when)
	}
	for _, p := range parts {
		heads = append(heads, "load"+p.when)
	}
	demand := 0.0
	for i := range sc.Regions {
		demand += sc.Regions[i].Share
	}
	for i, region := range sc.Regions {
		row := []string{region.Name, fmt.Sprint(region.Endpoints), percent(region.Share / demand)}
		for _, p := range parts {
			row = append(row, percent(sim.Over(results, func(r *sim.Result) float64 { return p.of(r).Regions[i].Share }).Mean))
		}
		for _, p := range parts {
			row = append(row, percent(sim.Over(results, func(r *sim.Result) float64 { return p.of(r).Regions[i].Load }).Mean))
		}
		rows = append(rows, row)
	}
	return heads, rows
}

// waits is how long first tokens took, and what was lost.
func waits(parts []part, policies []string, results []sim.Result) (heads []string, rows [][]string) {
	var columns []column
	for _, figure := range []struct {
		head string
		of   func(*sim.Part) float64
	}{
		{"p50 ms", func(p *sim.Part) float64 { return p.P50 }},
		{"p95", func(p *sim.Part) float64 { return p.P95 }},
		{"p99", func(p *sim.Part) float64 { return p.P99 }},
		{"errors", func(p *sim.Part) float64 { return float64(p.Errors) }},
	} {
		for _, p := range parts {
			columns = append(columns, column{figure.head + p.when, func(r *sim.Result) float64 { return figure.of(p.of(r)) }, whole, 0})
		}
	}
	columns = append(columns, column{"streams lost", func(r *sim.Result) float64 { return float64(r.Lost) }, whole, 0})
	if len(parts) > 1 {
		columns = append(columns, column{"steered away s", func(r *sim.Result) float64 { return r.SteerS }, number, 0})
	}
	return compared(columns, policies, results)
}

// Loads at which what is left of a fleet begins to keep clients waiting, and cannot
// keep up.
const (
	tight = 0.85
	full  = 1.0
)

// verdict says whether the other regions can carry it.
func verdict(load float64) string {
	switch {
	case load == 0:
		return "There is no other region: nobody is answered."
	case load > full:
		return fmt.Sprintf("The other regions would be at %s of what they sustain: requests wait, and some in vain.", percent(load))
	case load > tight:
		return fmt.Sprintf("The other regions would be at %s of what they sustain: they carry it, and requests wait.", percent(load))
	}
	return fmt.Sprintf("The other regions carry it, at %s of what they sustain.", percent(load))
}

// homeless are the residency rules whose clients have nowhere to go, at the end.
func homeless(sc *sim.Scenario) []string {
	var names []string
	for _, rule := range sc.Steering.Residency {
		left := slices.DeleteFunc(slices.Clone(rule.Regions), func(id router.RegionID) bool {
			return slices.ContainsFunc(sc.Faults, func(f sim.Fault) bool { return f.Region == string(id) })
		})
		if len(left) == 0 {
			names = append(names, rule.Name)
		}
	}
	return names
}

// assumptions are what an operator should know of a simulation of their configuration,
// of which a part takes part.
func assumptions(o sim.Operator, in *router.Table) []string {
	all := []string{fmt.Sprintf("An endpoint is taken to be a server of an 8-billion-parameter model, with an accelerator for each %d requests of its capacity.", sim.AssumedSlots)}
	var undeclared, unmeasured []string
	for _, e := range in.Endpoints {
		if e.Capacity == 0 {
			undeclared = append(undeclared, string(e.ID))
		}
	}
	for _, region := range in.Regions {
		if o.Network.Index(string(region.ID)) < 0 {
			near := o.Network.Places[o.Network.Nearest(region.Place)]
			place, _ := o.Network.Place(near)
			unmeasured = append(unmeasured, fmt.Sprintf("%s from %s (%.0f km)", region.ID, near, geo.Km(region.Place, place)))
		}
	}
	if len(undeclared) > 0 {
		all = append(all, fmt.Sprintf("No capacity is declared for %s: %d is assumed.", few(undeclared), sim.AssumedSlots))
	}
	if len(unmeasured) > 0 {
		all = append(all, "Round trips are those of the nearest place that has any, and 15.7 ms more for each 1,000 km to there: "+few(unmeasured)+".")
	}
	if o.Model == "" && o.Table.ModelsMatter() {
		all = append(all, "Endpoints serve different models, but are taken to serve the same: --model M tries those of one.")
	}
	if o.Table.Steering.By == router.ByPath {
		all = append(all, "steering.by is path: each region has a router, which knows of its own requests only.")
	}
	return all
}

// few names the first of many things.
func few(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

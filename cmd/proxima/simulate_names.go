package main

import (
	"cmp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"proxima/internal/sim"
)

// choose picks scenarios by their names: one as e1/skewed-62, those before whose slash
// a name stands as e1, or all. Without a name it is all.
func choose(from []sim.Scenario, names []string) ([]sim.Scenario, error) {
	wanted := func(sc sim.Scenario, name string) bool {
		return name == "all" || name == sc.Name || name == group(sc.Name)
	}
	var chosen []sim.Scenario
	for _, name := range names {
		if !slices.ContainsFunc(from, func(sc sim.Scenario) bool { return wanted(sc, name) }) {
			return nil, unknown("scenario", name, scenarioNames(from), "see --scenario list")
		}
	}
	for _, sc := range from {
		if len(names) == 0 || slices.ContainsFunc(names, func(name string) bool { return wanted(sc, name) }) {
			chosen = append(chosen, sc)
		}
	}
	return chosen, nil
}

// choosePolicies returns them in the order of the tables, however they were named.
func choosePolicies(names, usual []string) ([]string, error) {
	known := policyNames()
	for _, name := range names {
		if name != "all" && !slices.Contains(known, name) {
			return nil, unknown("policy", name, known, "there are "+strings.Join(known, ", "))
		}
	}
	switch {
	case len(names) == 0:
		return usual, nil
	case slices.Contains(names, "all"):
		return known, nil
	}
	return slices.DeleteFunc(known, func(name string) bool { return !slices.Contains(names, name) }), nil
}

// group is the part of a scenario's name before the slash: its experiment.
func group(name string) string {
	before, _, _ := strings.Cut(name, "/")
	return before
}

// scenarioNames are the names of all scenarios and of their groups.
func scenarioNames(of []sim.Scenario) []string {
	var names []string
	for i := range of {
		if own := group(of[i].Name); !slices.Contains(names, own) {
			names = append(names, own)
		}
		if !slices.Contains(names, of[i].Name) {
			names = append(names, of[i].Name)
		}
	}
	return names
}

func policyNames() []string {
	var names []string
	for _, p := range sim.Policies() {
		names = append(names, p.Name)
	}
	return names
}

// unknown is the error about a name that is none of those known. It suggests the one
// that was probably meant; otherwise it says where to look, or all of them.
func unknown(thing, name string, known []string, otherwise string) error {
	if near := meant(name, known); near != "" {
		return usage("unknown %s %q: did you mean %q?", thing, name, near)
	}
	return usage("unknown %s %q: %s", thing, name, cmp.Or(otherwise, "there are "+strings.Join(known, ", ")))
}

// meant finds a name as cobra finds a command: a third of it may be wrong, or its end
// missing. It also finds one by the part after its slash.
func meant(name string, known []string) string {
	all := &cobra.Command{SuggestionsMinimumDistance: min((len(name)+1)/3, 2)}
	for _, one := range known {
		all.AddCommand(&cobra.Command{Use: one, Run: func(*cobra.Command, []string) {}})
	}
	for _, near := range all.SuggestionsFor(name) {
		return near
	}
	for _, one := range known {
		if _, point, _ := strings.Cut(one, "/"); point != "" && point == name {
			return one
		}
	}
	return ""
}

func asksForList(names []string) bool { return slices.Equal(names, []string{"list"}) }

// listed is a scenario as --scenario list prints it.
type listed struct {
	Experiment string `json:"experiment,omitempty"`
	Scenario   string `json:"scenario"`
	About      string `json:"about"`
}

func (a *app) listScenarios(in *setting, out format) error {
	if out == "json" {
		all := []listed{}
		for _, sc := range in.scenarios {
			one := listed{Scenario: sc.Name, About: sc.About}
			if !in.operator {
				one.Experiment = group(sc.Name)
			}
			all = append(all, one)
		}
		return writeJSON(a.stdout, all)
	}
	t, before := newTable("scenario", ""), ""
	for _, sc := range in.scenarios {
		if own := group(sc.Name); !in.operator && own != before {
			t.AppendRow([]any{own, asked(own)})
			before = own
		}
		t.AppendRow([]any{"  " + sc.Name, sc.About})
	}
	printTable(a.stdout, t)
	return nil
}

// asked is the question of an experiment.
func asked(experiment string) string {
	for _, e := range sim.Experiments() {
		if e.Name == experiment {
			return e.About
		}
	}
	return ""
}

// policyListed is a policy as --policy list prints it.
type policyListed struct {
	Policy string `json:"policy"`
	About  string `json:"about"`
}

func (a *app) listPolicies(out format) error {
	all := []policyListed{}
	t := newTable("policy", "")
	for _, p := range sim.Policies() {
		all = append(all, policyListed{p.Name, p.About})
		t.AppendRow([]any{p.Name, p.About})
	}
	if out == "json" {
		return writeJSON(a.stdout, all)
	}
	printTable(a.stdout, t)
	return nil
}

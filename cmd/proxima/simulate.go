package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"proxima/internal/sim"
)

// simulation is what proxima simulate was asked for.
type simulation struct {
	scenarios, policies []string
	seed                uint64
	seeds               int
	base                string
	rtt, places, trace  string
	load                share  // 0: the scenario's own
	file                string // an operator's configuration; "": the experiments
	model, demand       string // only with a file
	out                 format
}

func (a *app) simulateCommand() *cobra.Command {
	var s simulation
	cmd := &cobra.Command{
		Use:   "simulate --scenario NAME[,NAME...] [--policy NAME[,NAME...]] [-c FILE]",
		Short: "Compare ways to choose an endpoint, in simulated regions with measured round trips",
		Long: "Each scenario is played with the same arrivals under each policy, in simulated time: proxima is the\n" +
			"code that serves traffic, the others are what other proxies do, and the oracle knows every server.\n" +
			"The same flags print the same output.\n\n" +
			"With -c the regions, endpoints, capacities and steering of a configuration are tried instead: as they\n" +
			"are, and with each region in turn dying at the load given.",
		Example: "  proxima simulate --scenario list\n" +
			"  proxima simulate --scenario e1/skewed-85,e2 --policy nearest,proxima-learned --seeds 5\n" +
			"  proxima simulate -c proxima.yaml --scenario down/us-east1 --load 0.8",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.simulate(cmd.Context(), &s) },
	}
	s.flags(cmd)
	return cmd
}

func (s *simulation) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&s.scenarios, "scenario", nil, "an experiment as e1, a point of it as e1/skewed-62, all, or list")
	flags.StringSliceVar(&s.policies, "policy", nil, "policies to compare, or list (default all; with -c proxima-learned)")
	flags.Uint64Var(&s.seed, "seed", 1, "what chance is drawn from")
	flags.IntVar(&s.seeds, "seeds", 0, "play with each of the seeds 1 to N: means with their 95 % interval")
	flags.StringVar(&s.base, "base", developed, "developed: the places and traffic by which parameters were chosen; held-out: others")
	flags.StringVar(&s.rtt, "rtt", "", "a file of round trips: JSON or CSV (from,to,rtt_ms)")
	flags.StringVar(&s.places, "places", "", "a file that says where places of --rtt are that are no cloud regions (name,lat,lon,country)")
	flags.StringVar(&s.trace, "trace", "", "a file of requests (TIMESTAMP,ContextTokens,GeneratedTokens), or "+strings.Join(traces(), ", "))
	flags.Var(&s.load, "load", "demand over what all endpoints together sustain (default the scenario's; with -c 0.62)")
	flags.StringVarP(&s.file, "config", "c", "", "try the regions and endpoints of this configuration")
	flags.StringVar(&s.model, "model", "", "with -c: only endpoints that serve this model take part")
	flags.StringVar(&s.demand, "demand", "", "with -c: addresses, as many clients as countries have IPv4 addresses (default), or even, the same near each region")
	s.out.flag(cmd)

	complete := func(flag string, names []string) {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	}
	complete("policy", append(policyNames(), "list"))
	complete("base", []string{developed, heldOut})
	complete("demand", []string{byAddresses, evenly})
	_ = cmd.RegisterFlagCompletionFunc("trace", cobra.FixedCompletions(traces(), cobra.ShellCompDirectiveDefault))
	_ = cmd.RegisterFlagCompletionFunc("scenario", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return append(scenarioNames(sim.Developed().Scenarios()), "all", "list"), cobra.ShellCompDirectiveNoFileComp
	})
}

// simulate prints a scenario's results as soon as it is over; JSON is printed once, at
// the end.
func (a *app) simulate(ctx context.Context, s *simulation) error {
	if asksForList(s.policies) {
		return a.listPolicies(s.out)
	}
	in, err := a.settingOf(s)
	if err != nil {
		return err
	}
	if asksForList(s.scenarios) {
		return a.listScenarios(in, s.out)
	}
	scenarios, err := choose(in.scenarios, s.scenarios)
	if err != nil {
		return err
	}
	policies, err := choosePolicies(s.policies, in.policies)
	if err != nil {
		return err
	}
	return a.play(ctx, s, in, sim.Plan{Scenarios: scenarios, Policies: policies, Seeds: s.allSeeds(), Impact: in.operator})
}

func (a *app) play(ctx context.Context, s *simulation, in *setting, plan sim.Plan) error {
	progress := a.progress(plan.Runs())
	results := []sim.Result{}
	for i := range plan.Scenarios {
		one := plan
		one.Scenarios = plan.Scenarios[i : i+1]
		one.Progress = progress.step
		found, err := one.Play(ctx)
		progress.clear()
		if ctx.Err() != nil {
			return &exit{exitFailed, fmt.Errorf("stopped after %d of %s", progress.done, plural(progress.of, "run"))}
		}
		if err != nil {
			return err
		}
		results = append(results, found...)
		if s.out == "table" {
			a.printScenario(in, &plan.Scenarios[i], plan.Policies, found)
		}
	}
	if s.out == "json" {
		for _, sentence := range in.assumed {
			fmt.Fprintln(a.stderr, sentence)
		}
		return writeJSON(a.stdout, results)
	}
	a.printLegend(s, in)
	return nil
}

func (a *app) printScenario(in *setting, sc *sim.Scenario, policies []string, results []sim.Result) {
	if in.operator {
		printImpact(a.stdout, sc, policies, results)
	} else {
		printComparison(a.stdout, sc, policies, results)
	}
}

// share is a flag above 0.
type share float64

const mostLoad = 5

func (x *share) Type() string   { return "share" }
func (x *share) String() string { return strconv.FormatFloat(float64(*x), 'g', -1, 64) }

func (x *share) Set(text string) error {
	value, err := strconv.ParseFloat(text, 64)
	if err != nil || !(value > 0 && value <= mostLoad) {
		return fmt.Errorf("write a share above 0 and at most %d, such as 0.62", mostLoad)
	}
	*x = share(value)
	return nil
}

// mostSeeds is as many as anybody waits for.
const mostSeeds = 1000

func (s *simulation) allSeeds() []uint64 {
	if s.seeds == 0 {
		return []uint64{s.seed}
	}
	seeds := make([]uint64, s.seeds)
	for i := range seeds {
		seeds[i] = uint64(i + 1)
	}
	return seeds
}

// counter writes over one line of a terminal how far many runs are.
type counter struct {
	terminal io.Writer // io.Discard when nobody watches
	started  time.Time
	done, of int
}

func (a *app) progress(of int) *counter {
	c := &counter{terminal: io.Discard, started: time.Now(), of: of}
	if isTerminal(a.stderr) {
		c.terminal = a.stderr
	}
	return c
}

// eraseLine goes to the beginning of the line and empties it (ECMA-48, EL).
const eraseLine = "\r\x1b[K"

// step hears of each run that is done.
func (c *counter) step(int, int) {
	c.done++
	fmt.Fprint(c.terminal, eraseLine, c.far(time.Since(c.started)))
}

func (c *counter) far(after time.Duration) string {
	said := fmt.Sprintf("%d of %s", c.done, plural(c.of, "run"))
	left := after / time.Duration(c.done) * time.Duration(c.of-c.done)
	switch {
	case left >= 2*time.Minute:
		return said + fmt.Sprintf(", about %.0f min left", left.Minutes())
	case left >= time.Second:
		return said + fmt.Sprintf(", about %.0f s left", left.Seconds())
	}
	return said
}

// clear makes room for what is printed next.
func (c *counter) clear() { fmt.Fprint(c.terminal, eraseLine) }

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"proxima/bench/peers"
)

// suite is one comparison of peers: a world, who routes in it, and what is measured
// of each.
type suite struct {
	name    string
	about   string // what is sent where, for the head of the table
	world   []peers.Region
	peers   []peers.Peer // in the order of their turns
	warmUp  func(ctx context.Context, url string) error
	measure func(ctx context.Context, url string) ([]sample, error) // one turn of the peer at a URL
}

// suites are those that --suite knows.
func suites() map[string]func(settings) suite {
	return map[string]func(settings) suite{"steering": steering}
}

// settings are what the flags say about a comparison.
type settings struct {
	duration time.Duration // of one turn's load
	rate     float64       // requests a second; 0: the suite's own
	rounds   int
}

// mostRate is beyond what one machine can send.
const mostRate = 1_000_000

// comparison is a suite with the peers that were asked for, ready to run.
type comparison struct {
	suite
	settings
	write func(io.Writer, []row) error
}

// compare runs the suite that the flags ask for and returns the exit status: 0
// when every peer took all its turns, 1 when one did not, 2 when the flags make no
// sense. A peer that is not installed is left out with a word about it.
func compare(ctx context.Context, args []string, stdout, stderr io.Writer, watched bool) int {
	c, err := parseComparison(args, stderr)
	if err != nil {
		return 2
	}
	progress := io.Discard
	if watched {
		progress = stderr
	}
	all, err := c.run(ctx, stderr, progress)
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if err == nil {
		err = c.write(stdout, all)
	}
	if err != nil {
		fmt.Fprintf(stderr, "bench: %s: %v\n", c.name, err)
		return 1
	}
	return 0
}

// parseComparison reads the flags; whatever is wrong with them it has already said.
func parseComparison(args []string, stderr io.Writer) (comparison, error) {
	var s settings
	flags := flag.NewFlagSet("bench --suite", flag.ContinueOnError)
	flags.SetOutput(stderr)
	name := flags.String("suite", "", "what to compare: "+known(suites()))
	seconds := flags.Float64("seconds", 10, "length of each turn's load")
	flags.Float64Var(&s.rate, "rate", 0, "requests a second; 0: the suite's own")
	flags.IntVar(&s.rounds, "rounds", 3, "turns of each peer")
	among := flags.String("peers", "", "who takes part, separated by commas; all when empty")
	output := flags.String("o", "table", "output: table or json")
	if err := flags.Parse(args); err != nil {
		return comparison{}, err
	}
	s.duration = time.Duration(*seconds * float64(time.Second))
	c, err := s.comparison(*name, *among, *output)
	if err == nil {
		err = s.check(flags.Args())
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
	}
	return c, err
}

func (s settings) check(leftOver []string) error {
	switch {
	case len(leftOver) > 0:
		return fmt.Errorf("%q is too much; values stand behind a flag, as in --peers proxima,haproxy", leftOver[0])
	case s.duration <= 0:
		return errors.New("--seconds: a load needs a length above 0")
	case !(s.rate >= 0 && s.rate <= mostRate):
		return fmt.Errorf("--rate %g: a rate is above 0 and at most %d, or 0 for the suite's own", s.rate, mostRate)
	case s.rounds < 1:
		return fmt.Errorf("--rounds %d: there must be 1 or more", s.rounds)
	}
	return nil
}

// comparison builds what the other flags name.
func (s settings) comparison(name, among, output string) (comparison, error) {
	build, found := suites()[name]
	if !found {
		return comparison{}, fmt.Errorf("--suite %s: there is %s", name, known(suites()))
	}
	c := comparison{suite: build(s), settings: s}
	switch output {
	case "table":
		c.write = func(w io.Writer, all []row) error {
			fmt.Fprintf(w, "%s: %s, for %v; turns of each peer: %d\n\n", c.name, c.about, s.duration, s.rounds)
			return writeRowsTable(w, all)
		}
	case "json":
		c.write = writeRowsJSON
	default:
		return c, fmt.Errorf("-o %s: there is table and json", output)
	}
	var err error
	c.peers, err = pick(c.peers, among)
	return c, err
}

func known[V any](of map[string]V) string {
	return strings.Join(slices.Sorted(maps.Keys(of)), ", ")
}

// pick returns the peers of these names, in the order in which they are named.
func pick(of []peers.Peer, names string) ([]peers.Peer, error) {
	if names == "" {
		return of, nil
	}
	var picked []peers.Peer
	for name := range strings.SplitSeq(names, ",") {
		at := slices.IndexFunc(of, func(p peers.Peer) bool { return p.Name == name })
		if at < 0 {
			var all []string
			for _, p := range of {
				all = append(all, p.Name)
			}
			return nil, fmt.Errorf("--peers %s: there is %s", name, strings.Join(all, ", "))
		}
		if slices.ContainsFunc(picked, func(p peers.Peer) bool { return p.Name == name }) {
			return nil, fmt.Errorf("--peers: %s is named twice", name)
		}
		picked = append(picked, of[at])
	}
	return picked, nil
}

// run starts everything, lets the peers take their turns, and ends everything.
func (c comparison) run(ctx context.Context, complaints, progress io.Writer) ([]row, error) {
	folder, err := os.MkdirTemp("", "proxima-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	world := &peers.World{Folder: folder, Regions: c.world}
	closeWorld, err := world.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer closeWorld()

	entrants, err := c.start(ctx, world, complaints)
	defer func() {
		for _, e := range entrants {
			peers.Stop(e.process)
		}
	}()
	if err != nil {
		return nil, err
	}
	turns, err := c.alternate(ctx, entrants, progress)
	return rows(c.name, turns), err
}

// entrant is a peer that runs.
type entrant struct {
	name    string
	process *peers.Process
}

// start starts every peer that is installed. Those that run are returned with an
// error too.
func (c comparison) start(ctx context.Context, world *peers.World, complaints io.Writer) (entrants []entrant, err error) {
	for _, peer := range c.peers {
		process, err := peer.Start(ctx, world)
		if missing, is := errors.AsType[*peers.Missing](err); is {
			fmt.Fprintf(complaints, "bench: %s is left out: %v\n", peer.Name, missing)
			continue
		}
		if err != nil {
			return entrants, fmt.Errorf("start %s: %w", peer.Name, err)
		}
		entrants = append(entrants, entrant{peer.Name, process})
	}
	if len(entrants) == 0 {
		return nil, errors.New("nobody is left to compare")
	}
	return entrants, nil
}

// alternate lets the peers take turns, so that a machine that is slower for a
// minute is so for all of them. Peers keep running between their turns, as
// routers do, and remember what they learned.
func (c comparison) alternate(ctx context.Context, entrants []entrant, progress io.Writer) ([]turn, error) {
	for _, e := range entrants {
		fmt.Fprintf(progress, "warm-up: %s\n", e.name)
		if err := c.warmUp(ctx, e.process.URL); err != nil {
			return nil, fmt.Errorf("%s warms up: %w", e.name, err)
		}
	}
	var turns []turn
	for round := range c.rounds {
		for _, e := range entrants {
			fmt.Fprintf(progress, "round %d of %d: %s\n", round+1, c.rounds, e.name)
			samples, err := c.measure(ctx, e.process.URL)
			if err != nil {
				return nil, fmt.Errorf("%s in round %d: %w", e.name, round+1, err)
			}
			turns = append(turns, turn{e.name, samples})
		}
	}
	return turns, nil
}

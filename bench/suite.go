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
	name  string
	about string // what is sent where, for the head of the table
	world []peers.Region
	peers []peers.Peer // in the order of their turns

	// afresh: each turn has a world and a peer of its own, which nothing was sent to
	// before. So no peer's idling is in another's way, and what is measured of its
	// memory is not what it kept from earlier turns.
	afresh bool
	cores  *peers.Cores // that everything is confined to; nil: none

	warmUp  func(ctx context.Context, url string) error // once, unless afresh
	measure func(ctx context.Context, t trial) ([]sample, error)
}

// trial is one turn of a peer: its process, and the world behind it.
type trial struct {
	world *peers.World
	peer  *peers.Process
}

// kind is how a suite is made, and the length and number of turns that it has
// when the flags do not say.
type kind struct {
	build   func(settings) suite
	seconds float64
	rounds  int
}

// suites are those that --suite knows.
func suites() map[string]kind {
	all := map[string]kind{"steering": {steering, 10, 3}}
	maps.Copy(all, hopSuites())
	return all
}

// settings are what the flags say about a comparison.
type settings struct {
	duration    time.Duration // of one turn's load
	rate        float64       // requests or tokens a second; 0: the suite's own
	rounds      int
	streams     int      // that tokens flow in
	connections int      // or streams, held open to see their memory
	binaries    []string // programs of Proxima built before
	warn        func(format string, args ...any)
}

const (
	mostRate    = 1_000_000 // beyond what one machine can send
	mostClients = 100_000   // likewise
)

// comparison is a suite with the peers that were asked for, ready to run.
type comparison struct {
	suite
	settings
	command string
	write   func(w io.Writer, head string, all []row) error
}

// compare runs the suite that the flags ask for and returns the exit status: 0
// when every peer took all its turns, 1 when one did not, 2 when the flags make no
// sense. A peer that is not installed is left out with a word about it.
func compare(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, err := parseComparison(args, stderr)
	if err != nil {
		return 2
	}
	head, all, err := c.run(ctx, stderr)
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	} else if len(all) > 0 {
		err = errors.Join(c.write(stdout, head, all), err)
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
	seconds := flags.Float64("seconds", 0, "length of each turn's load (the suite's own)")
	flags.Float64Var(&s.rate, "rate", 0, "requests a second, or tokens; 0: the suite's own")
	flags.IntVar(&s.rounds, "rounds", 0, "turns of each peer (the suite's own)")
	flags.IntVar(&s.streams, "streams", 1000, "streams that tokens flow in, in suite stream")
	flags.IntVar(&s.connections, "connections", 10_000, "streams or connections held open to see their memory; no more than the limit of open files allows")
	binaries := flags.String("binary", "", "programs of Proxima to take part instead of the sources here, separated by commas: proxima, proxima-2, …")
	among := flags.String("peers", "", "who takes part, separated by commas; all when empty")
	output := flags.String("o", "table", "output: table or json")
	if err := flags.Parse(args); err != nil {
		return comparison{}, err
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if of := suites()[*name]; !given["seconds"] {
		*seconds = of.seconds
	}
	if !given["rounds"] {
		s.rounds = suites()[*name].rounds
	}
	s.duration = time.Duration(*seconds * float64(time.Second))
	if *binaries != "" {
		s.binaries = strings.Split(*binaries, ",")
	}
	s.warn = func(format string, args ...any) { fmt.Fprintf(stderr, "bench: "+format+"\n", args...) }
	c, err := s.comparison(*name, *among, *output)
	if err == nil {
		err = s.check(flags.Args())
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
	}
	c.command = "go run ./bench " + strings.Join(args, " ")
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
	case s.streams < 1, s.streams > mostClients:
		return fmt.Errorf("--streams %d: there must be 1 to %d", s.streams, mostClients)
	case s.connections < 1, s.connections > mostClients:
		return fmt.Errorf("--connections %d: there must be 1 to %d", s.connections, mostClients)
	case s.rounds < 1:
		return fmt.Errorf("--rounds %d: there must be 1 or more", s.rounds)
	}
	return nil
}

// comparison builds what the other flags name.
func (s settings) comparison(name, among, output string) (comparison, error) {
	of, found := suites()[name]
	if !found {
		return comparison{}, fmt.Errorf("--suite %s: there is %s", name, known(suites()))
	}
	c := comparison{suite: of.build(s), settings: s}
	switch output {
	case "table":
		c.write = func(w io.Writer, head string, all []row) error {
			fmt.Fprintln(w, head)
			return writeRowsTable(w, all)
		}
	case "json":
		c.write = func(w io.Writer, _ string, all []row) error { return writeRowsJSON(w, all) }
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

// run makes everybody ready, lets the peers take their turns, and ends everything.
// What it does and who is left out it says as it goes.
func (c comparison) run(ctx context.Context, says io.Writer) (head string, all []row, err error) {
	folder, err := os.MkdirTemp("", "proxima-bench-")
	if err != nil {
		return "", nil, err
	}
	defer os.RemoveAll(folder)
	world := &peers.World{Folder: folder, Regions: c.world, Cores: c.cores}
	versions, err := c.prepare(ctx, world, says)
	if err != nil {
		return "", nil, err
	}
	var turns []turn
	if c.afresh {
		turns, err = c.alternateAfresh(ctx, world, says)
	} else {
		turns, err = c.alternate(ctx, world, says)
	}
	return c.head(versions), rows(c.name, turns), err
}

// prepare asks the peers for their versions. Those that are not installed take no
// part.
func (c *comparison) prepare(ctx context.Context, world *peers.World, says io.Writer) (versions []string, err error) {
	var ready []peers.Peer
	for _, peer := range c.peers {
		version, err := peer.Version(ctx, world)
		if missing, is := errors.AsType[*peers.Missing](err); is {
			fmt.Fprintf(says, "bench: %s is left out: %v\n", peer.Name, missing)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("prepare %s: %w", peer.Name, err)
		}
		ready = append(ready, peer)
		versions = append(versions, peer.Name+": "+version)
	}
	if len(ready) == 0 {
		return nil, errors.New("nobody is left to compare")
	}
	c.peers = ready
	return versions, nil
}

// head is what a reader needs to know to repeat the figures of a table.
func (c comparison) head(versions []string) string {
	return fmt.Sprintf("%s: %s, for %v; turns of each peer: %d\n%s, %s\n%s\n%s\n",
		c.name, c.about, c.duration, c.rounds,
		time.Now().Format(time.DateOnly), peers.Machine(), strings.Join(versions, "\n"), c.command)
}

// alternate lets the peers take turns, so that a machine that is slower for a
// minute is so for all of them. Peers keep running between their turns, as
// routers do, and remember what they learned.
func (c comparison) alternate(ctx context.Context, world *peers.World, says io.Writer) ([]turn, error) {
	closeWorld, err := world.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer closeWorld()
	running := map[string]*peers.Process{}
	defer func() { peers.Stop(slices.Collect(maps.Values(running))...) }()
	for _, peer := range c.peers {
		if running[peer.Name], err = peer.Start(ctx, world); err != nil {
			delete(running, peer.Name)
			return nil, fmt.Errorf("start %s: %w", peer.Name, err)
		}
	}
	for _, peer := range c.peers {
		fmt.Fprintf(says, "warm-up: %s\n", peer.Name)
		if err := c.warmUp(ctx, running[peer.Name].URL); err != nil {
			return nil, fmt.Errorf("%s warms up: %w", peer.Name, err)
		}
	}
	return c.takeTurns(says, func(peer peers.Peer) ([]sample, error) {
		return c.measure(ctx, trial{world, running[peer.Name]})
	})
}

// alternateAfresh lets the peers take turns, of which each begins with starting the
// world and the peer.
func (c comparison) alternateAfresh(ctx context.Context, world *peers.World, says io.Writer) ([]turn, error) {
	return c.takeTurns(says, func(peer peers.Peer) ([]sample, error) {
		closeWorld, err := world.Open(ctx)
		if err != nil {
			return nil, err
		}
		defer closeWorld()
		process, err := peer.Start(ctx, world)
		if err != nil {
			return nil, fmt.Errorf("start: %w", err)
		}
		defer peers.Stop(process)
		samples, err := c.measure(ctx, trial{world, process})
		return samples, process.Explain(err)
	})
}

// takeTurns calls each peer once a round. An error ends it, unless peers begin
// afresh: then the turn is left out, and all such errors are returned with the others.
func (c comparison) takeTurns(says io.Writer, take func(peers.Peer) ([]sample, error)) ([]turn, error) {
	var turns []turn
	var errs []error
	for round := range c.rounds {
		for _, peer := range c.peers {
			fmt.Fprintf(says, "round %d of %d: %s\n", round+1, c.rounds, peer.Name)
			samples, err := take(peer)
			if err == nil {
				turns = append(turns, turn{peer.Name, samples})
				continue
			}
			errs = append(errs, fmt.Errorf("%s in round %d: %w", peer.Name, round+1, err))
			if !c.afresh || errors.Is(err, context.Canceled) {
				return nil, errors.Join(errs...)
			}
		}
	}
	return turns, errors.Join(errs...)
}

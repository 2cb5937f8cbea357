package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"proxima/bench/load"
	"proxima/bench/peers"
	"proxima/bench/raw"
	"proxima/internal/modelserver"
)

// hopSuites ask what a hop through a router costs: its processor time, its memory,
// and the time that it adds. The router has a core for itself; the load and the
// model servers share another one and are as cheap as can be, so that the router is
// what limits.
func hopSuites() map[string]kind {
	return map[string]kind{
		"unary":       {unary, 3, 5},
		"stream":      {stream, 3, 5},
		"connections": {connections, 3, 5},
		"failover":    {failover, 12, 5},
	}
}

// calm peers find nothing dead, even on a machine that is busy with something else.
func calm() peers.Hops { return peers.Hops{Patience: 20 * time.Second} }

// hopSuite is what these suites have in common. The peers are set up as hops says.
func hopSuite(s settings, hops peers.Hops, of suite) suite {
	measure, told := of.measure, false
	files, err := peers.AllowFiles()
	of.afresh, of.cores = true, peers.TwoCores()
	hops.Files, hops.Binaries = files, s.binaries
	of.peers = hops.Peers()
	if of.world == nil {
		of.world = bareWorld()
	}
	of.measure = func(ctx context.Context, t trial) ([]sample, error) {
		switch {
		case err != nil:
			return nil, fmt.Errorf("limit of open files: %w", err)
		case of.cores == nil:
			return nil, errors.New("two cores are needed, one for the router and one for the load")
		}
		undo, err := of.cores.PinLoad()
		if err != nil {
			return nil, fmt.Errorf("pin the load: %w", err)
		}
		defer undo()
		if !s.rest(ctx) && !told {
			s.warn("the machine has something else to do: times and rates will be worse than they are")
			told = true
		}
		return measure(ctx, t)
	}
	return of
}

// bareWorld is the regions of the suite steering with servers that cost next to
// nothing.
func bareWorld() []peers.Region {
	world := steeringWorld()
	for i := range world {
		world[i].Bare, world[i].Model = true, modelserver.Settings{}
	}
	return world
}

// rest lets a peer finish with what came before, and waits until the machine is quiet,
// as long as a load lasts. It reports whether that came.
func (s settings) rest(ctx context.Context) bool { return peers.Quiet(ctx, s.duration) }

// runUp is how long a load lasts before it counts.
func (s settings) runUp() time.Duration { return s.duration / 3 }

// fleet is clients near the first region, of a server at a URL or an address.
func (t trial) fleet(server string, n int, chat raw.Chat) (*raw.Fleet, error) {
	from := clientsOf(t.world.Regions[0].Clients, 250)
	return raw.NewFleet(strings.TrimPrefix(server, "http://"), n, func(i int) []byte {
		chat.Client, chat.BodyBytes = from[i%len(from)], 1024
		return chat.Bytes()
	})
}

// nearest is the address of the endpoint to which all of a fleet's requests should
// go.
func (t trial) nearest() string { return t.world.Regions[0].Address }

// spent is processor time.
type spent struct{ peer, load time.Duration }

// spend says how much processor time passes while work is done.
func (t trial) spend(work func() error) (spent, error) {
	before, err := t.spentSoFar()
	if err != nil {
		return spent{}, err
	}
	if err := work(); err != nil {
		return spent{}, err
	}
	after, err := t.spentSoFar()
	return spent{after.peer - before.peer, after.load - before.load}, err
}

func (t trial) spentSoFar() (spent, error) {
	var all spent
	var err error
	if all.peer, err = t.peer.CPU(); err != nil {
		return all, err
	}
	if all.load, err = peers.OwnCPU(); err != nil {
		return all, err
	}
	for _, region := range t.world.Regions {
		cpu, err := region.Server.CPU()
		if err != nil {
			return all, err
		}
		all.load += cpu
	}
	return all, nil
}

// costs are the processor times of work that took so long: of the peer for each of n
// pieces, and how busy both cores were with it.
func (s spent) costs(piece string, n int, took time.Duration) []sample {
	return []sample{
		{"cpu_per_" + piece, "µs", float64(s.peer.Nanoseconds()) / 1000 / float64(n)},
		{"router_core", "%", 100 * s.peer.Seconds() / took.Seconds()},
		{"load_core", "%", 100 * s.load.Seconds() / took.Seconds()},
	}
}

// kibEach is how much memory a peer has more than before, shared out among n.
func (t trial) kibEach(before int64, n int) (float64, error) {
	now, err := t.peer.Memory()
	return float64(now-before) / 1024 / float64(n), err
}

// added is what a hop adds to percentiles of the direct way. When something else runs
// on the machine, the direct tail says so.
func added(name string, direct, through load.Latency) []sample {
	const us = 1000 // µs in a ms
	return []sample{
		{name + "_direct_p50", "µs", us * direct.P50},
		{name + "_direct_p99", "µs", us * direct.P99},
		{name + "_added_p50", "µs", us * (through.P50 - direct.P50)},
		{name + "_added_p99", "µs", us * (through.P99 - direct.P99)},
		{name + "_added_p99.9", "µs", us * (through.P999 - direct.P999)},
	}
}

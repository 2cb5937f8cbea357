package main

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"proxima/bench/load"
	"proxima/bench/peers"
)

func TestEachSuiteMeasuresAPeer(t *testing.T) {
	for name, c := range map[string]struct {
		build   func(settings) suite
		metrics []string
	}{
		"unary": {unary, []string{
			"requests", "failed", "cpu_per_request", "router_core", "load_core",
			"request_direct_p50", "request_direct_p99", "request_added_p50", "request_added_p99", "request_added_p99.9",
		}},
		"stream": {stream, []string{
			"tokens", "broken", "cpu_per_token", "router_core", "load_core", "memory_per_stream_at_4",
			"token_direct_p50", "token_direct_p99", "token_added_p50", "token_added_p99", "token_added_p99.9", "memory_per_stream_at_6",
		}},
		"connections": {connections, []string{"memory_per_connection_at_6"}},
		"failover":    {failover, []string{"failed", "cut", "late", "longest_gap", "normal_after", "started_late_p99"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := settings{
				duration: 60 * time.Millisecond, rounds: 1, rate: 500, streams: 4, connections: 6,
				warn: func(format string, args ...any) { t.Logf(format, args...) },
			}
			of := c.build(s)
			if of.cores == nil {
				t.Skip("it needs two cores")
			}
			of.peers = []peers.Peer{bystander()}

			_, all, err := comparison{suite: of, settings: s}.run(t.Context(), t.Output())
			if err != nil {
				t.Fatal(err)
			}

			var metrics []string
			for _, row := range all {
				metrics = append(metrics, row.Metric)
			}
			if !slices.Equal(metrics, c.metrics) {
				t.Errorf("the metrics are %v", metrics)
			}
		})
	}
}

// bystander is a peer that answers by itself: the model server of a region that no
// client is near.
func bystander() peers.Peer {
	return peers.Peer{
		Name:    "bystander",
		Version: func(context.Context, *peers.World) (string, error) { return "", nil },
		Start:   func(_ context.Context, w *peers.World) (*peers.Process, error) { return w.Regions[2].Server, nil },
	}
}

func TestTheBinariesAreFurtherPeers(t *testing.T) {
	var names []string
	for _, peer := range unary(settings{binaries: []string{"before", "after"}}).peers {
		names = append(names, peer.Name)
	}

	if want := "[proxima proxima-2 haproxy nginx caddy haproxy-log nginx-log]"; fmt.Sprint(names) != want {
		t.Errorf("the peers are %v", names)
	}
}

func TestCostsAreProcessorTimeOfEachPieceAndOfTheCores(t *testing.T) {
	got := spent{peer: time.Second, load: 500 * time.Millisecond}.costs("token", 40_000, 2*time.Second)

	want := []sample{{"cpu_per_token", "µs", 25}, {"router_core", "%", 50}, {"load_core", "%", 25}}
	if !slices.Equal(got, want) {
		t.Errorf("the samples are %v", got)
	}
}

func TestWhatAHopAddsIsTheDifferenceOfPercentiles(t *testing.T) {
	direct, through := load.Latency{P50: 0.25, P99: 1, P999: 2}, load.Latency{P50: 0.5, P99: 1.5, P999: 1.75}

	got := added("token", direct, through)

	want := []sample{
		{"token_direct_p50", "µs", 250},
		{"token_direct_p99", "µs", 1000},
		{"token_added_p50", "µs", 250},
		{"token_added_p99", "µs", 500},
		{"token_added_p99.9", "µs", -250},
	}
	if !slices.Equal(got, want) {
		t.Errorf("the samples are %v", got)
	}
}

func TestADeathIsFeltUntilTheLastRequestThatItHurt(t *testing.T) {
	answered := func(due, ttfb time.Duration) load.Result {
		return load.Result{Due: due, TTFB: ttfb, Total: ttfb, Complete: true}
	}
	const ms = time.Millisecond
	report := load.Report{Results: []load.Result{
		answered(0, 1100*ms), // late, but over before
		answered(1900*ms, 50*ms),
		{Due: 1950 * ms, Total: 100 * ms, Stream: true},
		{Due: 2010 * ms, Total: 90 * ms},
		answered(2020*ms, 1200*ms),
		answered(3300*ms, 20*ms),
	}}

	got := afterDeath(report, 2000*ms)

	want := []sample{
		{"failed", "requests", 1},
		{"cut", "streams", 1},
		{"late", "chats", 2},
		{"longest_gap", "ms", 1270},
		{"normal_after", "ms", 1220},
		{"started_late_p99", "ms", 0},
	}
	if !slices.Equal(got, want) {
		t.Errorf("the samples are %v", got)
	}
}

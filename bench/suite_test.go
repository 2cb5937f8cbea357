package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"proxima/bench/load"
	"proxima/bench/peers"
	"proxima/internal/modelserver"
)

func TestRowsHaveTheMedianTheExtremesAndTheRatio(t *testing.T) {
	turns := []turn{
		{"proxima", []sample{{"ttft_p50", "ms", 30}, {"errors", "%", 0}}},
		{"haproxy", []sample{{"ttft_p50", "ms", 40}, {"errors", "%", 0}}},
		{"proxima", []sample{{"ttft_p50", "ms", 10}, {"errors", "%", 0}}},
		{"haproxy", []sample{{"ttft_p50", "ms", 80.004}, {"errors", "%", 0}}},
		{"proxima", []sample{{"ttft_p50", "ms", 20}, {"errors", "%", 1}, {"added", "µs", 3}}},
		{"haproxy", []sample{{"added", "µs", -2}}},
	}
	var text bytes.Buffer

	if err := writeRowsTable(&text, rows("steering", turns)); err != nil {
		t.Fatal(err)
	}

	const want = `
    metric  unit     peer  median    min    max  to haproxy
  ttft_p50    ms  proxima   20.00  10.00  30.00        0.33
  ttft_p50    ms  haproxy   60.00  40.00  80.00        1.00
    errors     %  proxima    0.00   0.00   1.00           -
    errors     %  haproxy    0.00   0.00   0.00           -
     added    µs  proxima    3.00   3.00   3.00           -
     added    µs  haproxy   -2.00  -2.00  -2.00           -
`
	if got := "\n" + text.String(); got != want {
		t.Errorf("the table is%s", got)
	}
}

func TestRowsAreJSONForMachines(t *testing.T) {
	for name, c := range map[string]struct {
		turns []turn
		want  string
	}{
		"with haproxy": {
			[]turn{{"haproxy", []sample{{"ttft_p50", "ms", 40}}}},
			`[{"suite":"steering","peer":"haproxy","metric":"ttft_p50","unit":"ms","median":40,"min":40,"max":40,"ratio_to_haproxy":1}]`,
		},
		"without haproxy": {
			[]turn{{"proxima", []sample{{"errors", "%", 2}}}},
			`[{"suite":"steering","peer":"proxima","metric":"errors","unit":"%","median":2,"min":2,"max":2,"ratio_to_haproxy":null}]`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var text bytes.Buffer

			if err := writeRowsJSON(&text, rows("steering", c.turns)); err != nil {
				t.Fatal(err)
			}

			if got := strings.Join(strings.Fields(text.String()), ""); got != c.want {
				t.Errorf("the rows are %s", got)
			}
		})
	}
}

func TestPeersTakeTurnsAndTheMissingOneIsLeftOut(t *testing.T) {
	var heard []string
	c := fake(&heard, running("a"), missing("b"), running("c"))
	var says bytes.Buffer

	head, all, err := c.run(t.Context(), &says)
	if err != nil {
		t.Fatal(err)
	}

	if want := []string{"warm a", "warm c", "a", "c", "a", "c"}; !slices.Equal(heard, want) {
		t.Errorf("the turns were %v", heard)
	}
	if len(all) != 2 || all[0].Peer != "a" || all[1].Peer != "c" {
		t.Errorf("the rows are %+v", all)
	}
	if want := "bench: b is left out: b is not installed; install it with: apt-get install b\n"; !strings.HasPrefix(says.String(), want) {
		t.Errorf("it said %q", says.String())
	}
	for _, part := range []string{"turns of each peer: 2", peers.Machine(), "a: version 1\nc: version 1\n", "go run ./bench --fake"} {
		if !strings.Contains(head, part) {
			t.Errorf("the head lacks %q:\n%s", part, head)
		}
	}
}

func TestAComparisonOfNobodyFails(t *testing.T) {
	var heard []string

	_, _, err := fake(&heard, missing("b")).run(t.Context(), io.Discard)

	if err == nil || !strings.Contains(err.Error(), "nobody is left") {
		t.Errorf("the error is %v", err)
	}
}

func TestAPeerThatFailsIsNamed(t *testing.T) {
	var heard []string
	failing := running("b")
	failing.Start = func(context.Context, *peers.World) (*peers.Process, error) { return nil, errors.New("port in use") }
	broken := fake(&heard, running("a"), failing)
	silent := fake(&heard, running("a"))
	silent.measure = func(context.Context, trial) ([]sample, error) { return nil, errors.New("no request was answered") }

	_, _, first := broken.run(t.Context(), io.Discard)
	_, _, second := silent.run(t.Context(), io.Discard)

	if first == nil || first.Error() != "start b: port in use" {
		t.Errorf("the first error is %v", first)
	}
	if second == nil || second.Error() != "a in round 1: no request was answered" {
		t.Errorf("the second error is %v", second)
	}
}

func TestPeersThatBeginAfreshAreStartedForEachTurnAndMayMissOne(t *testing.T) {
	var heard []string
	started := 0
	fails := running("b")
	fails.Start = func(context.Context, *peers.World) (*peers.Process, error) {
		if started++; started == 1 {
			return nil, errors.New("port in use")
		}
		return &peers.Process{URL: "b"}, nil
	}
	c := fake(&heard, running("a"), fails)
	c.afresh = true

	_, all, err := c.run(t.Context(), io.Discard)

	if want := []string{"a", "a", "b"}; !slices.Equal(heard, want) {
		t.Errorf("the turns were %v", heard)
	}
	if len(all) != 2 || err == nil || err.Error() != "b in round 1: start: port in use" {
		t.Errorf("%d rows, and the error is %v", len(all), err)
	}
}

func TestSteeringTellsTheWaitTheErrorsAndTheShares(t *testing.T) {
	answered := func(region string, ttfb time.Duration) load.Result {
		return load.Result{Region: region, TTFB: ttfb, Complete: true}
	}
	report := load.Report{Requests: 4, Failed: 1, Results: []load.Result{
		answered("near", 100*time.Millisecond), answered("near", 200*time.Millisecond), answered("far", 300*time.Millisecond),
		{Region: "near", TTFB: time.Millisecond, Status: 503, Error: load.BadStatus}, // a fast error is no fast answer
	}}

	got, err := firstTokens(report, steeringWorld())
	if err != nil {
		t.Fatal(err)
	}

	want := []sample{
		{"ttft_p50", "ms", 200},
		{"ttft_p95", "ms", 300},
		{"ttft_p99", "ms", 300},
		{"errors", "%", 25},
		{"share_near", "%", 200.0 / 3},
		{"share_mid", "%", 0},
		{"share_far", "%", 100.0 / 3},
		{"started_late_p99", "ms", 0},
	}
	if !slices.Equal(got, want) {
		t.Errorf("the samples are %v", got)
	}
	if _, err := firstTokens(load.Report{Requests: 3, Failed: 3}, steeringWorld()); err == nil {
		t.Error("three failures have a time to first token")
	}
}

func TestSteeringStreamsFromClientsOfOneRegion(t *testing.T) {
	url := serve(t, modelserver.New(modelserver.Settings{Region: "near"}))
	s := steering(settings{duration: 10 * time.Millisecond, rate: 1000})

	samples, err := s.measure(t.Context(), trial{peer: &peers.Process{URL: url}})
	if err != nil {
		t.Fatal(err)
	}

	if !slices.Contains(samples, sample{"share_near", "%", 100}) || !slices.Contains(samples, sample{"errors", "%", 0}) {
		t.Errorf("the samples are %v", samples)
	}
	for _, client := range clientsOf(s.world[0].Clients, 32) {
		if !strings.HasPrefix(client, "198.51.100.") || client == "198.51.100.0" {
			t.Errorf("a client at %s", client)
		}
	}
}

func TestSenselessComparisonsExitWithTwoAndSayWhatToWrite(t *testing.T) {
	for _, c := range []struct{ args, hint string }{
		{"--suite unknown", "there is " + known(suites())},
		{"--suite=steering --peers nginx", "there is proxima, proxima-undeclared, haproxy, haproxy-backup, haproxy-leastconn"},
		{"--peers proxima,haproxy --suite steering --seconds 0", "above 0"},
		{"--suite steering --seconds NaN", "above 0"},
		{"--suite steering --rate -1", "above 0"},
		{"--suite steering --rate NaN", "above 0"},
		{"--suite steering --rate Inf", "at most 1000000"},
		{"--suite steering --peers haproxy,haproxy", "haproxy is named twice"},
		{"--suite steering --rounds 0", "1 or more"},
		{"--suite steering --streams 0", "--streams 0: there must be 1 to 100000"},
		{"--suite steering --connections -1", "--connections -1: there must be 1 to 100000"},
		{"-suite steering -o yaml", "table and json"},
		{"--suite steering proxima", "--peers proxima,haproxy"},
		{"--suite steering --url http://127.0.0.1", "-url"},
		{"--suite", "needs an argument"},
	} {
		t.Run(c.args, func(t *testing.T) {
			code, stdout, stderr := bench(t, false, strings.Fields(c.args)...)

			if code != 2 || stdout != "" || !strings.Contains(stderr, c.hint) {
				t.Errorf("exit %d, stderr %q", code, stderr)
			}
		})
	}
}

func TestAnInterruptedComparisonPrintsNoRows(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr bytes.Buffer

	code := compare(ctx, strings.Fields("--suite steering -o json"), &stdout, &stderr)

	if code != 1 || stdout.Len() > 0 || stderr.String() != "bench: steering: interrupted\n" {
		t.Errorf("exit %d, stdout %q, stderr %q", code, stdout.String(), stderr.String())
	}
}

// fake is a comparison of two rounds without a world, which notes whose turn it is.
func fake(heard *[]string, of ...peers.Peer) comparison {
	return comparison{settings: settings{rounds: 2}, command: "go run ./bench --fake", suite: suite{
		name: "fake", peers: of,
		warmUp: func(_ context.Context, url string) error {
			*heard = append(*heard, "warm "+url)
			return nil
		},
		measure: func(_ context.Context, t trial) ([]sample, error) {
			*heard = append(*heard, t.peer.URL)
			return []sample{{"turns", "", 1}}, nil
		},
	}}
}

// running is a peer whose URL is its name.
func running(name string) peers.Peer {
	return peers.Peer{
		Name:    name,
		Version: func(context.Context, *peers.World) (string, error) { return "version 1", nil },
		Start:   func(context.Context, *peers.World) (*peers.Process, error) { return &peers.Process{URL: name}, nil },
	}
}

func missing(name string) peers.Peer {
	return peers.Peer{Name: name, Version: func(context.Context, *peers.World) (string, error) {
		return "", &peers.Missing{Program: name, Install: "apt-get install " + name}
	}}
}

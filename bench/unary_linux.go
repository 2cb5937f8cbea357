package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"proxima/bench/load"
	"proxima/bench/raw"
)

const (
	unaryClients = 64
	unaryRate    = 2000.0 // requests/s, which every peer can carry easily
	pieces       = 4      // into which the loads with and without the peer are cut, to alternate
)

// unary asks what a hop costs a request that is answered at once and whole: as many
// as the peer can carry, for its processor time, and then few enough that none waits
// for another, for the time that each takes longer than without the peer.
func unary(s settings) suite {
	rate := cmp.Or(s.rate, unaryRate)
	return hopSuite(s, calm(), suite{
		name: "unary",
		about: fmt.Sprintf("POST of 1 KiB answered with 600 bytes, %d kept connections; first as fast as can be, then %g requests/s",
			unaryClients, rate),
		measure: func(ctx context.Context, t trial) ([]sample, error) {
			through, err := t.fleet(t.peer.URL, unaryClients, raw.Chat{})
			if err != nil {
				return nil, err
			}
			defer through.Close()
			direct, err := t.fleet(t.nearest(), unaryClients, raw.Chat{})
			if err != nil {
				return nil, err
			}
			defer direct.Close()
			if err := errors.Join(through.Ask(ctx), direct.Ask(ctx)); err != nil {
				return nil, err
			}
			fast, err := s.saturated(ctx, t, through)
			if err != nil {
				return nil, err
			}
			s.rest(ctx)
			slow, err := paced(ctx, direct, through, rate, s.duration)
			return append(fast, slow...), err
		},
	})
}

// saturated is what the peer does when every client asks again at once.
func (s settings) saturated(ctx context.Context, t trial, fleet *raw.Fleet) ([]sample, error) {
	if _, err := fleet.Saturate(ctx, s.runUp()); err != nil {
		return nil, err
	}
	var tally raw.Tally
	cpu, err := t.spend(func() (err error) {
		tally, err = fleet.Saturate(ctx, s.duration)
		return err
	})
	if err != nil {
		return nil, err
	}
	if tally.Answers == 0 {
		return nil, errors.New("no request was answered")
	}
	if tally.Failed > 0 {
		s.warn("%d requests failed; the first: %s", tally.Failed, tally.Why)
	}
	samples := []sample{
		{"requests", "1/s", float64(tally.Answers) / tally.Took.Seconds()},
		{"failed", "requests", float64(tally.Failed)},
	}
	return append(samples, cpu.costs("request", tally.Answers, tally.Took)...), nil
}

// paced is what the way through a peer adds to the direct one.
func paced(ctx context.Context, direct, through *raw.Fleet, rate float64, lasts time.Duration) ([]sample, error) {
	var times [2][]time.Duration
	for range pieces {
		for i, fleet := range []*raw.Fleet{direct, through} {
			tally, err := fleet.Pace(ctx, rate, lasts/pieces)
			if err != nil {
				return nil, err
			}
			times[i] = append(times[i], tally.Delays...)
		}
	}
	return added("request", load.LatencyOf(times[0]), load.LatencyOf(times[1])), nil
}

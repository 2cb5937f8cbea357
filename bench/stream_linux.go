package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"proxima/bench/load"
	"proxima/bench/raw"
)

const (
	tokenRate    = 30_000.0 // a second, in all streams together; with more, the load side limits
	pacedRate    = 10_000.0 // likewise, where the time counts that each takes
	slowRate     = 2_000.0  // likewise, of the many streams that are held open
	keptUp       = 0.98     // share of the tokens that must arrive, or somebody was overrun
	busyCore     = 97.0     // percent
	aboutStreams = "%d streams with %g tokens/s in all, then %g for the time that they take; then %d with %g for their memory"
)

// stream asks what a hop costs a token, first of as many as the load side can make for
// its processor time, then of few enough that none waits for another for the time it
// takes longer than without the peer; and what memory a stream takes.
func stream(s settings) suite {
	rate := cmp.Or(s.rate, tokenRate)
	paced := min(rate, pacedRate)
	many := s.mostConnections()
	return hopSuite(s, calm(), suite{
		name:  "stream",
		about: fmt.Sprintf(aboutStreams, s.streams, rate, paced, many, slowRate),
		measure: func(ctx context.Context, t trial) ([]sample, error) {
			before, err := t.peer.Memory()
			if err != nil {
				return nil, err
			}
			fast, err := s.flood(ctx, t, rate, before)
			if err != nil {
				return nil, err
			}
			s.rest(ctx)
			direct, _, err := s.flowing(ctx, t, t.nearest(), paced, nil)
			if err != nil {
				return nil, fmt.Errorf("without the peer: %w", err)
			}
			s.rest(ctx)
			through, _, err := s.flowing(ctx, t, t.peer.URL, paced, nil)
			if err != nil {
				return nil, err
			}
			s.rest(ctx)
			held, err := s.held(ctx, t, before, many, raw.Chat{Every: cadence(many, slowRate)}, "stream")
			delays := added("token", load.LatencyOf(direct.Delays), load.LatencyOf(through.Delays))
			return slices.Concat(fast, delays, held), err
		},
	})
}

// cadence is how often each of n streams has a token when all together have rate a
// second.
func cadence(n int, rate float64) time.Duration {
	return time.Duration(float64(n) / rate * float64(time.Second))
}

// flood is what a peer does with many tokens. It warns of figures that mean little.
func (s settings) flood(ctx context.Context, t trial, rate float64, before int64) ([]sample, error) {
	var kib float64
	tally, cpu, err := s.flowing(ctx, t, t.peer.URL, rate, func() (err error) {
		kib, err = t.kibEach(before, s.streams)
		return err
	})
	if err != nil {
		return nil, err
	}
	arrived := float64(tally.Answers) / tally.Took.Seconds()
	if busy := 100 * cpu.load.Seconds() / tally.Took.Seconds(); busy > busyCore {
		s.warn("the load side had its core busy to %.0f %%: it limits the tokens; try a lower --rate", busy)
	}
	if arrived < keptUp*rate {
		s.warn("%.0f of %.0f tokens/s came through: where they pile up, a token costs less than it would", arrived, rate)
	}
	samples := []sample{
		{"tokens", "1/s", arrived},
		{"broken", "streams", float64(tally.Failed)},
	}
	samples = append(samples, cpu.costs("token", tally.Answers, tally.Took)...)
	return append(samples, sample{memoryOf("stream", s.streams), "KiB", kib}), nil
}

// flowing opens the streams with rate tokens a second, hears them for a time, and
// closes them; last, if set, is called before that.
func (s settings) flowing(
	ctx context.Context, t trial, server string, rate float64, last func() error,
) (tally raw.Tally, cpu spent, err error) {
	fleet, err := t.fleet(server, s.streams, raw.Chat{Every: cadence(s.streams, rate)})
	if err != nil {
		return tally, cpu, err
	}
	defer fleet.Close()
	if err := fleet.Ask(ctx); err != nil {
		return tally, cpu, err
	}
	if _, err := fleet.Listen(ctx, s.runUp()); err != nil {
		return tally, cpu, err
	}
	cpu, err = t.spend(func() (err error) {
		tally, err = fleet.Listen(ctx, s.duration)
		return err
	})
	if err == nil && tally.Answers == 0 {
		err = errors.New("no token came")
	}
	if err == nil && last != nil {
		err = last()
	}
	return tally, cpu, err
}

// held is the memory that a peer takes for each of many chats, streams or answered
// ones whose connections are kept.
func (s settings) held(ctx context.Context, t trial, before int64, n int, chat raw.Chat, what string) ([]sample, error) {
	fleet, err := t.fleet(t.peer.URL, n, chat)
	if err != nil {
		return nil, err
	}
	defer fleet.Close()
	if err := fleet.Ask(ctx); err != nil {
		return nil, err
	}
	if _, err := fleet.Listen(ctx, s.duration); err != nil {
		return nil, err
	}
	kib, err := t.kibEach(before, n)
	if open := fleet.Open(); err == nil && open < n {
		err = fmt.Errorf("%d of %d connections are still open", open, n)
	}
	return []sample{{memoryOf(what, n), "KiB", kib}}, err
}

func memoryOf(what string, n int) string { return fmt.Sprintf("memory_per_%s_at_%d", what, n) }

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
	tokenRate     = 40_000.0 // a second, in all streams together
	slowTokenRate = 2_000.0  // likewise, of the many that are held open
	settleTime    = 2 * time.Second
	keptUp        = 0.98 // share of the tokens that must arrive, or somebody was overrun
	busyCore      = 95.0 // percent
)

// stream asks what a hop costs a token, and what memory a stream takes.
func stream(s settings) suite {
	rate := cmp.Or(s.rate, tokenRate)
	each := func(n int, rate float64) time.Duration {
		return time.Duration(float64(n) / rate * float64(time.Second))
	}
	many := s.mostConnections()
	return hopSuite(s, calm(), suite{
		name: "stream",
		about: fmt.Sprintf("%d streams with %g tokens/s in all; then %d with %g tokens/s for their memory",
			s.streams, rate, many, slowTokenRate),
		measure: func(ctx context.Context, t trial) ([]sample, error) {
			before, err := t.peer.Memory()
			if err != nil {
				return nil, err
			}
			every := each(s.streams, rate)
			direct, _, err := t.flowing(ctx, t.nearest(), s.streams, every, s.duration, nil)
			if err != nil {
				return nil, fmt.Errorf("without the peer: %w", err)
			}
			var samples []sample
			through, cpu, err := t.flowing(ctx, t.peer.URL, s.streams, every, s.duration, func() error {
				kib, err := t.kibEach(before, s.streams)
				samples = []sample{{fmt.Sprintf("memory_per_stream_at_%d", s.streams), "KiB", kib}}
				return err
			})
			if err != nil {
				return nil, err
			}
			held, err := t.held(ctx, before, many, raw.Chat{Every: each(many, slowTokenRate)}, "stream")
			if err != nil {
				return nil, err
			}
			samples = append(append(s.tokens(rate, direct, through, cpu), samples...), held...)
			return samples, nil
		},
	})
}

// flowing opens streams, hears them for a time, and closes them; last is called
// before that.
func (t trial) flowing(
	ctx context.Context, server string, n int, every, lasts time.Duration, last func() error,
) (tally raw.Tally, cpu spent, err error) {
	fleet, err := t.fleet(server, n, raw.Chat{Every: every})
	if err != nil {
		return tally, cpu, err
	}
	defer fleet.Close()
	if err := fleet.Ask(ctx); err != nil {
		return tally, cpu, err
	}
	if _, err := fleet.Listen(ctx, warmUpTime); err != nil {
		return tally, cpu, err
	}
	cpu, err = t.spend(func() (err error) {
		tally, err = fleet.Listen(ctx, lasts)
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

// tokens is what a hop cost them. It warns of figures that mean little.
func (s settings) tokens(rate float64, direct, through raw.Tally, cpu spent) []sample {
	arrived := float64(through.Answers) / through.Took.Seconds()
	samples := []sample{
		{"tokens", "1/s", arrived},
		{"broken", "streams", float64(through.Failed)},
	}
	costs := cpu.costs("token", through.Answers, through.Took)
	if busy := costs[2].value; busy > busyCore {
		s.warn("the load side had its core busy to %.0f %%: more than the peer's delay is in the figures; try a lower --rate", busy)
	}
	if arrived < keptUp*rate {
		s.warn("%.0f of %.0f tokens/s came through: where they pile up, delays and costs say little", arrived, rate)
	}
	samples = append(samples, costs...)
	return append(samples, added("token", load.LatencyOf(direct.Delays), load.LatencyOf(through.Delays))...)
}

// held is the memory that a peer takes for each of many chats, streams or answered
// ones whose connections are kept.
func (t trial) held(ctx context.Context, before int64, n int, chat raw.Chat, what string) ([]sample, error) {
	fleet, err := t.fleet(t.peer.URL, n, chat)
	if err != nil {
		return nil, err
	}
	defer fleet.Close()
	if err := fleet.Ask(ctx); err != nil {
		return nil, err
	}
	if _, err := fleet.Listen(ctx, settleTime); err != nil {
		return nil, err
	}
	kib, err := t.kibEach(before, n)
	if open := fleet.Open(); err == nil && open < n {
		err = fmt.Errorf("%d of %d connections are still open", open, n)
	}
	return []sample{{fmt.Sprintf("memory_per_%s_at_%d", what, n), "KiB", kib}}, err
}

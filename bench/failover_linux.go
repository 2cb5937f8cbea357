package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"proxima/bench/load"
	"proxima/bench/peers"
	"proxima/internal/modelserver"
)

const (
	failoverRate   = 200.0       // chats/s
	failoverTokens = 50          // of an answer
	killAfter      = 0.25        // of the load's time
	slow           = time.Second // to the first byte
)

// failover asks what clients notice when the process of the nearest endpoint is
// killed. Half of the chats are streamed.
func failover(s settings) suite {
	rate := cmp.Or(s.rate, failoverRate)
	return hopSuite(s, peers.Hops{Patience: 500 * time.Millisecond, Resends: true}, suite{
		name: "failover",
		about: fmt.Sprintf("%g chats/s, half of them streams of half a second; the nearest of three endpoints is killed after %v",
			rate, dies(s.duration)),
		world: failoverWorld(),
		measure: func(ctx context.Context, t trial) ([]sample, error) {
			mix := load.Mix{
				Posts: 1, Streams: 0.5, Model: "llama-3-8b", Tokens: failoverTokens, BodyBytes: 1024,
				ForwardedFor: clientsOf(t.world.Regions[0].Clients, 32),
			}
			killed := make(chan error, 1)
			timer := time.AfterFunc(dies(s.duration), func() { killed <- t.world.Regions[0].Server.Kill() })
			report, err := load.Run(ctx, load.Plan{URL: t.peer.URL, Rate: rate, Duration: s.duration, Request: mix.Request})
			if timer.Stop() {
				return nil, errors.Join(err, errors.New("the load ended before the endpoint was killed"))
			}
			if err := errors.Join(err, <-killed); err != nil {
				return nil, err
			}
			return afterDeath(report, dies(s.duration)), nil
		},
	})
}

func dies(of time.Duration) time.Duration { return time.Duration(killAfter * float64(of)) }

// failoverWorld is quick enough that an answer begins within slow from every region.
func failoverWorld() []peers.Region {
	world := steeringWorld()
	for i := range world {
		world[i].Model = modelserver.Settings{
			Network: world[i].Model.Network, Slots: 1000,
			FirstToken: 20 * time.Millisecond, PerToken: 10 * time.Millisecond,
		}
	}
	return world
}

// afterDeath is what clients noticed of a death at that time.
func afterDeath(report load.Report, death time.Duration) []sample {
	var failed, streams, late float64
	normal := death
	var answers []time.Duration
	for _, r := range report.Results {
		switch {
		case !r.Complete && r.Stream:
			streams++
		case !r.Complete:
			failed++
		case r.TTFB > slow:
			late++
		}
		if r.Due+r.Total > death && (!r.Complete || r.TTFB > slow) {
			normal = max(normal, r.Due+r.Total)
		}
		if r.Complete {
			answers = append(answers, r.Due+r.TTFB)
		}
	}
	return []sample{
		{"failed", "requests", failed},
		{"cut", "streams", streams},
		{"late", "chats", late},
		{"longest_gap", "ms", 1000 * longestGap(answers).Seconds()},
		{"normal_after", "ms", 1000 * (normal - death).Seconds()},
		{"started_late_p99", "ms", report.Lag.P99},
	}
}

// longestGap is the longest time without any of these moments.
func longestGap(moments []time.Duration) (longest time.Duration) {
	slices.Sort(moments)
	for i := 1; i < len(moments); i++ {
		longest = max(longest, moments[i]-moments[i-1])
	}
	return longest
}

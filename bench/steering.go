package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"proxima/bench/load"
	"proxima/bench/peers"
	"proxima/geo"
	"proxima/internal/modelserver"
)

// What each model server is like, and what each chat asks of it. A chat holds a
// slot for about slotTime, from the start of the first token to the last.
const (
	steeringSlots  = 16
	firstToken     = 150 * time.Millisecond
	perToken       = 10 * time.Millisecond
	steeringTokens = 40
	slotTime       = firstToken + (steeringTokens-1)*perToken
)

const (
	saturation     = 1.75            // load offered to the nearest region, of what its slots can serve
	steeringWarmUp = 3 * time.Second // at the same rate, and not counted
)

// steering asks who finds room elsewhere, and how near, when every client is next
// to one region and that region is full: three regions with equal model servers,
// all streamed chats from clients near the first, more than it can serve and less
// than all three can.
//
// A simulated model server is as fast with one slot free as with all of them. So
// to fill the nearest region to its last slot costs nothing here, which a real
// one, that slows down as it fills, would not grant.
func steering(s settings) suite {
	carries := steeringSlots / slotTime.Seconds()
	rate := cmp.Or(s.rate, math.Round(saturation*carries*10)/10)
	world := steeringWorld()
	send := func(ctx context.Context, url string, lasts time.Duration) (load.Report, error) {
		mix := load.Mix{
			Posts: 1, Streams: 1, Model: "llama-3-8b", Tokens: steeringTokens, BodyBytes: 1024,
			ForwardedFor: clientsOf(world[0].Clients, 32),
		}
		return load.Run(ctx, load.Plan{URL: url, Rate: rate, Duration: lasts, Request: mix.Request})
	}
	return suite{
		name: "steering",
		about: fmt.Sprintf("%g streams/s, all from clients of the region %q, %.2f times what its %d slots serve",
			rate, world[0].Name, rate/carries, steeringSlots),
		world: world,
		peers: []peers.Peer{
			peers.Proxima("proxima", true),
			peers.Proxima("proxima-undeclared", false),
			peers.HAProxy("haproxy", peers.First),
			peers.HAProxy("haproxy-backup", peers.Backup),
			peers.HAProxy("haproxy-leastconn", peers.LeastConn),
		},
		warmUp: func(ctx context.Context, url string) error {
			_, err := send(ctx, url, steeringWarmUp)
			return err
		},
		measure: func(ctx context.Context, t trial) ([]sample, error) {
			report, err := send(ctx, t.peer.URL, s.duration)
			if err != nil {
				return nil, err
			}
			return firstTokens(report, world)
		},
	}
}

// steeringWorld is three regions. The delay of each is about the round trip that
// its distance from the clients makes likely.
func steeringWorld() []peers.Region {
	region := func(name, clients, country string, lat, lon float64, away time.Duration) peers.Region {
		return peers.Region{
			Name:    name,
			Place:   geo.Location{Placed: true, Lat: lat, Lon: lon, Country: country},
			Clients: netip.MustParsePrefix(clients),
			Model: modelserver.Settings{
				Network: away, Slots: steeringSlots, PerToken: perToken,
				FirstToken: firstToken, Jitter: firstToken / 3,
			},
		}
	}
	return []peers.Region{
		region("near", "198.51.100.0/24", "DE", 50.11, 8.68, 5*time.Millisecond),
		region("mid", "203.0.113.0/24", "PT", 38.72, -9.14, 40*time.Millisecond),
		region("far", "192.0.2.0/24", "AE", 25.20, 55.27, 90*time.Millisecond),
	}
}

// clientsOf are the first n addresses of a network after its own.
func clientsOf(network netip.Prefix, n int) []string {
	var clients []string
	address := network.Addr()
	for range n {
		address = address.Next()
		clients = append(clients, address.String())
	}
	return clients
}

// firstTokens is what a client notices of the choice of region: how long the first
// token took, in those answers that came to their end, how many did not, and where
// they came from.
func firstTokens(report load.Report, world []peers.Region) ([]sample, error) {
	var waits []time.Duration
	from := map[string]float64{}
	for _, result := range report.Results {
		if result.Complete {
			waits = append(waits, result.TTFB)
			from[result.Region]++
		}
	}
	if len(waits) == 0 {
		return nil, errors.New("no request was answered")
	}
	first := load.LatencyOf(waits)
	samples := []sample{
		{"ttft_p50", "ms", first.P50},
		{"ttft_p95", "ms", first.P95},
		{"ttft_p99", "ms", first.P99},
		{"errors", "%", percent(float64(report.Failed), report.Requests)},
	}
	for _, region := range world {
		samples = append(samples, sample{"share_" + region.Name, "%", percent(from[region.Name], len(waits))})
	}
	return append(samples, sample{"started_late_p99", "ms", report.Lag.P99}), nil
}

func percent(part float64, of int) float64 { return 100 * part / float64(of) }

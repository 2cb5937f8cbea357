// Package workload is who asks, when, and how much: clients in their countries, and
// the requests that they send, sized by a trace and timed by a process. Everything is
// drawn from the random numbers that come in, so a seed gives the same clients and the
// same requests on every machine. Time is a float64 of simulated milliseconds.
//
// Start at Generate in generate.go. arrivals.go says when, conversation.go what belongs
// together, trace.go reads traces, process.go has the named ones, population.go places
// the clients.
package workload

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sort"

	"proxima/geo"
	"proxima/internal/sim/network"
)

// Client is somebody who asks.
type Client struct {
	Country    string
	Place      geo.Location
	Believed   geo.Location // where a database puts it
	Metro      int          // the nearest place of the network
	LastMileMs float64      // round trip to there
	Prefix     netip.Prefix // a /24, shared by the clients of a neighbourhood and by nobody else
}

// Census says who the clients are. Network is required; all else has a zero value that
// means something.
type Census struct {
	Network      *network.Table
	Countries    map[string]float64 // share of each, in any unit; nil: all, by their IPv4 addresses
	Misplaced    float64            // share of clients whom a database puts on another continent
	LastMileMs   float64            // median round trip of the access network; 0: 8 ms
	LastMile90Ms float64            // its 90th percentile; 0: 25 ms
}

// How access networks are where a census does not say, and what the way from them to
// the nearest place of the network adds: the router's fit of round trips between cloud
// regions, without its floor.
const (
	usualLastMileMs   = 8.0
	usualLastMile90Ms = 25.0
	perKmMs           = 15.7 / 1000
	normal90          = 1.2816 // the 90 % quantile of the normal distribution
)

// Population draws n clients from all countries by their IPv4 addresses. A share of
// them is misplaced.
func Population(net *network.Table, n int, misplaced float64, rng *rand.Rand) []Client {
	return Census{Network: net, Misplaced: misplaced}.draw(everywhere(), n, rng)
}

// Clients draws n of them. It is an error when a country or its share is none.
func (c Census) Clients(n int, rng *rand.Rand) ([]Client, error) {
	from, err := c.weighed()
	if err != nil {
		return nil, err
	}
	return c.draw(from, n, rng), nil
}

// weighed is the countries of the census, with their shares for weights.
func (c Census) weighed() ([]country, error) {
	if c.Countries == nil {
		return everywhere(), nil
	}
	var chosen []country
	for _, code := range slices.Sorted(maps.Keys(c.Countries)) {
		share := c.Countries[code]
		at := slices.IndexFunc(everywhere(), func(known country) bool { return known.code == code })
		switch {
		case at < 0:
			return nil, fmt.Errorf("countries: %.10q is not one: write two capital letters, such as DE", code)
		case !(share >= 0) || math.IsInf(share, 1):
			return nil, fmt.Errorf("countries: %s has the share %v: write 0 or more", code, share)
		case share > 0:
			chosen = append(chosen, everywhere()[at])
			chosen[len(chosen)-1].weight = share
		}
	}
	if len(chosen) == 0 {
		return nil, errors.New("countries: none has a share above 0")
	}
	return chosen, nil
}

func (c Census) draw(from []country, n int, rng *rand.Rand) []Client {
	sums := make([]float64, len(from))
	total := 0.0
	for i := range from {
		total += from[i].weight
		sums[i] = total
	}
	clients, hoods := make([]Client, n), neighbourhoods{}
	for i := range clients {
		at := min(sort.SearchFloat64s(sums, rng.Float64()*total), len(from)-1)
		clients[i] = c.client(&from[at], hoods, rng)
	}
	return clients
}

// client draws one. A client that is where it is believed to be draws as many numbers
// as one that is not, so that a share of misplaced ones moves nobody else.
func (c Census) client(home *country, hoods neighbourhoods, rng *rand.Rand) Client {
	place := home.somewhere(rng)
	own := Client{Country: home.code, Place: place, Believed: place, Metro: c.Network.Nearest(place)}
	metro, _ := c.Network.Place(c.Network.Places[own.Metro])
	own.LastMileMs = c.lastMile().draw(rng) + perKmMs*geo.Km(place, metro)
	own.Prefix = hoods.prefix(home.code, place)
	if u, seed := rng.Float64(), rng.Uint64(); u < c.Misplaced {
		own.Believed = home.elsewhere(place, rand.New(rand.NewPCG(seed, 0)))
	}
	return own
}

func (c Census) lastMile() lognormal {
	median, slow := c.LastMileMs, c.LastMile90Ms
	if median <= 0 {
		median = usualLastMileMs
	}
	if slow <= 0 {
		slow = median * usualLastMile90Ms / usualLastMileMs
	}
	return lognormal{math.Log(median), math.Log(max(slow/median, 1)) / normal90}
}

// lognormal is a distribution by the mean and the deviation of its logarithm.
type lognormal struct{ mean, deviation float64 }

func (d lognormal) draw(rng *rand.Rand) float64 {
	return math.Exp(d.mean + d.deviation*rng.NormFloat64())
}

// neighbourhoods are the prefixes that were given out, and to which cell of a degree
// in which country.
type neighbourhoods map[uint32]hood

type hood struct {
	country  string
	lat, lon int
}

// classE is how many /24 there are from 240.0.0.0 on, addresses that no client has
// (RFC 1112, section 4).
const classE = 1 << 20

// prefix is a neighbourhood's. It is the same for every population, but where two fall
// on the same prefix: then the later one takes the next that is free.
func (n neighbourhoods) prefix(country string, place geo.Location) netip.Prefix {
	own := hood{country, int(math.Floor(place.Lat)), int(math.Floor(place.Lon))}
	at := own.hash() % classE
	for range classE { // there are more cells than prefixes: who finds none free shares one
		holder, taken := n[at]
		if !taken || holder == own {
			break
		}
		at = (at + 1) % classE
	}
	n[at] = own
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{240 | byte(at>>16), byte(at >> 8), byte(at), 0}), 24)
}

// hash is FNV-1a, folded because its upper bits are the better ones.
func (h hood) hash() uint32 {
	sum := uint32(2166136261)
	for _, part := range []byte{h.country[0], h.country[1], byte(h.lat + 90), byte(h.lon + 180), byte((h.lon + 180) >> 8)} {
		sum = (sum ^ uint32(part)) * 16777619
	}
	return sum ^ sum>>20
}

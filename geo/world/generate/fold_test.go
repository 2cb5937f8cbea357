package main

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"

	"proxima/geo"
)

// network is a line of a source: a prefix, a country and a place.
type network struct {
	prefix, country string
	lat, lon        float64
}

// folded gives what the networks become: prefix, country and place, one a line.
func folded(limit limit, networks []network) string {
	f := folder{limit: limit}
	for _, n := range networks {
		prefix := netip.MustParsePrefix(n.prefix)
		place := geo.Location{Placed: true, Lat: n.lat, Lon: n.lon}
		f.add(block{prefix, n.country, clusterOf(place, math.Ldexp(1, limit.Finest-prefix.Bits()))})
	}
	f.settle()
	var lines []string
	for _, b := range f.blocks {
		lat, lon := b.places.centre()
		lines = append(lines, fmt.Sprintf("%v %s %.1f %.1f", b.prefix, b.country, lat, lon))
	}
	return strings.Join(lines, "\n")
}

func TestNetworksAreMergedWhenOneAnswerDoesForThem(t *testing.T) {
	limits := limit{Finest: 24, SpreadKm: 500, Small: 22, SmallSpreadKm: 700}
	for _, test := range []struct {
		name     string
		networks []network
		want     string
	}{
		{
			"the halves of a network in one place",
			[]network{{"1.0.0.0/17", "FR", 48, 2}, {"1.0.128.0/17", "FR", 48, 2}},
			"1.0.0.0/16 FR 48.0 2.0",
		},
		{
			"four quarters, between which the place lies",
			[]network{{"1.0.0.0/18", "FR", 48, 2}, {"1.0.64.0/18", "FR", 48, 4}, {"1.0.128.0/18", "FR", 46, 2}, {"1.0.192.0/18", "FR", 46, 4}},
			"1.0.0.0/16 FR 47.0 3.0",
		},
		{
			"two countries stay apart, however near",
			[]network{{"1.0.0.0/17", "FR", 48.5, 7.7}, {"1.0.128.0/17", "DE", 48.5, 7.8}},
			"1.0.0.0/17 FR 48.5 7.7\n1.0.128.0/17 DE 48.5 7.8",
		},
		{
			"two coasts stay apart",
			[]network{{"1.0.0.0/17", "US", 40.7, -74}, {"1.0.128.0/17", "US", 37.8, -122.4}},
			"1.0.0.0/17 US 40.7 -74.0\n1.0.128.0/17 US 37.8 -122.4",
		},
		{
			"small networks may lie farther apart than large ones", // 11° of latitude, 1,223 km
			[]network{{"1.0.0.0/23", "US", 30, -90}, {"1.0.2.0/23", "US", 41, -90}, {"1.0.8.0/22", "US", 30, -90}, {"1.0.12.0/22", "US", 41, -90}},
			"1.0.0.0/22 US 35.5 -90.0\n1.0.8.0/22 US 30.0 -90.0\n1.0.12.0/22 US 41.0 -90.0",
		},
		{
			"neighbours that are not the halves of one network stay apart",
			[]network{{"1.0.1.0/24", "FR", 48, 2}, {"1.0.2.0/24", "FR", 48, 2}},
			"1.0.1.0/24 FR 48.0 2.0\n1.0.2.0/24 FR 48.0 2.0",
		},
		{
			"a gap is not filled",
			[]network{{"1.0.0.0/24", "FR", 48, 2}, {"1.0.2.0/23", "FR", 48, 2}},
			"1.0.0.0/24 FR 48.0 2.0\n1.0.2.0/23 FR 48.0 2.0",
		},
		{
			"the finest prefix goes to the country with most of its addresses",
			[]network{{"1.0.0.0/26", "DE", 50, 8}, {"1.0.0.64/26", "FR", 48, 2}, {"1.0.0.128/25", "FR", 48, 3}, {"1.0.1.0/24", "DE", 50, 8}},
			"1.0.0.0/24 FR 48.0 2.7\n1.0.1.0/24 DE 50.0 8.0",
		},
		{
			"of equal countries the first in the alphabet has it",
			[]network{{"1.0.0.0/25", "FR", 48, 2}, {"1.0.0.128/25", "DE", 50, 8}},
			"1.0.0.0/24 DE 50.0 8.0",
		},
		{
			"across the date line the middle is in the Pacific",
			[]network{{"1.0.0.0/24", "FJ", 0, 179}, {"1.0.1.0/24", "FJ", 0, -179}},
			"1.0.0.0/23 FJ 0.0 180.0",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := folded(limits, test.networks); got != test.want {
				t.Errorf("folded into\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

func TestTheSpreadIsTheRootMeanSquareDistanceFromTheMiddle(t *testing.T) {
	for _, apart := range []float64{0, 1, 10} { // degrees of longitude on the equator
		west, east := geo.Location{Placed: true, Lon: -apart / 2}, geo.Location{Placed: true, Lon: apart / 2}
		got := clusterOf(west, 3).with(clusterOf(east, 3)).spreadKm()
		if want := geo.Km(west, east) / 2; math.Abs(got-want) > 0.002*want+0.1 {
			t.Errorf("%v° apart: spread %v km, want %v", apart, got, want)
		}
	}
}

func TestRoundingKeepsWithinTheGrid(t *testing.T) {
	for degrees, want := range map[float64]float64{48.86: 49, -0.1: 0, -73.9: -74, 0.25: 0.5, 179.9: 180} {
		if got := round(degrees); got != want || math.Signbit(got) != (want < 0) {
			t.Errorf("round(%v) = %v, want %v", degrees, got, want)
		}
	}
}

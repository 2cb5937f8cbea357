package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"

	"proxima/geo"
	"proxima/geo/mmdb"
)

// deviation says how far the answers are from the source's, over a sample: random addresses of IPv4, and, since most of IPv6 is
// empty, the first address of every seventeenth network or so of IPv6.
type deviation struct {
	Samples      int     `json:"samples"`
	P50Km        float64 `json:"p50_km"`
	P90Km        float64 `json:"p90_km"`
	P99Km        float64 `json:"p99_km"`
	MeanKm       float64 `json:"mean_km"`
	WrongCountry float64 `json:"wrong_country_percent"`
	Unknown      float64 `json:"unknown_percent"`
}

func measure(content []byte, source source) (map[string]deviation, error) {
	db, err := mmdb.FromBytes("world.mmdb", content)
	if err != nil {
		return nil, err
	}
	if err := db.Verify(); err != nil {
		return nil, err
	}
	found := map[string]deviation{}
	for _, family := range source.families {
		if found[family.name], err = compare(db, family); err != nil {
			return nil, fmt.Errorf("measure %s: %w", family.file, err)
		}
	}
	return found, nil
}

func compare(db *mmdb.DB, family family) (deviation, error) {
	var e deviation
	var km []float64
	for _, addr := range sample(family) {
		var r record
		if err := family.tree.Lookup(addr).Decode(&r); err != nil {
			return deviation{}, err
		}
		if addr.Is6() && r.filler() {
			continue
		}
		place, _, err := db.Locate(addr)
		if err != nil {
			return deviation{}, err
		}
		e.Samples++
		if !place.Placed {
			e.Unknown++
			continue
		}
		if place.Country != r.Country {
			e.WrongCountry++
		}
		off := geo.Km(place, r.place())
		km = append(km, off)
		e.MeanKm += off
	}
	slices.Sort(km)
	e.P50Km, e.P90Km, e.P99Km = at(km, 0.50), at(km, 0.90), at(km, 0.99)
	e.MeanKm = math.Round(e.MeanKm / float64(len(km)))
	e.WrongCountry = percent(e.WrongCountry, len(km))
	e.Unknown = percent(e.Unknown, e.Samples)
	return e, nil
}

// sample draws addresses that the source knows, the same ones every time.
func sample(family family) (addrs []netip.Addr) {
	random := rand.New(rand.NewPCG(1, 1))
	if family.tree.Metadata.IPVersion == 4 {
		for len(addrs) < 500_000 {
			var four [4]byte
			binary.BigEndian.PutUint32(four[:], random.Uint32())
			if addr := netip.AddrFrom4(four); family.tree.Lookup(addr).Found() {
				addrs = append(addrs, addr)
			}
		}
		return addrs
	}
	for network := range family.tree.Networks() {
		if random.IntN(17) == 0 {
			addrs = append(addrs, network.Prefix().Addr())
		}
	}
	return addrs
}

func at(sorted []float64, share float64) float64 {
	return math.Round(sorted[int(share*float64(len(sorted)-1))])
}

func percent(part float64, whole int) float64 {
	return math.Round(1e5*part/float64(whole)) / 1e3
}

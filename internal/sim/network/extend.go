package network

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"proxima/geo"
)

// perKmMs is what a kilometre adds to a round trip: the router's fit of those between
// cloud regions, without its floor.
const perKmMs = 15.7 / 1000

// With is the table with further places, of which nothing was measured: each has the
// round trips of the place nearest to it, and 15.7 ms more for each 1,000 km between
// the two. A name that the table has stays as it is. It is an error when there are more
// than 1,000 places then.
func (t *Table) With(places map[string]geo.Location) (*Table, error) {
	stands := make([]stand, 0, len(t.Places)+len(places))
	for at, name := range t.Places {
		stands = append(stands, stand{name: name, where: t.where[at], near: at})
	}
	for _, name := range slices.Sorted(maps.Keys(places)) {
		if t.Index(name) < 0 {
			near := t.Nearest(places[name])
			stands = append(stands, stand{name, places[name], near, perKmMs * geo.Km(places[name], t.where[near])})
		}
	}
	if len(stands) > mostPlaces {
		return nil, fmt.Errorf("%d places in one network: it takes at most %d", len(stands), mostPlaces)
	}
	slices.SortFunc(stands, func(a, b stand) int { return strings.Compare(a.name, b.name) })
	return t.rebuilt(stands), nil
}

// stand is a place, and where it stands in a table that may not have it.
type stand struct {
	name  string
	where geo.Location
	near  int     // of the table
	ms    float64 // more than from there
}

func (t *Table) rebuilt(stands []stand) *Table {
	n := len(stands)
	wider := &Table{index: make(map[string]int, n)}
	for at, s := range stands {
		wider.index[s.name] = at
		wider.Places = append(wider.Places, s.name)
		wider.where, wider.points = append(wider.where, s.where), append(wider.points, s.where.Point())
	}
	for _, a := range stands {
		for _, b := range stands {
			wider.median = append(wider.median, t.between(a, b))
			wider.spread = append(wider.spread, t.spread[t.at(a.near, b.near)])
		}
	}
	return wider
}

// between is the round trip between two places. Two at the same place of the table
// go straight.
func (t *Table) between(a, b stand) float64 {
	own := t.RTT(a.near, b.near)
	if a.near == b.near {
		return own + perKmMs*geo.Km(a.where, b.where)
	}
	return own + a.ms + b.ms
}

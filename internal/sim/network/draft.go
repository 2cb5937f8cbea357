package network

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"proxima/geo"
)

// Bounds of a table.
const (
	mostPlaces = 1000
	mostMs     = 10_000
)

// ownMs is a round trip within a place whose table does not say: 3.2 ms is the median
// of those that AWS's regions have.
const ownMs = 3

// draft is a table while its file is being read: places in the order in which they
// turned up, and the pairs that have a round trip.
type draft struct {
	given map[string]geo.Location // where places are that are no cloud region
	names []string
	where []geo.Location
	index map[string]int
	rtt   map[[2]int]float64
}

func newDraft(given map[string]geo.Location) *draft {
	return &draft{given: given, index: map[string]int{}, rtt: map[[2]int]float64{}}
}

// add takes a round trip as it is written. Nothing written is a pair left out.
func (d *draft) add(from, to, text string) error {
	a, err := d.place(from)
	if err != nil {
		return err
	}
	b, err := d.place(to)
	if err != nil || text == "" {
		return err
	}
	ms, err := strconv.ParseFloat(text, 64)
	if err != nil || !(ms > 0 && ms <= mostMs) {
		return fmt.Errorf("%s to %s: %.40q is not a round trip: write milliseconds, more than 0 and at most %d, such as 71.5", from, to, text, mostMs)
	}
	if _, twice := d.rtt[[2]int{a, b}]; twice {
		return fmt.Errorf("%s to %s is there twice: leave one out", from, to)
	}
	d.rtt[[2]int{a, b}] = ms
	return nil
}

// place is the index of a place by its name, and where the draft learns of it.
func (d *draft) place(name string) (int, error) {
	if at, there := d.index[name]; there {
		return at, nil
	}
	where, known := d.given[name]
	if !known {
		region, _ := geo.KnownRegion(name)
		where = region.Place
	}
	switch {
	case !where.Placed:
		return 0, fmt.Errorf("%.60q is not a known region of AWS, GCP or Azure: write it as its provider does, such as us-east-1, "+
			"or say where it is in a file of places (%s)", name, placesHeader)
	case len(d.names) == mostPlaces:
		return 0, fmt.Errorf("%.60q is one place too many: a table has at most %d", name, mostPlaces)
	}
	d.index[name] = len(d.names)
	d.names, d.where = append(d.names, name), append(d.where, where)
	return len(d.names) - 1, nil
}

// table is the finished table. A pair without a round trip takes that of the other
// direction, a place without one to itself the least that it has to another, at most
// ownMs.
func (d *draft) table() (*Table, error) {
	n := len(d.names)
	if n < 2 {
		return nil, fmt.Errorf("a table has at least two places, here are %d: write CSV with the header %s", n, triplesHeader)
	}
	t := &Table{Places: slices.Sorted(slices.Values(d.names)), index: make(map[string]int, n)}
	for at, name := range t.Places {
		where := d.where[d.index[name]]
		t.index[name] = at
		t.where, t.points = append(t.where, where), append(t.points, where.Point())
	}
	t.median, t.spread = make([]float64, n*n), slices.Repeat([]float64{spreadOf(usualTail)}, n*n)
	for from := range t.Places {
		if err := d.fill(t, from); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// fill sets the round trips from one place.
func (d *draft) fill(t *Table, from int) error {
	shortest := math.Inf(1)
	for to, name := range t.Places {
		ms, there := d.between(t.Places[from], name)
		switch {
		case there:
			shortest = min(shortest, ms)
		case from != to:
			return fmt.Errorf("no round trip between %s and %s: add one, in either direction", t.Places[from], name)
		}
		t.median[t.at(from, to)] = ms
	}
	if own := t.at(from, from); t.median[own] == 0 {
		t.median[own] = min(shortest, ownMs)
	}
	return nil
}

func (d *draft) between(from, to string) (ms float64, there bool) {
	a, b := d.index[from], d.index[to]
	if ms, there = d.rtt[[2]int{a, b}]; !there {
		ms, there = d.rtt[[2]int{b, a}]
	}
	return ms, there
}

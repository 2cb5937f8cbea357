// Package network is the simulated internet between places: how long a round trip
// takes from one to the other, and how much it varies. Tables of measured round trips
// come in as files; the embedded ones are those between the regions of AWS. It opens no
// socket and knows nothing of loss: a packet always arrives.
//
// Start at Table. read.go reads one from a file, draft.go puts it together, places.go
// reads where places are that are no cloud region.
package network

import (
	"bytes"
	_ "embed"
	"fmt"
	"math"
	"math/rand/v2"

	"proxima/geo"
)

// Table is the round trips between places. Methods take positions in Places. It is
// never changed once it was read, and safe for concurrent use.
type Table struct {
	Places []string // in alphabetical order

	where  []geo.Location
	points []geo.Point
	index  map[string]int
	median []float64 // ms, from × to
	spread []float64 // standard deviation of the logarithm, from × to
}

const (
	usualTail = 1.1    // 90th percentile over median where no table says; 1.085 is the mean of AWS's
	leastTail = 1.001  // below it two tables disagree about what a median is
	normal90  = 1.2816 // the 90 % quantile of the normal distribution
)

//go:embed data/aws_region_rtt_p50.json
var awsMedian []byte

//go:embed data/aws_region_rtt_p90.json
var awsSlow []byte

// AWS is the table of median round trips between 33 AWS regions, with their own tails
// up to the 90th percentile (cloudping.co, July 2025). The table is the caller's own.
func AWS() *Table {
	t, err := embedded("the embedded medians", awsMedian).WithTail(AWSSlow())
	if err != nil {
		panic(err) // both are part of the program, and the tests read them
	}
	return t
}

// AWSSlow has AWS's 90th percentiles for medians and the usual tail above them: the
// same places in a bad week. The table is the caller's own.
func AWSSlow() *Table { return embedded("the embedded tails", awsSlow) }

// embedded reads a table that is part of the program, and that its tests read.
func embedded(name string, data []byte) *Table {
	t, err := Read(bytes.NewReader(data), name)
	if err != nil {
		panic(err)
	}
	return t
}

// WithTail is the same table with the round trips of another for its 90th percentiles.
// One that is below the median counts as the median. It is an error when the other
// table lacks a place.
func (t *Table) WithTail(slow *Table) (*Table, error) {
	tailed := *t
	tailed.spread = make([]float64, len(t.median))
	for from, a := range t.Places {
		for to, b := range t.Places {
			i, j := slow.Index(a), slow.Index(b)
			if i < 0 || j < 0 {
				return nil, fmt.Errorf("the table of tails has no round trip from %s to %s: add one", a, b)
			}
			tailed.spread[t.at(from, to)] = spreadOf(slow.RTT(i, j) / t.RTT(from, to))
		}
	}
	return &tailed, nil
}

// spreadOf is the deviation of the logarithm of a lognormal whose 90th percentile is so
// many times its median.
func spreadOf(tail float64) float64 { return math.Log(max(tail, leastTail)) / normal90 }

// Index is the position of a place; −1: it is not in the table.
func (t *Table) Index(name string) int {
	if at, there := t.index[name]; there {
		return at
	}
	return -1
}

// Place is where a place is; false when it is not in the table.
func (t *Table) Place(name string) (geo.Location, bool) {
	at := t.Index(name)
	if at < 0 {
		return geo.Location{}, false
	}
	return t.where[at], true
}

// Nearest is the position of the place nearest to a location by great circle, the first
// of equals. A location that is not Placed is as near to one place as to the other.
func (t *Table) Nearest(l geo.Location) int {
	from, best, least := l.Point(), 0, math.Inf(1)
	for at, place := range t.points {
		if km := from.Km(place); km < least {
			best, least = at, km
		}
	}
	return best
}

// RTT is the median round trip between two positions in milliseconds, as measured by
// the first: there and back may have different ones.
func (t *Table) RTT(from, to int) float64 { return t.median[t.at(from, to)] }

// Tail is how many times its median the 90th percentile of a round trip is.
func (t *Table) Tail(from, to int) float64 { return math.Exp(t.spread[t.at(from, to)] * normal90) }

// Draw is one round trip in milliseconds: lognormal, with the table's median and 90th
// percentile, and never above 10 s. It takes one number from rng.
func (t *Table) Draw(rng *rand.Rand, from, to int) float64 {
	at := t.at(from, to)
	return min(t.median[at]*math.Exp(t.spread[at]*rng.NormFloat64()), mostMs)
}

func (t *Table) at(from, to int) int { return from*len(t.Places) + to }

package workload

import (
	"math"
	"math/rand/v2"
)

// Arrivals is how requests follow each other. Whatever it is, there are as many as the
// area's rate says: intervals are drawn in a time that passes as fast as the rate is
// high.
type Arrivals uint8

// The processes there are.
const (
	Poisson  Arrivals = iota // each on its own
	Bursty                   // gamma intervals with a coefficient of variation of 3
	Recorded                 // intervals of the trace in random order, for as recorded they swing with the hour; Poisson when it has none
)

const (
	stepMs      = 100.0   // a rate is constant for so long
	burstyShape = 1.0 / 9 // of a gamma distribution with a coefficient of variation of 3
	settledGaps = 64      // mean intervals after which it is forgotten that there was an arrival at the beginning
)

// arrivals are the times from 0 up to a duration at which an area asks. A process with
// one arrival a unit of its own time is stretched so that a unit passes whenever the
// rate has added up to one request (time change; for Poisson the same as thinning).
func (s *Settings) arrivals(durationMs float64, perSec func(atMs float64) float64, rng *rand.Rand) []float64 {
	gap := s.gaps(rng)
	next := -float64(settledGaps)
	for next < 0 {
		next += gap()
	}
	var times []float64
	due := 0.0
	for i := 0; float64(i)*stepMs < durationMs; i++ {
		at := float64(i) * stepMs
		width := min(stepMs, durationMs-at)
		more := perSecond(perSec(at+width/2)) * width / 1000
		for ; next < due+more; next += gap() {
			times = append(times, at+width*min((next-due)/more, belowOne))
		}
		due += more
	}
	return times
}

// belowOne keeps what rounding would put into the next step in its own.
const belowOne = 1 - 1e-12

func perSecond(rate float64) float64 {
	if rate > 0 && !math.IsInf(rate, 1) {
		return rate
	}
	return 0
}

// gaps draws intervals with a mean of 1.
func (s *Settings) gaps(rng *rand.Rand) func() float64 {
	switch {
	case s.Arrivals == Bursty:
		return func() float64 { return gamma(burstyShape, rng) / burstyShape }
	case s.Arrivals == Recorded && s.Trace.meanGap() > 0:
		rows, mean := s.Trace.Rows, s.Trace.meanGap()
		return func() float64 {
			at := 1 + rng.IntN(len(rows)-1)
			return (rows[at].AtMs - rows[at-1].AtMs) / mean
		}
	}
	return rng.ExpFloat64
}

// meanGap is the mean interval between requests in milliseconds; 0: there is none.
func (t *Trace) meanGap() float64 {
	if len(t.Rows) < 2 {
		return 0
	}
	return (t.Rows[len(t.Rows)-1].AtMs - t.Rows[0].AtMs) / float64(len(t.Rows)-1)
}

// gamma draws from a gamma distribution of a scale of 1 and a shape below 1 (Marsaglia
// and Tsang, A Simple Method for Generating Gamma Variables, 2000).
func gamma(shape float64, rng *rand.Rand) float64 {
	d := shape + 1 - 1.0/3
	c := 1 / math.Sqrt(9*d)
	for {
		x := rng.NormFloat64()
		v := 1 + c*x
		if v <= 0 {
			continue
		}
		v *= v * v
		if math.Log(1-rng.Float64()) < x*x/2+d-d*v+d*math.Log(v) {
			return d * v * math.Pow(1-rng.Float64(), 1/shape)
		}
	}
}

package router

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestARiseOfOnesOwnCountsForTheOthersToo(t *testing.T) {
	for _, c := range []struct {
		name          string
		own           int
		rep, ownAtRep float64
		routers       int
		want          float64
	}{
		{"nothing changed", 2, 10, 2, 4, 10},
		{"nothing was reported", 5, 0, 5, 1, 5},
		{"a rise counts as often as the share is small", 4, 8, 2, 4, 8 + 3*2},
		{"but for no more routers than there are", 1, 39, 0, 4, 39 + 4*1},
		{"and for one at the least", 4, 1, 3, 4, 1 + 1 + 2},
		{"a fall counts once", 1, 10, 3, 4, 8},
		{"one's own are there whatever is said", 9, 0, 9, 4, 9},
	} {
		if got := Queue(c.own, c.rep, c.ownAtRep, c.routers); got != c.want {
			t.Errorf("%s: %v in flight, want %v", c.name, got, c.want)
		}
	}
}

// anyNumber is what a report can hold, sensible or not.
var anyNumber = rapid.OneOf(rapid.Float64Range(0, 500), rapid.Float64(),
	rapid.SampledFrom([]float64{0, -1, math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64}))

func TestAQueueIsFiniteAndAtLeastOnesOwnWhateverIsReported(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		own := rapid.OneOf(rapid.IntRange(0, 500), rapid.Just(math.MaxInt)).Draw(t, "own")
		routers := rapid.OneOf(rapid.IntRange(-2, 100), rapid.Just(math.MaxInt)).Draw(t, "routers")

		got := Queue(own, anyNumber.Draw(t, "rep"), anyNumber.Draw(t, "ownAtRep"), routers)

		if math.IsNaN(got) || math.IsInf(got, 0) || got < float64(own) {
			t.Fatalf("%v in flight, own %d", got, own)
		}
	})
}

func TestOneMoreOfOnesOwnNeverMakesAQueueShorter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		own := rapid.IntRange(0, 500).Draw(t, "own")
		rep := rapid.Float64Range(0, 500).Draw(t, "rep")
		ownAtRep := rapid.Float64Range(0, 500).Draw(t, "ownAtRep")
		routers := rapid.IntRange(1, 100).Draw(t, "routers")
		fewer, more := Queue(own, rep, ownAtRep, routers), Queue(own+1, rep, ownAtRep, routers)
		if more < fewer {
			t.Fatalf("%v in flight, and %v with one more", fewer, more)
		}
	})
}

func TestWhatPeersSayIsAddedUp(t *testing.T) {
	if got := Fold([]float64{1, 2.5, 0}, 32); got != 3.5 {
		t.Errorf("%v in flight, want 3.5", got)
	}
}

func TestManyLiarsMakeAnEndpointLookFullAndNotMore(t *testing.T) {
	if got := Fold([]float64{40, math.Inf(1), 1e9, 3}, 32); got != 32 {
		t.Errorf("%v in flight, want 32", got)
	}
}

func TestALyingPeerAddsNoMoreThanOneEndpointsCapacity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		honest := rapid.SliceOfN(rapid.Float64Range(0, 8), 0, 10).Draw(t, "honest")
		lie, most := anyNumber.Draw(t, "lie"), rapid.Float64Range(0, 64).Draw(t, "most")

		without, with := Fold(honest, most), Fold(append(honest, lie), most)

		if added := with - without; !(added >= 0 && added <= most+1e-9) {
			t.Fatalf("a peer that says %v adds %v, want 0 to %v", lie, added, most)
		}
	})
}

// One report is an instant that is over; many say how loaded an endpoint is.
func TestAReportCountsForAFiftieth(t *testing.T) {
	var m Meter
	m.Reported(10, 0, 4)
	if got := m.now(noon).Queue; got != 10 {
		t.Errorf("%v in flight after the first report of 10", got)
	}
	m.Reported(60, 0, 4)
	if got := m.now(noon).Queue; math.Abs(got-11) > 1e-5 {
		t.Errorf("%v in flight after one of 10 and one of 60, want 10 + 50/50", got)
	}
	for range 500 {
		m.Reported(60, 0, 4)
	}
	if got := m.now(noon).Queue; math.Abs(got-60) > 0.01 {
		t.Errorf("%v in flight after 500 of 60", got)
	}
}

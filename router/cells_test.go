package router

import (
	"math"
	"net/netip"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// street is a client in the n-th /24.
func street(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 16), byte(n >> 8), byte(n), 1})
}

func TestAClientOfWhomNothingIsKnownIsNotCorrected(t *testing.T) {
	for name, learned := range map[string]Learned{
		"zero":    {},
		"unknown": NewCells(64, 2).Find(street(1), "DE"),
		"no one":  NewCells(64, 2).Find(netip.Addr{}, ""),
	} {
		if got := learned.CorrectionMs(1); got != 0 {
			t.Errorf("%s: corrected by %v ms", name, got)
		}
	}
}

func TestNeighboursShareWhatIsLearned(t *testing.T) {
	for _, c := range []struct {
		learned, asked string
		shared         bool
	}{
		{"192.0.2.1", "192.0.2.254", true},
		{"192.0.2.1", "192.0.3.1", false},
		{"192.0.2.1", "::ffff:192.0.2.9", true},
		{"2001:db8:1:2::1", "2001:db8:1:ffff::1", true},
		{"2001:db8:1::1", "2001:db8:2::1", false},
		{"fe80::1%eth0", "fe80::2%eth1", true},
	} {
		cells := NewCells(64, 1)

		cells.Learn(netip.MustParseAddr(c.learned), "", 0, 20)

		if got := cells.Find(netip.MustParseAddr(c.asked), "").CorrectionMs(0) != 0; got != c.shared {
			t.Errorf("learned at %s, asked at %s: shared %v", c.learned, c.asked, got)
		}
	}
}

// lesson is one call of Learn.
type lesson struct {
	street  int
	country string
	region  int
	missMs  float64
}

var lessons = rapid.Custom(func(t *rapid.T) lesson {
	return lesson{
		street:  rapid.IntRange(0, 3).Draw(t, "street"), // as many as share a set: none is evicted
		country: rapid.SampledFrom([]string{"DE", "US", "", "de", "DEU"}).Draw(t, "country"),
		region:  rapid.IntRange(0, 2).Draw(t, "region"),
		missMs:  rapid.OneOf(rapid.Float64Range(-500, 500), rapid.SampledFrom([]float64{-500, -90, -20, 15, 80, 500})).Draw(t, "miss"),
	}
})

// slowMean is the mean of a cell the way the text says it, from all its samples.
func slowMean(samples []float64) (mean float64) {
	for i, sample := range samples {
		mean += max(1/float64(i+1), 0.1) * (sample - mean)
	}
	return mean
}

func TestACorrectionIsTheCellsMeanShrunkTowardItsCountryAndThatTowardNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cells := NewCells(64, 3)
		type key struct {
			street  int // −1: the whole country
			country string
			region  int
		}
		samples := map[key][]float64{}
		for _, l := range rapid.SliceOfN(lessons, 0, 60).Draw(t, "lessons") {
			cells.Learn(street(l.street), l.country, l.region, l.missMs)
			own := key{l.street, "", l.region}
			samples[own] = append(samples[own], l.missMs)
			if len(samples[own]) > 1 {
				continue // a street speaks for its country once, and not too loudly
			}
			l.missMs = min(max(l.missMs, -50), 50)
			if l.country == "DE" || l.country == "US" {
				whole := key{-1, l.country, l.region}
				samples[whole] = append(samples[whole], l.missMs)
			}
		}
		asked := lessons.Draw(t, "asked")

		got := cells.Find(street(asked.street), asked.country).CorrectionMs(asked.region)

		want := 0.0
		for _, k := range []key{{-1, asked.country, asked.region}, {asked.street, "", asked.region}} {
			n := float64(len(samples[k]))
			want = n/(n+4)*slowMean(samples[k]) + 4/(n+4)*want
		}
		if math.Abs(got-want) > 0.01 {
			t.Fatalf("corrected by %v ms, want %v", got, want)
		}
	})
}

func TestNonsenseTeachesNothing(t *testing.T) {
	for _, l := range []lesson{
		{region: 0, missMs: math.NaN()},
		{region: 0, missMs: math.Inf(1)},
		{region: 0, missMs: math.Inf(-1)},
		{region: 0, missMs: math.MaxFloat64},
		{region: -1, missMs: 5},
		{region: 2, missMs: 5},
		{region: math.MaxInt, missMs: 5},
	} {
		cells := NewCells(64, 2)

		cells.Learn(street(1), "DE", l.region, l.missMs)

		learned := cells.Find(street(1), "DE")
		for _, region := range []int{0, 1, 2, math.MaxInt} {
			if got := learned.CorrectionMs(region); got != 0 {
				t.Errorf("%+v: region %d corrected by %v ms", l, region, got)
			}
		}
	}
}

func TestStrangersCannotGrowTheCells(t *testing.T) {
	cells := NewCells(64, 1)
	for n := range 10_000 {
		cells.Learn(street(n), "", 0, 5)
	}
	if got := cells.Len(); got > 64 {
		t.Errorf("%d prefixes are held, want no more than 64", got)
	}
}

func TestThePrefixThatIsAskedForStaysWhenStrangersCome(t *testing.T) {
	cells := NewCells(4, 1)
	cells.Learn(street(0), "", 0, 50)
	for n := 1; n < 100; n++ {
		cells.Find(street(0), "")
		cells.Learn(street(n), "", 0, 5)
	}
	if got := cells.Find(street(0), "").CorrectionMs(0); got != 10 {
		t.Errorf("corrected by %v ms, want 10: one sample of 50 and four of nothing", got)
	}
}

func TestAReloadCarriesWhatWasLearnedToTheNewPositions(t *testing.T) {
	cells := NewCells(64, 2)
	cells.Learn(street(1), "DE", 0, 25)
	cells.Learn(street(1), "DE", 1, 50)
	was := cells.Find(street(1), "DE")
	before := [2]float64{was.CorrectionMs(0), was.CorrectionMs(1)}

	cells.Remap([]int{1, -1, 0, 99})

	now := cells.Find(street(1), "DE")
	got := [4]float64{now.CorrectionMs(0), now.CorrectionMs(1), now.CorrectionMs(2), now.CorrectionMs(3)}
	if want := [4]float64{before[1], 0, before[0], 0}; got != want {
		t.Errorf("corrections are %v ms, want %v", got, want)
	}
	if still := [2]float64{was.CorrectionMs(0), was.CorrectionMs(1)}; still != before {
		t.Errorf("a reader's corrections changed under it from %v to %v", before, still)
	}
}

func TestManyLearnAndAskWhileRegionsChange(t *testing.T) {
	cells := NewCells(64, 3)
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 2000 {
				cells.Learn(street(i%200), "DE", i%3, 40)
				got := cells.Find(street((i+worker)%200), "DE").CorrectionMs(i % 3)
				if !(got >= 0 && got <= 40.001) {
					t.Errorf("corrected by %v ms, learned was 40", got)
					return
				}
			}
		})
	}
	all.Go(func() {
		for range 50 {
			cells.Remap([]int{2, 0, 1})
		}
	})
	all.Wait()
	if got := cells.Len(); got > 64 {
		t.Errorf("%d prefixes are held, want no more than 64", got)
	}
}

func TestNoSampleOfManyAtOnceIsLost(t *testing.T) {
	cells := NewCells(64, 1)
	cells.Learn(street(1), "", 0, 8)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50_000 {
				cells.Learn(street(1), "", 0, 8)
			}
		})
	}
	all.Wait()
	if mean, n := cells.Find(street(1), "").prefix[0].read(); mean != 8 || n != 400_001 {
		t.Errorf("a mean of %v ms of %d samples, want 8 of 400001", mean, n)
	}
}

func TestAnOldMeanFollowsATenthOfEachSample(t *testing.T) {
	cells := NewCells(64, 1)
	for range 50 {
		cells.Learn(street(1), "", 0, 0)
	}
	cells.Learn(street(1), "", 0, 100)
	if mean, _ := cells.Find(street(1), "").prefix[0].read(); mean != 10 {
		t.Errorf("the mean is %v ms, want 10", mean)
	}
}

func TestACountryIsAPairOfCapitals(t *testing.T) {
	for country, is := range map[string]bool{
		"AA": true, "ZZ": true, "DE": true,
		"": false, "D": false, "DEU": false, "de": false, "dE": false, "D[": false, "[D": false, "@A": false, "A@": false, "\xff\xff": false,
	} {
		cells := NewCells(64, 1)

		cells.Learn(street(1), country, 0, 20)

		if got := cells.Find(street(2), country).CorrectionMs(0); (got != 0) != is {
			t.Errorf("%q: corrected by %v ms", country, got)
		}
	}
}

func TestOneStrangerDoesNotSpeakForACountry(t *testing.T) {
	cells := NewCells(1024, 1)
	for i := range 200 {
		cells.Learn(street(i), "FR", 0, 0)
	}
	for range 1000 {
		cells.Learn(street(201), "FR", 0, 1000)
	}
	if got := cells.Find(street(300), "FR").CorrectionMs(0); got > 6 {
		t.Errorf("one street moved its country by %v ms", got)
	}
}

func TestAnApproachLiesWithinTheTriangle(t *testing.T) {
	anything := rapid.OneOf(rapid.Float64Range(0, 400), rapid.Float64(),
		rapid.SampledFrom([]float64{0, -1, math.NaN(), math.Inf(1), math.Inf(-1)}))
	rapid.Check(t, func(t *rapid.T) {
		prior := rapid.Float64Range(0, 400).Draw(t, "prior")
		client, path := anything.Draw(t, "client"), anything.Draw(t, "path")

		got := Approach(prior, client, path)

		known := finite(client, 0) > 0 && finite(path, 0) > 0
		inside := got >= math.Abs(path-client) && got <= path+client
		switch {
		case !known && got != prior:
			t.Fatalf("%v ms, want the prior %v: nothing bounds it", got, prior)
		case known && !inside:
			t.Fatalf("%v ms is outside of [%v, %v]", got, math.Abs(path-client), path+client)
		case known && prior >= math.Abs(path-client) && prior <= path+client && got != prior:
			t.Fatalf("%v ms, want the prior %v, which is within", got, prior)
		}
	})
}

func TestAClientBesideTheRouterSeesTheRegionsAsTheRouterDoes(t *testing.T) {
	if got := Approach(90, 1, 40); got != 41 {
		t.Errorf("%v ms, want 41", got)
	}
}

func TestAFarClientTeachesLittle(t *testing.T) {
	if got := Approach(90, 200, 150); got != 90 {
		t.Errorf("%v ms, want the prior of 90", got)
	}
}

func TestFindingAndLearningAgainDoNotAllocate(t *testing.T) {
	cells := NewCells(64, 4)
	cells.Learn(street(1), "DE", 0, 5)
	allocated := testing.AllocsPerRun(100, func() {
		cells.Learn(street(1), "DE", 1, 5)
		_ = cells.Find(street(1), "DE").CorrectionMs(1)
	})
	if allocated != 0 {
		t.Errorf("%v allocations", allocated)
	}
}

func TestAPrefixThatTeachesStaysWhenStrangersCome(t *testing.T) {
	cells := NewCells(4, 1)
	for n := range 4 {
		cells.Learn(street(n), "", 0, 50)
	}
	cells.Learn(street(0), "", 0, 50)
	cells.Learn(street(9), "", 0, 50)
	if cells.Find(street(0), "").CorrectionMs(0) == 0 {
		t.Error("the prefix that taught last is gone")
	}
}

func TestARegionThatIsNoneIsNotCorrected(t *testing.T) {
	cells := NewCells(4, 1)
	cells.Learn(street(1), "DE", 0, 50)
	if got := cells.Find(street(1), "DE").CorrectionMs(-1); got != 0 {
		t.Errorf("corrected by %v ms", got)
	}
}

func TestACellMadeWhileAReloadPassesIsNotLeftWithTheOldRegions(t *testing.T) {
	cells := NewCells(4, 1)
	prefix := netip.MustParsePrefix("192.0.2.0/24")
	made := cells.newCell(prefix)
	cells.Remap([]int{-1, -1, 0})
	cells.set(prefix)[0].Store(made)
	cells.catchUp(made)

	cells.Learn(netip.MustParseAddr("192.0.2.1"), "", 2, 50)

	if got := cells.Find(netip.MustParseAddr("192.0.2.1"), "").CorrectionMs(2); got != 10 {
		t.Errorf("corrected by %v ms, want 10: one sample of 50 and four of nothing", got)
	}
}

func BenchmarkCellsFind(b *testing.B) {
	cells := NewCells(1<<16, 16)
	for n := range 1024 {
		cells.Learn(street(n), "DE", 0, 5)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for n := 0; pb.Next(); n++ {
			cells.Find(street(n&1023), "DE").CorrectionMs(0)
		}
	})
}

func BenchmarkCellsLearn(b *testing.B) {
	cells := NewCells(1<<16, 16)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for n := 0; pb.Next(); n++ {
			cells.Learn(street(n&1023), "DE", n&15, 5)
		}
	})
}

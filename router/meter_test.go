package router

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// learnt is a meter that was told of so many streams with the same time to first token.
func learnt(n int, elapsed time.Duration) *Meter {
	var m Meter
	for range n {
		m.Served(Sample{Elapsed: elapsed, Streamed: true})
	}
	return &m
}

func TestASlowAnswerIsNewsAFastOneMayBeLuck(t *testing.T) {
	slow, fast := learnt(500, 100*time.Millisecond), learnt(500, 100*time.Millisecond)
	slow.Served(Sample{Elapsed: 200 * time.Millisecond, Streamed: true})
	if got := slow.now(noon).ServeMs; math.Abs(got-115) > 0.1 {
		t.Errorf("many times 100, then 200 ms: %v, want 100 + 0.15·100", got)
	}
	fast.Served(Sample{Elapsed: 20 * time.Millisecond, Streamed: true})
	if got := fast.now(noon).ServeMs; math.Abs(got-96) > 0.1 {
		t.Errorf("many times 100, then 20 ms: %v, want 100 − 0.05·80", got)
	}
}

func TestTheFirstAnswersAreHeldAgainstWhatIsAssumed(t *testing.T) {
	if got := learnt(1, 300*time.Millisecond).now(noon).ServeMs; math.Abs(got-200) > 1e-9 {
		t.Errorf("one answer of 300 ms: %v, want a third of the way there from 150", got)
	}
}

func TestServeTimeIsWithoutTheWayAndTheQueue(t *testing.T) {
	var m Meter
	m.Probed(40 * time.Millisecond)
	for range 500 {
		m.Served(Sample{Elapsed: 240 * time.Millisecond, Load: 1, Streamed: true})
	}
	if got := m.now(noon).ServeMs; math.Abs(got-100) > 0.1 {
		t.Errorf("240 ms at full load, 40 ms away: %v, want (240 − 40)/(1 + 1³)", got)
	}
	var near Meter
	near.Probed(time.Second)
	near.Served(Sample{Elapsed: time.Millisecond, Load: math.NaN(), Streamed: true})
	if got := near.now(noon).ServeMs; !(got > 0) {
		t.Errorf("an answer faster than the probe gave %v", got)
	}
}

func TestMoreThanFullIsDeloadedAsFull(t *testing.T) {
	var m Meter
	for range 500 {
		m.Served(Sample{Elapsed: 200 * time.Millisecond, Load: 3, Streamed: true})
	}
	if got := m.now(noon).ServeMs; math.Abs(got-100) > 0.1 {
		t.Errorf("200 ms at three times full: %v, want 200/(1 + 1³)", got)
	}
}

func TestRetryAfterIsClamped(t *testing.T) {
	for ask, want := range map[time.Duration]float64{-time.Hour: 1000, 7 * time.Second: 7000, time.Hour: 300_000} {
		var m Meter
		m.Cool(noon, ask)
		if got := m.now(noon).CoolMs; got != want {
			t.Errorf("asked for %v: %v ms, want %v", ask, got, want)
		}
		if got := m.now(noon.Add(301 * time.Second)).CoolMs; got != 0 {
			t.Errorf("asked for %v: still %v ms after five minutes", ask, got)
		}
	}
	var m Meter
	m.Cool(noon, time.Minute)
	if got := m.now(noon.Add(-20 * 365 * 24 * time.Hour)).CoolMs; got > 300_000 {
		t.Errorf("a clock that stepped back makes it %v ms", got)
	}
}

func TestARecoveredEndpointGetsItsShareBackBitByBit(t *testing.T) {
	for age, want := range map[time.Duration]float64{0: 0.9, 5 * time.Second: 0.45, 10 * time.Second: 0, -time.Hour: 0.9} {
		if got := withheld(noon, noon.Add(age), 10*time.Second); math.Abs(got-want) > 1e-9 {
			t.Errorf("after %v %v is withheld, want %v", age, got, want)
		}
	}
	if withheld(time.Time{}, noon, 10*time.Second) != 0 || withheld(noon, noon, 0) != 0 {
		t.Error("something is withheld from who never left, or without a slow start")
	}
}

// pool is a live table of endpoints that all serve one model.
func pool(t *testing.T, n int) *Live {
	t.Helper()
	snapshot, _ := fleet(t, n)
	live := NewLive(snapshot.Table)
	live.Settle(noon)
	return live
}

// answer is a request that an endpoint served at noon.
func answer(s *Snapshot, position int, firstByte time.Duration, streamed bool) {
	m := s.Meter(position)
	m.Begin(noon, 0)
	m.Served(Sample{Elapsed: firstByte, Streamed: streamed})
	m.End()
}

func TestWholeAnswersCountAgainstTheirPool(t *testing.T) {
	live := pool(t, 3)
	s := live.Snapshot()
	answer(s, 0, 1200*time.Millisecond, false)
	if got := s.Measure(nil, noon)[0].ServeMs; got != 0 {
		t.Errorf("one whole answer says %v ms before anybody can compare", got)
	}
	answer(s, 1, 1200*time.Millisecond, false)
	answer(s, 2, 7200*time.Millisecond, false)
	live.Settle(noon.Add(time.Second))
	load := s.Measure(nil, noon)
	if load[0].ServeMs != 150 || load[2].ServeMs != 900 {
		t.Errorf("%v and %v ms, want what is assumed, and six times that", load[0].ServeMs, load[2].ServeMs)
	}
}

func TestQuickWholeAnswersDifferByNoMoreThanWasMeasured(t *testing.T) {
	live := pool(t, 3)
	s := live.Snapshot()
	for position, wait := range []time.Duration{300, 300, 1300} {
		answer(s, position, wait*time.Microsecond, false)
	}
	live.Settle(noon.Add(time.Second))
	load := s.Measure(nil, noon)
	if slow, usual := load[2].ServeMs, load[0].ServeMs; math.Abs(slow-usual-1) > 1e-9 {
		t.Errorf("1 ms more made %v of %v ms", slow, usual)
	}
}

func TestAnUnknownEndpointIsTakenForATypicalOne(t *testing.T) {
	live := pool(t, 4)
	s := live.Snapshot()
	for position, wait := range []time.Duration{20, 30, 900} {
		for range 500 {
			answer(s, position, wait*time.Millisecond, true)
		}
	}
	x := s.Explain(Query{Model: "llama"}, s.Measure(nil, noon))
	for _, c := range x.Candidates {
		if c.Position == 3 && math.Abs(c.ServeMs-30) > 0.1 {
			t.Errorf("at once it is taken for %v ms, want the median 30", c.ServeMs)
		}
	}
	live.Settle(noon.Add(time.Second))
	if got := s.Measure(nil, noon)[3].ServeMs; math.Abs(got-30) > 0.1 {
		t.Errorf("after a second it is taken for %v ms, want the median 30", got)
	}
}

func TestABadMinuteIsForgotten(t *testing.T) {
	live := pool(t, 3)
	s := live.Snapshot()
	for position, wait := range []time.Duration{100, 100, 5000} {
		answer(s, position, wait*time.Millisecond, true)
	}
	for second := range 240 {
		live.Settle(noon.Add(time.Duration(second) * time.Second))
	}
	if got := s.Measure(nil, noon)[2].ServeMs; got > 300 {
		t.Errorf("four unused minutes later it is still taken for %v ms", got)
	}
}

// now is the load of a meter at an instant.
func (m *Meter) now(at time.Time) (l Load) {
	m.measure(&l, at)
	return l
}

func TestARoundTripFollowsAFifthOfEachProbe(t *testing.T) {
	var m Meter
	m.Probed(100 * time.Millisecond)
	if got := m.Path(); got != 100*time.Millisecond {
		t.Errorf("%v after the first probe", got)
	}
	m.Probed(200 * time.Millisecond)
	m.Probed(20 * time.Millisecond)
	if got := m.now(noon).PathMs; math.Abs(got-100) > 1e-9 {
		t.Errorf("%v ms after 100, 200 and 20 ms, want 100 + 0.2·100 − 0.2·100", got)
	}
	m.Probed(-time.Second)
	if got := m.now(noon).PathMs; math.Abs(got-80.002) > 1e-9 {
		t.Errorf("%v ms after a clock stepped back, want four fifths", got)
	}
}

// The first answer counts for a third, the next for a quarter and so on, until the
// steady weight is more.
func TestTheFirstAnswersCountForMore(t *testing.T) {
	var m Meter
	want := 150.0
	for n, weight := range []float64{1. / 3, 1. / 4, 1. / 5, 1. / 6, 0.15, 0.15} {
		want += weight * (450 - want)
		m.Served(Sample{Elapsed: 450 * time.Millisecond, Streamed: true})
		if got := m.serve.own.value(); math.Abs(got-want) > 1e-6 {
			t.Errorf("after %d answers of 450 ms %v, want %v", n+1, got, want)
		}
	}
}

// What an endpoint has of its own counts as far as it is beyond chance.
func TestADifferenceWithinChanceIsNone(t *testing.T) {
	for _, c := range []struct {
		name                        string
		own, typical, spread, wants float64
	}{
		{"nothing is typical yet", 300, 0, 50, 300},
		{"within what chance does", 120, 100, 40, 100},
		{"just at it", 124, 100, 40, 100},
		{"twice as far", 148, 100, 40, 100 + 48*0.75},
		{"on the other side", 52, 100, 40, 100 - 48*0.75},
		{"beyond all chance", 5000, 100, 40, 100 + 4900*(1-math.Pow(24./4900, 2))},
		{"no noise", 101, 100, 0, 101},
		{"no difference", 100, 100, 40, 100},
	} {
		var m measured
		m.own.set(c.own)
		m.typical.set(c.typical)
		m.spread.set(c.spread)
		if got := m.believed(); math.Abs(got-c.wants) > 1e-6 {
			t.Errorf("%s: %v ms, want %v", c.name, got, c.wants)
		}
	}
}

func TestTheSpreadIsTheMeanDistanceFromTheAverage(t *testing.T) {
	var m measured
	for i := range 2000 {
		m.learn(float64(80+40*(i%2)), 100)
	}
	if got := m.spread.value(); math.Abs(got-20) > 3 {
		t.Errorf("%v ms of spread where each answer is 20 ms off", got)
	}
}

// Endpoints that are alike do not differ by the luck of their last answers.
func TestEndpointsThatAreAlikeCostAlike(t *testing.T) {
	live := pool(t, 4)
	s := live.Snapshot()
	chance := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		for position := range 4 {
			answer(s, position, time.Duration(50+100*chance.Float64())*time.Millisecond, true)
		}
	}
	live.Settle(noon.Add(time.Second))
	loads := s.Measure(nil, noon)
	for position, load := range loads {
		if own := s.meters[position].serve.own.value(); math.Abs(load.ServeMs-loads[0].ServeMs) > 10 {
			t.Errorf("endpoint %d is taken for %v ms (own %v), the first for %v", position, load.ServeMs, own, loads[0].ServeMs)
		}
	}
}

func TestWhatIsUsedIsNotForgotten(t *testing.T) {
	live := pool(t, 3)
	s := live.Snapshot()
	for position, wait := range []time.Duration{100, 100, 5000} {
		answer(s, position, wait*time.Millisecond, true)
	}
	before := s.meters[2].serve.own.value()
	live.Settle(noon.Add(14 * time.Second))
	if got := s.meters[2].serve.own.value(); got != before {
		t.Errorf("14 s after its last request %v ms became %v", before, got)
	}
	s.Meter(2).Begin(noon, 0)
	live.Settle(noon.Add(5 * time.Minute))
	if got := s.meters[2].serve.own.value(); got != before {
		t.Errorf("while a request is there %v ms became %v", before, got)
	}
	s.Meter(2).End()
	live.Settle(noon.Add(6 * time.Minute))
	typical := s.meters[2].serve.typical.value()
	want := typical + (before-typical)*math.Exp(-1)
	if got := s.meters[2].serve.own.value(); math.Abs(got-want) > 1e-6 {
		t.Errorf("a minute unused: %v ms became %v, want %v: 1/e of what is not typical", before, got, want)
	}
}

func TestAClockThatStepsDoesNotMakeMetersForget(t *testing.T) {
	live := pool(t, 3)
	s := live.Snapshot()
	for position, wait := range []time.Duration{100, 100, 5000} {
		answer(s, position, wait*time.Millisecond, true)
	}
	before := s.meters[2].serve.own.value()
	for _, step := range []time.Duration{-time.Hour, 30 * 24 * time.Hour} {
		live.Settle(noon.Add(step))
		if got := s.meters[2].serve.own.value(); got != before {
			t.Errorf("a step of %v made %v ms of %v", step, got, before)
		}
	}
}

func TestTheMedianIsTheLowerMiddleOfWhatIsKnown(t *testing.T) {
	for _, c := range []struct {
		times []float64
		want  float64
	}{{nil, 0}, {[]float64{0, 0}, 0}, {[]float64{0, 7}, 7}, {[]float64{9, 0, 3}, 3}, {[]float64{5, 9, 3}, 5}, {[]float64{4, 1, 3, 2}, 2}} {
		if got := median(slices.Clone(c.times)); got != c.want {
			t.Errorf("the median of %v is %v, want %v", c.times, got, c.want)
		}
	}
}

// Of a pool that is larger than what fits, some are looked at, from all over it.
func TestALargePoolIsAsTypicalAsSomeOfIt(t *testing.T) {
	for _, n := range []int{256, 257, 1024} {
		snapshot, loads := fleet(t, n)
		for at := range loads {
			loads[at].ServeMs = float64(100 + at*100/n)
		}
		loads[n-1].ServeMs = 0
		price := snapshot.pricer(&Query{}, snapshot.Table.all, loads)
		if got := price.typical(); math.Abs(got-150) > 2 {
			t.Errorf("of %d endpoints with 100 to 200 ms %v is typical", n, got)
		}
	}
}

package router

import (
	"math"
	"testing"
	"time"
)

func TestASlowAnswerIsNewsAFastOneMayBeLuck(t *testing.T) {
	var m Meter
	m.Served(100*time.Millisecond, 0, true)
	m.Served(200*time.Millisecond, 0, true)
	if got := m.load(noon).ServeMs; math.Abs(got-115) > 1e-9 {
		t.Errorf("100 then 200 ms: %v, want 100 + 0.15·100", got)
	}
	m.Served(15*time.Millisecond, 0, true)
	if got := m.load(noon).ServeMs; math.Abs(got-110) > 1e-9 {
		t.Errorf("then 15 ms: %v, want 115 − 0.05·100", got)
	}
}

func TestServeTimeIsWithoutTheWayAndTheQueue(t *testing.T) {
	var m Meter
	m.Probed(40 * time.Millisecond)
	m.Served(240*time.Millisecond, 1, true)
	if got := m.load(noon).ServeMs; math.Abs(got-100) > 1e-9 {
		t.Errorf("240 ms at full load, 40 ms away: %v, want (240 − 40)/(1 + 1³)", got)
	}
	var near Meter
	near.Probed(time.Second)
	near.Served(time.Millisecond, math.NaN(), true)
	if got := near.load(noon).ServeMs; !(got > 0) {
		t.Errorf("an answer faster than the probe gave %v", got)
	}
}

func TestRetryAfterIsClamped(t *testing.T) {
	for ask, want := range map[time.Duration]float64{-time.Hour: 1000, 7 * time.Second: 7000, time.Hour: 300_000} {
		var m Meter
		m.Cool(noon, ask)
		if got := m.load(noon).CoolMs; got != want {
			t.Errorf("asked for %v: %v ms, want %v", ask, got, want)
		}
		if got := m.load(noon.Add(301 * time.Second)).CoolMs; got != 0 {
			t.Errorf("asked for %v: still %v ms after five minutes", ask, got)
		}
	}
	var m Meter
	m.Cool(noon, time.Minute)
	if got := m.load(noon.Add(-20 * 365 * 24 * time.Hour)).CoolMs; got > 300_000 {
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
	m.Begin(noon)
	m.Served(firstByte, 0, streamed)
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
		answer(s, position, wait*time.Millisecond, true)
	}
	x := s.Explain(Query{Model: "llama"}, s.Measure(nil, noon))
	for _, c := range x.Candidates {
		if c.Position == 3 && c.ServeMs != 30 {
			t.Errorf("at once it is taken for %v ms, want the median 30", c.ServeMs)
		}
	}
	live.Settle(noon.Add(time.Second))
	if got := s.Measure(nil, noon)[3].ServeMs; got != 30 {
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

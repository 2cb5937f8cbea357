package healthcheck

import (
	"testing"
	"testing/synctest"
	"time"

	"proxima/router"
)

func TestWhoStoodStillIsNotHimselfForAsLongAgain(t *testing.T) {
	for _, c := range []struct {
		still, later time.Duration
		unsteady     bool
	}{
		{still: 2 * time.Second, unsteady: false},
		{still: 6 * time.Second, unsteady: true},
		{still: 6 * time.Second, later: 4900 * time.Millisecond, unsteady: true},
		{still: 6 * time.Second, later: 5100 * time.Millisecond, unsteady: false},
		{still: time.Hour, later: 9900 * time.Millisecond, unsteady: true},
		{still: time.Hour, later: 10100 * time.Millisecond, unsteady: false},
	} {
		var p pulse
		p.beat(noon)
		p.beat(noon.Add(beat))
		now := noon.Add(beat + c.still)
		p.beat(now)
		for ; c.later >= beat; c.later -= beat {
			now = now.Add(beat)
			p.beat(now)
		}
		if got := p.unsteady(now.Add(c.later)); got != c.unsteady {
			t.Errorf("%+v: unsteady %v", c, got)
		}
	}
}

func TestThatItStoodStillIsKnownBeforeTheLateBeat(t *testing.T) {
	var p pulse
	if p.unsteady(noon) {
		t.Error("unsteady without a beat")
	}
	p.beat(noon)
	if !p.unsteady(noon.Add(5*time.Second)) || !p.unsteady(noon.Add(6*time.Second)) {
		t.Error("steady after five seconds without a beat")
	}
	p.stop()
	if p.unsteady(noon.Add(time.Hour)) {
		t.Error("unsteady although it does not beat")
	}
}

// TestSilenceIsNoEvidenceAfterAStandstill lets the process stand still by moving the
// last beat back: in the time of a test nothing is ever late.
func TestSilenceIsNoEvidenceAfterAStandstill(t *testing.T) {
	for _, c := range []struct {
		outcome router.Outcome
		after   time.Duration
		want    router.Health
	}{
		{outcome: router.Late, want: router.Up},
		{outcome: router.Stalled, want: router.Up},
		{outcome: router.Failed, want: router.Ejected},
		{outcome: router.Late, after: composure + beat, want: router.Ejected},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWard(endpoint("us-1"))
			w.open(t)
			defer func() { w.leave() }()
			time.Sleep(10*time.Second + beat/2)
			w.pulse.mu.Lock()
			w.pulse.last = time.Now().Add(-time.Minute)
			w.pulse.mu.Unlock()
			time.Sleep(c.after)
			for range 3 {
				w.Observe(attempt("us-1", c.outcome), time.Now())
			}
			synctest.Wait()
			if got := w.last("us-1").Health; got != c.want {
				t.Errorf("three requests %v, %s after it: %v, want %v", c.outcome, c.after, got, c.want)
			}
		})
	}
}

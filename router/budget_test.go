package router

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestNothingIsLeftBeforeTheFirstRequest(t *testing.T) {
	var budget Budget
	if budget.Draw(noon) || budget.Remaining(noon) != 0 {
		t.Error("a budget without settings allows a retry")
	}
}

func TestRetriesAreARatioOfTheRequestsPlusAFloor(t *testing.T) {
	var budget Budget
	for range 10 {
		budget.Request(noon, 0.2, 3)
	}
	drawn := 0
	for range 20 {
		if budget.Draw(noon) {
			drawn++
		}
	}
	if drawn != 5 {
		t.Errorf("%d retries are allowed, want 0.2·10 + 3", drawn)
	}
}

func TestTheBudgetComesBackAfterTenSeconds(t *testing.T) {
	var budget Budget
	budget.Request(noon, 0, 1)
	budget.Draw(noon)
	if budget.Draw(noon.Add(9 * time.Second)) {
		t.Error("a retry is allowed within ten seconds of the last")
	}
	if !budget.Draw(noon.Add(10 * time.Second)) {
		t.Error("no retry is allowed after ten seconds")
	}
}

// TestTheTenSecondsDoNotDependOnTheClocksSeconds would fail if seconds were those of
// the clock, which can be set: 900 ms and 10,800 ms are ten of them apart.
func TestTheTenSecondsDoNotDependOnTheClocksSeconds(t *testing.T) {
	var budget Budget
	late := noon.Add(900 * time.Millisecond)
	budget.Request(late, 0, 1)
	budget.Draw(late)
	if budget.Draw(late.Add(9900 * time.Millisecond)) {
		t.Error("a retry is allowed within ten seconds of the last")
	}
}

func TestNewSettingsHoldFromTheNextRequestOn(t *testing.T) {
	var budget Budget
	budget.Request(noon, 0.2, 3)
	budget.Request(noon, 1, 0)
	if got := budget.Remaining(noon); got != 2 {
		t.Errorf("%v retries are left, want 1·2 + 0", got)
	}
}

// ledger is the budget the slow way: everything that happened, and when.
type ledger struct {
	requests, retries []int64
	ratio             float64
	floor             int
}

func (l *ledger) left(second int64) float64 {
	within := func(events []int64) (n float64) {
		for _, at := range events {
			if at > second-10 && at <= second {
				n++
			}
		}
		return n
	}
	return l.ratio*within(l.requests) + float64(l.floor) - within(l.retries)
}

func TestTheBudgetAgreesWithALedgerOfEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var budget Budget
		var slow ledger
		now, began := noon, noon.Add(500*time.Millisecond)
		budget.Remaining(began) // seconds are counted from here
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 0, 0, 1, 400, 2500, 11_000, 60_000}).Draw(t, "passed")) * time.Millisecond)
			second := int64(math.Floor(now.Sub(began).Seconds()))
			if rapid.Bool().Draw(t, "request") {
				slow.ratio = rapid.SampledFrom([]float64{0, 0.2, 0.5, 1}).Draw(t, "ratio")
				slow.floor = rapid.IntRange(0, 3).Draw(t, "floor")
				budget.Request(now, slow.ratio, slow.floor)
				slow.requests = append(slow.requests, second)
			}
			left := slow.left(second)
			if got := budget.Remaining(now); got != max(0, left) {
				t.Fatalf("%v retries are left, want %v", got, max(0, left))
			}
			drawn := budget.Draw(now)
			if drawn != (left >= 1) {
				t.Fatalf("drawn %v with %v left", drawn, left)
			}
			if drawn {
				slow.retries = append(slow.retries, second)
			}
		}
	})
}

func TestManyWhoDrawAtOnceNeverOverdraw(t *testing.T) {
	for range 200 {
		var budget Budget
		var drawn atomic.Int64
		for range 10 {
			budget.Request(noon, 0.2, 3)
		}
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				for range 4 {
					if budget.Draw(noon) {
						drawn.Add(1)
					}
				}
			})
		}
		all.Wait()
		if got := drawn.Load(); got > 5 {
			t.Fatalf("%d retries were drawn, want 0.2·10 + 3 at the most", got)
		}
		if left := budget.Remaining(noon); left != float64(5-drawn.Load()) {
			t.Fatalf("%v retries are left after %d: those that were refused are still counted", left, drawn.Load())
		}
	}
}

func TestRequestsAndRetriesAtOnceStayInProportion(t *testing.T) {
	var budget Budget
	var requests, drawn atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 2000 {
				requests.Add(1)
				budget.Request(noon, 0.25, 3)
				if budget.Draw(noon) {
					drawn.Add(1)
				}
			}
		})
	}
	all.Wait()
	if most := requests.Load()/4 + 3; drawn.Load() > most {
		t.Errorf("%d retries for %d requests, want %d at the most", drawn.Load(), requests.Load(), most)
	}
}

func TestRetriesOfCallersWhoseSecondsAreOutOfOrderAreHeldAgainstEachOther(t *testing.T) {
	var budget Budget
	budget.Request(noon, 0, 3)
	drawn := 0
	for _, second := range []time.Duration{1, 1, 0, 0, 1, 0, 9, 5, 0} {
		if budget.Draw(noon.Add(second * time.Second)) {
			drawn++
		}
	}
	if drawn != 3 {
		t.Errorf("%d retries were drawn within ten seconds, want the floor of 3", drawn)
	}
}

func TestManyWhoDrawAtAChangeOfTheSecondNeverOverdraw(t *testing.T) {
	for range 200 {
		var budget Budget
		var drawn atomic.Int64
		budget.Request(noon, 0, 3)
		var all sync.WaitGroup
		for worker := range 8 {
			all.Go(func() {
				for i := range 20 {
					if budget.Draw(noon.Add(time.Duration((worker+i)%10) * time.Second)) {
						drawn.Add(1)
					}
				}
			})
		}
		all.Wait()
		if got := drawn.Load(); got > 3 {
			t.Fatalf("%d retries were drawn within ten seconds, want the floor of 3", got)
		}
	}
}

func TestALateCallerDoesNotWipeOutANewerSecond(t *testing.T) {
	var budget Budget
	later := noon.Add(11 * time.Second)
	budget.Request(later, 0, 3)
	for range 3 {
		budget.Draw(later)
	}
	budget.Draw(noon)
	if got := budget.Remaining(later); got != 0 {
		t.Errorf("%v retries are left, want 0", got)
	}
}

func TestAClockThatWasSetBackDoesNotStopRetries(t *testing.T) {
	var budget Budget
	budget.Request(noon, 0, 1)
	budget.Draw(noon)
	if !budget.Draw(noon.Add(-time.Hour)) {
		t.Error("no retry is allowed an hour before the last")
	}
}

func BenchmarkBudgetRequest(b *testing.B) {
	var budget Budget
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			budget.Request(noon, 0.2, 3)
		}
	})
}

func BenchmarkBudgetDraw(b *testing.B) {
	var budget Budget
	budget.Request(noon, 0.2, 3)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			budget.Draw(noon)
		}
	})
}

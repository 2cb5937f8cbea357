package router

import (
	"math"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// carrying is what was learned to be a capacity, and where the first queue was
// seen long ago.
func carrying(capacity float64) *learned {
	var c learned
	c.bits.set(capacity)
	c.cut.Store(noon.Add(-time.Hour).UnixNano())
	return &c
}

// slowAnswers tell of a queue: three slow answers in a row.
func (c *learned) slowAnswers(queue float64, at time.Time) {
	for range 3 {
		c.learn(1000, 100, queue, at)
	}
}

func TestACapacityIsUnknownUntilTheFirstQueue(t *testing.T) {
	var c learned
	for range 100 {
		c.learn(100, 100, 20, noon)
	}
	if got := c.value(); got != 0 {
		t.Errorf("%v, though nothing was ever slow", got)
	}
	c.slowAnswers(40, noon)
	if got := c.value(); got != 36 {
		t.Errorf("%v after a queue of 40, want a tenth less", got)
	}
	var idle learned
	idle.slowAnswers(3, noon)
	if got := idle.value(); got != 0 {
		t.Errorf("%v, though three were there when it was slow", got)
	}
}

func TestAfterTheFirstQueueACapacityGrowsByOneForEachCapacityOfAnswers(t *testing.T) {
	c := carrying(10)
	c.learn(100, 100, 10, noon)
	if got := c.value(); got != 10.1 {
		t.Errorf("%v, want 10 + 1/10", got)
	}
}

func TestAnAnswerInGoodTimeProvesThatSoManyFit(t *testing.T) {
	c := carrying(10)
	c.learn(100, 100, 14, noon)
	if got := c.value(); got != 14 {
		t.Errorf("%v after a quick answer with 14 in flight, want 14", got)
	}
}

func TestAnAnswerWithFewInFlightSaysNothingOfTheCapacity(t *testing.T) {
	for queue, want := range map[float64]float64{4.9: 10, 5: 10.1} {
		c := carrying(10)
		c.learn(100, 100, queue, noon)
		if got := c.value(); got != want {
			t.Errorf("quick with %v in flight: %v, want %v", queue, got, want)
		}
	}
	for queue, want := range map[float64]float64{4.9: 10, 5: 9} {
		c := carrying(10)
		c.slowAnswers(queue, noon)
		if got := c.value(); got != want {
			t.Errorf("slow with %v in flight: %v, want %v", queue, got, want)
		}
	}
}

func TestAnAnswerOverTwoAndAHalfTimesTheUsualIsAQueue(t *testing.T) {
	for took, want := range map[float64]float64{250: 10, 250.1: 9} {
		c := carrying(10)
		for range 3 {
			c.learn(took, 100, 7, noon)
			c.bits.set(min(c.value(), 10)) // as if it had not grown
		}
		if got := c.value(); got != want {
			t.Errorf("%v ms against the usual 100: %v, want %v", took, got, want)
		}
	}
	c := carrying(10)
	c.learn(1000, 0, 10, noon)
	if got := c.value(); got != 10.1 {
		t.Errorf("%v where nothing is usual yet, want 10 + 1/10", got)
	}
}

// Nobody feels a queue of some milliseconds.
func TestAnAnswerLessThanATenthOfASecondLateIsNoQueue(t *testing.T) {
	for took, want := range map[float64]float64{120: 10, 120.1: 9} {
		c := carrying(10)
		for range 3 {
			c.learn(took, 20, 7, noon)
			c.bits.set(min(c.value(), 10)) // as if it had not grown
		}
		if got := c.value(); got != want {
			t.Errorf("%v ms against the usual 20: %v, want %v", took, got, want)
		}
	}
}

// A single slow answer had a long prompt before it, or bad luck.
func TestThreeSlowAnswersInARowAreAQueue(t *testing.T) {
	c := carrying(10)
	for _, took := range []float64{1000, 1000, 100, 1000, 1000, 100} {
		c.learn(took, 100, 6, noon)
	}
	if got := c.value(); got <= 10 {
		t.Errorf("%v after two slow answers, a quick one, and the same again; want no cut", got)
	}
	before := c.value()
	c.slowAnswers(6, noon)
	if got := c.value(); math.Abs(got-before*0.9) > 1e-9 {
		t.Errorf("%v after three slow ones in a row, want 0.9·%v", got, before)
	}
}

func TestOneQueueCutsOnce(t *testing.T) {
	c := carrying(10)
	for _, step := range []struct {
		after time.Duration
		want  float64
	}{{0, 9}, {100 * time.Millisecond, 9}, {499 * time.Millisecond, 9}, {500 * time.Millisecond, 8.1}, {999 * time.Millisecond, 8.1}} {
		c.slowAnswers(6, noon.Add(step.after))
		if got := c.value(); math.Abs(got-step.want) > 1e-9 {
			t.Errorf("slow after %v: %v, want %v", step.after, got, step.want)
		}
	}
}

func TestAClockThatWasSetBackDoesNotStopCuts(t *testing.T) {
	c := carrying(10)
	c.shrink(6, noon)
	c.shrink(6, noon.Add(-time.Hour))
	if got := c.value(); math.Abs(got-8.1) > 1e-9 {
		t.Errorf("%v, want 10·0.9·0.9", got)
	}
}

func TestACutGoesNoFurtherBelowWhatWasThere(t *testing.T) {
	for queue, want := range map[float64]float64{10: 9, 10.5: 9.45, 12: 10, 400: 10} {
		c := carrying(10)
		c.shrink(queue, noon)
		if got := c.value(); math.Abs(got-want) > 1e-9 {
			t.Errorf("a queue of %v: %v, want %v", queue, got, want)
		}
	}
}

func TestACapacityIsTwoAtTheLeastAndBounded(t *testing.T) {
	c := carrying(2.1)
	for second := range 10 {
		c.shrink(2, noon.Add(time.Duration(second)*time.Second))
	}
	if got := c.value(); got != 2 {
		t.Errorf("%v after many cuts, want 2", got)
	}
	c = carrying(1e6)
	c.grow(1e9)
	if got := c.value(); got != 1e6 {
		t.Errorf("%v, want a million at the most", got)
	}
}

func TestManySlowAnswersAtOnceCutOnce(t *testing.T) {
	for range 100 {
		c := carrying(100)
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() { c.shrink(100, noon) })
		}
		all.Wait()
		if got := c.value(); math.Abs(got-90) > 1e-9 {
			t.Fatalf("%v, want 90", got)
		}
	}
}

func TestManyGoodAnswersAtOnceAreAllCounted(t *testing.T) {
	var c learned
	c.bits.set(5000)
	c.cut.Store(1)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 500 {
				c.grow(2500.5)
			}
		})
	}
	all.Wait()
	if got := c.value(); math.Abs(got-5000.8) > 0.01 {
		t.Errorf("%v after 4000 good answers, want 5000 + 4000/5000", got)
	}
}

// Whatever it is told, a capacity moves by the rules: up by one or to what was there,
// down by a tenth at the most, and stays between its bounds.
func TestACapacityMovesByTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c learned
		now := noon
		for range rapid.IntRange(1, 60).Draw(t, "answers") {
			now = now.Add(time.Duration(rapid.IntRange(-100, 700).Draw(t, "passed")) * time.Millisecond)
			before, queue := c.value(), finite(anyNumber.Draw(t, "queue"), 0)+1
			c.learn(anyNumber.Draw(t, "took"), anyNumber.Draw(t, "usual"), queue, now)
			got := c.value()
			if before == 0 && got == 0 {
				continue
			}
			if before == 0 {
				before = queue
			}
			if !(got >= 2 && got <= 1e6 && got <= max(before+1, queue) && got >= min(before, 1e6)*0.9-1e-9) {
				t.Fatalf("from %v to %v with %v in flight", before, got, queue)
			}
		}
	})
}

func TestAMeterLearnsFromStreamsHowManyAreTooMany(t *testing.T) {
	m := learnt(50, 100*time.Millisecond)
	m.capacity = *carrying(10)
	m.Served(Sample{At: noon, Elapsed: 120 * time.Millisecond, Queue: 9, Streamed: true})
	if got := m.Capacity(); got != 10.1 {
		t.Errorf("%v after an answer in good time, want 10.1", got)
	}
	for range 3 {
		m.Served(Sample{At: noon, Elapsed: time.Second, Queue: 9.1, Streamed: true})
	}
	if got := m.Capacity(); math.Abs(got-9.09) > 1e-9 {
		t.Errorf("%v after slow ones, want 10.1·0.9", got)
	}
}

// A long prompt takes long by itself: no queue is seen where there is none.
func TestALongPromptIsNoQueue(t *testing.T) {
	m := trained(100, 10, 0)
	m.capacity = *carrying(10)
	m.Served(Sample{At: noon, Elapsed: 900 * time.Millisecond, KB: 80, Queue: 9, Streamed: true})
	if got := m.Capacity(); got != 10.1 {
		t.Errorf("%v after 80 KB in 900 ms, want 10.1: a KB takes 10 ms", got)
	}
	for range 3 {
		m.Served(Sample{At: noon, Elapsed: 3 * time.Second, KB: 1, Queue: 9.1, Streamed: true})
	}
	if got := m.Capacity(); math.Abs(got-9.09) > 1e-9 {
		t.Errorf("%v after 1 KB in three seconds, thrice, want 10.1·0.9", got)
	}
}

// All tokens of a whole answer come at once: that it took long says nothing.
func TestAWholeAnswerSaysNothingOfTheCapacity(t *testing.T) {
	m := learnt(50, 100*time.Millisecond)
	m.capacity = *carrying(10)
	m.Served(Sample{At: noon, Elapsed: time.Minute, Queue: 9})
	if got := m.Capacity(); got != 10 {
		t.Errorf("%v, want 10 as before", got)
	}
}

func TestAnEndpointThatAsksToBeLeftAloneCarriesLess(t *testing.T) {
	var m Meter
	m.capacity = *carrying(10)
	for range 9 {
		m.Begin(noon, 0)
	}
	m.Cool(noon, time.Second)
	if got := m.Capacity(); got != 9 {
		t.Errorf("%v, want 10·0.9", got)
	}
}

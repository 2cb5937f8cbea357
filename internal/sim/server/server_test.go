package server_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"proxima/internal/sim/server"
)

var smallGPU = server.Spec{
	PrefillPerMs: 8, StepMs: 20, StepPerSeqMs: 0.6, Slots: 32, KVTokens: 120_000, CacheTokens: 60_000,
}

// plain is a server whose figures are easy to reckon with.
func plain() server.Spec {
	return server.Spec{PrefillPerMs: 10, StepMs: 20, StepPerSeqMs: 2, Slots: 4}
}

// beside is how fast plain computes a prompt while so many decode.
func beside(batch float64) float64 { return 10 * (1 - batch/8) }

func TestOneRequestAlone(t *testing.T) {
	s := server.New(plain())
	s.Submit(100, server.Job{ID: 1, Context: 1000, Generate: 5})
	happens(t, s, // 1,000 tokens at 10 a millisecond, and five steps of 20 ms
		first(1, 200+20),
		done(1, 200+5*20))
}

func TestOneTokenIsTheFirstAndTheLast(t *testing.T) {
	s := server.New(plain())
	s.Submit(0, server.Job{ID: 1, Context: 10})
	happens(t, s, first(1, 21), done(1, 21))
}

func TestTwoRequestsQueueForThePrefill(t *testing.T) {
	s := server.New(plain())
	s.Submit(0, server.Job{ID: 1, Context: 1000, Generate: 5})
	s.Submit(0, server.Job{ID: 2, Context: 1000, Generate: 3})

	joined := 100 + 1000/beside(1)             // when the second has its prompt computed
	had := (joined - 100) / 30                 // tokens that the first has by then, in steps of 20 · 1.5
	firstDone := joined + (5-had)*22           // the two are a batch of 22 ms a step
	secondHad := 5 - had                       // tokens that the second has by then
	secondDone := firstDone + (3-secondHad)*20 // alone again
	happens(t, s,
		first(1, 100+30),
		first(2, joined+22),
		done(1, firstDone),
		done(2, secondDone))
}

func TestABatchSlowsDecoding(t *testing.T) {
	s := server.New(plain())
	for id := range uint64(4) {
		s.Submit(0, server.Job{ID: id, Context: 10, Generate: 1000})
	}
	if got := tokensWithin(s, 0, 1000, 1000+10*26); got != 10 { // 20 + 3·2
		t.Errorf("a batch of four has %d tokens out in ten steps of four", got)
	}
	s.Cancel(2000, 1)
	s.Cancel(2000, 2)
	if got := tokensWithin(s, 0, 2000, 2000+10*22); got != 10 {
		t.Errorf("a batch of two has %d tokens out in ten steps of two", got)
	}
}

func TestAPrefillSlowsDecodingByHalf(t *testing.T) {
	s := server.New(plain())
	s.Submit(0, server.Job{ID: 1, Context: 10, Generate: 1000})
	s.Submit(100, server.Job{ID: 2, Context: 100_000, Generate: 1})
	if got := tokensWithin(s, 1, 1000, 1000+10*30); got != 10 {
		t.Errorf("%d tokens are out in ten steps of 30 ms", got)
	}
}

func tokensWithin(s *server.Server, id uint64, from, to float64) int {
	before := s.Tokens(from, id)
	return s.Tokens(to, id) - before
}

func TestTokensCountUpFromTheFirstToTheLast(t *testing.T) {
	s := server.New(plain())
	s.Submit(0, server.Job{ID: 1, Context: 1000, Generate: 3})
	for _, at := range []struct {
		ms   float64
		want int
	}{{50, 0}, {100, 0}, {119.9, 0}, {120, 1}, {139.9, 1}, {140, 2}, {159.9, 2}, {160, 0}} {
		if got := s.Tokens(at.ms, 1); got != at.want {
			t.Errorf("at %v ms %d tokens are out, not %d", at.ms, got, at.want)
		}
	}
}

func TestTheHeadOfTheLineWaitsForMemoryAndBlocksTheRest(t *testing.T) {
	spec := plain()
	spec.KVTokens = 150
	s := server.New(spec)
	s.Submit(0, server.Job{ID: 1, Context: 100, Generate: 20})
	s.Submit(0, server.Job{ID: 2, Context: 20, Generate: 20}) // 160 tokens are too many
	s.Submit(0, server.Job{ID: 3, Context: 1, Generate: 1})   // would fit

	third := 412 + 1/beside(1)
	had := (third - 412) / 30
	happens(t, s,
		first(1, 10+20),
		done(1, 10+20*20),
		first(2, third+(1-had)*22),
		first(3, third+22),
		done(3, third+22),
		done(2, third+22+(20-had-1)*20))
}

func TestWhatNeverFitsIsRefused(t *testing.T) {
	spec := plain()
	spec.KVTokens = 150
	s := server.New(spec)
	if s.Submit(0, server.Job{ID: 1, Context: 150, Generate: 1}) {
		t.Error("151 tokens were accepted where 150 fit")
	}
	if wait := s.Predict(0, server.Job{Context: 150}); !math.IsInf(wait, 1) {
		t.Errorf("151 tokens are predicted to take %v ms where 150 fit", wait)
	}
	if !s.Submit(0, server.Job{ID: 1, Context: 149, Generate: 1}) {
		t.Error("150 tokens were refused where 150 fit")
	}
}

func TestALongLineRefuses(t *testing.T) {
	spec := plain()
	spec.Queue = 2
	s := server.New(spec)
	accepted := 0
	for id := range uint64(10) {
		if s.Submit(0, server.Job{ID: id, Context: 100, Generate: 10}) {
			accepted++
		}
	}
	if accepted != 4+2 || s.InFlight() != 6 {
		t.Errorf("%d were accepted and %d are in flight, of 4 slots and 2 places to wait", accepted, s.InFlight())
	}
	if wait := s.Predict(0, server.Job{Context: 1}); !math.IsInf(wait, 1) {
		t.Errorf("a job that would be refused is predicted to take %v ms", wait)
	}
}

func TestCancelFreesThePlaceAtOnce(t *testing.T) {
	spec := plain()
	spec.Slots = 1
	for _, leaves := range []struct {
		where string
		at    float64
	}{{"prefill", 50}, {"first step", 110}, {"decoding", 150}} {
		s := server.New(spec)
		s.Submit(0, server.Job{ID: 1, Context: 1000, Generate: 1000})
		s.Submit(0, server.Job{ID: 2, Context: 500, Generate: 1}) // leaves from the line
		s.Submit(0, server.Job{ID: 3, Context: 500, Generate: 1})
		s.Advance(leaves.at, nil)
		s.Cancel(leaves.at, 2)
		s.Cancel(leaves.at, 1)
		t.Log("the first leaves during its", leaves.where)
		happens(t, s, first(3, leaves.at+50+20), done(3, leaves.at+50+20))
	}
}

func TestCancelOfTheHeadUnblocksTheLine(t *testing.T) {
	spec := plain()
	spec.KVTokens = 150
	s := server.New(spec)
	s.Submit(0, server.Job{ID: 1, Context: 100, Generate: 20})
	s.Submit(0, server.Job{ID: 2, Context: 100, Generate: 20})
	s.Submit(0, server.Job{ID: 3, Context: 20, Generate: 1})
	s.Cancel(20, 2)
	joined := 20 + 20/beside(1)
	happens(t, s, // the first is half through its first step, which the prefill then stretches
		first(1, joined+(1-0.5-(joined-20)/30)*22),
		first(3, joined+22),
		done(3, joined+22),
		done(1, joined+22+(20-0.5-(joined-20)/30-1)*20))
}

func TestCancelOfAStrangerChangesNothing(t *testing.T) {
	s := server.New(plain())
	s.Submit(0, server.Job{ID: 1, Context: 1000, Generate: 5})
	s.Cancel(50, 7)
	happens(t, s, first(1, 120), done(1, 200))
}

func TestACrashLosesEverythingAndEmptiesTheCache(t *testing.T) {
	spec := plain()
	spec.CacheTokens = 10_000
	spec.Slots = 2
	s := server.New(spec)
	again := server.Job{ID: 9, Context: 1000, Generate: 1, Session: 5, Shared: 900}
	s.Submit(0, server.Job{ID: 1, Context: 800, Generate: 100, Session: 5})
	s.Advance(5000, nil)
	for id := range uint64(4) {
		s.Submit(5000, server.Job{ID: 10 + id, Context: 100, Generate: 50})
	}
	if wait := s.Predict(5000, again); wait < 500 {
		t.Errorf("before the crash there is no line: %v ms", wait)
	}
	if lost := fmt.Sprint(s.Crash(5015)); lost != "[10 11 12 13]" {
		t.Errorf("lost %s", lost)
	}
	if s.InFlight() != 0 || !math.IsInf(s.Next(), 1) {
		t.Errorf("after the crash %d are in flight, and something happens at %v", s.InFlight(), s.Next())
	}
	s.Submit(5020, again)
	happens(t, s, first(9, 5020+100+20), done(9, 5020+100+20))
}

func TestAFrozenServerGoesOnWhereItStopped(t *testing.T) {
	s := server.New(plain())
	s.Submit(0, server.Job{ID: 1, Context: 1000, Generate: 5})
	s.Freeze(70)
	if next := s.Next(); !math.IsInf(next, 1) {
		t.Errorf("something happens at %v", next)
	}
	if wait := s.Predict(100, server.Job{Context: 10}); !math.IsInf(wait, 1) {
		t.Errorf("a frozen server is predicted to answer in %v ms", wait)
	}
	s.Advance(900, nil)
	s.Thaw(1070)
	happens(t, s, first(1, 1000+120), done(1, 1000+200))
}

func TestASlowServerTakesSoManyTimesAsLong(t *testing.T) {
	s := server.New(plain())
	s.SetSpeed(0, 6)
	s.Submit(0, server.Job{ID: 1, Context: 1000, Generate: 5})
	s.SetSpeed(6*140, 1) // with two tokens out
	happens(t, s, first(1, 6*120), done(1, 6*140+3*20))
}

func TestLostSlotsAreLostToTheLineOnly(t *testing.T) {
	s := server.New(plain())
	for id := range uint64(4) {
		s.Submit(0, server.Job{ID: id, Context: 10, Generate: 10 * int(1+id)})
	}
	s.SetSlots(1, 2)
	s.Submit(1, server.Job{ID: 9, Context: 10, Generate: 1})
	var doneBefore []uint64
	s.Advance(math.Inf(1), func(e server.Event) {
		if e.Kind == server.Done {
			doneBefore = append(doneBefore, e.Job)
		}
	})
	if got := fmt.Sprint(doneBefore); got != "[0 1 2 9 3]" { // three must leave before one may come
		t.Errorf("they finish in the order %s", got)
	}
}

func TestWithoutSlotsNobodyIsServed(t *testing.T) {
	s := server.New(plain())
	s.SetSlots(0, 0)
	if !s.Submit(0, server.Job{ID: 1, Context: 10, Generate: 1}) || !math.IsInf(s.Next(), 1) {
		t.Errorf("a server without slots does something at %v", s.Next())
	}
	if wait := s.Predict(5, server.Job{Context: 10}); !math.IsInf(wait, 1) {
		t.Errorf("a server without slots is predicted to answer in %v ms", wait)
	}
	s.SetSlots(500, 1)
	happens(t, s, first(1, 521), done(1, 521))
}

// prompts sends jobs one after the other to a server with a cache and returns how many
// tokens of each prompt it computed.
func prompts(cacheTokens int, jobs ...server.Job) string {
	spec := plain()
	spec.CacheTokens = cacheTokens
	s, now := server.New(spec), 0.0
	var computed []string
	for i, j := range jobs {
		j.ID = uint64(i)
		before := now
		s.Submit(now, j)
		s.Advance(math.Inf(1), func(e server.Event) {
			if now = e.At; e.Kind == server.FirstToken {
				computed = append(computed, fmt.Sprintf("%.0f", (now-before-20)*10))
			}
		})
	}
	return strings.Join(computed, " ")
}

func TestASessionNeedsOnlyItsNewTokens(t *testing.T) {
	turn := func(context, shared int) server.Job {
		return server.Job{Context: context, Generate: 50, Session: 7, Shared: shared}
	}
	got := prompts(10_000, turn(200, 0), turn(300, 250), turn(300, 300), turn(900, 800))
	if got != "200 50 1 550" { // of the last, 350 tokens are cached, as a turn was answered elsewhere
		t.Errorf("computed %s", got)
	}
}

func TestAPrefixIsSharedBetweenSessions(t *testing.T) {
	first := server.Job{Context: 300, Generate: 1, Session: 1, Prefix: 9, PrefixTokens: 200}
	other, stranger := first, first
	other.Session, stranger.Session, stranger.Prefix = 2, 3, 8
	if got := prompts(10_000, first, other, stranger); got != "300 100 300" {
		t.Errorf("computed %s", got)
	}
}

func TestTheLeastRecentlyUsedLeavesTheCache(t *testing.T) {
	turn := func(session uint64) server.Job {
		return server.Job{Context: 399, Generate: 1, Session: session, Shared: 300}
	}
	got := prompts(1000, turn(1), turn(2), turn(1), turn(3), turn(1), turn(2))
	if got != "399 399 99 399 99 399" {
		t.Errorf("computed %s", got)
	}
	if got := prompts(300, turn(1), turn(1)); got != "399 399" {
		t.Errorf("an entry larger than the cache was kept: computed %s", got)
	}
}

func TestAPrefixHelpsThoseWhoCameBeforeItWasComputed(t *testing.T) {
	spec := plain()
	spec.CacheTokens = 1000
	s := server.New(spec)
	j := server.Job{Context: 1000, Generate: 1, Prefix: 9, PrefixTokens: 900}
	for j.ID = 1; j.ID <= 2; j.ID++ {
		s.Submit(0, j)
	}
	second := 100 + 100/beside(1)
	happens(t, s,
		first(1, second+(1-(second-100)/30)*22),
		done(1, second+(1-(second-100)/30)*22),
		first(2, second+(1-(second-100)/30)*22+(second-100)/30*20),
		done(2, second+(1-(second-100)/30)*22+(second-100)/30*20))
}

func TestNextIsInThePastUntilItIsTold(t *testing.T) {
	s := server.New(plain())
	s.Submit(0, server.Job{ID: 1, Context: 1000, Generate: 5})
	s.Submit(500, server.Job{ID: 2, Context: 1000, Generate: 5})
	if s.Next() != 120 {
		t.Errorf("next is %v", s.Next())
	}
	s.Advance(500, nil)
	if s.Next() != 600 {
		t.Errorf("next is %v", s.Next())
	}
}

func TestASpecThatMakesNoSensePanics(t *testing.T) {
	for _, spoil := range []func(*server.Spec){
		func(s *server.Spec) { s.PrefillPerMs = 0 },
		func(s *server.Spec) { s.StepMs = math.NaN() },
		func(s *server.Spec) { s.StepPerSeqMs = -1 },
		func(s *server.Spec) { s.Slots = 0 },
		func(s *server.Spec) { s.Queue = -1 },
	} {
		spec := plain()
		spoil(&spec)
		panics(t, fmt.Sprintf("New(%+v)", spec), func() { server.New(spec) })
	}
	panics(t, "SetSpeed(0)", func() { server.New(plain()).SetSpeed(0, 0) })
}

func panics(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s does not panic", what)
		}
	}()
	f()
}

func TestCapacityIsWhatAServerSustains(t *testing.T) {
	noMemory := smallGPU
	noMemory.KVTokens = 12_000
	short := smallGPU
	short.Slots = 8
	for _, world := range []struct {
		name              string
		spec              server.Spec
		context, generate float64
	}{
		{"conversation", smallGPU, 1150, 210},
		{"long prompts bind the prefill", smallGPU, 4000, 100},
		{"long answers bind the batch", smallGPU, 200, 500},
		{"memory binds", noMemory, 1150, 210},
		{"few slots", short, 1150, 210},
	} {
		claimed := world.spec.Capacity(world.context, world.generate)
		seen := sustained(world.spec, world.context, world.generate)
		t.Logf("%s: claimed %.2f/s, seen %.2f/s", world.name, claimed, seen)
		if math.Abs(claimed/seen-1) > 0.06 {
			t.Errorf("%s: capacity says %.2f requests a second, and %.2f are answered", world.name, claimed, seen)
		}
	}
}

// sustained keeps jobs waiting and returns how many are answered in a second.
func sustained(spec server.Spec, context, generate float64) float64 {
	const jobs = 4000
	spec.CacheTokens = 0
	s, rng := server.New(spec), rand.New(rand.NewPCG(3, 4))
	for id := range uint64(jobs) {
		s.Submit(0, server.Job{
			ID: id, Context: int(context * (0.5 + rng.Float64())), Generate: int(generate * (0.5 + rng.Float64())),
		})
	}
	var ends []float64
	s.Advance(math.Inf(1), func(e server.Event) {
		if e.Kind == server.Done {
			ends = append(ends, e.At)
		}
	})
	from, to := jobs/10, jobs*9/10 // neither filling up nor running empty
	return 1000 * float64(to-from) / (ends[to] - ends[from])
}

func first(id uint64, at float64) string { return fmt.Sprintf("%.3f first token of %d", at, id) }

func done(id uint64, at float64) string { return fmt.Sprintf("%.3f done with %d", at, id) }

// happens lets a server go on to the end and checks all that it tells.
func happens(t *testing.T, s *server.Server, want ...string) {
	t.Helper()
	var got []string
	s.Advance(math.Inf(1), func(e server.Event) {
		if e.Kind == server.FirstToken {
			got = append(got, first(e.Job, e.At))
		} else {
			got = append(got, done(e.Job, e.At))
		}
	})
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("it tells\n  %s\nnot\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
	if s.InFlight() != 0 {
		t.Errorf("%d are in flight in the end", s.InFlight())
	}
}

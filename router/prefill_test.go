package router

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// trained is a meter of an idle server that takes so many ms to the first token of
// nothing, and so many for each KB of prompt, told of prompts of 1 to 40 KB. Each time
// is off by up to so many ms, by a chance that is the same in every run.
func trained(baseMs, slopeMs, noiseMs float64) *Meter {
	var m Meter
	train(&m, 500, baseMs, slopeMs, noiseMs)
	return &m
}

func train(m *Meter, n int, baseMs, slopeMs, noiseMs float64) {
	chance := rand.New(rand.NewPCG(1, 2))
	for range n {
		kb := 1 + 39*chance.Float64()
		took := baseMs + slopeMs*kb + noiseMs*(2*chance.Float64()-1)
		m.Served(Sample{At: noon, Elapsed: time.Duration(took * float64(time.Millisecond)), KB: kb, Streamed: true})
	}
}

func TestTheSlopeIsFoundInNoise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slope := rapid.Float64Range(1, 40).Draw(t, "ms for each KB")
		base := rapid.Float64Range(20, 300).Draw(t, "ms for none")
		m := trained(base, slope, 5*slope)
		if got := m.now(noon).PrefillMs; math.Abs(got/slope-1) > 0.1 {
			t.Fatalf("%v ms for each KB, want %v within a tenth", got, slope)
		}
	})
}

func TestPromptsThatComeBeforeCountAsOnesOwn(t *testing.T) {
	var m Meter
	chance := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		waitKB := 40 * chance.Float64()
		took := time.Duration((50 + 6*(4+waitKB)) * float64(time.Millisecond))
		m.Served(Sample{At: noon, Elapsed: took, KB: 4, WaitKB: waitKB, Streamed: true})
	}
	if got := m.now(noon).PrefillMs; math.Abs(got/6-1) > 0.01 {
		t.Errorf("%v ms for each KB, want 6", got)
	}
}

func TestAServerWhoseFirstTokenDoesNotWaitHasNoSlope(t *testing.T) {
	if got := trained(200, 0, 0).now(noon).PrefillMs; got > 1e-6 {
		t.Errorf("%v ms for each KB of a server that takes 200 ms whatever comes", got)
	}
	if got := trained(300, -5, 0).now(noon).PrefillMs; got != 0 {
		t.Errorf("%v ms for each KB of one that is the quicker the longer the prompt", got)
	}
}

// A usual prompt does not take longer than its answer took: a line through few and
// strange points may be steep.
func TestASlopeIsBoundedByWhatAnswersTook(t *testing.T) {
	var m Meter
	for range 100 {
		m.Served(Sample{At: noon, Elapsed: 10 * time.Millisecond, KB: 20, Streamed: true})
		m.Served(Sample{At: noon, Elapsed: 900 * time.Millisecond, KB: 21, Streamed: true})
	}
	p := &m.prefill
	if got, most := p.slopeMs(), p.took.value()/p.kb.value(); got != most {
		t.Errorf("%v ms for each KB, want %v: the mean time over the mean length", got, most)
	}
}

func TestOnePromptHasNoSlope(t *testing.T) {
	var m Meter
	train(&m, 1, 100, 10, 0)
	if got := m.now(noon).PrefillMs; got != 0 {
		t.Errorf("%v ms for each KB from a single answer", got)
	}
}

func TestAPromptOfUnknownLengthTeachesNoSlope(t *testing.T) {
	for _, kb := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		m := trained(100, 10, 0)
		before := m.now(noon).PrefillMs
		m.Served(Sample{At: noon, Elapsed: 100 * time.Millisecond, KB: kb, Streamed: true})
		if got := m.now(noon).PrefillMs; got != before {
			t.Errorf("%v KB made %v ms for each of %v", kb, got, before)
		}
	}
}

func TestASlopeFollowsAServerThatChanges(t *testing.T) {
	m := trained(100, 10, 0)
	train(m, 300, 100, 2, 0)
	if got := m.now(noon).PrefillMs; math.Abs(got/2-1) > 0.1 {
		t.Errorf("%v ms for each KB 300 answers later, want 2", got)
	}
}

func TestTheSlopeOfThePoolCountsWhileOnesOwnRestsOnFew(t *testing.T) {
	for n, want := range map[int]float64{1: 20. * 2 / 21, 10: (10*10 + 20*2) / 30., 50: (50*10 + 20*2) / 70., 500: (50*10 + 20*2) / 70.} {
		var m Meter
		m.prefill.typical.set(2)
		train(&m, n, 100, 10, 0)
		if got := m.now(noon).PrefillMs; math.Abs(got-want) > 1e-6 {
			t.Errorf("after %d answers %v ms for each KB, want %v", n, got, want)
		}
	}
}

func TestASlopeIsComparedOnceItRestsOnTwenty(t *testing.T) {
	var m Meter
	train(&m, 19, 100, 10, 0)
	if got := m.prefill.trusted(); got != 0 {
		t.Errorf("after 19 answers %v is trusted", got)
	}
	train(&m, 1, 100, 10, 0)
	if got := m.prefill.trusted(); math.Abs(got-10) > 1e-6 {
		t.Errorf("after 20 answers %v is trusted, want 10", got)
	}
}

// The serve time is that of a usual prompt with nobody before it: a burst of long
// prompts does not make the server slow.
func TestTheServeTimeIsThatOfAUsualPrompt(t *testing.T) {
	m := trained(100, 10, 0)
	usual := m.prefill.own.value()
	before := m.now(noon).ServeMs
	if math.Abs(before-(100+10*usual)) > 5 {
		t.Errorf("%v ms, want 100 and ten for each of %v KB", before, usual)
	}
	for range 100 {
		took := 100 + 10*(usual+60)
		m.Served(Sample{At: noon, Elapsed: time.Duration(took * float64(time.Millisecond)), KB: 0, WaitKB: 60, Streamed: true})
	}
	if got := m.now(noon).ServeMs; math.Abs(got/before-1) > 0.05 {
		t.Errorf("%v ms behind 60 KB of others, was %v", got, before)
	}
}

// Of the requests of other routers only the number is known: each is taken to have as
// much before its first token as those that were met here had.
func TestTheRequestsOfOthersAreTakenToWaitLikeOnesOwn(t *testing.T) {
	var m Meter
	for range 500 {
		m.Begin(noon, 8) // meets nobody
		m.Begin(noon, 8) // meets one that waits with 8 KB
		m.Answered(8)
		m.Answered(8)
		m.End()
		m.End()
	}
	m.Begin(noon, 3)
	m.Reported(5, 1, 2)
	if got := m.now(noon).WaitKB; math.Abs(got-(3+4*8)) > 0.5 {
		t.Errorf("%v KB wait, want one's own 3 and four times 8", got)
	}
}

func TestNoReportLetsNothingWait(t *testing.T) {
	var m Meter
	m.Begin(noon, 3)
	m.Answered(3)
	if got := m.now(noon); got.WaitKB != 0 || got.Queue != 1 {
		t.Errorf("%v KB wait with %v there", got.WaitKB, got.Queue)
	}
}

// A stranger who says that its prompt is endless makes nobody wait, and teaches no more
// than the longest prompt there is.
func TestAPromptCountsForAMegabyteAtTheMost(t *testing.T) {
	var m Meter
	m.Begin(noon, 1e9)
	if got := m.now(noon).WaitKB; got != 1024 {
		t.Errorf("%v KB wait, want 1024", got)
	}
	m.Answered(1e9)
	if got := m.now(noon).WaitKB; got != 0 {
		t.Errorf("%v KB wait after the answer", got)
	}
	long, endless := trained(100, 10, 0), trained(100, 10, 0)
	long.Served(Sample{At: noon, Elapsed: 200 * time.Millisecond, KB: 1024, Streamed: true})
	endless.Served(Sample{At: noon, Elapsed: 200 * time.Millisecond, KB: 1e9, Streamed: true})
	train(long, 100, 100, 10, 0)
	train(endless, 100, 100, 10, 0)
	if got, want := endless.now(noon), long.now(noon); got != want {
		t.Errorf("an endless prompt taught %+v, one of 1024 KB %+v", got, want)
	}
}

package workload

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// steadily is ten clients who ask at one rate.
func steadily(perSec float64) Area {
	return Area{Clients: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, PerSec: func(float64) float64 { return perSec }}
}

// talk is conversations as people have them.
var talk = Sessions{Share: 0.8, Turns: 5, ThinkMs: 15_000, Prefixes: 50, PrefixTokens: 600}

func TestTheRateIsTheOneAskedForWhateverBelongsTogether(t *testing.T) {
	for _, arrivals := range []Arrivals{Poisson, Bursty, Recorded} {
		for name, sessions := range map[string]Sessions{"alone": {}, "conversations": talk, "nothing else": {Share: 1, Turns: 10, ThinkMs: 5000}} {
			requests := Generate(Settings{
				Trace: Conversation(), Arrivals: arrivals, DurationMs: 500_000, Areas: []Area{steadily(100), steadily(20)}, Sessions: sessions,
			}, rand.New(rand.NewPCG(1, 2)))
			if rate := float64(len(requests)) / 500; math.Abs(rate/120-1) > 0.03 {
				t.Errorf("arrivals %d, %s: %v requests a second, want 120", arrivals, name, rate)
			}
		}
	}
}

// The first and the last ten seconds of many runs: no run-in, no run-out. A renewal
// process that begins with an arrival would have four too many in the first.
func TestTheRateIsThereFromTheFirstSecondToTheLast(t *testing.T) {
	const runs, seconds = 1000, 10
	sessions := Sessions{Share: 0.8, Turns: 3, ThinkMs: 3000}
	for _, arrivals := range []Arrivals{Poisson, Bursty, Recorded} {
		var first, last, later float64
		for seed := range uint64(runs) {
			for _, q := range Generate(Settings{
				Trace: Conversation(), Arrivals: arrivals, DurationMs: 20_000, Areas: []Area{steadily(4)}, Sessions: sessions,
			}, rand.New(rand.NewPCG(seed, 2))) {
				switch {
				case q.AtMs >= 10_000:
					last++
				case q.Turn > 1:
					first, later = first+1, later+1
				default:
					first++
				}
			}
		}
		if first, last := first/runs/seconds, last/runs/seconds; math.Abs(first/4-1) > 0.03 || math.Abs(last/4-1) > 0.03 {
			t.Errorf("arrivals %d: %v a second at first, %v at last, want 4", arrivals, first, last)
		}
		if share := later / first; math.Abs(share-0.8*2/3) > 0.03 {
			t.Errorf("arrivals %d: %v of the first are later turns, want 0.533", arrivals, share)
		}
	}
}

func TestACrowdComesWhenItDoesAndMovesNobodyElse(t *testing.T) {
	calm, crowded := steadily(50), steadily(50)
	crowded.PerSec = func(ms float64) float64 {
		if ms >= 100_000 && ms < 200_000 {
			return 250
		}
		return 50
	}
	for _, sessions := range []Sessions{{}, talk} {
		requests := func(first Area) (crowd, others []Request) {
			second := steadily(30)
			second.Clients = []int{10, 11}
			all := Generate(Settings{
				Trace: Conversation(), DurationMs: 300_000, Areas: []Area{first, second}, Sessions: sessions,
			}, rand.New(rand.NewPCG(1, 2)))
			for _, q := range all {
				if q.Client < 10 {
					crowd = append(crowd, q)
				} else {
					others = append(others, q)
				}
			}
			return crowd, others
		}
		_, undisturbed := requests(calm)
		crowd, others := requests(crowded)
		if !slices.Equal(others, undisturbed) {
			t.Error("the other area's requests are different")
		}
		perSec := [3]float64{}
		for _, q := range crowd {
			perSec[int(q.AtMs/100_000)] += 1.0 / 100
		}
		for i, want := range []float64{50, 250, 50} {
			if math.Abs(perSec[i]/want-1) > 0.04 {
				t.Errorf("%v requests a second in the three parts, want 50, 250, 50", perSec)
				break
			}
		}
	}
}

func TestARateThatIsNoneAsksNothing(t *testing.T) {
	for _, rate := range []float64{0, -1, math.NaN(), math.Inf(1), math.Inf(-1)} {
		requests := Generate(Settings{
			Trace: Conversation(), DurationMs: 10_000, Areas: []Area{steadily(rate), {PerSec: steadily(9).PerSec}}, Sessions: talk,
		}, rand.New(rand.NewPCG(1, 2)))
		if len(requests) != 0 {
			t.Errorf("%v a second, and nobody there: %d requests", rate, len(requests))
		}
	}
}

func TestSharesAreThoseAskedFor(t *testing.T) {
	requests := Generate(Settings{
		Trace: Conversation(), DurationMs: 2_000_000, Areas: []Area{steadily(100)},
		Sessions: talk, Classes: Classes{Critical: 0.25, Batch: 0.5},
	}, rand.New(rand.NewPCG(1, 2)))
	n := float64(len(requests))
	var together, critical, batch, first, second float64
	for _, q := range requests {
		if q.Session != 0 {
			together += 1 / n
		}
		switch q.Class {
		case 1:
			critical += 1 / n
		case 2:
			batch += 1 / n
		}
		switch q.Prefix {
		case prefixHash & math.MaxUint64:
			first += 1 / n
		case (2 * prefixHash) & math.MaxUint64:
			second += 1 / n
		}
	}
	harmonic := 0.0
	for k := 1.0; k <= 50; k++ {
		harmonic += 1 / k
	}
	for _, test := range []struct {
		what      string
		got, want float64
	}{
		{"requests of conversations", together, 0.8},
		{"critical requests", critical, 0.25},
		{"batch requests", batch, 0.5},
		{"the most popular prefix", first, 1 / harmonic},
		{"the second", second, 0.5 / harmonic},
	} {
		if math.Abs(test.got/test.want-1) > 0.05 {
			t.Errorf("%s: share %v, want %v", test.what, test.got, test.want)
		}
	}
}

// Of conversations that begin and end within the time: how long they are, and how long
// their clients pause.
func TestConversationsHaveTheirTurnsAndPauses(t *testing.T) {
	short := &Trace{Rows: []Row{{0, 40, 100}, {1, 40, 100}}} // so short that none is cut off
	requests := Generate(Settings{
		Trace: short, DurationMs: 4_000_000, Areas: []Area{steadily(50)}, Sessions: Sessions{Share: 0.8, Turns: 5, ThinkMs: 15_000},
	}, rand.New(rand.NewPCG(1, 2)))
	turns, begun, last := 0.0, 0.0, map[uint64]Request{}
	pause, pauses := 0.0, 0.0
	for _, q := range requests {
		if before, known := last[q.Session]; known && q.Session != 0 {
			pause, pauses = pause+q.AtMs-before.AtMs, pauses+1
		}
		last[q.Session] = q
		if q.Turn > 0 {
			turns++
		}
		if q.Turn == 1 {
			begun++
		}
	}
	if mean := turns / begun; math.Abs(mean/5-1) > 0.03 {
		t.Errorf("%v turns, want 5", mean)
	}
	if mean := pause / pauses; math.Abs(mean/(15_000+100*25)-1) > 0.03 {
		t.Errorf("a pause of %v ms, want 15 s and 100 tokens at 25 ms", mean)
	}
}

func TestAConversationByHand(t *testing.T) {
	trace := &Trace{Rows: []Row{{0, 400, 50}, {1, 400, 50}}}
	requests := Generate(Settings{
		Trace: trace, DurationMs: 100_000, Areas: []Area{{Clients: []int{7}, PerSec: func(float64) float64 { return 5 }}},
		Sessions: Sessions{Share: 1, Turns: 1e9, ThinkMs: 1000, Prefixes: 1, PrefixTokens: 30},
	}, rand.New(rand.NewPCG(1, 2)))
	begins := slices.IndexFunc(requests, func(q Request) bool { return q.Turn == 1 })
	if begins < 0 {
		t.Fatal("no conversation begins")
	}
	first := requests[begins]
	ofIt := slices.DeleteFunc(requests, func(q Request) bool { return q.Session != first.Session })
	third := ofIt[2]
	// 430 = 400 + 30 for the prefix; 580 = 430 + 50 + a quarter of 400; 730 = 580 + 50 + 100
	want := Request{
		AtMs: third.AtMs, Client: 7, Context: 730, Generate: 50, Session: first.Session, Turn: 3, Shared: 630,
		Prefix: prefixHash & math.MaxUint64, PrefixTokens: 30,
	}
	if first.Context != 430 || first.Shared != 0 || third != want {
		t.Errorf("first %+v, third %+v, want %+v", first, third, want)
	}
}

func TestRequestsAreSoundAndTheSameEachTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		settings, seed := drawSettings(t), rapid.Uint64().Draw(t, "seed")
		requests := Generate(settings, rand.New(rand.NewPCG(seed, 1)))
		if again := Generate(settings, rand.New(rand.NewPCG(seed, 1))); !slices.Equal(requests, again) {
			t.Fatal("the same seed gives other requests")
		}
		before, turns := 0.0, map[uint64]Request{}
		for i, q := range requests {
			if q.AtMs < before || q.AtMs >= settings.DurationMs || q.Context < q.Shared+1 || q.Generate < 1 || q.Context < q.PrefixTokens+1 {
				t.Fatalf("request %d after %v: %+v", i, before, q)
			}
			before = q.AtMs
			if (q.Session == 0) != (q.Turn == 0) || (q.Turn <= 1) != (q.Shared == 0) || (q.Prefix == 0) != (q.PrefixTokens == 0) {
				t.Fatalf("request %d: %+v", i, q)
			}
			if last, known := turns[q.Session]; known && q.Session != 0 {
				follows(t, last, q)
			}
			turns[q.Session] = q
		}
	})
}

func follows(t *rapid.T, last, q Request) {
	same := q.Client == last.Client && q.Class == last.Class && q.Prefix == last.Prefix && q.Turn == last.Turn+1
	if !same || q.Shared != last.Context+last.Generate || q.AtMs < last.AtMs+float64(last.Generate)*answerMs {
		t.Fatalf("%+v follows %+v", q, last)
	}
}

// Sessions change what is asked, never when: experiments with and without them have the
// same arrivals.
func TestSessionsDoNotMoveArrivals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		settings, seed := drawSettings(t), rapid.Uint64().Draw(t, "seed")
		with := Generate(settings, rand.New(rand.NewPCG(seed, 1)))
		settings.Sessions = Sessions{}
		without := Generate(settings, rand.New(rand.NewPCG(seed, 1)))
		at := func(a, b Request) bool { return a.AtMs == b.AtMs }
		if !slices.EqualFunc(with, without, at) {
			t.Fatalf("%d arrivals with sessions, %d without, or at other times", len(with), len(without))
		}
	})
}

func drawSettings(t *rapid.T) Settings {
	s := Settings{
		Trace:      drawTrace(t),
		Arrivals:   rapid.SampledFrom([]Arrivals{Poisson, Bursty, Recorded}).Draw(t, "arrivals"),
		DurationMs: rapid.Float64Range(0, 60_000).Draw(t, "duration"),
		Sessions: Sessions{
			Share: rapid.Float64Range(0, 1).Draw(t, "share"), Turns: rapid.Float64Range(0, 8).Draw(t, "turns"),
			ThinkMs:  rapid.Float64Range(0, 10_000).Draw(t, "think"),
			Prefixes: rapid.IntRange(0, 5).Draw(t, "prefixes"), PrefixTokens: rapid.IntRange(0, 500).Draw(t, "prefix tokens"),
		},
		Classes: Classes{Critical: rapid.Float64Range(0, 0.5).Draw(t, "critical"), Batch: rapid.Float64Range(0, 0.5).Draw(t, "batch")},
	}
	for range rapid.IntRange(0, 3).Draw(t, "areas") {
		s.Areas = append(s.Areas, drawArea(t))
	}
	return s
}

func drawArea(t *rapid.T) Area {
	base, more := rapid.Float64Range(0, 20).Draw(t, "rate"), rapid.Float64Range(0, 20).Draw(t, "more")
	from := rapid.Float64Range(0, 60_000).Draw(t, "from")
	return Area{
		Clients: rapid.SliceOfN(rapid.IntRange(0, 99), 0, 5).Draw(t, "clients"),
		PerSec: func(ms float64) float64 {
			if ms >= from {
				return base + more
			}
			return base
		},
	}
}

func TestMeansAreThoseOfTheRequests(t *testing.T) {
	context, generate := Mean([]Request{{Context: 100, Generate: 10}, {Context: 300, Generate: 40}})
	if context != 200 || generate != 25 {
		t.Errorf("means %v and %v, want 200 and 25", context, generate)
	}
	if context, generate := Mean(nil); context != 0 || generate != 0 {
		t.Errorf("means of nothing %v and %v, want 0", context, generate)
	}
}

func TestATraceWithoutRowsIsSaid(t *testing.T) {
	defer func() {
		if said := recover(); said != "workload: the trace has no rows to draw sizes from" {
			t.Errorf("said %v", said)
		}
	}()
	Generate(Settings{Trace: &Trace{}}, rand.New(rand.NewPCG(1, 2)))
}

func BenchmarkMillionRequests(b *testing.B) {
	settings := Settings{Trace: Conversation(), DurationMs: 1_000_000, Classes: Classes{Critical: 0.25, Batch: 0.5}}
	for range 33 {
		settings.Areas = append(settings.Areas, steadily(1000.0/33))
	}
	for name, sessions := range map[string]Sessions{"alone": {}, "conversations": talk} {
		settings.Sessions = sessions
		b.Run(name, func(b *testing.B) {
			requests := 0
			for b.Loop() {
				requests = len(Generate(settings, rand.New(rand.NewPCG(1, 2))))
			}
			b.ReportMetric(float64(requests), "requests/op")
		})
	}
}

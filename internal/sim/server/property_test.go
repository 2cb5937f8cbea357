package server_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"proxima/internal/sim/server"

	"pgregory.net/rapid"
)

// world is a server and what is done to it.
type world struct {
	spec    server.Spec
	actions []action
}

type action struct {
	at   float64
	does verb
	job  server.Job // of submit and predict; its ID of cancel and count
	n    int        // slots
	slow float64
}

type verb int

const (
	submit verb = iota
	cancel
	predict
	count
	advance
	freeze
	thaw
	setSpeed
	setSlots
	crash
)

// drawWorld draws a small server, often in want of slots, memory or cache, with jobs
// and mishaps. It ends with a server that goes on.
func drawWorld(t *rapid.T) world {
	w := world{spec: server.Spec{
		PrefillPerMs: rapid.Float64Range(0.5, 10).Draw(t, "prefill"),
		StepMs:       rapid.Float64Range(1, 30).Draw(t, "step"),
		StepPerSeqMs: rapid.SampledFrom([]float64{0, 0.6, 5}).Draw(t, "per sequence"),
		Slots:        rapid.IntRange(1, 6).Draw(t, "slots"),
		KVTokens:     rapid.SampledFrom([]int{0, 250, 1000}).Draw(t, "memory"),
		Queue:        rapid.SampledFrom([]int{0, 1, 5}).Draw(t, "queue"),
		CacheTokens:  rapid.SampledFrom([]int{0, 300, 1000}).Draw(t, "cache"),
	}}
	now, slots := 0.0, w.spec.Slots
	for i := range rapid.IntRange(1, 40).Draw(t, "actions") {
		now += rapid.SampledFrom([]float64{0, 0, 1, 7.5, 20, 55.3, 400}).Draw(t, "pause")
		a := action{at: now, does: drawVerb(t), job: drawJob(t, uint64(i+1))}
		switch a.does {
		case cancel, count:
			a.job.ID = rapid.Uint64Range(1, uint64(i+1)).Draw(t, "of")
		case setSpeed:
			a.slow = rapid.SampledFrom([]float64{0.5, 1, 6}).Draw(t, "slow")
		case setSlots:
			a.n = rapid.IntRange(0, slots+2).Draw(t, "slots now")
		}
		w.actions = append(w.actions, a)
	}
	w.actions = append(w.actions, action{at: now, does: thaw}, action{at: now, does: setSlots, n: slots})
	return w
}

func drawVerb(t *rapid.T) verb {
	often := []verb{submit, submit, submit, submit, submit, submit, submit, submit, cancel, predict, predict, count, advance}
	seldom := []verb{freeze, thaw, thaw, setSpeed, setSlots, crash}
	if rapid.IntRange(0, 9).Draw(t, "mishap") == 0 {
		return rapid.SampledFrom(seldom).Draw(t, "does")
	}
	return rapid.SampledFrom(often).Draw(t, "does")
}

func drawJob(t *rapid.T, id uint64) server.Job {
	j := server.Job{
		ID:       id,
		Context:  rapid.IntRange(0, 200).Draw(t, "context"),
		Generate: rapid.IntRange(0, 30).Draw(t, "generate"),
		Session:  rapid.Uint64Range(0, 4).Draw(t, "session"),
		Prefix:   rapid.Uint64Range(0, 3).Draw(t, "prefix"),
	}
	j.Shared, j.PrefixTokens = j.Context*3/4, j.Context/2
	return j
}

// played is what became of a world.
type played struct {
	server   *server.Server
	events   []server.Event
	accepted []uint64
	left     map[uint64]float64 // when a job was cancelled or lost
	counts   []int              // tokens, where they were asked for
}

func (w world) play() played { return w.playWith(func(*server.Server, float64, func(server.Event)) {}) }

func newPlayed(spec server.Spec) played {
	return played{server: server.New(spec), left: map[uint64]float64{}}
}

// playWith plays a world and does something more before each action.
func (w world) playWith(more func(s *server.Server, at float64, tell func(server.Event))) played {
	p := newPlayed(w.spec)
	tell := func(e server.Event) { p.events = append(p.events, e) }
	for _, a := range w.actions {
		more(p.server, a.at, tell)
		p.act(a, tell)
	}
	p.server.Advance(math.Inf(1), tell)
	return p
}

func (p *played) act(a action, tell func(server.Event)) {
	s := p.server
	switch a.does {
	case submit:
		if s.Submit(a.at, a.job) {
			p.accepted = append(p.accepted, a.job.ID)
		}
	case cancel:
		s.Cancel(a.at, a.job.ID)
		p.leave(a.job.ID, a.at)
	case predict:
		s.Predict(a.at, a.job)
	case count:
		p.counts = append(p.counts, s.Tokens(a.at, a.job.ID))
	case advance:
		s.Advance(a.at, tell)
	case freeze:
		s.Freeze(a.at)
	case thaw:
		s.Thaw(a.at)
	case setSpeed:
		s.SetSpeed(a.at, a.slow)
	case setSlots:
		s.SetSlots(a.at, a.n)
	case crash:
		for _, id := range s.Crash(a.at) {
			p.leave(id, a.at)
		}
	}
}

func (p *played) leave(id uint64, at float64) {
	if _, gone := p.left[id]; !gone {
		p.left[id] = at
	}
}

// without leaves out the actions of one kind.
func (w world) without(does verb) world {
	w.actions = slices.DeleteFunc(slices.Clone(w.actions), func(a action) bool { return a.does == does })
	return w
}

func TestPredictIsWhatThenHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		if rapid.Bool().Draw(t, "in the midst of a mishap") {
			w.actions = w.actions[:len(w.actions)-2]
		}
		last := w.actions[len(w.actions)-1].at
		now := last + rapid.SampledFrom([]float64{0, 3, 31.7, 250}).Draw(t, "then")
		p := newPlayed(w.spec)
		for _, a := range w.actions {
			p.act(a, nil)
		}
		j := drawJob(t, 1000)

		predicted := p.server.Predict(now, j)
		p.server.Submit(now, j)
		happened := math.Inf(1)
		p.server.Advance(math.Inf(1), func(e server.Event) {
			if e.Job == j.ID && e.Kind == server.FirstToken {
				happened = e.At - now
			}
		})
		if predicted != happened {
			t.Fatalf("predicted %v ms, and it took %v ms", predicted, happened)
		}
	})
}

func TestPredictChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		same(t, w.play().String(), w.without(predict).play().String())
	})
}

func TestItDoesNotMatterHowOftenItIsAdvanced(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, pause := drawWorld(t), rapid.Float64Range(1, 100).Draw(t, "every")
		now := 0.0
		often := w.playWith(func(s *server.Server, at float64, tell func(server.Event)) {
			for ; now <= at; now += pause {
				s.Advance(now, tell)
				if s.Next() <= now {
					t.Fatalf("after Advance(%v) something is next at %v", now, s.Next())
				}
			}
		})
		same(t, often.String(), w.without(advance).play().String())
	})
}

func (p played) String() string {
	return fmt.Sprintf("events %v\naccepted %v\ncounts %v", p.events, p.accepted, p.counts)
}

func same(t *rapid.T, got, want string) {
	if got != want {
		t.Fatalf("it happens\n%s\nnot\n%s", got, want)
	}
}

func TestEveryJobEndsOnceAndLeavesNothingBehind(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		p := w.play()

		kinds := map[uint64][]server.Kind{}
		before := 0.0
		for _, e := range p.events {
			if math.IsNaN(e.At) || e.At < before {
				t.Fatalf("after %v ms comes %v", before, e)
			}
			if left, gone := p.left[e.Job]; gone && e.At > left {
				t.Fatalf("job %d left at %v ms, and then comes %v", e.Job, left, e)
			}
			before = e.At
			kinds[e.Job] = append(kinds[e.Job], e.Kind)
		}
		for _, id := range p.accepted {
			want := []server.Kind{server.FirstToken, server.Done}
			if _, gone := p.left[id]; gone {
				want = want[:min(len(kinds[id]), 2)] // it may have left before either
			}
			if !slices.Equal(kinds[id], want) {
				t.Fatalf("job %d has events %v", id, kinds[id])
			}
			delete(kinds, id)
		}
		if len(kinds) > 0 || p.server.InFlight() != 0 || !math.IsInf(p.server.Next(), 1) {
			t.Fatalf("events of jobs not accepted: %v; %d in flight; next at %v", kinds, p.server.InFlight(), p.server.Next())
		}
		likeNew(t, w, p.server)
	})
}

// likeNew checks that an idle server has all its slots and its memory: it serves a
// burst that needs them as a new one does, to the last bit.
func likeNew(t *rapid.T, w world, used *server.Server) {
	at := 1e6
	burst := func(s *server.Server) (ends []string) {
		s.SetSpeed(at, 1)
		for id := range uint64(12) {
			s.Submit(at, server.Job{ID: id, Context: 100, Generate: 20})
		}
		s.Advance(math.Inf(1), func(e server.Event) { ends = append(ends, fmt.Sprintf("%v %d", e.At, e.Job)) })
		return ends
	}
	same(t, fmt.Sprint(burst(used)), fmt.Sprint(burst(server.New(w.spec))))
}

func TestTokensNeverExceedTheAnswer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		most := map[uint64]int{}
		for _, a := range w.actions {
			if a.does == submit {
				most[a.job.ID] = max(a.job.Generate, 1)
			}
		}
		w.playWith(func(s *server.Server, at float64, _ func(server.Event)) {
			for id, generate := range most {
				if got := s.Tokens(at, id); got < 0 || got > generate {
					t.Fatalf("at %v ms job %d has %d tokens of %d", at, id, got, generate)
				}
			}
		})
	})
}

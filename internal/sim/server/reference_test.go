package server_test

import (
	"math"
	"slices"
	"testing"

	"proxima/internal/sim/server"

	"pgregory.net/rapid"
)

// tickMs is how finely the reference cuts time.
const tickMs = 0.2

// reference is the same model by brute force: in each tick everything that runs gets a
// tick's worth of progress. It has no cache and never refuses.
type reference struct {
	spec    server.Spec
	slow    float64
	waiting []*referenceJob
	seated  []*referenceJob // computed in this order
	batch   []*referenceJob
	all     map[uint64]*referenceJob
}

type referenceJob struct {
	server.Job
	computed    float64 // tokens of the prompt
	generated   float64
	first, done float64 // ms; 0: not yet
}

func (r *reference) submit(j server.Job) {
	q := &referenceJob{Job: j}
	r.all[j.ID] = q
	r.waiting = append(r.waiting, q)
}

// tick lets a tick pass that ends at now.
func (r *reference) tick(now float64) {
	r.seat()
	batch := float64(len(r.batch))
	step := r.slow * (r.spec.StepMs + r.spec.StepPerSeqMs*(batch-1))
	if len(r.seated) > 0 {
		step *= 1.5
	}
	for _, q := range r.batch {
		q.generated += tickMs / step
		if q.first == 0 && q.generated >= 1 {
			q.first = now
		}
		if q.generated >= float64(q.Generate) {
			q.done = now
		}
	}
	r.batch = slices.DeleteFunc(r.batch, func(q *referenceJob) bool { return q.done > 0 })
	if len(r.seated) > 0 {
		head := r.seated[0]
		head.computed += tickMs * r.spec.PrefillPerMs * (1 - batch/float64(r.spec.Slots)/2) / r.slow
		if head.computed >= float64(max(head.Context, 1)) {
			r.seated, r.batch = r.seated[1:], append(r.batch, head)
		}
	}
}

func (r *reference) seat() {
	for len(r.waiting) > 0 {
		reserved := r.waiting[0].Context + r.waiting[0].Generate
		for _, q := range slices.Concat(r.seated, r.batch) {
			reserved += q.Context + q.Generate
		}
		if len(r.seated)+len(r.batch) >= r.spec.Slots || r.spec.KVTokens > 0 && reserved > r.spec.KVTokens {
			return
		}
		r.seated, r.waiting = append(r.seated, r.waiting[0]), r.waiting[1:]
	}
}

func TestItAgreesWithABruteForceReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := server.Spec{
			PrefillPerMs: rapid.Float64Range(1, 10).Draw(t, "prefill"),
			StepMs:       rapid.Float64Range(10, 30).Draw(t, "step"),
			StepPerSeqMs: rapid.Float64Range(0, 5).Draw(t, "per sequence"),
			Slots:        rapid.IntRange(1, 5).Draw(t, "slots"),
			KVTokens:     rapid.SampledFrom([]int{0, 300}).Draw(t, "memory"),
		}
		s, r := server.New(spec), &reference{spec: spec, slow: 1, all: map[uint64]*referenceJob{}}
		tick := 0
		var events []server.Event
		tell := func(e server.Event) { events = append(events, e) }
		for id := range uint64(rapid.IntRange(1, 12).Draw(t, "jobs")) {
			for range rapid.IntRange(0, 1000).Draw(t, "ticks") {
				tick++
				r.tick(float64(tick) * tickMs)
			}
			now := float64(tick) * tickMs
			if rapid.IntRange(0, 5).Draw(t, "other speed") == 0 {
				r.slow = rapid.Float64Range(0.5, 3).Draw(t, "slow")
				s.SetSpeed(now, r.slow)
			}
			j := server.Job{
				ID: id, Context: rapid.IntRange(0, 250).Draw(t, "context"), Generate: rapid.IntRange(1, 20).Draw(t, "generate"),
			}
			r.submit(j)
			s.Submit(now, j)
		}
		s.Advance(math.Inf(1), tell)
		for range int(events[len(events)-1].At/tickMs) + 1000 - tick {
			tick++
			r.tick(float64(tick) * tickMs)
		}
		agree(t, spec, events, r)
	})
}

// agree allows a step, for all the ticks that were rounded up on the way.
func agree(t *rapid.T, spec server.Spec, events []server.Event, r *reference) {
	if len(events) != 2*len(r.all) {
		t.Fatalf("%d events of %d jobs", len(events), len(r.all))
	}
	for _, e := range events {
		want := r.all[e.Job].first
		if e.Kind == server.Done {
			want = r.all[e.Job].done
		}
		if want == 0 || math.Abs(e.At-want) > spec.StepMs*r.slow {
			t.Fatalf("job %d, kind %d: at %v ms, and %v ms by the reference", e.Job, e.Kind, e.At, want)
		}
	}
}

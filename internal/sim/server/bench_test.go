package server_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"proxima/internal/sim/server"
)

// traffic makes jobs of the kind that a chat has: a prompt of 1,150 tokens and an
// answer of 210 on average, in sessions with a common system prompt. Load is a share
// of the capacity.
type traffic struct {
	rng   *rand.Rand
	gapMs float64
	now   float64
	id    uint64
}

func newTraffic(spec server.Spec, load float64) *traffic {
	return &traffic{rng: rand.New(rand.NewPCG(1, 2)), gapMs: 1000 / (load * spec.Capacity(1150, 210))}
}

func (g *traffic) next() (now float64, j server.Job) {
	g.now += g.rng.ExpFloat64() * g.gapMs
	g.id++
	return g.now, server.Job{
		ID: g.id, Context: 50 + int(1100*g.rng.ExpFloat64()), Generate: 1 + int(209*g.rng.ExpFloat64()),
		Session: 1 + g.rng.Uint64N(500), Shared: 100, Prefix: 1 + g.rng.Uint64N(8), PrefixTokens: 50,
	}
}

// BenchmarkRequest is the whole of a request: asked ahead of time, submitted, told.
func BenchmarkRequest(b *testing.B) {
	for _, load := range []struct {
		name  string
		share float64
	}{{"half", 0.5}, {"busy", 0.85}, {"over", 1.2}} {
		b.Run(load.name, func(b *testing.B) {
			spec := smallGPU
			spec.Queue = 256
			s, g, events := server.New(spec), newTraffic(spec, load.share), 0
			tell := func(server.Event) { events++ }
			b.ReportAllocs()
			for b.Loop() {
				now, j := g.next()
				for s.Next() <= now {
					s.Advance(s.Next(), tell)
				}
				s.Submit(now, j)
			}
			b.ReportMetric(float64(events)/float64(b.N), "events/op")
		})
	}
}

// BenchmarkPredict asks servers in states that traffic left them in.
func BenchmarkPredict(b *testing.B) {
	for _, load := range []struct {
		name  string
		share float64
	}{{"half", 0.5}, {"busy", 0.85}, {"over", 1.2}} {
		b.Run(load.name, func(b *testing.B) {
			spec := smallGPU
			spec.Queue = 256
			var servers []*server.Server
			var jobs []server.Job
			for i := range 64 {
				s, g := server.New(spec), newTraffic(spec, load.share)
				for range 500 + 10*i {
					now, j := g.next()
					s.Submit(now, j)
				}
				_, j := g.next()
				s.Advance(g.now, nil)
				servers, jobs = append(servers, s), append(jobs, j)
			}
			b.ReportAllocs()
			sum, i := 0.0, 0
			for b.Loop() {
				if ms := servers[i%64].Predict(math.Inf(-1), jobs[i%64]); ms < math.Inf(1) {
					sum += ms
				}
				i++
			}
			b.ReportMetric(sum/float64(b.N), "ms-predicted")
		})
	}
}

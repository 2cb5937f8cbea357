package workload

import (
	"cmp"
	"math/rand/v2"
	"slices"
)

// Request is one question. Priorities are numbered as the router's: 0 standard, 1
// critical, 2 batch.
type Request struct {
	AtMs         float64 // when its client sends it
	Client       int
	Context      int    // prompt tokens, all that follow included
	Generate     int    // tokens of the answer
	Session      uint64 // 0: it stands alone
	Turn         int    // of the session, from 1; 0: it stands alone
	Shared       int    // of Context, what the session's turn before had, prompt and answer
	Prefix       uint64 // a system prompt that other sessions have too; 0: none
	PrefixTokens int    // of Context
	Class        uint8
}

// Settings say what Generate makes. Trace, DurationMs and Areas are required, and the
// rate times the duration is how much memory it takes: bound them where they are read.
type Settings struct {
	Trace      *Trace // where token counts are drawn from, row by row; and intervals, if Recorded
	Arrivals   Arrivals
	DurationMs float64
	Areas      []Area
	Sessions   Sessions
	Classes    Classes
}

// Area is clients who ask together at a rate.
type Area struct {
	Clients []int // positions in the population; nobody: nothing is asked
	// PerSec is how many requests a second there are of at a time: single ones and turns
	// of conversations together. It is looked at in the middle of each tenth of a second.
	// Below 0 and not a number is 0.
	PerSec func(atMs float64) float64
}

// Classes are the shares of requests that are not standard.
type Classes struct{ Critical, Batch float64 }

// Generate returns all requests from 0 up to the duration, by time. What one area asks
// depends on rng's state and on that area's settings only, so that a crowd in one place
// changes nothing in another; and when it asks does not depend on Sessions, so that the
// rate is the one asked for however much belongs together. It panics when Trace has no
// rows.
func Generate(s Settings, rng *rand.Rand) []Request {
	if s.Trace == nil || len(s.Trace.Rows) == 0 {
		panic("workload: the trace has no rows to draw sizes from")
	}
	parts := make([][]Request, len(s.Areas))
	for i, area := range s.Areas {
		d := s.demand(area, rng) // also of an area without clients, for the areas after it
		if len(area.Clients) > 0 {
			parts[i] = d.requests()
		}
	}
	all := slices.Concat(parts...)
	slices.SortStableFunc(all, func(a, b Request) int { return cmp.Compare(a.AtMs, b.AtMs) })
	return all
}

// Mean is the mean number of prompt and of generated tokens; 0 without requests.
func Mean(requests []Request) (context, generate float64) {
	for i := range requests {
		context, generate = context+float64(requests[i].Context), generate+float64(requests[i].Generate)
	}
	n := float64(max(len(requests), 1))
	return context / n, generate / n
}

// demand is what one area asks, while it is being made.
type demand struct {
	*Settings
	area   Area
	when   *rand.Rand // draws arrivals
	before *rand.Rand // draws those before time 0
	what   *rand.Rand // draws everything else

	popularity []float64 // of the system prompts: the share that the first n have
	pauseMs    float64   // mean time from one turn's arrival until the next may come
	waiting    waiting
}

func (s *Settings) demand(area Area, rng *rand.Rand) *demand {
	fork := func() *rand.Rand { return rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64())) }
	d := &demand{Settings: s, area: area, when: fork(), before: fork(), what: fork()}
	_, generate := s.Trace.Mean()
	d.pauseMs = s.Sessions.ThinkMs + generate*answerMs
	d.popularity = zipf(s.Sessions.Prefixes)
	return d
}

// requests are those of the area by time. Conversations begin before the area is looked
// at, at the rate that it has then, so that from the first second on there are as many
// later turns as ever.
func (d *demand) requests() []Request {
	lead := d.leadMs()
	atFirst := func(float64) float64 { return d.area.PerSec(stepMs / 2) }
	for _, at := range d.arrivals(lead, atFirst, d.before) {
		d.ask(at - lead)
	}
	times := d.arrivals(d.DurationMs, d.area.PerSec, d.when)
	requests := make([]Request, len(times))
	for i, at := range times {
		requests[i] = d.ask(at)
	}
	return requests
}

// ask is the request of an arrival: a conversation's next turn when it is one's turn and
// somebody is ready for it, else a conversation's first or a request on its own.
func (d *demand) ask(at float64) Request {
	if d.what.Float64() >= d.Sessions.Share {
		return d.single(at)
	}
	q, ready := d.nextTurn(at)
	if !ready {
		q = d.single(at)
		q.Session, q.Turn = d.what.Uint64()|1, 1
	}
	d.wait(q)
	return q
}

func (d *demand) single(at float64) Request {
	row := d.row()
	q := Request{
		AtMs: at, Client: d.area.Clients[d.what.IntN(len(d.area.Clients))],
		Context: row.Context, Generate: row.Generate, Class: d.Classes.draw(d.what),
	}
	d.prefix(&q)
	return q
}

func (d *demand) row() Row { return d.Trace.Rows[d.what.IntN(len(d.Trace.Rows))] }

func (c Classes) draw(rng *rand.Rand) uint8 {
	switch u := rng.Float64(); {
	case u < c.Critical:
		return 1
	case u < c.Critical+c.Batch:
		return 2
	}
	return 0
}

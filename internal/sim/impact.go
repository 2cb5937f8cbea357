package sim

import "slices"

// Impact is what the first fault of a scenario changed: how long clients waited and
// where their requests went before it, and from then on.
type Impact struct {
	Before Part  `json:"before"`
	After  *Part `json:"after,omitempty"` // nil: there was no fault
}

// Part is what happened in a part of a run. A request counts where it ended.
type Part struct {
	Answered int       `json:"answered"`
	P50      float64   `json:"ttft_p50_ms"`
	P95      float64   `json:"ttft_p95_ms"`
	P99      float64   `json:"ttft_p99_ms"`
	Errors   int       `json:"errors"`
	Load     float64   `json:"load"` // all demand over what the endpoints without a fault sustain; 0: there are none
	Regions  []Traffic `json:"regions"`
}

// Traffic is what came to a region: its share of all requests that reached an
// endpoint, and what they were over what the region sustains.
type Traffic struct {
	Region string  `json:"region"`
	Share  float64 `json:"share"`
	Load   float64 `json:"load"`
}

// witness looks on during a run, and notes what a tally adds up.
type witness struct {
	*run
	breaksMs float64 // when the first fault begins; the end without one
	reached  []int   // by region, in this part
	served   int     // how many of the tally's times to first token are of the part before
	errors   int     // how many of its errors
	before   *Part   // nil: this is the first part
}

func newWitness(r *run) *witness {
	w := &witness{run: r, breaksMs: r.endMs, reached: make([]int, len(r.Regions))}
	for i := range r.faults {
		w.breaksMs = min(w.breaksMs, r.faults[i].From*1000)
	}
	return w
}

// look takes in an event that is about to happen.
func (w *witness) look(e event) {
	if w.before == nil && e.at >= w.breaksMs && w.breaksMs < w.endMs {
		w.before = w.part(w.Warm*1000, w.breaksMs, 1)
	}
	if e.kind == reach && e.at >= w.Warm*1000 && e.at < w.endMs {
		w.with(e, func(a *attempt) { w.reached[w.hosts[a.host].region]++ })
	}
}

// impact is what there was to see by the end.
func (w *witness) impact() *Impact {
	if w.before == nil {
		return &Impact{Before: *w.part(w.Warm*1000, w.endMs, 1)}
	}
	return &Impact{Before: *w.before, After: w.part(w.breaksMs, w.endMs, w.left())}
}

// part sums up what happened since the part before, and begins the next one. A share
// of what all endpoints sustain is left.
func (w *witness) part(fromMs, toMs, left float64) *Part {
	waits := slices.Sorted(slices.Values(w.tally.ttft[w.served:]))
	p := &Part{
		Answered: len(waits) - (w.tally.errors - w.errors), Errors: w.tally.errors - w.errors,
		P50: quantile(waits, 0.5), P95: quantile(waits, 0.95), P99: quantile(waits, 0.99),
		Regions: make([]Traffic, len(w.Regions)),
	}
	if left > 0 {
		p.Load = w.Scenario.Load / left
	}
	all := 0
	for _, n := range w.reached {
		all += n
	}
	context, generate := w.Trace.Mean()
	for i, n := range w.reached {
		perSec := 1000 * float64(n) / (toMs - fromMs)
		p.Regions[i] = Traffic{w.Scenario.Regions[i].Name, ratio(n, all), perSec / w.Scenario.Regions[i].sustains(context, generate)}
	}
	clear(w.reached)
	w.served, w.errors = len(w.tally.ttft), w.tally.errors
	return p
}

// left is the share of what all endpoints sustain together that those without a fault
// sustain.
func (w *witness) left() float64 {
	context, generate := w.Trace.Mean()
	sound, first := 0.0, 0
	for at := range w.hosts {
		region := w.hosts[at].region
		if at > 0 && w.hosts[at-1].region != region {
			first = at
		}
		broken := slices.ContainsFunc(w.faults, func(f fault) bool { return slices.Contains(f.hosts, at) })
		if !broken {
			sound += w.Scenario.Regions[region].spec(at-first).Capacity(context, generate)
		}
	}
	return sound / w.sustains()
}

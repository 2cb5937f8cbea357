package router

import "sync/atomic"

// prefill learns how long a model server takes for a KB of prompt: the slope of a
// least-squares line through the latest times to first token, over the KB that had to
// be computed before each: the request's own, and those of the requests before it,
// for prompts are computed one after the other. A server whose first token does not
// wait for others has a slope of 0.
type prefill struct {
	n                          atomic.Int64
	kb, took, spread, together average // means, and the moments around them; KB and ms
	own                        average // KB of a request's own prompt
	waiting, there             average // KB before their first token, and requests in flight, when one more came
	typical                    average // slope of the pool
}

// A new sample counts for a fiftieth, so that the last hundred decide; and a slope of
// one's own for as much as the pool's once it rests on twenty.
const (
	prefillGain = 0.02
	prefillFew  = 20
)

// meet notes what a new request finds at the endpoint.
func (p *prefill) meet(pendingKB float64, inFlight int) {
	p.waiting.follow(pendingKB, prefillGain)
	p.there.follow(float64(inFlight), prefillGain)
}

// share is how many KB before their first token there are for each request in flight,
// for requests that are known by their number only.
func (p *prefill) share() float64 {
	if there := p.there.value(); there > 0 {
		return p.waiting.value() / there
	}
	return 0
}

func (p *prefill) learn(kb, waitKB, took float64) {
	if kb = finite(kb, 0); kb == 0 {
		return
	}
	gain := max(prefillGain, 1/float64(p.n.Add(1)))
	p.own.follow(kb, gain)
	kb += finite(waitKB, 0)
	beyondKB, beyondMs := kb-p.kb.value(), took-p.took.value()
	p.kb.follow(kb, gain)
	p.took.follow(took, gain)
	if gain < 1 {
		p.spread.follow(beyondKB*beyondKB, gain)
		p.together.follow(beyondKB*beyondMs, gain)
	}
}

// slopeMs is the time for each KB; 0: unknown. While the endpoint's own rests on few
// samples, it is taken for a typical one.
func (p *prefill) slopeMs() float64 {
	own, typical := p.ownMs(), p.typical.value()
	if typical == 0 {
		return own
	}
	n := min(float64(p.n.Load()), 1/prefillGain)
	return (n*own + prefillFew*typical) / (n + prefillFew)
}

// ownMs is the endpoint's own slope. A prompt of the usual length does not take longer
// than its answer took.
func (p *prefill) ownMs() float64 {
	spread, kb := p.spread.value(), p.kb.value()
	if spread <= 0 || kb <= 0 {
		return 0
	}
	return min(max(p.together.value()/spread, 0), p.took.value()/kb)
}

// trusted is the endpoint's own slope once it rests on enough samples to be worth
// comparing; 0 before.
func (p *prefill) trusted() float64 {
	if p.n.Load() < prefillFew {
		return 0
	}
	return p.ownMs()
}

// beyond is the time that a request takes more than one with a usual prompt and
// nobody before it.
func (p *prefill) beyond(kb, waitKB float64) float64 {
	usual := p.own.value()
	if kb = finite(kb, 0); kb == 0 || usual == 0 {
		kb = usual
	}
	return p.slopeMs() * (kb + finite(waitKB, 0) - usual)
}

// follow moves the average toward x, from 0 on.
func (a *average) follow(x, gain float64) { a.set(a.value() + gain*(x-a.value())) }

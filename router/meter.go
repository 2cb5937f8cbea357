package router

import (
	"math"
	"sync/atomic"
	"time"
)

// Weights of a new sample in the moving averages. Serve time rises faster than
// it falls: a slow answer is news, a fast one may be luck.
const (
	serveUp   = 0.15
	serveDown = 0.05
	pathGain  = 0.2
)

// serveMemory is the time constant with which an unused endpoint's serve time
// decays toward its pool's.
const serveMemory = 60 * time.Second

// coolMin and coolMax clamp a Retry-After.
const (
	coolMin = 1 * time.Second
	coolMax = 300 * time.Second
)

// Meter measures one endpoint. All methods are safe for concurrent use and take
// no lock. Meters outlive reloads; snapshots share them.
type Meter struct {
	inFlight atomic.Int64
	pending  atomic.Int64 // bytes of prompts whose first token has not come
	fleet    reported     // by other routers
	capacity learned      // what it carries at once
	serve    measured     // to the first byte of a stream, which is its first token
	whole    measured     // to the first byte of an answer that comes in one piece, which is all its tokens
	prefill  prefill      // how long a KB of prompt takes
	path     average      // ms, the router's round trip; 0: no probe yet
	coolTill atomic.Int64 // unix ns
	lastUsed atomic.Int64 // unix ns
}

// measured is an endpoint's own average, and what is typical for its pool. Both
// are milliseconds, 0 when there is no answer yet.
type measured struct {
	own, typical average
	spread       average      // of the samples around own: mean absolute deviation
	n            atomic.Int64 // samples
}

// priorSamples is how many samples the pool's median, or what is assumed before there
// is one, is worth against an endpoint's first own.
const priorSamples = 2

// learn takes in a sample. It starts from the pool's median, else from what is assumed.
func (m *measured) learn(sample, assumed float64) {
	start := m.typical.value()
	if start == 0 {
		start = assumed
	}
	few := 1 / float64(m.n.Add(1)+priorSamples)
	if own := m.own.value(); own > 0 {
		m.spread.follow(math.Abs(sample-own), max(serveDown, few))
	}
	m.own.add(sample, max(serveUp, few), max(serveDown, few), start)
}

// Begin counts a request that is on its way to the endpoint, with so many KB of
// prompt to compute, and returns how many are in flight, itself included. Each Begin
// is followed by one Answered and then by one End.
func (m *Meter) Begin(now time.Time, kb float64) int {
	there := int(m.inFlight.Add(1))
	m.begun(now, kb, there-1)
	return there
}

// Admit does what Begin does and returns true, unless so many are in flight already;
// 0: any number may be. However many call it at once, there are never more.
func (m *Meter) Admit(now time.Time, kb float64, limit int) bool {
	for {
		there := m.inFlight.Load()
		if limit > 0 && there >= int64(limit) {
			return false
		}
		if m.inFlight.CompareAndSwap(there, there+1) {
			m.begun(now, kb, int(there))
			return true
		}
	}
}

// begun takes in a request that met so many others.
func (m *Meter) begun(now time.Time, kb float64, others int) {
	m.lastUsed.Store(now.UnixNano())
	m.prefill.meet(m.pendingKB(), others)
	m.pending.Add(promptBytes(kb))
}

// Answered counts a request that does not wait for its first token any more, however
// that came, with the KB that it began with.
func (m *Meter) Answered(kb float64) { m.pending.Add(-promptBytes(kb)) }

// End counts a request that left the endpoint, however it ended.
func (m *Meter) End() { m.inFlight.Add(-1) }

// mostPromptKB is what a prompt has at the most: about 250,000 tokens. Nobody's word
// about a longer one counts.
const mostPromptKB = 1024

func promptBytes(kb float64) int64 { return int64(min(finite(kb, 0), mostPromptKB) * 1024) }

func (m *Meter) pendingKB() float64 { return max(float64(m.pending.Load())/1024, 0) }

// Sample is what the first byte of a good answer teaches.
type Sample struct {
	At       time.Time
	Elapsed  time.Duration // since the request was sent
	Load     float64       // the candidate's when it was chosen
	Queue    float64       // requests that were there, likewise
	WaitKB   float64       // KB of prompts before it, likewise
	KB       float64       // its own prompt, without what a cache had; 0: unknown
	Streamed bool          // the answer comes token by token
}

// Served learns from the first byte of a good answer. Errors are not for this:
// they never improve a latency.
func (m *Meter) Served(a Sample) {
	took := max(ms(a.Elapsed)-m.path.value(), 0.1)
	if !a.Streamed {
		m.whole.learn(deload(took, a.Load), 0) // its length decides more than any queue
		return
	}
	usual := m.serveMs()
	a.KB = min(finite(a.KB, 0), mostPromptKB)
	beyond := m.prefill.beyond(a.KB, a.WaitKB)
	m.capacity.learn(took, usual+max(beyond, 0), finite(a.Queue, 0)+1, a.At)
	idle := deload(took, a.Load)
	m.serve.learn(max(idle-beyond, 0.1), assumedServeMs)
	m.prefill.learn(a.KB, a.WaitKB, idle)
}

// deload takes the queue out of a time: what it would have been on an idle server.
func deload(took, load float64) float64 {
	u := min(finite(load, 0), 1)
	return took / (1 + u*u*u)
}

// Reported takes in what the routers of a fleet say: how many requests are at the
// endpoint from all of them, this one included, and how many of them were its own
// when that was true.
func (m *Meter) Reported(all, own float64, routers int) { m.fleet.set(all, own, routers) }

func (m *Meter) queue() float64 { return m.fleet.queue(m.InFlight()) }

// Probed learns the router's round trip from a successful probe.
func (m *Meter) Probed(latency time.Duration) {
	m.path.add(max(ms(latency), 0.01), pathGain, pathGain, 0)
}

// Cool keeps new requests away for as long as the endpoint asked, 1 s to 300 s.
// It says that it carries less than it has.
func (m *Meter) Cool(now time.Time, ask time.Duration) {
	m.coolTill.Store(now.Add(min(max(ask, coolMin), coolMax)).UnixNano())
	m.capacity.shrink(m.queue(), now)
}

// InFlight returns how many requests are at the endpoint now.
func (m *Meter) InFlight() int { return int(m.inFlight.Load()) }

// Path returns the router's round trip to the endpoint; 0: not measured yet.
func (m *Meter) Path() time.Duration {
	return time.Duration(m.path.value() * float64(time.Millisecond))
}

// Capacity is how many requests the endpoint was seen to carry at once; 0: not
// learned yet.
func (m *Meter) Capacity() float64 { return m.capacity.value() }

func (m *Meter) measure(l *Load, now time.Time) {
	own := m.InFlight()
	*l = Load{
		InFlight: own, Queue: m.fleet.queue(own), Capacity: m.capacity.value(),
		ServeMs: m.serveMs(), PrefillMs: m.prefill.slopeMs(), PathMs: m.path.value(),
	}
	l.WaitKB = m.pendingKB() + max(l.Queue-float64(own), 0)*m.prefill.share()
	if left := m.coolTill.Load() - now.UnixNano(); left > 0 {
		l.CoolMs = min(float64(left)/float64(time.Millisecond), ms(coolMax))
	}
}

// serveMs is the expected time to the first token; 0: unknown. An endpoint that
// only gave whole answers is slower or faster than what is typical in the
// proportion in which those were, for their own time says more about their length
// than about the server; but never by more milliseconds than were measured.
func (m *Meter) serveMs() float64 {
	if m.serve.own.value() > 0 {
		return m.serve.believed()
	}
	typical := m.serve.typical.value()
	own, others := m.whole.own.value(), m.whole.typical.value()
	if own == 0 || others == 0 {
		return typical
	}
	if typical == 0 {
		typical = assumedServeMs
	}
	inProportion, seen := typical*(own/others-1), own-others
	if math.Abs(inProportion) > math.Abs(seen) {
		inProportion = seen
	}
	return max(typical+inProportion, 0.1)
}

// settle takes in what is typical for the pool, and draws an unused endpoint's
// own toward it, so that a bad minute is not held against it for ever.
func (m *Meter) settle(typical typical, now time.Time, passed time.Duration) {
	m.serve.typical.set(typical.serveMs)
	m.whole.typical.set(typical.wholeMs)
	m.prefill.typical.set(typical.prefillMs)
	unused := time.Duration(now.UnixNano() - m.lastUsed.Load())
	if unused < serveMemory/4 || m.InFlight() > 0 {
		return
	}
	kept := math.Exp(-passed.Seconds() / serveMemory.Seconds())
	m.serve.decay(kept)
	m.whole.decay(kept)
}

// noise is how far an average of this kind is off by chance, in mean absolute
// deviations of its samples: twice 1.25·√(g/(2 − g)), with a gain of 0.1.
const noise = 0.6

// believed is the endpoint's own average as far as it differs from what is typical by
// more than chance (the positive part of James and Stein's estimator, 1961): between
// endpoints that are alike chance would decide, and send the traffic about.
func (m *measured) believed() float64 {
	own, typical := m.own.value(), m.typical.value()
	beyond := math.Abs(own - typical)
	if typical == 0 || beyond == 0 {
		return own
	}
	chance := noise * m.spread.value() / beyond
	return typical + (own-typical)*max(1-chance*chance, 0)
}

// decay forgets: what is left is worth as much less against new samples.
func (m *measured) decay(kept float64) {
	if own, typical := m.own.value(), m.typical.value(); own > 0 && typical > 0 {
		m.own.set(typical + (own-typical)*kept)
	}
}

// average is an exponentially weighted moving average; 0 means no sample yet.
type average struct{ bits atomic.Uint64 }

func (a *average) value() float64 { return math.Float64frombits(a.bits.Load()) }

func (a *average) set(x float64) { a.bits.Store(math.Float64bits(x)) }

// add weighs a sample by up when it is above the average, else by down. Before the
// first one the average is start, or, when that is 0, the sample.
func (a *average) add(sample, up, down, start float64) {
	for {
		bits := a.bits.Load()
		old := math.Float64frombits(bits)
		if old == 0 {
			old = start
		}
		next := sample
		if old > 0 {
			gain := down
			if sample > old {
				gain = up
			}
			next = old + gain*(sample-old)
		}
		if a.bits.CompareAndSwap(bits, math.Float64bits(next)) {
			return
		}
	}
}

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
	serve    measured     // to the first byte of a stream, which is its first token
	whole    measured     // to the first byte of an answer that comes in one piece, which is all its tokens
	path     average      // ms, the router's round trip; 0: no probe yet
	coolTill atomic.Int64 // unix ns
	lastUsed atomic.Int64 // unix ns
}

// measured is an endpoint's own average, and what is typical for its pool. Both
// are milliseconds, 0 when there is no answer yet.
type measured struct{ own, typical average }

// Begin counts a request that is on its way to the endpoint and returns how many
// are in flight, itself included. Each Begin is followed by one End.
func (m *Meter) Begin(now time.Time) int {
	m.lastUsed.Store(now.UnixNano())
	return int(m.inFlight.Add(1))
}

// End counts a request that left the endpoint, however it ended.
func (m *Meter) End() { m.inFlight.Add(-1) }

// Served learns from the first byte of a good answer: elapsed is the time since
// the request was sent, load the candidate's Load when it was chosen, streamed
// whether the answer comes token by token. Errors are not for this: they never
// improve a latency.
func (m *Meter) Served(elapsed time.Duration, load float64, streamed bool) {
	u := min(finite(load, 0), 1)
	sample := (ms(elapsed) - m.path.value()) / (1 + u*u*u)
	kind := &m.whole
	if streamed {
		kind = &m.serve
	}
	kind.own.add(max(sample, 0.1), serveUp, serveDown)
}

// Probed learns the router's round trip from a successful probe.
func (m *Meter) Probed(latency time.Duration) { m.path.add(max(ms(latency), 0.01), pathGain, pathGain) }

// Cool keeps new requests away for as long as the endpoint asked, 1 s to 300 s.
func (m *Meter) Cool(now time.Time, ask time.Duration) {
	m.coolTill.Store(now.Add(min(max(ask, coolMin), coolMax)).UnixNano())
}

// InFlight returns how many requests are at the endpoint now.
func (m *Meter) InFlight() int { return int(m.inFlight.Load()) }

// Path returns the router's round trip to the endpoint; 0: not measured yet.
func (m *Meter) Path() time.Duration {
	return time.Duration(m.path.value() * float64(time.Millisecond))
}

func (m *Meter) load(now time.Time) Load {
	l := Load{InFlight: m.InFlight(), ServeMs: m.serveMs(), PathMs: m.path.value()}
	if left := m.coolTill.Load() - now.UnixNano(); left > 0 {
		l.CoolMs = min(float64(left)/float64(time.Millisecond), ms(coolMax))
	}
	return l
}

// serveMs is the expected time to the first token; 0: unknown. An endpoint that
// only gave whole answers is slower or faster than what is typical in the
// proportion in which those were, for their own time says more about their length
// than about the server; but never by more milliseconds than were measured.
func (m *Meter) serveMs() float64 {
	if own := m.serve.own.value(); own > 0 {
		return own
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
	unused := time.Duration(now.UnixNano() - m.lastUsed.Load())
	if unused < serveMemory/4 || m.InFlight() > 0 {
		return
	}
	kept := math.Exp(-passed.Seconds() / serveMemory.Seconds())
	m.serve.decay(kept)
	m.whole.decay(kept)
}

func (m *measured) decay(kept float64) {
	if own, typical := m.own.value(), m.typical.value(); own > 0 && typical > 0 {
		m.own.set(typical + (own-typical)*kept)
	}
}

// average is an exponentially weighted moving average; 0 means no sample yet.
type average struct{ bits atomic.Uint64 }

func (a *average) value() float64 { return math.Float64frombits(a.bits.Load()) }

func (a *average) set(x float64) { a.bits.Store(math.Float64bits(x)) }

// add weighs a sample by up when it is above the average, else by down. The
// first sample becomes the average.
func (a *average) add(sample, up, down float64) {
	for {
		bits := a.bits.Load()
		old := math.Float64frombits(bits)
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

package router

import (
	"math"
	"sync/atomic"
	"time"
)

// How an endpoint's capacity is learned from times to first token alone: additive
// increase, multiplicative decrease (Chiu and Jain, 1989), as concurrency limits
// of servers are. A declared capacity bounds it from above where it is used.
const (
	capacityLeast = 2.0                    // one request, and one to try with
	capacityFew   = 4.0                    // in flight; fewer make no queue by their number
	slowBeyond    = 2.5                    // times the expected time: more is a queue
	slowLeast     = 100.0                  // ms beyond the expected time; less is no queue that anybody feels
	slowEnough    = 3                      // slow answers in a row make one: a single one had a long prompt before it
	cutTo         = 0.9                    // of what was there, when there is a queue
	cutPause      = 500 * time.Millisecond // between two cuts: one queue slows many answers
)

// learned is the capacity of one endpoint: unknown until the first queue is seen, then
// a tenth less than what was there. From there on it grows by one for each capacity's
// worth of good answers, at least to what it carries well.
type learned struct {
	bits average      // 0: no queue was seen yet
	slow atomic.Int64 // slow answers in a row
	cut  atomic.Int64 // unix ns of the last cut; 0: none
}

func (c *learned) value() float64 { return c.bits.value() }

// learn takes in one time to first token, beside what was to be expected of a server
// with room, and how many requests it shared the server with.
func (c *learned) learn(took, expected, queue float64, now time.Time) {
	if expected <= 0 || took <= max(slowBeyond*expected, expected+slowLeast) {
		c.slow.Store(0)
		c.grow(queue)
		return
	}
	if c.slow.Add(1) >= slowEnough {
		c.shrink(queue, now)
	}
}

// grow takes in an answer that came in good time while so many were in flight.
func (c *learned) grow(queue float64) {
	c.change(func(capacity float64) float64 {
		if capacity == 0 || queue < capacity/2 {
			return capacity
		}
		return max(capacity+1/capacity, queue)
	})
}

// shrink takes in that there was a queue with so many in flight. With few it is not
// their number that made one; and no cut goes further below what was there than the
// rule says, because many answers tell of the same queue.
func (c *learned) shrink(queue float64, now time.Time) {
	if c.value() == 0 && queue < capacityFew {
		return
	}
	last := c.cut.Load()
	if since := now.UnixNano() - last; since >= 0 && since < int64(cutPause) || !c.cut.CompareAndSwap(last, now.UnixNano()) {
		return
	}
	c.slow.Store(0)
	c.change(func(capacity float64) float64 {
		switch {
		case capacity == 0:
			return queue * cutTo
		case queue < capacity/2:
			return capacity
		}
		return max(min(max(capacity, queue)*cutTo, capacity), capacityLeast)
	})
}

func (c *learned) change(next func(float64) float64) {
	for {
		bits := c.bits.bits.Load()
		was := math.Float64frombits(bits)
		now := min(next(was), 1e6)
		if now == was || c.bits.bits.CompareAndSwap(bits, math.Float64bits(now)) {
			return
		}
	}
}

// reported is what the routers of a fleet said, as moving averages: what is seconds
// old cannot tell who has room at this instant, and routers that all believe it run to
// the same place; it can tell who is loaded and who is not. The two averages are packed
// so that nobody reads half of them.
type reported struct {
	counts  atomic.Uint64 // float32 of all, float32 of our own then
	routers atomic.Int64  // 0: nothing was reported
}

// reportGain is the weight of a new report. With two a second, the last half minute
// counts (docs/experiments.md, E6).
const reportGain = 0.02

func (r *reported) set(all, own float64, routers int) {
	all, own = finite(all, 0), finite(own, 0)
	if r.routers.Load() > 0 {
		wasAll, wasOwn := r.read()
		all, own = wasAll+reportGain*(all-wasAll), wasOwn+reportGain*(own-wasOwn)
	}
	r.counts.Store(uint64(math.Float32bits(float32(all)))<<32 | uint64(math.Float32bits(float32(own))))
	r.routers.Store(int64(routers))
}

func (r *reported) read() (all, own float64) {
	counts := r.counts.Load()
	return float64(math.Float32frombits(uint32(counts >> 32))), float64(math.Float32frombits(uint32(counts)))
}

func (r *reported) queue(own int) float64 {
	routers := int(r.routers.Load())
	if routers == 0 {
		return float64(own)
	}
	all, then := r.read()
	return Queue(own, all, then, routers)
}

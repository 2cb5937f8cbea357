package router

import (
	"math"
	"sync/atomic"
	"time"
)

// budgetSpan is the window in seconds over which retries are held against requests.
const budgetSpan = 10

// Budget keeps retries in proportion: over any 10 seconds no more than a ratio of
// the requests plus a floor, so that a fault everywhere is not multiplied. The zero
// value is ready; all methods are safe for concurrent use and take no lock.
//
// Two things are counted in a word each, for every second of a ring: requests and
// retries. A retry is counted before it is allowed and taken back when it is too
// much, so that two which race for the last one may both be refused, never both
// allowed. That holds too when one of them says a time up to 9 seconds before the
// other's. Seconds are counted from the first call, by the monotonic readings of the
// times that are given: a clock that is set changes nothing.
type Budget struct {
	start             atomic.Pointer[time.Time] // of second 0; nil: nobody has called
	requests, retries ring
	ratio             atomic.Uint64 // float64 bits
	floor             atomic.Int64
}

// Request counts a request that goes to an endpoint, and takes in the settings that
// are in force: retries for each request, and those that are always allowed.
func (b *Budget) Request(now time.Time, ratio float64, floor int) {
	if bits := math.Float64bits(ratio); b.ratio.Load() != bits {
		b.ratio.Store(bits)
	}
	if b.floor.Load() != int64(floor) {
		b.floor.Store(int64(floor))
	}
	b.requests.add(b.second(now), 1)
}

// Draw takes one retry from the budget; false when none is left.
func (b *Budget) Draw(now time.Time) bool {
	second := b.second(now)
	if !b.retries.add(second, 1) {
		return false
	}
	if b.left(second) >= 0 {
		return true
	}
	b.retries.add(second, -1)
	return false
}

// Remaining is how many retries are left at this instant, 0 when overdrawn.
func (b *Budget) Remaining(now time.Time) float64 { return max(0, b.left(b.second(now))) }

// budgetPast is how long before the first call second 0 is, for those who read the
// clock before the first caller did and call after it.
const budgetPast = time.Hour

func (b *Budget) second(now time.Time) int64 {
	start := b.start.Load()
	if start == nil {
		past := now.Add(-budgetPast)
		b.start.CompareAndSwap(nil, &past)
		start = b.start.Load()
	}
	return int64(now.Sub(*start) / time.Second)
}

func (b *Budget) left(second int64) float64 {
	ratio := math.Float64frombits(b.ratio.Load())
	requests, retries := b.requests.sum(second, 0), b.retries.sum(second, budgetSpan-1)
	return ratio*float64(requests) + float64(b.floor.Load()) - float64(retries)
}

// ring counts something in each of the last seconds: 32 bits of the time, then 32
// of the count, so that a second that is over is never taken for a new one.
type ring [budgetSpan + 1]atomic.Uint64

// budgetLate is by how many seconds a caller may be late before a time without a
// monotonic reading is taken to come from a clock that was set back.
const budgetLate = 60

// add counts n in a second. It reports false, and counts nothing, when the caller is
// so late that its place belongs to a newer second.
func (r *ring) add(second int64, n int32) bool {
	slot := &r[uint64(second)%uint64(len(r))]
	for {
		was := slot.Load()
		count, late := uint32(was), uint32(was>>32)-uint32(second)
		if late > 0 && late <= budgetLate {
			return false
		}
		if late != 0 {
			count = 0
		}
		next := uint64(uint32(second))<<32 | uint64(uint32(max(int64(count)+int64(n), 0)))
		if slot.CompareAndSwap(was, next) {
			return true
		}
	}
}

// sum is what was counted in the ten seconds up to this one, and in so many after it,
// by callers that were quicker.
func (r *ring) sum(second, after int64) int64 {
	total, last := int64(0), uint32(second+after)
	for i := range r {
		if slot := r[i].Load(); last-uint32(slot>>32) < uint32(budgetSpan+after) {
			total += int64(uint32(slot))
		}
	}
	return total
}

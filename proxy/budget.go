package proxy

import (
	"sync"
	"time"
)

// budgetSpan is the window in seconds over which retries are held against requests.
const budgetSpan = 10

// budget keeps retries in proportion: over any 10 seconds no more than a ratio of
// the requests plus a floor, so that a fault everywhere is not multiplied.
type budget struct {
	mu      sync.Mutex
	seconds [budgetSpan]spending
	ratio   float64
	floor   int
}

// spending is what happened within one second.
type spending struct {
	second   int64 // unix time
	requests int
	retries  int
}

// request counts a request that goes to an endpoint, and takes the settings that
// are in force.
func (b *budget) request(now time.Time, s *Settings) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ratio, b.floor = s.RetryRatio, s.RetryFloor
	b.at(now).requests++
}

// draw takes one retry from the budget; false when none is left.
func (b *budget) draw(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left(now) < 1 {
		return false
	}
	b.at(now).retries++
	return true
}

// remaining is how many retries are left at this instant, 0 when overdrawn.
func (b *budget) remaining(now time.Time) float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return max(0, b.left(now))
}

func (b *budget) left(now time.Time) float64 {
	requests, retries := 0, 0
	for _, s := range b.seconds {
		if age := now.Unix() - s.second; age >= 0 && age < budgetSpan {
			requests += s.requests
			retries += s.retries
		}
	}
	return b.ratio*float64(requests) + float64(b.floor) - float64(retries)
}

func (b *budget) at(now time.Time) *spending {
	s := &b.seconds[uint64(now.Unix())%budgetSpan]
	if s.second != now.Unix() {
		*s = spending{second: now.Unix()}
	}
	return s
}

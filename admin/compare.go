package admin

import (
	"sync"

	"proxima/router"
)

// Comparison keeps what the other setting of steering.by would have done with a
// sample of the requests, so that an operator sees from their own traffic what the
// present one costs. The zero value is ready, and all methods are safe for
// concurrent use.
type Comparison struct {
	mu           sync.Mutex // guards all below
	by           router.By  // the other setting
	sampled      int
	moved        float64 // share that it would send to another region
	differenceMs float64
}

// comparisonGain lets the last hundred samples decide; until there are as many, each
// counts the same.
const comparisonGain = 0.01

// OtherSteering is what the other setting of steering.by would do with the requests
// of now: averages over the last hundred that were compared.
type OtherSteering struct {
	By           string  `json:"by"`
	Sampled      int     `json:"sampled"`       // requests compared since the setting was last changed
	MovedRatio   float64 `json:"moved_ratio"`   // share that it would send to another region, 0 to 1
	DifferenceMs float64 `json:"difference_ms"` // what the present choices cost more, by its idea of the network
}

// Add takes in one request's comparison. One in which somebody finds no endpoint
// says nothing.
func (c *Comparison) Add(o router.Otherwise) {
	if !o.Found {
		return
	}
	moved := 0.0
	if o.Chosen.Region != o.Ours.Region {
		moved = 1
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by != o.By {
		c.by, c.sampled, c.moved, c.differenceMs = o.By, 0, 0, 0
	}
	c.sampled++
	gain := max(comparisonGain, 1/float64(c.sampled))
	c.moved += gain * (moved - c.moved)
	c.differenceMs += gain * (o.Ours.CostMs - o.Chosen.CostMs - c.differenceMs)
}

// with returns the comparison with the setting that is not the present one; nil when
// no request was compared with that.
func (c *Comparison) with(present router.By) *OtherSteering {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sampled == 0 || c.by == present {
		return nil
	}
	return &OtherSteering{c.by.String(), c.sampled, round(c.moved), round(c.differenceMs)}
}

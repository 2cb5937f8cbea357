// Package healthcheck decides whether an endpoint is well, from two witnesses:
// probes that it sends itself, and the requests that pass anyway.
//
// Start at Belief in belief.go: the rules, pure, one endpoint at a time. Policy
// in this file holds their parameters, and Unnoticed says from them alone how
// long an outage can hide. suspicion.go asks whether it is this router's own
// network that fails, by the evidence of evidence.go. probe.go asks an endpoint
// over HTTP, cause.go puts what went wrong into words, and monitor.go and
// keeper.go keep the schedule: the only files with goroutines.
//
// The package does not choose endpoints. It publishes a router.Status for each
// and leaves what follows from it to the router.
package healthcheck

import (
	"fmt"
	"strings"
	"time"
)

// Policy says how endpoints are probed and when they are believed. Rise and Fall
// count as at least 1, Interval and Timeout as at least 10 ms, so that no value
// makes a probe without a pause or without a chance.
type Policy struct {
	Path      string        // asked with GET, below the endpoint's URL; may carry a query
	Interval  time.Duration // between two probes of an endpoint that is well
	Timeout   time.Duration // for one probe, from the first packet to the end of the answer
	Rise      int           // good answers in a row that bring an endpoint back from Down
	Fall      int           // failed probes in a row that make it Down
	Expect    []StatusRange // the statuses that count as good; empty: 200-299
	Passive   Passive
	SlowStart time.Duration // how long a trial waits for a request, at least two intervals, and after it a single failure ejects again
}

// Passive says when failing requests take an endpoint out.
type Passive struct {
	TripAfter int           // failed requests in a row that eject; 0: requests never do
	Eject     time.Duration // how long the first ejection lasts; each further one twice as long
	EjectMax  time.Duration // the longest one, but for ±20 % of chance
}

// StatusRange is a range of HTTP statuses, both ends included.
type StatusRange struct{ Low, High int }

func (r StatusRange) String() string {
	if r.Low == r.High {
		return fmt.Sprint(r.Low)
	}
	return fmt.Sprintf("%d-%d", r.Low, r.High)
}

// DefaultPolicy is what holds where the configuration says nothing else.
func DefaultPolicy() Policy {
	return Policy{
		Path: "/health", Interval: 2 * time.Second, Timeout: time.Second, Rise: 2, Fall: 2,
		Expect:    []StatusRange{{200, 299}},
		Passive:   Passive{TripAfter: 3, Eject: 5 * time.Second, EjectMax: 300 * time.Second},
		SlowStart: 15 * time.Second,
	}
}

// Unnoticed is the longest that an endpoint which answers nothing any more, and
// to which no request is sent, is not yet called Down:
//
//	1.2·Interval + Timeout + (Fall − 1)·(1.2·Interval/4 + Timeout)
//
// With the defaults that is 5 s. It is Suspect, and passed over for any endpoint
// that is Up, after the first term and Timeout: 3.4 s. Requests notice sooner.
// More than 64 probes waiting for silent endpoints at once add their queue, and
// an outage in which this router suspects its own network the time until it knows
// better: Suspicion.Patience.
func (p Policy) Unnoticed() time.Duration {
	first := jittered(p.interval(), 1) + p.timeout()
	again := jittered(p.inDoubt(), 1) + p.timeout()
	return first + time.Duration(p.fall()-1)*again
}

// fastest is the shortest pause that doubt alone can bring about.
const fastest = 100 * time.Millisecond

// shortest stands in for an Interval or a Timeout below it.
const shortest = 10 * time.Millisecond

func (p Policy) interval() time.Duration { return max(p.Interval, shortest) }

func (p Policy) timeout() time.Duration { return max(p.Timeout, shortest) }

// inDoubt is the pause while one more answer would settle something.
func (p Policy) inDoubt() time.Duration { return min(p.interval(), max(p.Interval/4, fastest)) }

// whenDown is the pause for an endpoint that has been Down for some time: nobody
// gains from asking a dead one often.
func (p Policy) whenDown(since time.Duration) time.Duration {
	factor := time.Duration(1)
	switch {
	case since > 5*time.Minute:
		factor = 5
	case since > time.Minute:
		factor = 2
	}
	return max(p.interval(), min(p.interval()*factor, 30*time.Second))
}

// trial is how long a trial waits for a request before good probes are enough.
func (p Policy) trial() time.Duration { return max(p.SlowStart, 2*p.interval()) }

func (p Policy) rise() int { return max(p.Rise, 1) }

func (p Policy) fall() int { return max(p.Fall, 1) }

// expects reports whether a status counts as a good answer.
func (p Policy) expects(status int) bool {
	for _, r := range p.expected() {
		if r.Low <= status && status <= r.High {
			return true
		}
	}
	return false
}

// wants names the good statuses: "200-299, 404".
func (p Policy) wants() string {
	var names []string
	for _, r := range p.expected() {
		names = append(names, r.String())
	}
	return strings.Join(names, ", ")
}

func (p Policy) expected() []StatusRange {
	if len(p.Expect) == 0 {
		return []StatusRange{{200, 299}}
	}
	return p.Expect
}

// jittered spreads a pause over ±20 %, so that routers which started together do
// not probe together for ever. r is a random number from 0 to 1.
func jittered(d time.Duration, r float64) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*min(max(r, 0), 1)))
}

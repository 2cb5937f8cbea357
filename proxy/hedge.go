package proxy

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"proxima/router"
)

// hedgeAfter is how long an attempt may take to its first byte before a second
// endpoint is asked too; 0: none is.
func (f *Failover) hedgeAfter(a *attempt) time.Duration {
	x := a.exchange
	if !x.rules.Hedge || a.last || x.protocol != "" || !x.repeatable() || !x.body.whole() {
		return 0
	}
	if known := f.paces.of(x); known != nil {
		return known.slow()
	}
	return 0
}

// result is what an attempt that may run beside another came to.
type result struct {
	*attempt
	response *http.Response
	err      error
	bug      any // that ended it
}

// good reports whether the client may have this answer.
func (r *result) good() bool { return r.err == nil && r.Outcome == router.Served }

// race gives an attempt some time alone, and then another one beside it. The first
// good answer counts, and the other attempt is over when race returns.
func (f *Failover) race(first *attempt, patience time.Duration) (*attempt, *http.Response, error) {
	finish := make(chan result, 2)
	go first.run(finish)
	slow := time.NewTimer(patience)
	defer slow.Stop()
	select {
	case alone := <-finish:
		return alone.settled()
	case <-slow.C:
	}
	second := f.hedge(first)
	if second == nil {
		alone := <-finish
		return alone.settled()
	}
	go second.run(finish)
	best := <-finish
	if best.good() {
		beaten := first
		if best.attempt == first {
			beaten = second
		}
		beaten.cancel(errLost)
	}
	other := <-finish
	if !best.good() {
		best, other = other, best
	}
	other.lose(&best)
	return best.settled()
}

// hedge starts an attempt at a second endpoint, if one is ready and the retry budget
// allows it.
func (f *Failover) hedge(first *attempt) *attempt {
	x := first.exchange
	before := x.query.Tried
	defer func() { x.query.Tried = before }() // the first one may still go on with the answer
	x.query.Tried = append(slices.Clip(before), first.Endpoint)
	p, _ := f.look(x, f.queue.len() == 0) // those who wait for a place come first
	switch {
	case !p.found():
		return nil
	case p.chosen().Tier != router.TierReady, !f.budget.Draw(time.Now()):
		f.giveBack(p)
		return nil
	}
	x.record.Hedged = true
	return f.start(x, p)
}

var errBug = errors.New("the router met an error of its own")

// run makes an attempt in a goroutine of its own. A bug is for the request's goroutine
// to meet.
func (a *attempt) run(finish chan<- result) {
	done := result{attempt: a, err: errBug}
	defer func() {
		if done.bug = recover(); done.bug != nil {
			a.end()
		}
		finish <- done
	}()
	done.response, done.err = a.do()
}

// lose ends what is left of the attempt that does not count, and puts the one that
// does at the end of the record.
func (r *result) lose(to *result) {
	if r.bug != nil {
		to.end()
		panic(r.bug)
	}
	x := r.exchange
	if last := x.record.Last(); to.Attempt != last {
		*to.Attempt, *last = *last, *to.Attempt
		to.Attempt, r.Attempt = last, to.Attempt
		x.attempt, x.record.Decision = to.attempt, to.decision
	}
	if r.good() {
		r.Outcome = router.Lost
	}
	if r.err == nil {
		r.response.Body.Close()
	}
	if r.Outcome == router.Lost {
		x.handler.Failover.paces.took(x, time.Since(r.Started))
		return
	}
	x.query.Tried = append(x.query.Tried, r.Endpoint)
	r.settle()
}

// settled is what Failover.try returns of the result that counts.
func (r *result) settled() (*attempt, *http.Response, error) {
	if r.bug != nil {
		panic(r.bug)
	}
	r.settle()
	if r.good() && r.exchange.rules.Hedge {
		r.failover.paces.took(r.exchange, r.FirstByte)
	}
	return r.attempt, r.response, r.err
}

// paces know how soon the first byte comes, for each model that is hedged, streams
// and answers in one piece apart. The zero value is ready.
type paces struct {
	mu    sync.Mutex
	known map[paceKey]*pace
}

type paceKey struct {
	model   router.Model
	streams bool
}

// maxPaces bounds what clients can add by inventing models.
const maxPaces = 4096

// of is the pace of what a request asks for; nil: nothing is known of it.
func (p *paces) of(x *exchange) *pace {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known[paceKey{x.query.Model, x.streams}]
}

// took takes in how long the first byte of an answer took. When too many paces are
// known, another one is forgotten.
func (p *paces) took(x *exchange, d time.Duration) {
	found := p.of(x)
	if found == nil {
		model := router.Model(strings.Clone(string(x.query.Model))) // it may be a part of a long head
		found = p.add(paceKey{model, x.streams})
	}
	found.took(d)
}

func (p *paces) add(key paceKey) *pace {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		p.known = map[paceKey]*pace{}
	}
	for other := range p.known {
		if len(p.known) < maxPaces {
			break
		}
		delete(p.known, other)
	}
	p.known[key] = &pace{}
	return p.known[key]
}

// paceSamples are the latest of which the slow ones are told; paceLeast are needed.
const (
	paceSamples = 256
	paceLeast   = 20
	slowShare   = 0.95
)

// pace is how long the first byte took of late. Of an attempt that lost a race only
// the least is known that it would have taken, and counts: it was beyond the slow share
// then, and so it stays.
type pace struct {
	mu     sync.Mutex
	latest [paceSamples]time.Duration
	seen   int
	at     time.Duration // 95 % come sooner
}

func (p *pace) took(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latest[p.seen%paceSamples] = d
	p.seen++
	if p.seen%8 == 0 || p.seen == paceLeast {
		sorted := p.latest
		known := sorted[:min(p.seen, paceSamples)]
		slices.Sort(known)
		p.at = known[int(slowShare*float64(len(known)))]
	}
}

// slow is what takes longer than 95 % of the latest; 0: too few are known.
func (p *pace) slow() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen < paceLeast {
		return 0
	}
	return p.at
}

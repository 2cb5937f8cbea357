package proxy

import (
	"hash/maphash"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"proxima/router"
)

// Bounds of what one request may break. The same text that has broken two endpoints is
// not sent to any for a moment, and if it then does so again, for a minute.
const (
	poisonEndpoints = 2
	poisonMoment    = 5 * time.Second
	poisonMemory    = time.Minute
	poisonMost      = 1024        // texts that are remembered
	breakingMemory  = time.Second // an endpoint that broke nothing for so long is taken to be well
)

// poison remembers requests whose connection broke at one endpoint after the other:
// a text that crashes every engine that reads it must not take all regions down, one
// attempt after the other and again with every repetition. The zero value is ready.
type poison struct {
	seed  maphash.Seed
	known atomic.Int64 // while it is 0 nothing is looked up
	ill   atomic.Int64 // how many are breaking

	mu       sync.Mutex
	texts    map[uint64]*offence
	swept    time.Time // when texts was last rid of what is long ago
	breaking map[router.EndpointID]*breaking
}

type offence struct {
	times int
	last  time.Time
}

// breaking is an endpoint that breaks off whatever it is sent.
type breaking struct{ since, last time.Time }

// breaksAll takes in how an attempt ended and reports whether its request has broken as
// many endpoints as it may.
func (p *poison) breaksAll(a *attempt) bool {
	x := a.exchange
	switch {
	case a.Outcome == router.Served:
		p.served(a.Endpoint)
	case a.Outcome == router.Broken && p.broke(a.Attempt, time.Now()):
		x.broke++
	}
	return x.broke >= poisonEndpoints && x.in.Method == http.MethodPost && len(x.body.kept) > 0
}

// broke takes in that an endpoint broke off a request, and reports whether the request
// may be the reason: not when the endpoint did so before the request came.
func (p *poison) broke(a *router.Attempt, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.breaking == nil {
		p.breaking = map[router.EndpointID]*breaking{}
	}
	for id, b := range p.breaking {
		if now.Sub(b.last) > breakingMemory {
			delete(p.breaking, id)
		}
	}
	b, before := p.breaking[a.Endpoint]
	if !before {
		b = &breaking{since: now}
		p.breaking[a.Endpoint] = b
	}
	b.last = now
	p.ill.Store(int64(len(p.breaking)))
	return !before || a.Started.Before(b.since)
}

// served takes in that an endpoint is well.
func (p *poison) served(id router.EndpointID) {
	if p.ill.Load() == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.breaking, id)
	p.ill.Store(int64(len(p.breaking)))
}

// note remembers that a request has broken as many endpoints as it may.
func (p *poison) note(x *exchange, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.texts == nil {
		p.seed, p.texts = maphash.MakeSeed(), map[uint64]*offence{}
	}
	p.forget(now)
	text := maphash.Bytes(p.seed, x.body.kept)
	found := p.texts[text]
	if found == nil {
		if len(p.texts) >= poisonMost {
			return
		}
		found = &offence{}
		p.texts[text] = found
	}
	found.times, found.last = found.times+1, now
	p.known.Store(int64(len(p.texts)))
}

// forget drops what is long ago.
func (p *poison) forget(now time.Time) {
	p.swept = now
	for text, o := range p.texts {
		if now.Sub(o.last) > poisonMemory {
			delete(p.texts, text)
		}
	}
	p.known.Store(int64(len(p.texts)))
}

// is reports whether a request is one of those.
func (p *poison) is(x *exchange, now time.Time) bool {
	if p.known.Load() == 0 || len(x.body.kept) == 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.swept) > poisonMemory {
		p.forget(now)
	}
	o := p.texts[maphash.Bytes(p.seed, x.body.kept)]
	return o != nil && now.Sub(o.last) <= o.barred()
}

// barred is how long the text is not sent to anybody.
func (o *offence) barred() time.Duration {
	if o.times > 1 {
		return poisonMemory
	}
	return poisonMoment
}

var problemPoison = &Problem{
	Status: http.StatusBadGateway, Type: "server_error", Code: "request_breaks_endpoints",
	Message: "Connections broke at several endpoints when they were sent this very request. It is not sent to others for a while.",
}

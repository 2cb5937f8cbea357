package proxy

import (
	"hash/maphash"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"proxima/router"
)

// Bounds of what one request may break. The same text that has broken two endpoints
// for poisonTimes requests within poisonMemory is not sent to any more.
const (
	poisonEndpoints = 2
	poisonTimes     = 2
	poisonMemory    = time.Minute
	poisonMost      = 1024 // texts that are remembered
)

// poison remembers requests whose connection broke at one endpoint after the other:
// a text that crashes every engine that reads it must not take all regions down, one
// attempt after the other and again with every repetition. The zero value is ready.
type poison struct {
	seed  maphash.Seed
	known atomic.Int64 // while it is 0 nothing is looked up

	mu    sync.Mutex
	texts map[uint64]*offence
}

type offence struct {
	times int
	last  time.Time
}

// breaksAll reports whether a request has broken as many endpoints as it may.
func (x *exchange) breaksAll() bool {
	if x.in.Method != http.MethodPost || len(x.body.kept) == 0 {
		return false
	}
	broken := 0
	for i := range x.record.Attempts {
		if x.record.Attempts[i].Outcome == router.Broken {
			broken++
		}
	}
	return broken >= poisonEndpoints
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
	for text, o := range p.texts {
		if now.Sub(o.last) > poisonMemory {
			delete(p.texts, text)
		}
	}
}

// is reports whether a request is one of those.
func (p *poison) is(x *exchange, now time.Time) bool {
	if p.known.Load() == 0 || len(x.body.kept) == 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.texts[maphash.Bytes(p.seed, x.body.kept)]
	return o != nil && o.times >= poisonTimes && now.Sub(o.last) <= poisonMemory
}

var problemPoison = &Problem{
	Status: http.StatusBadGateway, Type: "server_error", Code: "request_breaks_endpoints",
	Message: "Connections broke at several endpoints when they were sent this very request. It is not sent to others for a minute.",
}

package router

import (
	"net/netip"
	"time"

	"proxima/geo"
)

// Outcome is how an attempt at one endpoint ended.
type Outcome uint8

const (
	Served    Outcome = iota // it answered, and the answer went to the client
	Refused                  // no connection: the request was never sent
	Broken                   // the connection broke before the first byte of content
	Late                     // no first byte in time
	Failed                   // it answered with a status that says it cannot serve
	Busy                     // it asked to be left alone for a while: 429, or 503 with Retry-After
	Abandoned                // it was found down while the request waited
	Cancelled                // the client left first
	Cut                      // it broke off in the midst of the answer
	Stalled                  // it fell silent in the midst of the answer, or of its beginning
	Lost                     // another endpoint, asked because it was slow, answered sooner
)

var outcomeNames = [...]string{
	"served", "refused", "broken", "late", "failed", "busy", "abandoned", "cancelled", "cut", "stalled", "lost",
}

func (o Outcome) String() string { return outcomeNames[o] }

// Blames reports whether the outcome counts against the endpoint's health. Busy
// is not dead, and a client that leaves says nothing about the endpoint.
func (o Outcome) Blames() bool {
	switch o {
	case Refused, Broken, Late, Failed, Cut, Stalled:
		return true
	}
	return false
}

// Attempt is one try at one endpoint.
type Attempt struct {
	Endpoint  EndpointID
	Region    RegionID
	Position  int // in the table of the decision's snapshot
	Started   time.Time
	Connected time.Duration // until a connection was there; 0: it was reused or never came
	FirstByte time.Duration // until the first byte of content; 0: none came
	Outcome   Outcome
	Status    int // what it answered; 0: nothing
	Err       error
}

// Record is one request from accept to the last byte: what was asked, what was
// decided, what happened. Health, meters, metrics, the access log and the
// history all read the same Record.
type Record struct {
	ID       string
	Started  time.Time
	Client   netip.Addr
	From     geo.Location
	Method   string
	Path     string
	Model    Model    // as the client wrote it: only a declared one may become a label
	Decision Decision // the last one made
	Attempts []Attempt
	Status   int    // what the client was told
	Problem  string // the code of the error it was told, "" for none
	Bytes    int64  // of the body, to the client
	Complete bool   // the client got the whole answer
	Resumed  int    // times the answer went on from another endpoint after it broke
	Hedged   bool   // a second endpoint was asked because the first was slow
	Elapsed  time.Duration
	Queued   time.Duration // spent on waiting for a free place at an endpoint
	Locate   time.Duration // spent on placing the client
	Decide   time.Duration // spent on deciding
}

// Last returns the attempt that decided the request's fate; nil when none was made.
func (r *Record) Last() *Attempt {
	if len(r.Attempts) == 0 {
		return nil
	}
	return &r.Attempts[len(r.Attempts)-1]
}

// FirstByte is what the client waited for the first byte of content, earlier
// attempts included; 0 when none came.
func (r *Record) FirstByte() time.Duration {
	last := r.Last()
	if last == nil || last.FirstByte <= 0 {
		return 0
	}
	return last.Started.Sub(r.Started) + last.FirstByte
}

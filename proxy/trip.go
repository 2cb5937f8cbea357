package proxy

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/textproto"
	"time"
)

// trip is the context of an attempt's request, and the transport.Trip of it: it says how
// long a connection may take, and hears that there is one, that the endpoint may have seen
// the request, and what it says before its answer.
type trip struct {
	context.Context
	*attempt
}

// dialFloor and dialTrips bound the wait for a connection: half a second and three
// measured round trips, so that a region that drops packets costs little. The
// floor is for this machine, not for the way: shorter ones called endpoints on loopback
// unreachable when the processors were busy. Before anything was measured,
// dialUnmeasured. When no other endpoint could take the request there is nothing to
// hurry for, and dialAlone leaves room for a lost packet or two to be sent again.
const (
	dialFloor      = 500 * time.Millisecond
	dialTrips      = 3
	dialUnmeasured = 1 * time.Second
	dialAlone      = 3500 * time.Millisecond
)

// What an endpoint turns away over HTTP/2, by GOAWAY or REFUSED_STREAM, it has not
// carried out, and net/http sends it again: for a minute, or on new connections without
// a pause and for ever. These bound how often, and on how many.
const (
	http2Tries = 2
	dialsMost  = 2
)

var errNotTaken = errors.New("it takes connections and no request on them")

// DialWait implements transport.Trip.
func (a *attempt) DialWait() (time.Duration, error) {
	switch {
	case a.dials.Add(1) > dialsMost:
		a.turnedAway()
		return 0, errNotTaken
	case a.last || !a.betterElsewhere():
		return dialAlone, nil
	}
	return dialBound(a.meter.Path()), nil
}

func dialBound(path time.Duration) time.Duration {
	if path <= 0 {
		return dialUnmeasured
	}
	return dialFloor + dialTrips*path
}

// Got implements transport.Trip.
func (a *attempt) Got(reused, http2 bool) {
	if a.tries++; http2 && a.tries > http2Tries {
		a.turnedAway()
	}
	if !reused {
		a.Connected = time.Since(a.Started)
	}
}

// turnedAway ends an attempt that the endpoint does not take.
func (a *attempt) turnedAway() {
	a.sent.Store(false)
	a.cancel(errNotTaken)
}

// Sent implements transport.Trip.
func (a *attempt) Sent() { a.sent.Store(true) }

// Repeats implements transport.Trip: that a kept connection turns out to have been
// closed meanwhile is no fault of the endpoint.
func (a *attempt) Repeats() bool { return a.exchange.repeatable() }

// Inform implements transport.Trip: it passes an interim answer on to the client (RFC 9110
// §15.2). That to Expect: 100-continue was given here.
func (a *attempt) Inform(code int, header textproto.MIMEHeader) error {
	x := a.exchange
	if code == http.StatusContinue || !x.in.ProtoAtLeast(1, 1) {
		return nil
	}
	x.informing.Lock()
	defer x.informing.Unlock()
	if a.informed || x.committed { // committed: this is the rest of a stream
		return nil
	}
	h := x.w.Header()
	maps.Copy(h, http.Header(header))
	removeLocal(h)
	x.w.WriteHeader(code)
	clear(h)
	return nil
}

// endInforming waits for an interim answer that is under way. None follows.
func (a *attempt) endInforming() {
	a.exchange.informing.Lock()
	defer a.exchange.informing.Unlock()
	a.informed = true
}

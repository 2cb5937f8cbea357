package transport

import (
	"context"
	"net/http"
	"net/textproto"
	"time"
)

// Trip is what whoever asks for a round trip says, and hears of it while it is under
// way. It travels in the request's context. Some of it may be called from other
// goroutines than RoundTrip's, and over https DialWait even after RoundTrip has returned.
type Trip interface {
	// DialWait is how long a new connection may take, zero for no bound. It is asked
	// for each connection; with an error none is made, and RoundTrip returns it.
	DialWait() (time.Duration, error)

	// Got is told that there is a connection, a kept one or a new one. When the request
	// is sent once more there is another.
	Got(reused, http2 bool)

	// Sent is told before the first byte goes out: from here on the endpoint may have
	// seen the request.
	Sent()

	// Repeats reports whether the request may be sent once more when a kept connection
	// turns out to be closed, although the endpoint may have carried it out.
	Repeats() bool

	// Inform is told of each interim answer but 100 Continue (RFC 9110 §15.2), before
	// RoundTrip returns. The header is its own. An error ends the round trip.
	Inform(code int, header textproto.MIMEHeader) error
}

type tripKey struct{}

// WithTrip returns a context whose requests tell of their way. A context that is a Trip
// itself needs none. Without a Trip nobody
// bounds the wait for a connection or hears of anything, and a request is repeated if its
// method is safe or it has an Idempotency-Key, which is what net/http does.
func WithTrip(ctx context.Context, t Trip) context.Context {
	return context.WithValue(ctx, tripKey{}, t)
}

func tripOf(r *http.Request) Trip {
	ctx := r.Context()
	if t, is := ctx.(Trip); is {
		return t
	}
	if t, given := ctx.Value(tripKey{}).(Trip); given {
		return t
	}
	return lonely{r}
}

// lonely is the trip of a request that nobody follows.
type lonely struct{ r *http.Request }

func (lonely) DialWait() (time.Duration, error)              { return 0, nil }
func (lonely) Got(reused, http2 bool)                        {}
func (lonely) Sent()                                         {}
func (lonely) Inform(code int, h textproto.MIMEHeader) error { return nil }

func (l lonely) Repeats() bool {
	switch l.r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	_, key := l.r.Header["Idempotency-Key"]
	_, too := l.r.Header["X-Idempotency-Key"]
	return key || too
}

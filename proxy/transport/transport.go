// Package transport carries requests to endpoints over HTTP/1.1. It is a
// http.RoundTripper in which the goroutine that asks does the work: it writes the request,
// waits for the answer and reads it, so that a request over a kept connection costs
// one look at the connection, one write and the reads, and no timer, no channel and no
// other goroutine.
//
// Answers must never be mixed up. A connection serves one exchange at a time, and is kept
// for the next one only when the whole request has gone out, the whole answer has come in
// and nothing behind it. Before it is used again it is looked at: one that was closed, or
// on which something came that nobody asked for, is dropped.
//
// What is not ordinary goes by net/http's Transport: https and with it HTTP/2,
// requests with trailers, hosts that are no plain names or addresses.
//
// Reading starts at RoundTrip; then the life of an exchange is in answer.go (from the
// connection to the answer's head), send.go (the request) and body.go (the rest).
package transport

import (
	"context"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"sync"

	"proxima/http1"
)

// Transport is a http.RoundTripper that keeps and shares connections. Answers pass
// untouched, requests get no field that they do not have, no proxy of the environment
// is used and no redirect followed. The fields are set before the first use; the zero
// value is ready.
//
// An answer's Body may be closed while another goroutine reads from it. The request's
// Body is closed always, perhaps after RoundTrip has returned, as http.RoundTripper
// allows.
type Transport struct {
	Dial  func(ctx context.Context, network, address string) (net.Conn, error) // nil: net.Dialer
	Roots *x509.CertPool                                                       // what certificates of https endpoints must lead to; nil: the system's

	// Readable calls ready, which does not wait, whenever something has come on a socket
	// since the last call. nil: bodies cannot rest.
	Readable func(fd int, ready func()) (forget func(), err error)

	pool     pool
	once     sync.Once // guards the making of standard
	standard *http.Transport
}

// RoundTrip implements http.RoundTripper. When the request's context ends, so does the
// exchange, also while the answer's body is being read, and the error is the context's
// cause.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if !isOrdinary(r) {
		return t.roundTripByStandard(r)
	}
	if ctx := r.Context(); ctx.Err() != nil {
		closeBody(r.Body)
		return nil, context.Cause(ctx)
	}
	trip, body := tripOf(r), r.Body
	if kept := t.pool.take(r.URL.Host); kept != nil {
		a := &answer{to: r, trip: trip, conn: kept, reused: true}
		err := a.carry(body)
		if err == nil {
			return &a.response, nil
		}
		if !a.mayRepeat() {
			return nil, err
		}
		if body, err = bodyAgain(r); err != nil {
			return nil, err
		}
	}
	conn, err := t.connect(r.Context(), r.URL.Host, trip)
	if err != nil {
		closeBody(body)
		return nil, err
	}
	a := &answer{to: r, trip: trip, conn: conn}
	if err := a.carry(body); err != nil {
		return nil, err
	}
	return &a.response, nil
}

// CloseIdleConnections closes the connections that are kept, and those that are under
// way once they are free, until the next request.
func (t *Transport) CloseIdleConnections() {
	t.pool.clear()
	t.viaStandard().CloseIdleConnections()
}

// isOrdinary reports whether this package carries a request itself.
func isOrdinary(r *http.Request) bool {
	return r.URL != nil && r.URL.Scheme == "http" && r.URL.Opaque == "" &&
		r.Header != nil && len(r.Trailer) == 0 && len(r.TransferEncoding) == 0 &&
		r.Method != http.MethodConnect && (r.Method == "" || http1.IsToken(r.Method)) &&
		http1.ValidHost(r.URL.Host) && (r.Host == "" || r.Host == r.URL.Host || http1.ValidHost(r.Host))
}

func hasBody(r *http.Request) bool { return r.Body != nil && r.Body != http.NoBody }

func closeBody(body io.Closer) {
	if body != nil {
		_ = body.Close()
	}
}

// bodyAgain is the request's body from its start, once more.
func bodyAgain(r *http.Request) (io.ReadCloser, error) {
	if !hasBody(r) {
		return r.Body, nil
	}
	return r.GetBody()
}

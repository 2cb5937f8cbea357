package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"runtime"
	"time"
)

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

// pingAfter is the silence on an HTTP/2 connection after which it is asked for a
// sign of life, and how long that may take. One dead connection holds up every
// request on it.
const pingAfter = 10 * time.Second

type dialKey struct{}

// dialWait is how long an attempt may take to connect.
func (a *attempt) dialWait() time.Duration {
	if a.last || !a.betterElsewhere() {
		return dialAlone
	}
	return dialBound(a.meter.Path())
}

func dialBound(path time.Duration) time.Duration {
	if path <= 0 {
		return dialUnmeasured
	}
	return dialFloor + dialTrips*path
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// within dials for so long. A timer overtakes all who wait for a processor, and a
// connection that is there already may be waiting among them: after a standstill of
// five seconds on two busy processors, a third of all dials to this machine itself were
// over before anybody had looked. So those who wait have their turn first.
func within(ctx context.Context, wait time.Duration, dial dialFunc, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(wait, func() {
		letOthersGo()
		cancel(context.DeadlineExceeded)
	})
	defer late.Stop()
	conn, err := dial(ctx, network, address)
	if errors.Is(err, context.Canceled) && context.Cause(ctx) == context.DeadlineExceeded {
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.ErrDeadlineExceeded}
	}
	return conn, err
}

// pollPause is how long Go's runtime leaves the network alone while no processor is
// idle, and some turns are what brings all of its queues forward.
const (
	pollPause = 10 * time.Millisecond
	turns     = 4
)

// letOthersGo returns when those who waited for a processor before have had one.
func letOthersGo() {
	time.Sleep(pollPause)
	for range turns {
		runtime.Gosched()
	}
}

// NewTransport returns the transport that carries attempts: connections are kept
// and shared, answers pass untouched, no proxy of the environment is used.
// dial makes them, within the wait for a connection; nil: net.Dialer. roots are what
// the certificates of https endpoints must lead to; nil: the system's.
func NewTransport(dial dialFunc, roots *x509.CertPool) *http.Transport {
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			a, given := ctx.Value(dialKey{}).(*attempt)
			if !given {
				return dial(ctx, network, address)
			}
			if a.dials.Add(1) > dialsMost {
				a.turnedAway()
				return nil, errNotTaken
			}
			return within(ctx, a.dialWait(), dial, network, address)
		},
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    5 * time.Second,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		ReadBufferSize:         2 << 10, // they are held as long as a stream lasts
		WriteBufferSize:        1 << 10,
		MaxIdleConns:           8192,
		MaxIdleConnsPerHost:    1024,
		IdleConnTimeout:        55 * time.Second, // below the 60 s after which many servers close
		MaxResponseHeaderBytes: 256 << 10,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingAfter},
	}
}

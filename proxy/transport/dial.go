package transport

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"strings"
	"time"
)

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// connect makes a new connection to a host, with a port or without.
func (t *Transport) connect(ctx context.Context, host string, trip Trip) (*connection, error) {
	conn, err := t.dialFor(ctx, trip, "tcp", addressOf(host))
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, err
	}
	c := newConnection(conn, host, &t.pool)
	c.readable = t.Readable
	return c, nil
}

// addressOf is where a valid host is found, at HTTP's port if it names none.
func addressOf(host string) string {
	name, port := host, "80"
	if colon := strings.LastIndexByte(host, ':'); colon > strings.LastIndexByte(host, ']') {
		name = host[:colon]
		if colon+1 < len(host) {
			port = host[colon+1:]
		}
	}
	return name + ":" + port
}

// dialFor dials for as long as the trip lets it.
func (t *Transport) dialFor(ctx context.Context, trip Trip, network, address string) (net.Conn, error) {
	dial := t.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	wait, err := trip.DialWait()
	switch {
	case err != nil:
		return nil, err
	case wait <= 0:
		return dial(ctx, network, address)
	}
	return within(ctx, wait, dial, network, address)
}

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

package main

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// visitor is the connection that requests come in on, and when it was last asked
// how long its round trip is.
type visitor struct {
	conn  net.Conn
	asked atomic.Int64 // unix ns; 0: never
}

type visitorKey struct{}

// withVisitor is a http.Server's ConnContext. It looks at nothing yet, because the
// next connection is accepted only when it returns.
func withVisitor(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, visitorKey{}, &visitor{conn: conn})
}

// tripEvery is how often a connection is asked: a system call a minute.
const tripEvery = time.Minute

// longestTrip is the longest that says something about a distance: up to a
// geostationary satellite, at 35,786 km, and down, there and back, takes light
// 0.48 s. What takes longer waits somewhere, or wants to be taken for far away.
const longestTrip = time.Second

// clientTrip is the round trip to the client of a request, as this machine's kernel
// measured it; 0 when that is not known, or when the connection was asked within
// the last minute. After a PROXY header the client is not at the other end, and
// nobody knows.
func clientTrip(r *http.Request) time.Duration {
	v, is := r.Context().Value(visitorKey{}).(*visitor)
	if !is || !v.due(time.Now()) {
		return 0
	}
	conn := innermost(v.conn)
	if conn == nil || conn.RemoteAddr().String() != r.RemoteAddr {
		return 0
	}
	if trip := roundTrip(conn); trip <= longestTrip {
		return trip
	}
	return 0
}

// due reports whether it is time to ask, to one of those who want to know at once.
func (v *visitor) due(now time.Time) bool {
	last := v.asked.Load()
	if since := now.UnixNano() - last; last != 0 && since >= 0 && since < int64(tripEvery) {
		return false
	}
	return v.asked.CompareAndSwap(last, now.UnixNano())
}

// innermost unwraps what TLS and the PROXY protocol put around a connection; nil
// when there is no TCP in it.
func innermost(conn net.Conn) *net.TCPConn {
	for {
		switch c := conn.(type) {
		case *net.TCPConn:
			return c
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}

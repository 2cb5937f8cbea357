package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"syscall"
	"time"
)

// dialFloor and dialTrips bound the wait for a connection: 250 ms and three
// measured round trips, so that a region that drops packets costs little. The
// floor is for this machine, not for the way: 100 ms called endpoints on loopback
// unreachable when the processors were busy. Before anything was measured,
// dialUnmeasured.
const (
	dialFloor      = 250 * time.Millisecond
	dialTrips      = 3
	dialUnmeasured = 1 * time.Second
)

// pingAfter is the silence on an HTTP/2 connection after which it is asked for a
// sign of life, and how long that may take. One dead connection holds up every
// request on it.
const pingAfter = 10 * time.Second

type dialWaitKey struct{}

func dialWait(path time.Duration) time.Duration {
	if path <= 0 {
		return dialUnmeasured
	}
	return dialFloor + dialTrips*path
}

// NewTransport returns the transport that carries attempts: connections are kept
// and shared, answers pass untouched, no proxy of the environment is used.
// control may refuse an address at dial time, after its name was resolved. roots are
// what the certificates of https endpoints must lead to; nil: the system's.
func NewTransport(control func(network, address string, c syscall.RawConn) error, roots *x509.CertPool) *http.Transport {
	dialer := net.Dialer{Control: control, KeepAlive: 15 * time.Second}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if wait, given := ctx.Value(dialWaitKey{}).(time.Duration); given {
				bounded, cancel := context.WithTimeout(ctx, wait)
				defer cancel()
				ctx = bounded
			}
			return dialer.DialContext(ctx, network, address)
		},
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    5 * time.Second,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConns:           8192,
		MaxIdleConnsPerHost:    1024,
		IdleConnTimeout:        55 * time.Second, // below the 60 s after which many servers close
		MaxResponseHeaderBytes: 256 << 10,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingAfter},
	}
}

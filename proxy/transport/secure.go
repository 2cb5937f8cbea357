package transport

import (
	"context"
	"crypto/tls"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"time"
)

// pingAfter is the silence on an HTTP/2 connection after which it is asked for a
// sign of life, and how long that may take. One dead connection holds up every
// request on it.
const pingAfter = 10 * time.Second

// roundTripByStandard lets net/http carry a request, and tells its trip what net/http
// tells.
func (t *Transport) roundTripByStandard(r *http.Request) (*http.Response, error) {
	trip := tripOf(r)
	out := r.WithContext(httptrace.WithClientTrace(WithTrip(r.Context(), trip), traceFor(trip)))
	out.Header = headerForStandard(r.Header, trip.Repeats())
	response, err := t.viaStandard().RoundTrip(out)
	if response != nil {
		response.Request = r
	}
	return response, err
}

// headerForStandard asks net/http not to name itself, and to send the request once more
// on a new connection when a kept one turns out to be closed: an X-Idempotency-Key
// without a value says that, and is not sent (documented at http.Transport).
func headerForStandard(h http.Header, repeats bool) http.Header {
	if h == nil {
		return nil // net/http says what is wrong with it
	}
	h = maps.Clone(h)
	if _, given := h["User-Agent"]; !given {
		h["User-Agent"] = []string{""}
	}
	if _, given := h["X-Idempotency-Key"]; !given && repeats {
		h["X-Idempotency-Key"] = nil
	}
	return h
}

func traceFor(trip Trip) *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GotConn:      func(info httptrace.GotConnInfo) { trip.Got(info.Reused, isHTTP2(info.Conn)) },
		WroteHeaders: trip.Sent,
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			if code == http.StatusContinue {
				return nil
			}
			return trip.Inform(code, header)
		},
	}
}

func isHTTP2(conn net.Conn) bool {
	secure, is := conn.(*tls.Conn)
	return is && secure.ConnectionState().NegotiatedProtocol == "h2"
}

func (t *Transport) viaStandard() *http.Transport {
	t.once.Do(func() { t.standard = t.newStandard() })
	return t.standard
}

func (t *Transport) newStandard() *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			trip, given := ctx.Value(tripKey{}).(Trip)
			if !given {
				trip = lonely{}
			}
			return t.dialFor(ctx, trip, network, address)
		},
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: t.Roots},
		TLSHandshakeTimeout:    5 * time.Second,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		ReadBufferSize:         2 << 10, // they are held as long as a stream lasts
		WriteBufferSize:        1 << 10,
		MaxIdleConns:           mostKept,
		MaxIdleConnsPerHost:    mostKeptHost,
		IdleConnTimeout:        keptFor,
		MaxResponseHeaderBytes: mostHead,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingAfter},
	}
}

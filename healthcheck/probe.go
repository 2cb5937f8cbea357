package healthcheck

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Result is what one probe found.
type Result struct {
	At      time.Time     // when the probe ended
	Latency time.Duration // from the request on a ready connection to the first byte of the answer
	Status  int           // 0: no answer
	Reused  bool          // a connection of an earlier probe carried it
	Cause   string        // why it failed, in words for an operator; "": it is well
	Kind    Kind          // the same in one word; "": it is well
}

// Prober asks one endpoint once. It returns within policy.Timeout, or as soon as
// ctx is done. It is called from many goroutines at once.
type Prober func(ctx context.Context, endpoint *url.URL, policy Policy) Result

// answerLimit is how much of an answer's body is read. The rest is left, and the
// connection with it.
const answerLimit = 64 << 10

// NewProber returns a prober over HTTP/1.1 that keeps its connections, and a
// function that closes the idle ones. It follows no redirect: a 3xx is an answer
// like any other. It uses no proxy. dial makes its connections; nil: a net.Dialer
// that RefuseDial controls. trust may be nil: the system's certificate authorities.
func NewProber(dial Dial, trust *tls.Config) (probe Prober, release func()) {
	if dial == nil {
		dial = (&net.Dialer{Control: RefuseDial}).DialContext
	}
	w := newWire(dial, dial.secured(trust))
	return w.probe, w.transport.CloseIdleConnections
}

// Dial connects to a host and a port, as http.Transport.DialContext does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// secured is dial and a TLS handshake.
func (d Dial) secured(trust *tls.Config) Dial {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := d(ctx, network, address)
		if err != nil {
			return nil, err
		}
		config := &tls.Config{}
		if trust != nil {
			config = trust.Clone()
		}
		config.ServerName, _, _ = net.SplitHostPort(address)
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		return secure, nil
	}
}

// wire is where probes go out.
type wire struct{ transport *http.Transport }

func newWire(plain, secure Dial) *wire {
	return &wire{&http.Transport{
		DialContext:            plain.inTime,
		DialTLSContext:         secure.inTime,
		MaxResponseHeaderBytes: answerLimit,
		IdleConnTimeout:        90 * time.Second,
		DisableCompression:     true,
	}}
}

func (w *wire) probe(ctx context.Context, endpoint *url.URL, policy Policy) Result {
	deadline := time.Now().Add(policy.timeout())
	ctx, cancel := context.WithDeadline(context.WithValue(ctx, dialDeadline{}, deadline), deadline)
	defer cancel()
	var t timing
	answer, err := w.transport.RoundTrip(ask(t.trace(ctx), endpoint, policy.Path))
	if err == nil {
		err = readThrough(answer.Body)
	}
	result := t.result()
	if answer != nil {
		result.Status = answer.StatusCode
	}
	switch {
	case err != nil:
		result.Kind, result.Cause = describe(err)
		if result.Kind == KindTimeout {
			result.Cause = fmt.Sprintf("timed out after %s: %s", policy.timeout(), t.missing())
		}
	case !policy.expects(answer.StatusCode):
		result.Kind = KindStatus
		result.Cause = fmt.Sprintf("answered %d, wants %s", answer.StatusCode, policy.wants())
	}
	result.At = time.Now()
	return result
}

// readThrough reads an answer to its end, or as much of it as is wanted.
func readThrough(body io.ReadCloser) error {
	defer body.Close()
	if _, err := io.CopyN(io.Discard, body, answerLimit); err != io.EOF {
		return err
	}
	return nil
}

// ask builds the request of a probe: the path below the endpoint's own prefix.
func ask(ctx context.Context, endpoint *url.URL, path string) *http.Request {
	path, query, _ := strings.Cut(path, "?")
	prefix := *endpoint
	if prefix.Path == "" {
		prefix.Path = "/" // without it, JoinPath makes a relative path
	}
	at := prefix.JoinPath(path)
	at.RawQuery = query
	r := &http.Request{
		Method: http.MethodGet, URL: at, Host: at.Host,
		Header: http.Header{"User-Agent": {"proxima-healthcheck"}, "Accept": {"*/*"}},
	}
	return r.WithContext(ctx)
}

// dialDeadline is the context key of the time at which a probe gives up. The
// transport dials under a context that outlives the probe's, so that a later
// request may have the connection; a silent endpoint would collect such dials.
type dialDeadline struct{}

func (d Dial) inTime(ctx context.Context, network, address string) (net.Conn, error) {
	if deadline, ok := ctx.Value(dialDeadline{}).(time.Time); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	return d(ctx, network, address)
}

// timing notes how far a probe came. The transport reports from goroutines of
// its own, also after the probe gave up.
type timing struct {
	mu        sync.Mutex
	connected time.Time
	reused    bool
	firstByte time.Time
}

func (t *timing) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.connected, t.reused = time.Now(), info.Reused
		},
		GotFirstResponseByte: func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.firstByte = time.Now()
		},
	})
}

func (t *timing) result() Result {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := Result{Reused: t.reused}
	if !t.firstByte.IsZero() {
		r.Latency = t.firstByte.Sub(t.connected)
	}
	return r
}

// missing says what a probe was still waiting for.
func (t *timing) missing() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.connected.IsZero():
		return "no connection"
	case t.firstByte.IsZero():
		return "no answer"
	}
	return "the answer did not end"
}

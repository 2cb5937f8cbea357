package proxy

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"proxima/geo"
	"proxima/router"
)

// hostile is an endpoint that speaks HTTP/2 over TLS and means harm, until it is well.
type hostile struct {
	*httptest.Server
	harm func(c *hostileConn) // what it does with a connection; it returns when the connection is over

	mu    sync.Mutex // guards what follows
	well  bool
	conns map[*tls.Conn]bool
	count int // of connections while it was hostile
}

// hostileConn is a connection to it, after both prefaces and the client's settings.
type hostileConn struct {
	*http2.Framer
	raw *tls.Conn
}

func newHostile(t *testing.T, harm func(*hostileConn)) *hostile {
	h := &hostile{harm: harm, conns: map[*tls.Conn]bool{}}
	h.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	h.TLS = &tls.Config{NextProtos: []string{http2.NextProtoTLS}}
	h.Config.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){http2.NextProtoTLS: h.serve}
	h.StartTLS()
	t.Cleanup(h.Close)
	return h
}

func (h *hostile) serve(server *http.Server, conn *tls.Conn, handler http.Handler) {
	if h.enter(conn) {
		new(http2.Server).ServeConn(conn, &http2.ServeConnOpts{BaseConfig: server, Handler: handler})
		return
	}
	defer conn.Close()
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(conn, preface); err == nil {
		h.harm(&hostileConn{http2.NewFramer(conn, conn), conn})
	}
}

// enter reports whether it is well.
func (h *hostile) enter(conn *tls.Conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.well {
		h.conns[conn] = true
		h.count++
	}
	return h.well
}

// recover makes it well, as when its process is started anew.
func (h *hostile) recover() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.well = true
	for conn := range h.conns {
		conn.Close()
	}
}

// read reads frames until the connection is over, and does something at each request.
func (c *hostileConn) read(request func(stream uint32)) {
	for {
		frame, err := c.ReadFrame()
		if err != nil {
			return
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() && c.WriteSettingsAck() != nil {
				return
			}
		case *http2.PingFrame:
			if !f.IsAck() && c.WritePing(true, f.Data) != nil {
				return
			}
		case *http2.HeadersFrame:
			request(f.StreamID)
		}
	}
}

// flood sends as fast as it can, and hears nothing.
func (c *hostileConn) flood(send func() error) {
	deaf := make(chan struct{})
	go func() {
		defer close(deaf)
		_, _ = io.Copy(io.Discard, c.raw)
	}()
	for range 50_000 { // more would only keep the test's own processor busy
		if send() != nil {
			break
		}
	}
	<-deaf
}

// header is the block of an answer with a field of so many bytes.
func header(bytesOf int) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	_ = encoder.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	_ = encoder.WriteField(hpack.HeaderField{Name: "x-large", Value: strings.Repeat("~", bytesOf)})
	return block.Bytes()
}

const impatient = 300 * time.Millisecond

// harms are what hostile endpoints do, and the first byte timeout that ends it; 0: none
// is needed.
var harms = []struct {
	name     string
	patience time.Duration
	do       func(*hostileConn)
}{
	{"frames of no size", 0, func(c *hostileConn) {
		_ = c.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 0})
		c.read(func(uint32) {})
	}},
	{"a storm of GOAWAY", 0, func(c *hostileConn) {
		_ = c.WriteSettings()
		c.flood(func() error { return c.WriteGoAway(0, http2.ErrCodeNo, nil) })
	}},
	{"GOAWAY for each request", 0, func(c *hostileConn) {
		_ = c.WriteSettings()
		c.read(func(uint32) { _ = c.WriteGoAway(0, http2.ErrCodeNo, nil) })
	}},
	{"no window", impatient, func(c *hostileConn) {
		_ = c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		c.read(func(uint32) {})
	}},
	{"every stream refused", 0, func(c *hostileConn) {
		_ = c.WriteSettings()
		c.read(func(stream uint32) { _ = c.WriteRSTStream(stream, http2.ErrCodeRefusedStream) })
	}},
	{"every stream reset", 0, func(c *hostileConn) {
		_ = c.WriteSettings()
		c.read(func(stream uint32) { _ = c.WriteRSTStream(stream, http2.ErrCodeInternal) })
	}},
	{"no stream allowed", impatient, func(c *hostileConn) {
		_ = c.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0})
		c.read(func(uint32) {})
	}},
	{"a header of 1 MiB", 0, func(c *hostileConn) {
		_ = c.WriteSettings()
		c.read(func(stream uint32) { c.answer(stream, header(1<<20), true) })
	}},
	{"a header without end", 0, func(c *hostileConn) {
		_ = c.WriteSettings()
		c.read(func(stream uint32) { c.answer(stream, header(16<<20), false) })
	}},
	{"empty continuations without end", impatient, func(c *hostileConn) {
		_ = c.WriteSettings()
		c.read(func(stream uint32) {
			c.answer(stream, header(0)[:1], false)
			c.flood(func() error { return c.WriteContinuation(stream, false, nil) })
		})
	}},
	{"a flood of PING", impatient, func(c *hostileConn) {
		_ = c.WriteSettings()
		c.flood(func() error { return c.WritePing(false, [8]byte{}) })
	}},
	{"a flood of SETTINGS", impatient, func(c *hostileConn) {
		c.flood(func() error { return c.WriteSettings() })
	}},
	{"garbage", 0, func(c *hostileConn) {
		_, _ = io.WriteString(c.raw, "HTTP/1.1 200 OK\r\n\r\n")
		c.read(func(uint32) {})
	}},
}

// answer sends a header in pieces.
func (c *hostileConn) answer(stream uint32, block []byte, end bool) {
	const piece = 16 << 10
	first := min(len(block), piece)
	err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block[:first], EndHeaders: end && first == len(block)})
	for block = block[first:]; err == nil && len(block) > 0; {
		n := min(len(block), piece)
		err = c.WriteContinuation(stream, end && n == len(block), block[:n])
		block = block[n:]
	}
}

func TestAHostileEndpointCostsAMoment(t *testing.T) {
	for _, harm := range harms {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			t.Run(harm.name+", "+method, func(t *testing.T) {
				before := processorTime(t)
				bad := newHostile(t, harm.do)
				w := betweenHostileAndWell(t, bad, harm.patience)
				began := time.Now()
				code, record := w.ask(method)
				t.Logf("after %v and %d connections: %v", time.Since(began).Round(time.Millisecond), bad.count, record.Attempts[0].Err)
				if code != 200 || record.Last().Endpoint != "eu-1" {
					t.Errorf("answered with %d by %s, want eu-1", code, record.Last().Endpoint)
				}
				bad.recover()
				for range 3 { // what has not noticed yet that its connection is gone may fail
					if code, record = w.ask(method); record.Last().Endpoint == "us-1" {
						break
					}
				}
				if code != 200 || record.Last().Endpoint != "us-1" {
					t.Errorf("well again, answered with %d by %s, want us-1", code, record.Last().Endpoint)
				}
				if bad.count > 3 {
					t.Errorf("%d connections for one request", bad.count)
				}
				if used := processorTime(t) - before; used > time.Second {
					t.Errorf("it cost %v of a processor", used)
				}
			})
		}
	}
}

func processorTime(t *testing.T) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// pair is a router between a hostile endpoint that is near and one that is well.
type pair struct {
	handler *Handler
	records chan router.Record
}

func betweenHostileAndWell(t *testing.T, bad *hostile, patience time.Duration) *pair {
	well := httptest.NewServer(bad.Config.Handler)
	t.Cleanup(well.Close)
	roots := x509.NewCertPool()
	roots.AddCert(bad.Certificate())
	next := NewTransport(nil, roots)
	t.Cleanup(next.CloseIdleConnections)
	var endpoints []router.Endpoint
	for at, server := range []*httptest.Server{bad.Server, well} {
		address, err := url.Parse(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		region := []router.RegionID{"us", "eu"}[at]
		endpoints = append(endpoints, router.Endpoint{ID: router.EndpointID(region) + "-1", Region: region, URL: address})
	}
	table, err := router.NewTable(regions, endpoints, router.Steering{})
	if err != nil {
		t.Fatal(err)
	}
	settings := usual()
	settings.Rules.FirstByteTimeout = patience
	p := &pair{records: make(chan router.Record, 1)}
	p.handler = &Handler{
		Live:     router.NewLive(table),
		Settings: func() *Settings { return &settings },
		Locate:   func(netip.Addr) geo.Location { return washington },
		Failover: &Failover{Next: next, Attempted: func(*router.Attempt) {}},
		Observe:  func(r *router.Record) { p.records <- *r },
		Streams:  func(int) {},
		Panicked: func(recovered any, at []byte) { t.Errorf("%v\n%s", recovered, at) },
	}
	for _, e := range endpoints {
		p.handler.Live.SetStatus(e.ID, router.Status{Health: router.Up})
	}
	return p
}

func (p *pair) ask(method string) (status int, record router.Record) {
	var body io.Reader = http.NoBody
	if method == http.MethodPost {
		body = strings.NewReader(strings.Repeat("a", 100<<10))
	}
	got := httptest.NewRecorder()
	p.handler.ServeHTTP(got, httptest.NewRequest(method, "/a", body))
	return got.Code, <-p.records
}

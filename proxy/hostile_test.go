package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
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
	"proxima/proxy/transport"
	"proxima/router"
)

// hostile is an endpoint that speaks HTTP/2 over TLS and means harm, until it is well.
type hostile struct {
	net.Listener // of server, for connections that come when it is well
	server       *httptest.Server
	harm         func(c *hostileConn) // what it does with the others; it returns when one is over

	all   sync.WaitGroup // of those
	mu    sync.Mutex     // guards what follows
	well  bool
	conns []net.Conn
}

// hostileConn is a connection to it, of which the client's preface was read.
type hostileConn struct {
	*http2.Framer
	raw *tls.Conn
}

func newHostile(t *testing.T, harm func(*hostileConn)) *hostile {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	h := &hostile{server: server, Listener: server.Listener, harm: harm}
	server.Listener, server.EnableHTTP2 = h, true
	server.StartTLS()
	t.Cleanup(func() {
		h.recover()
		server.Close()
		h.all.Wait()
	})
	return h
}

// Accept implements net.Listener.
func (h *hostile) Accept() (net.Conn, error) {
	for {
		conn, err := h.Listener.Accept()
		if err != nil || h.takes(conn) {
			return conn, err
		}
	}
}

// takes reports whether it is well. If not, it does harm.
func (h *hostile) takes(conn net.Conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.well {
		return true
	}
	h.conns = append(h.conns, conn)
	h.all.Go(func() {
		defer conn.Close()
		secure := tls.Server(conn, h.server.TLS)
		preface := make([]byte, len(http2.ClientPreface))
		if _, err := io.ReadFull(secure, preface); err == nil {
			h.harm(&hostileConn{http2.NewFramer(secure, secure), secure})
		}
	})
	return false
}

// recover makes it well, as when its process is started anew. It returns how many
// connections there were before.
func (h *hostile) recover() (connections int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.well = true
	for _, conn := range h.conns {
		conn.Close()
	}
	return len(h.conns)
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
	for range 10_000 { // more would only keep the test's own processor busy
		if send() != nil {
			break
		}
	}
	<-deaf
}

// header is the block of an answer with so many KiB of fields.
func header(kib int) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	_ = encoder.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	for range kib {
		_ = encoder.WriteField(hpack.HeaderField{Name: "x-large", Value: strings.Repeat("~", 1<<10), Sensitive: true}) // not in its table
	}
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
		c.read(func(stream uint32) { c.answer(stream, header(1<<10), true) })
	}},
	{"a header without end", 0, func(c *hostileConn) {
		_ = c.WriteSettings()
		c.read(func(stream uint32) { c.answer(stream, header(2<<10), false) })
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
		t.Run(harm.name, func(t *testing.T) {
			before := processorTime(t)
			bad := newHostile(t, harm.do)
			w := betweenHostileAndWell(t, bad, harm.patience)
			code, record := w.ask()
			t.Log(record.Attempts[0].Err)
			if code != 200 || record.Last().Endpoint != "eu-1" {
				t.Errorf("answered with %d by %s, want eu-1", code, record.Last().Endpoint)
			}
			if n := bad.recover(); n > dialsMost {
				t.Errorf("%d connections for one request", n)
			}
			for range 10 { // those on connections whose end was not noticed yet may fail
				if code, record = w.ask(); record.Last().Endpoint == "us-1" {
					break
				}
			}
			if code != 200 || record.Last().Endpoint != "us-1" {
				t.Errorf("well again, answered with %d by %s, want us-1", code, record.Last().Endpoint)
			}
			if used := processorTime(t) - before; used > time.Second {
				t.Errorf("it cost %v of a processor", used)
			}
		})
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
	well := httptest.NewServer(bad.server.Config.Handler)
	t.Cleanup(well.Close)
	roots := x509.NewCertPool()
	roots.AddCert(bad.server.Certificate())
	next := &transport.Transport{Roots: roots}
	t.Cleanup(next.CloseIdleConnections)
	var endpoints []router.Endpoint
	for at, server := range []*httptest.Server{bad.server, well} {
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

func (p *pair) ask() (status int, record router.Record) {
	body := strings.NewReader(strings.Repeat("a", 100<<10)) // more than the first window
	got := httptest.NewRecorder()
	p.handler.ServeHTTP(got, httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/a", body))
	return got.Code, <-p.records
}

package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestEveryProtocolIsServed(t *testing.T) {
	server, client := secure(t)
	for _, test := range []struct {
		name string
		tls  *tls.Config
		h2   bool
		want string
	}{
		{"HTTP/1", nil, false, "HTTP/1.1 tls=false"},
		{"HTTP/2 with prior knowledge", nil, true, "HTTP/2.0 tls=false"},
		{"HTTP/1 over TLS", server, false, "HTTP/1.1 tls=true"},
		{"HTTP/2 over TLS", server, true, "HTTP/2.0 tls=true"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := serve(t, &Server{TLS: test.tls})
			scheme, protocols := "http", new(http.Protocols)
			protocols.SetHTTP1(!test.h2)
			protocols.SetHTTP2(test.h2 && test.tls != nil)
			protocols.SetUnencryptedHTTP2(test.h2 && test.tls == nil)
			if test.tls != nil {
				scheme = "https"
			}
			transport := &http.Transport{TLSClientConfig: client.Clone(), Protocols: protocols}
			defer transport.CloseIdleConnections()

			answer, err := transport.RoundTrip(requestTo(t, scheme+"://"+w.at))
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			body, err := io.ReadAll(answer.Body)
			if err != nil || !strings.HasPrefix(string(body), test.want+" from 127.0.0.1:") {
				t.Fatalf("%q, %v", body, err)
			}
		})
	}
}

func requestTo(t *testing.T, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTheSocketIsWithinEveryConnection(t *testing.T) {
	server, client := secure(t)
	for _, config := range []*tls.Config{nil, server} {
		for _, offer := range []string{"http/1.1", "h2"} {
			seen := make(chan net.Conn, 1)
			w := serve(t, &Server{TLS: config, ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
				seen <- conn
				return ctx
			}})
			conn := w.dial(t)
			if config != nil {
				c := client.Clone()
				c.NextProtos = []string{offer}
				over := tls.Client(conn, c)
				if err := over.Handshake(); err != nil {
					t.Fatal(err)
				}
			}
			if _, is := within[*net.TCPConn](<-seen); !is {
				t.Errorf("over TLS: %t, %s: no socket in it", config != nil, offer)
			}
		}
	}
}

func TestOnlyGoodCiphersAreAgreedUpon(t *testing.T) {
	server, client := secure(t)
	w := serve(t, &Server{TLS: server})
	for name, offer := range map[string]func(*tls.Config){
		"TLS 1.1":            func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 },
		"no AEAD":            func(c *tls.Config) { c.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA} },
		"no forward secrecy": func(c *tls.Config) { c.CipherSuites = []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256} },
	} {
		c := client.Clone()
		c.MaxVersion = tls.VersionTLS12
		offer(c)
		if err := tls.Client(w.dial(t), c).Handshake(); err == nil {
			t.Errorf("%s was agreed upon", name)
		}
	}
	within5s(t, "all three are counted", func() bool { return w.turnedAway(FailedHandshake) == 3 })
}

func TestPlainHTTPOnATLSPortIsToldSo(t *testing.T) {
	server, _ := secure(t)
	w := serve(t, &Server{TLS: server})
	if said := ask(t, w.dial(t)); !strings.Contains(said, "https://") {
		t.Fatalf("%q", said)
	}
}

func TestWhoAgreedOnHTTP2SpeaksIt(t *testing.T) {
	server, client := secure(t)
	w := serve(t, &Server{TLS: server})
	client.NextProtos = []string{"h2"}
	conn := tls.Client(w.dial(t), client)
	send(t, conn, "GET / HTTP/1.1\r\nHost: edge.test\r\n\r\n")
	if said := closed(t, conn); said != "" {
		t.Fatalf("answered %q", said)
	}
}

func TestATooLargeHeadIsToldSo(t *testing.T) {
	server, client := secure(t)
	for _, config := range []*tls.Config{nil, server} {
		w := serve(t, &Server{TLS: config, Limits: Limits{HeaderSize: 4 << 10}})
		conn := w.dial(t)
		if config != nil {
			conn = tls.Client(conn, client)
		}
		send(t, conn, "GET / HTTP/1.1\r\nHost: edge.test\r\nX: "+strings.Repeat("x", 64<<10)+"\r\n\r\n")
		if said := closed(t, conn); !strings.HasPrefix(said, "HTTP/1.1 431 ") {
			t.Errorf("over TLS: %t: %q", config != nil, said)
		}
	}
}

// slow are limits that tests can wait for.
var slow = Limits{HeaderTimeout: 100 * time.Millisecond, IdleTimeout: 100 * time.Millisecond}

func TestSlowClientsAreClosed(t *testing.T) {
	server, _ := secure(t)
	hello := "\x16\x03\x01\x02\x00\x01" // the beginning of a ClientHello
	for name, test := range map[string]struct {
		server *Server
		sends  string
	}{
		"nothing":            {&Server{}, ""},
		"half a head":        {&Server{}, "GET / HTTP/1.1\r\nHost: "},
		"half a preface":     {&Server{}, "PRI * HTTP/2.0\r\n"},
		"nothing on TLS":     {&Server{TLS: server}, ""},
		"half a handshake":   {&Server{TLS: server}, hello},
		"half a PROXY":       {&Server{ProxyProtocol: true, Trusted: trust("127.0.0.0/8")}, "P"},
		"nothing before it":  {&Server{ProxyProtocol: true, Trusted: trust("127.0.0.0/8")}, ""},
		"idle after request": {&Server{}, "GET / HTTP/1.1\r\nHost: edge.test\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.server.Limits = slow
			w := serve(t, test.server)
			conn := w.dial(t)
			send(t, conn, test.sends)
			closed(t, conn)
		})
	}
}

func TestASlowHandshakeIsCountedAsSlow(t *testing.T) {
	server, _ := secure(t)
	w := serve(t, &Server{TLS: server, Limits: slow})
	closed(t, w.dial(t))
	within5s(t, "it is counted", func() bool { return w.turnedAway(TooSlow) == 1 })
}

func TestWhoOnlyLooksIsNotTurnedAway(t *testing.T) {
	server, _ := secure(t)
	w := serve(t, &Server{TLS: server, ProxyProtocol: true, Trusted: trust("127.0.0.0/8")})
	w.dial(t).Close()
	conn := w.dial(t)
	send(t, conn, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")
	within5s(t, "both are there", func() bool { return w.isOpen() > 0 })
	conn.Close()
	within5s(t, "both are gone", func() bool { return w.isOpen() == 0 })
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.turned) > 0 {
		t.Fatalf("turned away: %v", w.turned)
	}
}

func TestAnAddressHasItsLimit(t *testing.T) {
	w := serve(t, &Server{Limits: Limits{ConnectionsPerAddress: 2}})
	first, second := w.dial(t), w.dial(t)
	ask(t, first)
	ask(t, second)
	closed(t, w.dial(t))
	within5s(t, "it is counted", func() bool { return w.turnedAway(TooManyFromAddress) == 1 })
	first.Close()
	within5s(t, "its place is free", func() bool { return w.isOpen() == 1 })
	ask(t, w.dial(t))
}

func TestATrustedProxyHasNoLimit(t *testing.T) {
	w := serve(t, &Server{Limits: Limits{ConnectionsPerAddress: 1}, Trusted: trust("127.0.0.0/8")})
	for range 3 {
		ask(t, w.dial(t))
	}
}

func TestTheAddressInAPROXYHeaderCounts(t *testing.T) {
	w := serve(t, &Server{
		Limits: Limits{ConnectionsPerAddress: 1}, ProxyProtocol: true, Trusted: trust("127.0.0.0/8", "198.51.100.0/24"),
	})
	connect := func(from string) net.Conn {
		conn := w.dial(t)
		family := "TCP4"
		if strings.Contains(from, ":") {
			family = "TCP6"
		}
		send(t, conn, fmt.Sprintf("PROXY %s %s %s 4711 443\r\n", family, from, from))
		return conn
	}
	for _, from := range []string{"192.0.2.1", "192.0.2.2", "2001:db8:0:1::1", "2001:db8:0:2::1", "198.51.100.1", "198.51.100.1"} {
		ask(t, connect(from))
	}
	for _, from := range []string{"192.0.2.1", "2001:db8:0:1:ffff::2"} {
		closed(t, connect(from))
	}
	within5s(t, "both are counted", func() bool { return w.turnedAway(TooManyFromAddress) == 2 })
}

func TestOneConnectionTooManyWaits(t *testing.T) {
	w := serve(t, &Server{Limits: Limits{Connections: 2, ConnectionsPerAddress: 2}})
	first, second, third := w.dial(t), w.dial(t), w.dial(t)
	ask(t, first)
	ask(t, second)
	send(t, third, "GET / HTTP/1.1\r\nHost: edge.test\r\n\r\n")
	first.Close()
	answerOn(t, third)
	if n := w.mostOpen(); n != 2 {
		t.Fatalf("%d were open at once", n)
	}
}

func TestLimitsComeFromOpenFiles(t *testing.T) {
	for files, want := range map[uint64]int{0: 16, 64: 16, 1024: 480, 1 << 20: 524256, 1 << 62: 1 << 20} {
		if got := forOpenFiles(files); got != want {
			t.Errorf("%d files: %d connections, not %d", files, got, want)
		}
	}
	if l := (Limits{Connections: 100}).orDefault(); l.ConnectionsPerAddress != 25 {
		t.Errorf("%d per address", l.ConnectionsPerAddress)
	}
	if openFiles() == 0 {
		t.Error("the limit of open files is not known")
	}
}

// broken is a listener that has a connection after so many errors.
type broken struct {
	errors  int
	then    net.Conn
	closing chan struct{}
}

func (l *broken) Accept() (net.Conn, error) {
	if l.errors > 0 {
		l.errors--
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	if conn := l.then; conn != nil {
		l.then = nil
		return conn, nil
	}
	<-l.closing
	return nil, net.ErrClosed
}

func (l *broken) Close() error   { close(l.closing); return nil }
func (l *broken) Addr() net.Addr { return &net.TCPAddr{} }

func TestTooManyOpenFilesAreWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, ours := net.Pipe()
		began := time.Now()
		w := serveOn(t, &Server{}, &broken{errors: 20, then: ours, closing: make(chan struct{})})
		if said := ask(t, client); !strings.HasPrefix(said, "HTTP/1.1") {
			t.Fatalf("%q", said)
		}
		// 5 ms and so on to 640 ms, and then 1 s each
		if took := time.Since(began); took != 1275*time.Millisecond+12*time.Second {
			t.Errorf("tried for %s", took)
		}
		if lines := strings.Count(w.log(), "too many open files"); lines == 0 || lines > 14 {
			t.Errorf("%d lines in the log", lines)
		}
		client.Close()
	})
}

func TestServeEndsWhenSomebodyElseClosesItsListener(t *testing.T) {
	l := &broken{closing: make(chan struct{})}
	s := &Server{}
	l.Close()
	err := s.Serve(l)
	s.listener = nil // closed already
	s.Close()
	if !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
}

func TestAPanicCostsOneConnection(t *testing.T) {
	server, client := secure(t)
	var once atomic.Bool
	good := server.Certificates
	server.Certificates = nil
	server.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		if once.CompareAndSwap(false, true) {
			panic("nobody expects this")
		}
		return &good[0], nil
	}
	w := serve(t, &Server{TLS: server})
	closed(t, w.dialTLS(t, client))
	ask(t, w.dialTLS(t, client))
	within5s(t, "it is counted", func() bool { return w.turnedAway(Panic) == 1 })
	if !strings.Contains(w.log(), "nobody expects this") {
		t.Fatal(w.log())
	}
}

// dialTLS is dial with TLS.
func (w *world) dialTLS(t *testing.T, config *tls.Config) net.Conn {
	return tls.Client(w.dial(t), config)
}

func TestShutdownLetsAStreamEnd(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	w := serve(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "first, ")
		w.(http.Flusher).Flush()
		close(begun)
		<-finish
		io.WriteString(w, "last")
	})})
	conn := w.dial(t)
	send(t, conn, "GET / HTTP/1.1\r\nHost: edge.test\r\n\r\n")
	<-begun
	done := make(chan error, 1)
	go func() { done <- w.Shutdown(t.Context()) }()
	within5s(t, "nobody new is let in", func() bool {
		another, err := net.Dial("tcp", w.at)
		if err == nil {
			another.Close()
		}
		return err != nil
	})
	select {
	case err := <-done:
		t.Fatalf("shut down too early: %v", err)
	default:
	}
	close(finish)
	if said := answerOn(t, conn); said != "first, last" {
		t.Fatalf("%q", said)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestShutdownTellsOfTheStreamsItLeaves(t *testing.T) {
	cut, because := context.WithCancelCause(t.Context())
	begun, ended := make(chan struct{}), make(chan error, 1)
	w := serve(t, &Server{BaseContext: cut, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		ended <- context.Cause(r.Context())
	})})
	conn := w.dial(t)
	send(t, conn, "GET / HTTP/1.1\r\nHost: edge.test\r\n\r\n")
	<-begun
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := w.Shutdown(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Shutdown: %v", err)
	}
	stopping := errors.New("the router stops")
	because(stopping)
	if err := <-ended; err != stopping {
		t.Fatalf("the request ended because: %v", err)
	}
}

func TestARequestOnAFreshConnectionIsServedDuringShutdown(t *testing.T) {
	server, client := secure(t)
	w := serve(t, &Server{TLS: server})
	conn := w.dialTLS(t, client)
	within5s(t, "it is accepted", func() bool { return w.isOpen() == 1 })
	done := make(chan error, 1)
	go func() { done <- w.Shutdown(t.Context()) }()
	<-w.stopping
	if said := ask(t, conn); !strings.HasPrefix(said, "HTTP/1.1") {
		t.Fatalf("%q", said)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestSilentConnectionsDoNotHoldUpShutdown(t *testing.T) {
	server, _ := secure(t)
	for _, config := range []*tls.Config{nil, server} {
		w := serve(t, &Server{TLS: config})
		conn := w.dial(t)
		within5s(t, "it is accepted", func() bool { return w.isOpen() == 1 })
		soon, cancel := context.WithTimeout(t.Context(), 4*time.Second) // net/http alone takes 5 s
		defer cancel()
		if err := w.Shutdown(soon); err != nil {
			t.Fatal(err)
		}
		closed(t, conn)
	}
}

func TestCloseAlsoClosesWhatWasHijacked(t *testing.T) {
	w := serve(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		io.Copy(io.Discard, conn)
	})})
	conn := w.dial(t)
	send(t, conn, "GET / HTTP/1.1\r\nHost: edge.test\r\n\r\n")
	if _, err := io.ReadFull(conn, make([]byte, len("HTTP/1.1 101 Switching Protocols\r\n\r\n"))); err != nil {
		t.Fatal(err)
	}
	w.Close()
	closed(t, conn)
}

func TestServeAfterCloseServesNobody(t *testing.T) {
	s := &Server{}
	s.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l); err != http.ErrServerClosed {
		t.Fatal(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Fatal("the listener is still open")
	}
}

func TestHouseholds(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
	} {
		if got := householdOf(netip.MustParseAddr(address)).String(); got != want {
			t.Errorf("%s: %s, not %s", address, got, want)
		}
	}
	if got := addressOf(&net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.1")}).String(); got != "192.0.2.1" {
		t.Error(got)
	}
	if addressOf(&net.UnixAddr{}).IsValid() {
		t.Error("a Unix socket has an address")
	}
}

package healthcheck

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"proxima/dial"
)

// patient gives real sockets all the time they want: no test waits for it.
func patient() Policy {
	p := DefaultPolicy()
	p.Timeout = time.Minute
	return p
}

func at(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// newTestProber returns a prober whose connections end with the test.
func newTestProber(t *testing.T, trust *tls.Config) Prober {
	probe, release := NewProber(nil, trust)
	t.Cleanup(release)
	return probe
}

func TestAProbeSaysWhatItFound(t *testing.T) {
	answers := map[string]http.HandlerFunc{
		"/ok/health":       func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "fine") },
		"/busy/health":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) },
		"/moved/health":    func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok/health", http.StatusFound) },
		"/huge/health":     func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 4<<20)) },
		"/reset/health":    func(w http.ResponseWriter, _ *http.Request) { reset(w) },
		"/hangup/health":   func(w http.ResponseWriter, _ *http.Request) { hangUp(w) },
		"/cut/health":      func(w http.ResponseWriter, _ *http.Request) { cut(w) },
		"/garbage/health":  func(w http.ResponseWriter, _ *http.Request) { garbage(w) },
		"/too-many/health": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answers[r.URL.Path](w, r) }))
	t.Cleanup(server.Close)
	probe := newTestProber(t, nil)
	for _, c := range []struct {
		endpoint string
		status   int
		kind     Kind
		cause    string
	}{
		{"/ok", 200, "", ""},
		{"/ok/", 200, "", ""},
		{"/busy", 503, KindStatus, "answered 503, wants 200-299"},
		{"/moved", 302, KindStatus, "answered 302, wants 200-299"},
		{"/huge", 200, "", ""},
		{"/reset", 0, KindReset, "connection reset"},
		{"/hangup", 0, KindReset, "connection closed before the answer was complete"},
		{"/cut", 200, KindReset, "connection closed before the answer was complete"},
		{"/garbage", 0, KindOther, `net/http: HTTP/1.x transport connection broken: malformed HTTP response "\x1b[31mSSH-2.0"`},
		{"/too-many", 0, KindOther, "net/http: HTTP/1.x transport connection broken: net/http: server response headers exceeded 65536 bytes; aborted"},
	} {
		got := probe(t.Context(), at(t, server.URL+c.endpoint), patient())
		if got.Status != c.status || got.Kind != c.kind || got.Cause != c.cause {
			t.Errorf("%s: got %d %q %q\nwant %d %q %q", c.endpoint, got.Status, got.Kind, got.Cause, c.status, c.kind, c.cause)
		}
		if got.Cause == "" && (got.Latency <= 0 || got.At.IsZero()) {
			t.Errorf("%s: a good answer without its time: %+v", c.endpoint, got)
		}
	}
}

func reset(w http.ResponseWriter) {
	conn, _, _ := http.NewResponseController(w).Hijack()
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

// hangUp closes in good order, without a word.
func hangUp(w http.ResponseWriter) {
	conn, _, _ := http.NewResponseController(w).Hijack()
	conn.Close()
}

func cut(w http.ResponseWriter) {
	w.Header().Set("Content-Length", "100")
	w.WriteHeader(200)
	conn, _, _ := http.NewResponseController(w).Hijack()
	conn.Close()
}

func garbage(w http.ResponseWriter) {
	conn, _, _ := http.NewResponseController(w).Hijack()
	io.WriteString(conn, "\x1b[31mSSH-2.0\r\n\r\n")
	conn.Close()
}

func TestAProbeIsPlainAndCarriesNoBaggage(t *testing.T) {
	var asked *http.Request
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = r }))
	t.Cleanup(server.Close)
	policy := patient()
	policy.Path = "/v1/health?deep=1"
	newTestProber(t, nil)(t.Context(), at(t, server.URL+"/llama"), policy)
	got := fmt.Sprint(asked.Method, " ", asked.URL, " ", asked.Header)
	want := "GET /llama/v1/health?deep=1 map[Accept:[*/*] User-Agent:[proxima-healthcheck]]"
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestProbesShareAConnectionUntilTheEndpointClosesIt(t *testing.T) {
	last := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if last {
			w.Header().Set("Connection", "close")
		}
	}))
	t.Cleanup(server.Close)
	probe := newTestProber(t, nil)
	var reused []bool
	for i := range 4 {
		last = i == 2
		reused = append(reused, probe(t.Context(), at(t, server.URL), patient()).Reused)
	}
	if got, want := fmt.Sprint(reused), "[false true true false]"; got != want {
		t.Errorf("reused: got %s, want %s", got, want)
	}
}

func TestAnExpectedStatusIsGood(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	policy := patient()
	policy.Expect = []StatusRange{{200, 299}, {404, 404}}
	if got := newTestProber(t, nil)(t.Context(), at(t, server.URL), policy); got.Cause != "" {
		t.Error(got.Cause)
	}
	policy.Expect = []StatusRange{{200, 299}, {401, 401}}
	got := newTestProber(t, nil)(t.Context(), at(t, server.URL), policy)
	if want := "answered 404, wants 200-299, 401"; got.Cause != want {
		t.Errorf("got %q, want %q", got.Cause, want)
	}
}

func TestAClosedPortRefuses(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	got := newTestProber(t, nil)(t.Context(), at(t, server.URL), patient())
	if got.Kind != KindRefused || got.Cause != "connection refused" || got.Status != 0 {
		t.Errorf("%+v", got)
	}
}

func TestCertificatesThatDoNotHoldAreNamed(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name          string
		notBefore     time.Time
		notAfter      time.Time
		host          string
		trusted       bool
		cause         string
		plainEndpoint bool
	}{
		{name: "good", notBefore: now.Add(-time.Hour), notAfter: now.Add(time.Hour), host: "127.0.0.1", trusted: true},
		{
			name: "expired", notBefore: now.AddDate(-2, 0, 0), notAfter: now.AddDate(-1, 0, 0), host: "127.0.0.1", trusted: true,
			cause: "TLS: certificate expired on " + now.AddDate(-1, 0, 0).UTC().Format("2006-01-02"),
		},
		{
			name: "not yet valid", notBefore: now.AddDate(1, 0, 0), notAfter: now.AddDate(2, 0, 0), host: "127.0.0.1", trusted: true,
			cause: "TLS: certificate is not valid before " + now.AddDate(1, 0, 0).UTC().Format("2006-01-02"),
		},
		{
			name: "self-signed", notBefore: now.Add(-time.Hour), notAfter: now.Add(time.Hour), host: "127.0.0.1",
			cause: "TLS: certificate is signed by an authority that is not trusted here",
		},
		{
			name: "another host's", notBefore: now.Add(-time.Hour), notAfter: now.Add(time.Hour), host: "192.0.2.1", trusted: true,
			cause: "TLS: certificate is not for 127.0.0.1",
		},
		{name: "none at all", plainEndpoint: true, cause: "TLS: it does not speak TLS; does its url begin with http://?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			server.Config.ErrorLog = quiet()
			trust := &tls.Config{RootCAs: x509.NewCertPool()}
			if c.plainEndpoint {
				server.Start()
				server.URL = strings.Replace(server.URL, "http:", "https:", 1)
			} else {
				certificate := issue(t, c.host, c.notBefore, c.notAfter)
				server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
				server.StartTLS()
				if c.trusted {
					trust.RootCAs.AddCert(certificate.Leaf)
				}
			}
			t.Cleanup(server.Close)
			got := newTestProber(t, trust)(t.Context(), at(t, server.URL), patient())
			if got.Cause != c.cause || (got.Kind == KindTLS) != (c.cause != "") {
				t.Errorf("got %q %q, want %q", got.Kind, got.Cause, c.cause)
			}
		})
	}
}

// issue makes a certificate that is its own authority.
func issue(t *testing.T, host string, notBefore, notAfter time.Time) tls.Certificate {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "endpoint"},
		NotBefore: notBefore, NotAfter: notAfter, IPAddresses: []net.IP{net.ParseIP(host)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private, Leaf: leaf}
}

// silence is an endpoint on a wire in memory, so that simulated time passes.
func silence(t *testing.T, answer func(conn net.Conn)) *wire {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		if answer == nil {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		ours, theirs := net.Pipe()
		t.Cleanup(func() { theirs.Close() })
		go answer(theirs)
		return ours, nil
	}
	w := newWire(dial, dial)
	t.Cleanup(w.transport.CloseIdleConnections)
	return w
}

func TestASilentEndpointTimesOutWithTheStageItReached(t *testing.T) {
	hear := func(conn net.Conn) { io.CopyN(io.Discard, conn, 20) }
	for _, c := range []struct {
		name   string
		answer func(net.Conn)
		cause  string
	}{
		{"a black hole", nil, "timed out after 1s: no connection"},
		{"a wedged server", func(c net.Conn) { io.Copy(io.Discard, c) }, "timed out after 1s: no answer"},
		{"a slow body", func(c net.Conn) {
			hear(c)
			go io.Copy(io.Discard, c)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
			for {
				if _, err := io.WriteString(c, "x"); err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
		}, "timed out after 1s: the answer did not end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				got := silence(t, c.answer).probe(t.Context(), at(t, "http://endpoint.test"), DefaultPolicy())
				if got.Kind != KindTimeout || got.Cause != c.cause {
					t.Errorf("got %q %q, want %q", got.Kind, got.Cause, c.cause)
				}
				if took := time.Since(began); took != time.Second {
					t.Errorf("it took %s", took)
				}
				time.Sleep(time.Second) // until the endpoint has noticed
			})
		})
	}
}

func TestAProbeSaysThatItWasTheResolver(t *testing.T) {
	for says, lookup := range map[string]func(context.Context, string, string) ([]netip.Addr, error){
		"no such host": func(_ context.Context, _, host string) ([]netip.Addr, error) {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		},
		"the resolver does not answer": func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			names := dial.Names{Lookup: lookup}
			probe, release := NewProber(names.DialContext(&net.Dialer{}), nil)
			defer release()
			got := probe(t.Context(), at(t, "http://endpoint.test"), DefaultPolicy())
			if want := "name does not resolve: endpoint.test: " + says; got.Kind != KindDNS || got.Cause != want {
				t.Errorf("got %q %q, want %q", got.Kind, got.Cause, want)
			}
			time.Sleep(10 * time.Second) // until the lookup has ended
		})
	}
}

func TestAProbeEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		began := time.Now()
		silence(t, nil).probe(ctx, at(t, "http://endpoint.test"), DefaultPolicy())
		if took := time.Since(began); took != 300*time.Millisecond {
			t.Errorf("it took %s", took)
		}
		time.Sleep(time.Second) // until the dial that nobody wants any more has ended
	})
}

func TestLatencyIsThatOfAReadyConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := silence(t, func(c net.Conn) {
			buf := make([]byte, 4096)
			for {
				if _, err := c.Read(buf); err != nil {
					return
				}
				time.Sleep(30 * time.Millisecond)
				io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
			}
		})
		connect := w.transport.DialContext
		w.transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			time.Sleep(200 * time.Millisecond)
			return connect(ctx, network, address)
		}
		for _, reused := range []bool{false, true} {
			got := w.probe(t.Context(), at(t, "http://endpoint.test"), DefaultPolicy())
			if got.Latency != 30*time.Millisecond || got.Reused != reused {
				t.Errorf("got %s, reused %v; want 30ms, %v", got.Latency, got.Reused, reused)
			}
		}
	})
}

func TestNoProbeReachesLinkLocalOrMetadataAddresses(t *testing.T) {
	for address, allowed := range map[string]bool{
		"127.0.0.1:80": true, "[::1]:80": true, "10.1.2.3:80": true, "[fd00::7]:80": true, "192.0.2.1:80": true,
		"169.254.169.254:80": false, "169.254.170.2:80": false, "[::ffff:169.254.169.254]:80": false,
		"[fe80::1]:80": false, "[fe80::1%eth0]:80": false, "[fd00:ec2::254]:80": false, "[fd20:ce::254]:80": false,
		"[64:ff9b::a9fe:a9fe]:80": false, "168.63.129.16:80": false, "100.100.100.200:80": false, "192.0.0.192:80": false,
		"0.0.0.0:80": false, "[::]:80": false, "224.0.0.1:80": false, "nonsense": false,
	} {
		if err := RefuseDial("tcp", address, nil); (err == nil) != allowed {
			t.Errorf("%s: %v", address, err)
		}
	}
	got := newTestProber(t, nil)(t.Context(), at(t, "http://169.254.169.254/latest"), patient())
	want := "address 169.254.169.254 is not connected to: link-local, multicast and cloud metadata addresses are no endpoints"
	if got.Kind != KindOther || got.Cause != want {
		t.Errorf("got %q %q", got.Kind, got.Cause)
	}
}

func TestErrorsOfConnectionsHaveAKindAndWords(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for _, c := range []struct {
		err  error
		want string
	}{
		{dial(&net.DNSError{Err: "no such host", Name: "eu-1.test"}), "dns: name does not resolve: eu-1.test: no such host"},
		{dial(syscall.ECONNREFUSED), "refused: connection refused"},
		{dial(syscall.ETIMEDOUT), "timeout: timed out"},
		{context.DeadlineExceeded, "timeout: timed out"},
		{dial(syscall.ECONNRESET), "reset: connection reset"},
		{fmt.Errorf("write: %w", syscall.EPIPE), "reset: connection reset"},
		{io.ErrUnexpectedEOF, "reset: connection closed before the answer was complete"},
		{dial(syscall.EHOSTUNREACH), "unreachable: no route to it"},
		{dial(syscall.ENETUNREACH), "unreachable: no route to it"},
		{dial(syscall.EADDRNOTAVAIL), "exhausted: this router has no port or memory for a connection left"},
		{dial(syscall.EMFILE), "exhausted: this router has no file descriptor left"},
		{tls.AlertError(40), "tls: TLS: tls: handshake failure"},
		{errors.New("odd \x1b[2J\r\nwords"), "other: odd ?[2J??words"},
		{errors.New(strings.Repeat("é", 150)), "other: " + strings.Repeat("é", 100) + "…"},
	} {
		kind, words := describe(c.err)
		if got := string(kind) + ": " + words; got != c.want {
			t.Errorf("%v: got %q, want %q", c.err, got, c.want)
		}
	}
}

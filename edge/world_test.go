package edge

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// world is a server on a loopback port, and what it told.
type world struct {
	*Server
	at string

	mu     sync.Mutex
	turned map[Reason]int
	open   int
	most   int // that were open at once
	logged bytes.Buffer
}

// serve starts s until the test ends, when nothing of it may be left.
func serve(t *testing.T, s *Server) *world {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, s, l)
}

func serveOn(t *testing.T, s *Server, l net.Listener) *world {
	t.Helper()
	w := &world{Server: s, at: l.Addr().String(), turned: map[Reason]int{}}
	if s.Handler == nil {
		s.Handler = http.HandlerFunc(tell)
	}
	s.ErrorLog = log.New(w, "", 0)
	s.Turned = w.count
	s.Opened = w.opened
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-ended; err != http.ErrServerClosed {
			t.Errorf("Serve: %v", err)
		}
		within5s(t, "every connection is closed", func() bool { return w.isOpen() == 0 })
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.open)+len(s.perAddress)+len(s.places) > 0 {
			t.Errorf("left: %d connections, %d addresses, %d places", len(s.open), len(s.perAddress), len(s.places))
		}
	})
	return w
}

// tell answers with what the server knows of a request.
func tell(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s tls=%t from %s", r.Proto, r.TLS != nil, r.RemoteAddr)
}

func (w *world) count(why Reason, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.turned[why]++
}

func (w *world) turnedAway(why Reason) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.turned[why]
}

func (w *world) opened(more int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open += more
	w.most = max(w.most, w.open)
}

func (w *world) isOpen() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open
}

func (w *world) mostOpen() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.most
}

func (w *world) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logged.Write(line)
}

func (w *world) log() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logged.String()
}

// dial connects a client, that gives up after 10 s.
func (w *world) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", w.at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// ask sends a request on an open connection and returns the answer's body.
func ask(t *testing.T, conn net.Conn) string {
	t.Helper()
	send(t, conn, "GET / HTTP/1.1\r\nHost: edge.test\r\n\r\n")
	return answerOn(t, conn)
}

func answerOn(t *testing.T, conn net.Conn) string {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func send(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

// closed waits until the server has closed a connection, and returns what it said
// before.
func closed(t *testing.T, conn net.Conn) string {
	t.Helper()
	said, err := io.ReadAll(conn)
	if slow, is := err.(net.Error); is && slow.Timeout() {
		t.Fatalf("still open, after %q", said)
	}
	return string(said)
}

// within5s waits for something that other goroutines are about to do.
func within5s(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 5 s: %s", what)
		}
	}
}

// trust is a server's Trusted.
func trust(prefixes ...string) func(netip.Addr) bool {
	return func(address netip.Addr) bool {
		for _, p := range prefixes {
			if netip.MustParsePrefix(p).Contains(address) {
				return true
			}
		}
		return false
	}
}

// issue makes a certificate that is its own authority. The serial number tells it
// from others.
func issue(t *testing.T, serial int64, ends time.Time, names ...string) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: names[0]},
		DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: ends,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

var inAYear = time.Now().Add(365 * 24 * time.Hour)

// write stores a pair in a folder of its own.
func write(t *testing.T, certificate, key []byte) Pair {
	t.Helper()
	dir := t.TempDir()
	p := Pair{Certificate: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key")}
	p.write(t, certificate, key)
	return p
}

func (p Pair) write(t *testing.T, certificate, key []byte) {
	t.Helper()
	replace(t, p.Certificate, certificate)
	replace(t, p.Key, key)
}

func replace(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// secure is a server's TLS with a certificate for edge.test, and a client's that
// trusts it.
func secure(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	certificate, key := issue(t, 1, inAYear, "edge.test")
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}, trusting(certificate)
}

func trusting(certificates ...[]byte) *tls.Config {
	pool := x509.NewCertPool()
	for _, one := range certificates {
		pool.AppendCertsFromPEM(one)
	}
	return &tls.Config{RootCAs: pool, ServerName: "edge.test"}
}

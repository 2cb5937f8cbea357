package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"proxima/internal/modelserver"
)

// gate is the listener of an endpoint in this process, and goes wrong where no
// program behind a listener can: before it has a connection. It begins open.
type gate struct {
	*net.TCPListener
	t *testing.T

	mu      sync.Mutex // guards what follows
	way     way
	turned  chan struct{} // closed when way changes
	inside  []net.Conn    // let in, or kept waiting
	filling []net.Conn    // what fills the backlog
}

// way is what a gate does with connections that come.
type way int

const (
	letIn  way = iota
	reset      // accepted and reset (RST) at once
	silent     // accepted and never read: a TLS handshake gets no answer
	hole       // not even SYN is answered
)

// AddGate puts a region into the world whose endpoint is behind a gate, with TLS if a
// configuration for it is given.
func (w *World) AddGate(name string, secure *tls.Config) *gate {
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		w.t.Fatal(err)
	}
	g := &gate{TCPListener: listener, t: w.t, turned: make(chan struct{})}
	r := &Region{t: w.t, Name: name, server: modelServer{Address: listener.Addr().String()}}
	server := &http.Server{
		Handler:  modelserver.New(modelserver.Settings{Region: name}),
		ErrorLog: log.New(io.Discard, "", 0), // handshakes that a gate broke off
	}
	var entrance net.Listener = g
	if secure != nil {
		r.secure = true
		entrance = tls.NewListener(g, secure)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(entrance)
	}()
	w.t.Cleanup(func() {
		g.Turn(letIn)
		server.Close()
		<-served
	})
	w.Regions = append(w.Regions, r)
	return g
}

// Turn ends every connection and treats the next ones another way, if it is another.
func (g *gate) Turn(to way) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if to == g.way {
		return
	}
	for _, conn := range append(g.inside, g.filling...) {
		conn.Close()
	}
	g.inside, g.filling = nil, nil
	g.way = to
	close(g.turned)
	g.turned = make(chan struct{})
	if to == hole {
		_ = g.SetDeadline(time.Unix(1, 0)) // an Accept that waits shall not take what fills the backlog
		g.backlog(0)
		g.fill()
		return
	}
	g.backlog(128)
	_ = g.SetDeadline(time.Time{})
}

// Accept implements net.Listener.
func (g *gate) Accept() (net.Conn, error) {
	for {
		g.mu.Lock()
		way, turned := g.way, g.turned
		g.mu.Unlock()
		if way == hole {
			<-turned
			continue
		}
		conn, err := g.AcceptTCP()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if g.admit(conn) {
			return conn, nil
		}
	}
}

// admit reports whether a connection is let in.
func (g *gate) admit(conn *net.TCPConn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.way == reset || g.way == hole {
		_ = conn.SetLinger(0)
		conn.Close()
		return false
	}
	g.inside = append(g.inside, conn)
	return g.way == letIn
}

// backlog sets how many connections the kernel keeps until they are accepted; Linux
// lets a listener listen again for that.
func (g *gate) backlog(n int) {
	raw, err := g.SyscallConn()
	if err != nil {
		g.t.Fatal(err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = syscall.Listen(int(fd), n) }); err != nil || failed != nil {
		g.t.Fatalf("set a backlog of %d: %v %v", n, err, failed)
	}
}

// fill connects until nothing answers any more.
func (g *gate) fill() {
	for range 20 {
		conn, err := net.DialTimeout("tcp", g.Addr().String(), 100*time.Millisecond)
		if err != nil {
			return
		}
		g.filling = append(g.filling, conn)
	}
	g.t.Fatal("the backlog does not become full")
}

// certificate is a new one for this machine, and the file of the authority to trust.
func certificate(t *testing.T) (secure *tls.Config, authority string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	self := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "region"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, self, self, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	authority = filepath.Join(t.TempDir(), "authority.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(authority, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, authority
}

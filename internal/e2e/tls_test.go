package e2e

import (
	"bufio"
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
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"proxima/internal/modelserver"
)

func TestClientsOverTLSAgreeOnTheirProtocol(t *testing.T) {
	world := newWorld(t, modelserver.Settings{PerToken: time.Millisecond}, "europe-west1")
	ca := newAuthority(t)
	files := ca.issue("router").write(t, t.TempDir())
	router := serve(t, world.Config(quick, files.section()))

	for _, want := range []struct {
		protocol string
		major    int
		version  uint16
	}{
		{"h2", 2, tls.VersionTLS13},
		{"h2", 2, tls.VersionTLS12},
		{"http/1.1", 1, tls.VersionTLS13},
		{"http/1.1", 1, tls.VersionTLS12},
	} {
		client := ca.client(want.protocol, want.version)
		response := router.secureChat(client)
		state := response.TLS
		if response.StatusCode != http.StatusOK || response.ProtoMajor != want.major || state.NegotiatedProtocol != want.protocol || state.Version != want.version {
			t.Errorf("%+v: %s over %s, agreed on %q and %s", want, response.Status, response.Proto, state.NegotiatedProtocol, tls.VersionName(state.Version))
		}
		client.CloseIdleConnections()
	}
	for what, tooOld := range map[string]*tls.Config{
		"TLS 1.1":                 {RootCAs: ca.pool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		"a suite without secrecy": {RootCAs: ca.pool, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}},
	} {
		if conn, err := tls.Dial("tcp", router.address(), tooOld); err == nil {
			conn.Close()
			t.Errorf("%s was agreed on", what)
		}
	}
	if n := router.Metric(`connections_turned_away_total{reason="tls_handshake"}`); n != 2 {
		t.Errorf("%v connections were turned away for their handshake", n)
	}
	if plain := router.ask("", http.MethodGet, "/", ""); plain.Status != http.StatusBadRequest || !strings.Contains(plain.Body, "https://") {
		t.Errorf("without TLS: %d %s", plain.Status, plain.Body)
	}
}

func TestACertificateIsReplacedUnderItsConnections(t *testing.T) {
	world := newWorld(t, modelserver.Settings{PerToken: 50 * time.Millisecond}, "europe-west1")
	ca, folder := newAuthority(t), t.TempDir()
	first, second := ca.issue("first"), ca.issue("second")
	files := first.write(t, folder)
	router := serve(t, world.Config(quick, files.section()))
	old := map[string]*http.Client{"h2": ca.client("h2", tls.VersionTLS13), "http/1.1": ca.client("http/1.1", tls.VersionTLS13)}
	for protocol, client := range old {
		if name := shown(router.secureChat(client).TLS); name != "first" {
			t.Fatalf("%s: the certificate is %q", protocol, name)
		}
	}
	question := asks(1, "llama-3-8b", 60)
	streams := map[string]chan *story{}
	for protocol, client := range old {
		streams[protocol] = router.listenOver(client, question)
	}
	eventually(t, "both streams are open", 10*time.Second, func() bool { return router.Metric("streams_open") == 2 })

	replace(t, files.certificate, second.certificate[:len(second.certificate)/2])
	router.Await("the log refuses half a certificate", 10*time.Second, func(e entry) bool {
		return e["level"] == "error" && strings.Contains(fmt.Sprint(e), "certificate refused") && strings.Contains(fmt.Sprint(e), files.certificate)
	})
	torn, successful := router.certificate(ca), router.Metric("tls_certificate_last_reload_successful")
	second.write(t, folder)
	began := time.Now()
	eventually(t, "new connections see the new certificate", 10*time.Second, func() bool { return router.certificate(ca) == "second" })
	took := time.Since(began)

	if torn != "first" || successful != 0 {
		t.Errorf("with half a certificate in its file: %q was shown, tls_certificate_last_reload_successful was %v", torn, successful)
	}
	if router.Metric("tls_certificate_last_reload_successful") != 1 {
		t.Error("tls_certificate_last_reload_successful is not 1 afterwards")
	}
	for protocol, client := range old {
		if how := (<-streams[protocol]).differs(alone(t, "", question)); how != "" {
			t.Errorf("%s: a stream through the change: %s", protocol, how)
		}
		if name := shown(router.secureChat(client).TLS); name != "first" {
			t.Errorf("%s: the old connection shows %q", protocol, name)
		}
		client.CloseIdleConnections()
	}
	figures(t, map[string]any{"shown_after_s": took.Seconds()})
}

func TestEndpointsOverTLSAreKnownByTheirAuthority(t *testing.T) {
	ours, stranger := newAuthority(t), newAuthority(t)
	roots := filepath.Join(t.TempDir(), "endpoints.pem")
	if err := os.WriteFile(roots, ours.text, 0o600); err != nil {
		t.Fatal(err)
	}
	world := newWorld(t, modelserver.Settings{})
	world.AddSecure("us-east1", ours.issue("us-east1"))
	world.AddSecure("europe-west1", stranger.issue("europe-west1"))
	router := serve(t, world.Config(quick, fmt.Sprintf("tls: {endpoint_ca: %s}", roots)))
	eventually(t, "the stranger is down", 10*time.Second, func() bool { return router.Health()["europe-west1"] == "down" })

	got := router.chat(berlin, "llama-3-8b")

	if got.Status != http.StatusOK || got.region() != "us-east1" {
		t.Errorf("%d from %q: %s", got.Status, got.region(), got.Body)
	}
	for _, region := range router.Status().Regions {
		endpoint := region.Endpoints[0]
		switch {
		case region.ID == "us-east1" && endpoint.Health != "up":
			t.Errorf("ours is %s: %s", endpoint.Health, endpoint.Cause)
		case region.ID == "europe-west1" && !strings.Contains(endpoint.Cause, "certificate"):
			t.Errorf("the cause for the stranger is %q", endpoint.Cause)
		case region.ID == "europe-west1":
			figures(t, map[string]any{"cause": endpoint.Cause})
		}
	}
}

func TestAProxyInFrontSaysWhoItsClientIs(t *testing.T) {
	world := newWorld(t, modelserver.Settings{}, "us-east1", "europe-west1")
	places := `
client: {trusted_proxies: [127.0.0.0/8], proxy_protocol: true}
geo:
  overrides:
    - {cidr: 198.51.100.0/24, lat: 52.5, lon: 13.4, country: DE}
    - {cidr: 192.0.2.0/24, lat: 40.7, lon: -74.0, country: US}
limits: {header_timeout: 2s}
`
	router := serve(t, world.Config(places))
	const newYork = "192.0.2.7"

	german := router.behindProxy(t, "PROXY TCP4 "+berlin+" 127.0.0.1 51000 8080\r\n", "")
	american := router.behindProxy(t, "PROXY TCP4 "+newYork+" 127.0.0.1 51000 8080\r\n", berlin) // whose own word is not believed
	headless := router.behindProxy(t, "", "")
	forged := router.behindProxy(t, "PROXY TCP4 198.051.100.7 127.0.0.1 70000 8080\r\n", "")

	if german != "europe-west1" || american != "us-east1" {
		t.Errorf("a client in Berlin was answered by %q, one in New York by %q", german, american)
	}
	if headless != "" || forged != "" {
		t.Errorf("without a header of the proxy %q answered, with a bad one %q", headless, forged)
	}
	if n := router.Metric(`connections_turned_away_total{reason="proxy_header"}`); n != 2 {
		t.Errorf("%v connections were turned away for their PROXY header", n)
	}
}

// behindProxy sends a request behind a PROXY header and returns the region that has
// answered; "": the connection was closed without an answer.
func (r *Router) behindProxy(t *testing.T, header, forwardedFor string) string {
	conn, err := net.Dial("tcp", r.address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "%sGET / HTTP/1.1\r\nHost: router\r\nX-Forwarded-For: %s\r\n\r\n", header, forwardedFor)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return ""
	}
	response.Body.Close()
	return response.Header.Get("X-Proxima-Region")
}

// address is where clients connect.
func (r *Router) address() string { return strings.TrimPrefix(r.URL, "http://") }

// secureChat asks over TLS for a few tokens, and fails the test if no answer comes.
func (r *Router) secureChat(client *http.Client) *http.Response {
	r.t.Helper()
	response, err := client.Post("https://"+r.address()+"/v1/chat/completions", "application/json", strings.NewReader(question("llama-3-8b", "")))
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		r.t.Fatal(err)
	}
	return response
}

// listenOver reads a stream over TLS in the background.
func (r *Router) listenOver(client *http.Client, question string) chan *story {
	told := make(chan *story, 1)
	go func() {
		s := &story{}
		defer func() { told <- s }()
		response, err := client.Post("https://"+r.address()+"/v1/chat/completions", "application/json", strings.NewReader(question))
		if err != nil {
			s.Broken = err
			return
		}
		defer response.Body.Close()
		s.read(response.Body, func() {})
	}()
	return told
}

// certificate is the name in the certificate that a new connection sees.
func (r *Router) certificate(ca *authority) string {
	conn, err := tls.Dial("tcp", r.address(), &tls.Config{RootCAs: ca.pool})
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	state := conn.ConnectionState()
	return shown(&state)
}

func shown(state *tls.ConnectionState) string { return state.PeerCertificates[0].Subject.CommonName }

// AddSecure puts a region into the world whose endpoint, in this process, speaks TLS
// with a certificate.
func (w *World) AddSecure(name string, as pair) {
	loaded, err := tls.X509KeyPair(as.certificate, as.key)
	if err != nil {
		w.t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(modelserver.New(modelserver.Settings{Region: name}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that end early
	server.TLS = &tls.Config{Certificates: []tls.Certificate{loaded}}
	server.StartTLS()
	w.join(name, server)
}

// authority issues certificates for this machine.
type authority struct {
	t           *testing.T
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	text        []byte // PEM
	pool        *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, key: newKey(t), pool: x509.NewCertPool()}
	self := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	a.certificate, a.text = a.sign(self, self, &a.key.PublicKey)
	a.pool.AddCert(a.certificate)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) sign(what, by *x509.Certificate, key *ecdsa.PublicKey) (*x509.Certificate, []byte) {
	der, err := x509.CreateCertificate(rand.Reader, what, by, key, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return signed, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// pair is a certificate and its key, PEM.
type pair struct{ certificate, key []byte }

// issue makes a certificate for 127.0.0.1 with a name to know it by.
func (a *authority) issue(name string) pair {
	key := newKey(a.t)
	_, certificate := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, a.certificate, &key.PublicKey)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return pair{certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})}
}

// client is one that trusts the authority, speaks one protocol in one version of TLS,
// and has one connection.
func (a *authority) client(protocol string, version uint16) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(protocol != "h2")
	protocols.SetHTTP2(protocol == "h2")
	transport := &http.Transport{
		Protocols:       protocols,
		MaxConnsPerHost: 1,
		TLSClientConfig: &tls.Config{RootCAs: a.pool, MinVersion: version, MaxVersion: version, NextProtos: []string{protocol}},
	}
	a.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Timeout: time.Minute, Transport: transport}
}

// pairFiles are where a pair is written to.
type pairFiles struct{ certificate, key string }

// write puts the pair into a folder, in the place of one that was there.
func (p pair) write(t *testing.T, folder string) pairFiles {
	files := pairFiles{filepath.Join(folder, "router.crt"), filepath.Join(folder, "router.key")}
	replace(t, files.key, p.key)
	replace(t, files.certificate, p.certificate)
	return files
}

// section is the part of a configuration that names the files.
func (f pairFiles) section() string {
	return fmt.Sprintf("tls: {certificates: [{certificate: %s, key: %s}]}", f.certificate, f.key)
}

package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"proxima/geo"
	"proxima/proxy/transport"
	"proxima/router"
)

// onLoopback joins a router to one endpoint with real sockets, for what wires in
// memory do not show.
func onLoopback(t *testing.T, next *transport.Transport, endpoint http.HandlerFunc) (h *Handler, last func() router.Record) {
	t.Helper()
	server := httptest.NewServer(endpoint)
	t.Cleanup(server.Close)
	t.Cleanup(next.CloseIdleConnections)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	table, err := router.NewTable(regions, []router.Endpoint{{ID: "us-1", Region: "us", URL: at}}, router.Steering{})
	if err != nil {
		t.Fatal(err)
	}
	settings := usual()
	records := make(chan router.Record, 100)
	h = &Handler{
		Live:     router.NewLive(table),
		Settings: func() *Settings { return &settings },
		Locate:   func(netip.Addr) geo.Location { return washington },
		Failover: &Failover{Next: next, Attempted: func(*router.Attempt) {}},
		Observe:  func(r *router.Record) { records <- *r },
		Streams:  func(int) {},
		Panicked: func(recovered any, at []byte) { t.Errorf("%v\n%s", recovered, at) },
	}
	return h, func() router.Record { return <-records }
}

// cutsAStream dies in the midst of an answer.
func cutsAStream(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, "data: 1\n\n")
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func TestOverHTTP10ACutStreamEndsWithAReset(t *testing.T) {
	h, last := onLoopback(t, new(transport.Transport), cutsAStream)
	server := httptest.NewServer(h)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /a HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection ends with %v after %q, want a reset", err, got)
	}
	if r := last(); r.Last().Outcome != router.Cut || r.Complete {
		t.Errorf("recorded as %s, complete %v", r.Last().Outcome, r.Complete)
	}
}

// TestHalfARequestIsNotAnsweredAsIfItWereWhole is about a client that closes its
// way in and still listens.
func TestHalfARequestIsNotAnsweredAsIfItWereWhole(t *testing.T) {
	h, last := onLoopback(t, new(transport.Transport), cutsAStream)
	server := httptest.NewServer(h)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{")
	_ = conn.(*net.TCPConn).CloseWrite()
	if got, _ := io.ReadAll(conn); len(got) > 0 {
		t.Errorf("answered with %q", got)
	}
	if r := last(); r.Status != statusClientLeft || len(r.Attempts) > 0 {
		t.Errorf("recorded as %d after %d attempts", r.Status, len(r.Attempts))
	}
}

func TestOverHTTP2ACutStreamEndsWithAnError(t *testing.T) {
	h, last := onLoopback(t, new(transport.Transport), cutsAStream)
	server := httptest.NewUnstartedServer(h)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	response, err := server.Client().Get(server.URL + "/a")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err == nil || response.ProtoMajor != 2 || !strings.Contains(string(got), `"code":"stream_cut"`) {
		t.Errorf("%s ends with %v after %q", response.Proto, err, got)
	}
	if r := last(); r.Last().Outcome != router.Cut {
		t.Errorf("recorded as %s", r.Last().Outcome)
	}
}

func TestOverHTTP2ALongBodyPassesWhileItsAnswerComes(t *testing.T) {
	h, last := onLoopback(t, new(transport.Transport), func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.WriteString(w, "early ")
		_ = http.NewResponseController(w).Flush()
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, strings.Repeat("x", int(n)))
	})
	h.Settings().ReplayLimit = 10
	server := httptest.NewUnstartedServer(h)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	body, content := io.Pipe()
	go io.WriteString(content, strings.Repeat("a", 20))
	response, err := server.Client().Post(server.URL+"/a", "text/plain", body)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	in := bufio.NewReader(response.Body)
	if early, err := in.ReadString(' '); early != "early " || err != nil {
		t.Fatalf("%q %v", early, err)
	}
	_, _ = io.WriteString(content, strings.Repeat("b", 20))
	content.Close()
	rest, err := io.ReadAll(in)
	if err != nil || len(rest) != 40 {
		t.Errorf("the endpoint got %d bytes of 40, %v", len(rest), err)
	}
	if r := last(); !r.Complete || r.Last().Outcome != router.Served {
		t.Errorf("recorded as %s, complete %v", r.Last().Outcome, r.Complete)
	}
}

func TestAnAddressThatMayNotBeDialledIsRefused(t *testing.T) {
	forbidden := errors.New("not this address")
	careful := &net.Dialer{Control: func(_, _ string, _ syscall.RawConn) error { return forbidden }}
	h, last := onLoopback(t, &transport.Transport{Dial: careful.DialContext}, cutsAStream)
	got := httptest.NewRecorder()
	h.ServeHTTP(got, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/a", http.NoBody))
	r := last()
	if got.Code != 503 || r.Last().Outcome != router.Refused || !errors.Is(r.Last().Err, forbidden) {
		t.Errorf("status %d, outcome %s, error %v", got.Code, r.Last().Outcome, r.Last().Err)
	}
}

func TestTheWaitForAConnectionFollowsTheMeasuredPath(t *testing.T) {
	for path, want := range map[time.Duration]time.Duration{
		0: time.Second, time.Millisecond: 503 * time.Millisecond, 200 * time.Millisecond: 1100 * time.Millisecond,
	} {
		if got := dialBound(path); got != want {
			t.Errorf("path %v: wait %v, want %v", path, got, want)
		}
	}
}

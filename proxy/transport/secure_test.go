package transport

import (
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// secured is a world whose endpoint is net/http's server, which speaks HTTP/2 over TLS.
func secured(t *testing.T, serve http.HandlerFunc, tell func(w *world)) {
	t.Helper()
	server := httptest.NewUnstartedServer(serve)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	w := &world{t: t, host: server.Listener.Addr().String(), Transport: &Transport{Roots: roots}}
	defer w.CloseIdleConnections()
	tell(w)
}

// secretly makes a request over https.
func (w *world) secretly(d *diary, header http.Header) got {
	w.t.Helper()
	r := w.request(w.t.Context(), d, "POST", strings.NewReader("hello"))
	r.URL.Scheme, r.Header = "https", header
	return w.do(r)
}

func echo(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }

func TestOverHTTPSAnEndpointMaySpeakHTTP2(t *testing.T) {
	secured(t, echo, func(w *world) {
		first, second := &diary{}, &diary{}
		got := w.secretly(first, http.Header{})
		w.want("answer", got.body, "hello")
		w.want("version", got.ProtoMajor, 2)
		w.want("scheme of its request", got.Request.URL.Scheme, "https")
		w.want("first trip", first.String(), "dial, got http2, sent")
		w.secretly(second, http.Header{})
		w.want("second trip", second.String(), "got kept http2, sent")
	})
}

func TestOverHTTPSTheTripIsHeardToo(t *testing.T) {
	informs := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "a")
		w.WriteHeader(http.StatusEarlyHints)
	}
	secured(t, informs, func(w *world) {
		trip := &diary{}
		w.secretly(trip, http.Header{})
		w.want("trip", trip.String(), "dial, got http2, sent, 103 map[Link:[a]]")
		w.want("rejected", w.secretly(&diary{rejects: errLeft}, http.Header{}).err != nil, true)
	})
	secured(t, echo, func(w *world) {
		w.want("error", w.secretly(&diary{refuses: errLeft}, http.Header{}).err, errLeft)
	})
}

func TestOverHTTPSContinueIsNotToldOf(t *testing.T) {
	secured(t, echo, func(w *world) {
		trip := &diary{}
		w.want("answer", w.secretly(trip, http.Header{"Expect": {"100-continue"}}).body, "hello")
		w.want("trip", trip.String(), "dial, got http2, sent")
	})
}

// TestOverHTTPSAKeptConnectionThatWasClosedMeanwhile is about an endpoint of HTTP/1.1.
func TestOverHTTPSAKeptConnectionThatWasClosedMeanwhile(t *testing.T) {
	for _, repeats := range []bool{true, false} {
		before := ""
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(w, r.Body)
			if r.RemoteAddr == before {
				panic(http.ErrAbortHandler)
			}
			before = r.RemoteAddr
		}))
		roots := x509.NewCertPool()
		roots.AddCert(server.Certificate())
		w := &world{t: t, host: server.Listener.Addr().String(), Transport: &Transport{Roots: roots}}
		w.secretly(nil, http.Header{})
		w.want("answered", w.secretly(&diary{repeats: repeats}, http.Header{}).err == nil, repeats)
		w.CloseIdleConnections()
		server.Close()
	}
}

func TestOverHTTPSNoFieldIsAdded(t *testing.T) {
	tells := func(w http.ResponseWriter, r *http.Request) { _ = r.Header.Write(w) }
	secured(t, tells, func(w *world) {
		header := http.Header{"X-A": {"1"}}
		w.want("fields", w.secretly(&diary{repeats: true}, header).body, "Content-Length: 5\r\nX-A: 1\r\n")
		w.want("the caller's header", len(header), 1)
	})
}

func TestARequestWithATrailerIsCarriedToo(t *testing.T) {
	heard := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		heard <- r.Trailer.Get("A")
	}))
	defer server.Close()
	w := &world{t: t, host: server.Listener.Addr().String(), Transport: &Transport{}}
	defer w.CloseIdleConnections()
	r := w.request(t.Context(), nil, "POST", io.MultiReader(strings.NewReader("hello")))
	r.Trailer = http.Header{"A": {"1"}}
	w.want("error", w.do(r).err, nil)
	w.want("trailer", <-heard, "1")
}

func TestARequestThatNamesNoEndpointIsRefused(t *testing.T) {
	w := &world{t: t, host: "endpoint.test", Transport: &Transport{}}
	for name, spoil := range map[string]func(r *http.Request){
		"no host":        func(r *http.Request) { r.URL.Host = "" },
		"another scheme": func(r *http.Request) { r.URL.Scheme = "ftp" },
		"no URL":         func(r *http.Request) { r.URL = nil },
		"no header":      func(r *http.Request) { r.Header = nil },
		"no method":      func(r *http.Request) { r.Method = "GET /" },
	} {
		t.Run(name, func(t *testing.T) {
			r := w.request(t.Context(), nil, "GET", nil)
			spoil(r)
			w.want("refused", w.do(r).err != nil, true)
		})
	}
}

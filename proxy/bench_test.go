package proxy

import (
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"proxima/geo"
	"proxima/router"
)

// BenchmarkServe is our own part of a request: everything but the sockets.
func BenchmarkServe(b *testing.B) {
	table, err := router.NewTable(regions, []router.Endpoint{
		{ID: "us-1", Region: "us", URL: &url.URL{Scheme: "http", Host: "a"}, Models: []router.Model{"m"}},
		{ID: "eu-1", Region: "eu", URL: &url.URL{Scheme: "http", Host: "b"}, Models: []router.Model{"m"}},
	}, router.Steering{})
	if err != nil {
		b.Fatal(err)
	}
	settings := usual()
	h := &Handler{
		Live:     router.NewLive(table),
		Settings: func() *Settings { return &settings },
		Locate:   func(netip.Addr) geo.Location { return washington },
		Failover: &Failover{Next: carrier(answersAtOnce), Attempted: func(*router.Attempt) {}},
		Observe:  func(*router.Record) {},
		Streams:  func(int) {},
	}
	text := `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("How far is it? ", 60) + `"}]}`
	in := &http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: "/v1/chat/completions"}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Host: "proxima.test", RemoteAddr: "198.51.100.7:40000", ContentLength: int64(len(text)),
		Header: http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer key"}, "Accept": {"*/*"}, "User-Agent": {"sdk"}},
	}
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			r := *in
			r.Body = &atHand{*strings.NewReader(text)}
			h.ServeHTTP(&sink{header: http.Header{}}, &r)
		}
	})
}

func answersAtOnce(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"text/event-stream"}, "Date": {"now"}},
		Body:   io.NopCloser(strings.NewReader("data: hello\n\n")), Request: r,
	}, nil
}

// atHand is a body that has come with its head, as edge's front gives it.
type atHand struct{ strings.Reader }

func (*atHand) Buffered() bool { return true }
func (*atHand) Close() error   { return nil }

// sink is a client that takes everything.
type sink struct{ header http.Header }

func (s *sink) Header() http.Header              { return s.header }
func (s *sink) Write(p []byte) (int, error)      { return len(p), nil }
func (s *sink) WriteHeader(int)                  {}
func (s *sink) Flush()                           {}
func (s *sink) SetReadDeadline(time.Time) error  { return nil }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"proxima/configs"
	"proxima/router"
)

// BenchmarkHotPath is what a request costs outside the sockets: the parts of a real
// service one by one, and the whole, of which they are parts. What whole takes beyond
// them is the proxy's own: headers, the relay, the Record. How long it takes to read a
// model out of a body is in the proxy's BenchmarkScan.
func BenchmarkHotPath(b *testing.B) {
	hot := newHotPath(b)
	b.Run("trip", hot.trip)
	b.Run("locate/remembered", hot.locateRemembered)
	b.Run("locate/new-network", hot.locateNew)
	b.Run("measure", hot.measure)
	b.Run("decide", hot.decide)
	b.Run("health", hot.health)
	b.Run("observe", hot.observe)
	b.Run("recent", hot.recent)
	b.Run("access/off", hot.accessOff)
	b.Run("access/json", func(b *testing.B) { hot.access(b, "json", io.Discard) })
	b.Run("access/console", func(b *testing.B) { hot.access(b, "console", io.Discard) })
	b.Run("access/to-a-file", func(b *testing.B) { hot.access(b, "json", fileIn(b)) })
	b.Run("whole/quiet", func(b *testing.B) { newHotPath(b, "log: {access: false}").whole(b, chat) })
	b.Run("whole/logged", func(b *testing.B) { hot.whole(b, chat) })
	b.Run("whole/logged-without-a-body", func(b *testing.B) { hot.whole(b, "") })
}

// hotPath is a service that nobody connects to, and a request as it ends there.
type hotPath struct {
	*service
	client netip.Addr
	record router.Record // of a request that was served
}

// chat is the body of a request, of some 1,000 bytes.
var chat = `{"model":"llama","messages":[{"role":"user","content":"` + strings.Repeat("How far is it? ", 60) + `"}]}`

// hotPaths is a configuration with three endpoints.
const hotPaths = `version: 1
listen: 127.0.0.1:0
admin: {listen: "127.0.0.1:0"}
regions: {us-east1: {}, europe-west1: {}, asia-northeast1: {}}
endpoints:
  - {id: us-1, url: "http://192.0.2.1:8000", region: us-east1, models: [llama], capacity: 10000}
  - {id: eu-1, url: "http://192.0.2.2:8000", region: europe-west1, models: [llama], capacity: 10000}
  - {id: asia-1, url: "http://192.0.2.3:8000", region: asia-northeast1, models: [llama], capacity: 10000}
`

// newHotPath joins a service as serve does, but that its endpoints are up by fiat and
// answer at once.
func newHotPath(b *testing.B, more ...string) *hotPath {
	b.Helper()
	text := []byte(hotPaths + strings.Join(more, "\n"))
	config, err := configs.Parse("hot.yaml", text, os.LookupEnv)
	if err != nil {
		b.Fatal(err)
	}
	log, level := newLog(io.Discard, config.Log)
	s, err := newService(document{text, config}, os.LookupEnv, log, level)
	if err != nil {
		b.Fatal(err)
	}
	if s.poller != nil {
		b.Cleanup(s.poller.Close)
	}
	s.proxy.Failover.Next = carrier(answersAtOnce)
	for _, e := range config.Endpoints {
		s.live.SetStatus(router.EndpointID(e.ID), router.Status{Health: router.Up})
	}
	hot := &hotPath{service: s, client: netip.MustParseAddr("128.59.1.1")}
	s.proxy.Observe = func(r *router.Record) {
		hot.record = *r
		hot.record.Attempts = append([]router.Attempt(nil), r.Attempts...)
	}
	hot.serve(hot.request(chat))
	s.proxy.Observe = s.observe
	if hot.record.Status != http.StatusOK || !hot.record.From.Placed || hot.record.Last().Endpoint != "us-1" {
		b.Fatalf("the request was not served as a request is: %+v", hot.record)
	}
	return hot
}

func (hot *hotPath) trip(b *testing.B) {
	r := hot.request("")
	b.ReportAllocs()
	for b.Loop() {
		clientTrip(r)
	}
}

func (hot *hotPath) locateRemembered(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		hot.proxy.Locate(hot.client)
	}
}

// locateNew asks for more networks than the cache holds.
func (hot *hotPath) locateNew(b *testing.B) {
	b.ReportAllocs()
	for i := uint32(0); b.Loop(); i++ {
		net := 1<<24 + i%(100<<16)
		hot.proxy.Locate(netip.AddrFrom4([4]byte{byte(net >> 16), byte(net >> 8), byte(net), 1}))
	}
}

func (hot *hotPath) measure(b *testing.B) {
	s, now := hot.live.Snapshot(), time.Now()
	var load []router.Load
	b.ReportAllocs()
	for b.Loop() {
		load = s.Measure(load[:0], now)
	}
}

func (hot *hotPath) decide(b *testing.B) {
	s := hot.live.Snapshot()
	load := s.Measure(nil, time.Now())
	query := router.Query{From: hot.record.From, Model: hot.record.Model}
	b.ReportAllocs()
	for b.Loop() {
		s.Decide(query, load)
	}
}

func (hot *hotPath) health(b *testing.B) {
	last := hot.record.Last()
	b.ReportAllocs()
	for b.Loop() {
		hot.proxy.Failover.Attempted(last)
		hot.proxy.Failover.Completed(last.Endpoint)
	}
}

func (hot *hotPath) observe(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		hot.metrics.Observe(&hot.record)
	}
}

func (hot *hotPath) recent(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		hot.service.recent.Add(&hot.record)
	}
}

func (hot *hotPath) accessOff(b *testing.B) {
	log, _ := newLog(io.Discard, configs.Log{Level: "warn"})
	access := newAccessLog(log)
	b.ReportAllocs()
	for b.Loop() {
		access.tell(&hot.record)
	}
}

func (hot *hotPath) access(b *testing.B, format string, to io.Writer) {
	log, _ := newLog(to, configs.Log{Level: "info", Format: format})
	access := newAccessLog(log)
	b.ReportAllocs()
	for b.Loop() {
		access.tell(&hot.record)
	}
	_ = log.Sync()
}

func (hot *hotPath) whole(b *testing.B, body string) {
	in := hot.request(body)
	b.ReportAllocs()
	for b.Loop() {
		r := *in // as the front makes one for each
		r.Body = io.NopCloser(strings.NewReader(body))
		hot.serve(&r)
	}
}

func (hot *hotPath) serve(r *http.Request) {
	hot.proxy.ServeHTTP(&sink{header: http.Header{}}, r)
}

// request is as the front hands it over, on a connection that has none of the kernel's.
func (hot *hotPath) request(body string) *http.Request {
	conn, _ := net.Pipe()
	r := &http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: "/v1/chat/completions"}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Host: "proxima.test", RemoteAddr: netip.AddrPortFrom(hot.client, 40000).String(),
		ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)),
		Header: http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer key"}, "Accept": {"*/*"}, "User-Agent": {"sdk"}},
	}
	if body == "" {
		r.Method, r.Body = http.MethodGet, http.NoBody
	}
	return r.WithContext(withVisitor(context.Background(), conn))
}

// carrier is a http.RoundTripper.
type carrier func(*http.Request) (*http.Response, error)

func (c carrier) RoundTrip(r *http.Request) (*http.Response, error) { return c(r) }

var completion = `{"choices":[{"message":{"role":"assistant","content":"` + strings.Repeat("Not very. ", 54) + `"}}]}`

func answersAtOnce(r *http.Request) (*http.Response, error) {
	_, err := io.Copy(io.Discard, r.Body)
	return &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        http.Header{"Content-Type": {"application/json"}, "Content-Length": {fmt.Sprint(len(completion))}, "Date": {"now"}},
		ContentLength: int64(len(completion)), Body: io.NopCloser(strings.NewReader(completion)), Request: r,
	}, err
}

// sink is a client that takes everything.
type sink struct{ header http.Header }

func (s *sink) Header() http.Header              { return s.header }
func (s *sink) Write(p []byte) (int, error)      { return len(p), nil }
func (s *sink) WriteHeader(int)                  {}
func (s *sink) Flush()                           {}
func (s *sink) SetReadDeadline(time.Time) error  { return nil }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }

func fileIn(b *testing.B) *os.File {
	b.Helper()
	file, err := os.CreateTemp(b.TempDir(), "log")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { file.Close() })
	return file
}

//go:build unix

package edge

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkFront is one keep-alive connection on loopback, beside net/http's server. The
// client allocates nothing, and is part of what it takes.
func BenchmarkFront(b *testing.B) {
	head := "POST /v1/chat/completions HTTP/1.1\r\nHost: edge.test\r\nUser-Agent: bench\r\nAccept: */*\r\n"
	for name, request := range map[string]string{
		"GET":  "GET" + strings.TrimPrefix(head, "POST") + "\r\n",
		"POST": head + "Content-Type: application/json\r\nContent-Length: 1024\r\n\r\n" + strings.Repeat("x", 1024),
	} {
		b.Run(name+"/edge", func(b *testing.B) {
			s := &Server{Handler: answers600()}
			defer s.Close()
			benchmark(b, s.Serve, request)
		})
		b.Run(name+"/net-http", func(b *testing.B) {
			s := &http.Server{Handler: answers600()}
			defer s.Close()
			benchmark(b, s.Serve, request)
		})
	}
}

// answers600 reads the request and answers with 600 bytes. It allocates nothing either.
func answers600() http.HandlerFunc {
	text := bytes.Repeat([]byte("y"), 600)
	kind, length := []string{"application/json"}, []string{"600"}
	var pool sync.Pool
	pool.New = func() any { return new(buffer) }
	return func(w http.ResponseWriter, r *http.Request) {
		piece := pool.Get().(*buffer)
		defer pool.Put(piece)
		for err := error(nil); err == nil; {
			_, err = r.Body.Read(piece[:])
		}
		h := w.Header()
		h["Content-Type"], h["Content-Length"] = kind, length
		_, _ = w.Write(text)
	}
}

func benchmark(b *testing.B, serve func(net.Listener) error, request string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- serve(l) }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	asked, got := []byte(request), make([]byte, 4096)
	b.ReportAllocs()
	before, n := processorTime(), 0
	for b.Loop() {
		n++
		if _, err := conn.Write(asked); err != nil {
			b.Fatal(err)
		}
		for came, end := 0, 0; end == 0 || came < end+600; {
			m, err := conn.Read(got[came:])
			if err != nil {
				b.Fatal(err)
			}
			came += m
			end = bytes.Index(got[:came], []byte("\r\n\r\n")) + 4
		}
	}
	b.ReportMetric(float64((processorTime()-before).Microseconds())/float64(n), "µs-cpu/op")
	conn.Close()
	l.Close()
	<-served
}

func processorTime() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkIdle is what 5,000 connections hold that had an answer each, beside net/http's,
// in heap and stacks. The clients' ends, which are in the same process, are part of it.
func BenchmarkIdle(b *testing.B) {
	b.Run("edge", func(b *testing.B) {
		s := &Server{Handler: answers600()}
		defer s.Close()
		benchmarkIdle(b, s.Serve)
	})
	b.Run("net-http", func(b *testing.B) {
		s := &http.Server{Handler: answers600()}
		defer s.Close()
		benchmarkIdle(b, s.Serve)
	})
	b.Run("edge, detached in the midst of an answer", func(b *testing.B) {
		s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer := w.(detachable)
			w.Header()["Content-Type"] = nil
			finish, _ := answer.Detach()
			_, _ = answer.TryWrite([]byte("the first token"))
			context.AfterFunc(r.Context(), finish)
		})}
		defer s.Close()
		benchmarkIdle(b, s.Serve)
	})
}

// BenchmarkTryWrite is a token on its way to the client, without the client.
func BenchmarkTryWrite(b *testing.B) {
	token := bytes.Repeat([]byte("z"), 200)
	written := make(chan struct{})
	s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := w.(detachable)
		b.ReportAllocs()
		for b.Loop() {
			if full, err := answer.TryWrite(token); full || err != nil {
				b.Error(full, err)
			}
		}
		close(written)
	})}
	defer s.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() { _ = s.Serve(l) }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(plain))
	go func() {
		piece := make([]byte, 1<<20)
		for err := error(nil); err == nil; {
			_, err = conn.Read(piece)
		}
	}()
	<-written
}

func benchmarkIdle(b *testing.B, serve func(net.Listener) error) {
	const clients = 5000
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() { _ = serve(l) }()
	for b.Loop() {
		before := held()
		conns := make([]net.Conn, clients)
		got := make([]byte, 4096)
		for i := range conns {
			if conns[i], err = net.Dial("tcp", l.Addr().String()); err != nil {
				b.Fatal(err)
			}
			_, _ = conns[i].Write([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
			_, _ = conns[i].Read(got)
		}
		b.ReportMetric(float64(held()-before)/clients/1024, "KiB/conn")
		for _, conn := range conns {
			conn.Close()
		}
	}
}

// held is what heap and stacks take, without garbage.
func held() uint64 {
	for range 4 { // each halves the stacks that are too large
		runtime.GC()
	}
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	return now.HeapAlloc + now.StackInuse
}

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"

	"proxima/configs"
	"proxima/router"
)

// BenchmarkStream is what a stream holds while it waits for its next token, through a
// real service and real sockets: heap and stacks, after a collection.
func BenchmarkStream(b *testing.B) {
	const before = 6 // tokens of each stream, so that it rests
	s, at := streaming(b, before)
	_ = s
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	start := held()
	for b.Loop() {
		conns = append(conns, openStream(b, at, before))
	}
	end := held()
	n := float64(len(conns))
	b.ReportMetric(float64(end.HeapAlloc-start.HeapAlloc)/n/1024, "KiB-heap/stream")
	b.ReportMetric(float64(end.StackInuse-start.StackInuse)/n/1024, "KiB-stack/stream")
	b.ReportMetric(float64(end.HeapObjects-start.HeapObjects)/n, "objects/stream")
	if len(conns) > 1000 {
		if path := os.Getenv("PROXIMA_STREAM_HEAP"); path != "" {
			writeHeap(b, path)
		}
	}
}

func held() (m runtime.MemStats) {
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m
}

// streaming is a service in front of an endpoint whose streams say some tokens and then
// nothing more.
func streaming(b *testing.B, tokens int) (s *service, at string) {
	b.Helper()
	endpoint := listen(b)
	go func() {
		for {
			conn, err := endpoint.Accept()
			if err != nil {
				return
			}
			go sayTokens(conn, tokens)
		}
	}()
	text := []byte(fmt.Sprintf(`version: 1
listen: 127.0.0.1:0
admin: {listen: "127.0.0.1:0"}
regions: {us-east1: {}}
endpoints:
  - {id: us-1, url: "http://%s", region: us-east1, models: [llama], capacity: 100000}
`, endpoint.Addr()))
	config, err := configs.Parse("streams.yaml", text, os.LookupEnv)
	if err != nil {
		b.Fatal(err)
	}
	events, level := newLog(io.Discard, config.Log)
	if s, err = newService(document{text, config}, os.LookupEnv, events, level); err != nil {
		b.Fatal(err)
	}
	s.live.SetStatus("us-1", router.Status{Health: router.Up})
	s.clients.ErrorLog = log.New(io.Discard, "", 0)
	door := listen(b)
	ctx, stop := context.WithCancel(context.Background())
	if s.poller != nil {
		go s.poller.Run(ctx)
	}
	go func() { _ = s.clients.Serve(door) }()
	b.Cleanup(func() {
		s.clients.Close()
		stop()
	})
	return s, door.Addr().String()
}

func listen(b *testing.B) net.Listener {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	return l
}

// sayTokens answers one request with tokens, and leaves with the router.
func sayTokens(conn net.Conn, tokens int) {
	defer conn.Close()
	r, err := http.ReadRequest(bufio.NewReaderSize(conn, 2048))
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
	for i := range tokens {
		event := fmt.Sprintf(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"llama","choices":[{"index":0,"delta":{"content":"token %d "},"finish_reason":null}]}`+"\n\n", i)
		_, _ = fmt.Fprintf(conn, "%x\r\n%s\r\n", len(event), event)
		runtime.Gosched()
	}
	_, _ = conn.Read(make([]byte, 1))
}

// openStream asks for a stream and returns when its tokens have come.
func openStream(b *testing.B, at string, tokens int) net.Conn {
	b.Helper()
	conn, err := net.Dial("tcp", at)
	if err != nil {
		b.Fatal(err)
	}
	body := strings.Replace(chat, `"llama"`, `"llama","stream":true`, 1)
	fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: proxima.test\r\nAuthorization: Bearer key\r\nContent-Type: application/json\r\n"+
		"User-Agent: sdk\r\nAccept: */*\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	seen := 0
	buf := make([]byte, 4096)
	for seen < tokens {
		n, err := conn.Read(buf)
		if err != nil {
			b.Fatal(err)
		}
		seen += strings.Count(string(buf[:n]), `"delta"`)
	}
	return conn
}

func writeHeap(b *testing.B, path string) {
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := pprof.Lookup("heap").WriteTo(f, 0); err != nil {
		b.Fatal(err)
	}
}

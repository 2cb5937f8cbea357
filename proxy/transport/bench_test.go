package transport

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkRoundTrip is a prompt of 1 KiB and its answer of 600 bytes over a kept
// connection on loopback, here and by net/http. The endpoint is in the process and
// costs the same in both.
func BenchmarkRoundTrip(b *testing.B) {
	ours := &Transport{}
	defer ours.CloseIdleConnections()
	theirs := ours.newStandard()
	defer theirs.CloseIdleConnections()
	b.Run("transport", func(b *testing.B) { benchmarkPrompts(b, ours) })
	b.Run("net-http", func(b *testing.B) { benchmarkPrompts(b, theirs) })
}

func benchmarkPrompts(b *testing.B, carries http.RoundTripper) {
	door, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer door.Close()
	go answersPrompts(door)
	prompt := strings.Repeat("a", 1<<10)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	ask, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+door.Addr().String()+"/v1/chat/completions", nil)
	if err != nil {
		b.Fatal(err)
	}
	ask.Header = http.Header{
		"Accept": {"*/*"}, "Authorization": {"Bearer key"}, "Content-Type": {"application/json"}, "User-Agent": {"sdk/1.0"},
		"X-Request-Id": {"0123456789abcdef"}, "Via": {"1.1 proxima"},
	}
	content := make([]byte, 16<<10)
	reader := strings.NewReader(prompt)
	again := io.NopCloser(reader)
	ask.ContentLength = int64(len(prompt))
	ask.GetBody = func() (io.ReadCloser, error) { return again, nil }
	b.ReportAllocs()
	used := processorTime(b)
	for b.Loop() {
		reader.Reset(prompt)
		ask.Body = again
		response, err := carries.RoundTrip(ask)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for err == nil {
			var more int
			more, err = response.Body.Read(content)
			n += more
		}
		if err != io.EOF || n != 600 {
			b.Fatal(n, err)
		}
		response.Body.Close()
	}
	b.ReportMetric(float64(processorTime(b)-used)/float64(b.N)/1000, "cpu-µs/op")
}

// answersPrompts is an endpoint that does nothing more than it must.
func answersPrompts(door net.Listener) {
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n" +
		"Server: model\r\nX-Request-Id: 0123456789abcdef\r\nContent-Length: 600\r\n\r\n" + strings.Repeat("b", 600))
	for {
		conn, err := door.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			in := make([]byte, 8<<10)
			for have := 0; ; {
				n, err := conn.Read(in)
				if err != nil {
					return
				}
				if have += n; in[n-1] == 'a' && have > 1<<10 {
					have = 0
					_, _ = conn.Write(answer)
				}
			}
		}()
	}
}

func processorTime(tb testing.TB) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

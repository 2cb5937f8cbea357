package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"proxima/bench/load"
	"proxima/internal/modelserver"
)

// roomy lets in whoever comes from this machine.
const roomy = `
client: {trusted_proxies: [127.0.0.0/8]}
geo: {overrides: [{cidr: 198.51.100.0/24, lat: 52.5, lon: 13.4, country: DE}]}
limits: {connections: 11000}
`

func TestClientsThatLingerCostLittleAndHarmNobody(t *testing.T) {
	world := newWorld(t, modelserver.Settings{PerToken: 500 * time.Millisecond}, "europe-west1")
	for _, crowd := range []struct {
		name    string
		clients int
		files   int // that one client costs the router
		gather  func(*Router, int) []io.Closer
		mostKiB int // of the router's memory for each, with some room for garbage
	}{
		{"idle connections", 10_000, 1, idle, 35},
		{"readers of a byte a second", 1000, 2, slowReaders, 75},
		{"streams over HTTP/2", 1000, 2, streamsOverHTTP2, 65},
	} {
		t.Run(crowd.name, func(t *testing.T) {
			clients := affordable(t, crowd.clients, crowd.files)
			router := serveBuilt(t, world.Config(roomy), false) // the race detector's memory is not the router's
			before := router.normal(20)
			empty := router.size()

			lingering := crowd.gather(router, clients)

			full := router.size()
			during := router.normal(20)
			for _, one := range lingering {
				one.Close()
			}
			each := float64(full.rss-empty.rss) / float64(clients) / 1024
			figures(t, map[string]any{
				"clients": clients, "kib_each": each, "goroutines_each": float64(full.goroutines-empty.goroutines) / float64(clients),
				"others_p99_ms_before": before.P99, "others_p99_ms_during": during.P99,
			})
			if each > float64(crowd.mostKiB) {
				t.Errorf("%.1f KiB of memory for each client, more than %d", each, crowd.mostKiB)
			}
			eventually(t, "no request is in flight", 10*time.Second, func() bool { return router.inFlight() == 0 })
		})
	}
}

// idle are clients that had one answer each and keep their connection.
func idle(r *Router, clients int) []io.Closer {
	return r.gather(clients, func(conn net.Conn) error {
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: router\r\n\r\n"); err != nil {
			return err
		}
		return wantOK(bufio.NewReaderSize(conn, 1024))
	})
}

// wantOK reads an answer that must be a good one.
func wantOK(from *bufio.Reader) error {
	response, err := http.ReadResponse(from, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("answered with %s", response.Status)
	}
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// slowReaders are clients that ask for a long stream and read a byte of it each second.
func slowReaders(r *Router, clients int) []io.Closer {
	question := asks(0, "llama-3-8b", 2000)
	request := fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: router\r\nContent-Length: %d\r\n\r\n%s", len(question), question)
	readers := r.gather(clients, func(conn net.Conn) error {
		if _, err := io.WriteString(conn, request); err != nil {
			return err
		}
		_, err := conn.Read(make([]byte, len("HTTP/1.1 200")))
		return err
	})
	eventually(r.t, "every stream is open", 30*time.Second, func() bool { return r.Metric("streams_open") == float64(clients) })
	for range 3 {
		for _, reader := range readers {
			if _, err := reader.(net.Conn).Read(make([]byte, 1)); err != nil {
				r.t.Errorf("a reader of a byte a second: %v", err)
			}
		}
		time.Sleep(time.Second)
	}
	return readers
}

// streamsOverHTTP2 are clients that share a few connections.
func streamsOverHTTP2(r *Router, clients int) []io.Closer {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	r.t.Cleanup(transport.CloseIdleConnections)
	streams := make([]io.Closer, clients)
	inParallel(r.t, clients, func(i int) error {
		request, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.URL+"/v1/chat/completions", strings.NewReader(asks(i, "llama-3-8b", 2000)))
		if err != nil {
			return err
		}
		response, err := transport.RoundTrip(request)
		if err != nil {
			return err
		}
		streams[i] = response.Body
		if response.StatusCode != http.StatusOK || response.ProtoMajor != 2 {
			return fmt.Errorf("answered with %s over %s", response.Status, response.Proto)
		}
		return nil
	})
	eventually(r.t, "every stream is open", 30*time.Second, func() bool { return r.Metric("streams_open") == float64(clients) })
	return streams
}

func TestSlowHeadersAreCutOff(t *testing.T) {
	const patience = 2 * time.Second
	world := newWorld(t, modelserver.Settings{}, "europe-west1")
	router := serveBuilt(t, world.Config(strings.Replace(roomy, "limits: {", "limits: {header_timeout: 2s, ", 1)), false)
	clients := affordable(t, 1000, 1)
	before := router.normal(20)
	var mu sync.Mutex
	var ages []time.Duration // of the connections when they were closed

	slow := router.gather(clients, func(conn net.Conn) error {
		opened := time.Now()
		go func() {
			_, _ = io.Copy(io.Discard, conn) // until the router closes it
			mu.Lock()
			defer mu.Unlock()
			ages = append(ages, time.Since(opened))
		}()
		_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: router\r\nX-Slow: ")
		return err
	})
	during := router.normal(20)
	open := router.Metric("connections_open")
	eventually(t, "every slow connection is closed", 20*time.Second, func() bool {
		for _, one := range slow {
			_, _ = io.WriteString(one.(net.Conn), "x") // who reads sees whether it is closed
		}
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		return len(ages) == clients
	})

	figures(t, map[string]any{
		"clients": clients, "open_at_once": open, "closed_first_s": slices.Min(ages).Seconds(), "closed_last_s": slices.Max(ages).Seconds(),
		"others_p99_ms_before": before.P99, "others_p99_ms_during": during.P99,
	})
	if oldest := slices.Max(ages); oldest > patience+time.Second {
		t.Errorf("the header of a request may take %v, and a connection without one was %v old", patience, oldest)
	}
}

// torrent is an endpoint that answers with a stream of events as fast as it is taken.
type torrent struct {
	size int64        // of each stream, bytes
	sent atomic.Int64 // by all of them
}

func (e *torrent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/health" {
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	event := fmt.Sprintf(`data: {"id":"torrent","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":%q}}]}`+"\n\n",
		strings.Repeat(" water", 1500)) // 9 KiB, so that few writes are many bytes
	for left := e.size; left > 0; left -= int64(len(event)) {
		n, err := io.WriteString(w, event)
		e.sent.Add(int64(n))
		if err != nil {
			return
		}
	}
}

func TestASlowReaderIsNotReadAheadFor(t *testing.T) {
	const clients, size = 200, 100 << 20
	world := newWorld(t, modelserver.Settings{})
	region := &torrent{size: size}
	world.AddInside("europe-west1", region)
	router := serveBuilt(t, world.Config(roomy), false)
	router.ask(berlin, http.MethodGet, "/health", "")
	empty := router.size()

	readers := router.gather(clients, func(conn net.Conn) error {
		if err := conn.(*net.TCPConn).SetReadBuffer(16 << 10); err != nil { // what the kernel holds is not the router's
			return err
		}
		_, err := io.WriteString(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: router\r\nContent-Length: 2\r\n\r\n{}")
		return err
	})
	var sent int64
	eventually(t, "the region has to wait for the readers", 30*time.Second, func() bool {
		before := sent
		time.Sleep(500 * time.Millisecond)
		sent = region.sent.Load()
		return sent == before && router.Metric("streams_open") == clients
	})

	full := router.size()
	each := float64(full.rss-empty.rss) / clients / 1024
	for _, reader := range readers {
		reader.Close()
	}
	figures(t, map[string]any{
		"readers": clients, "stream_mib": size >> 20, "router_kib_each": each, "region_sent_mib_each": float64(sent) / clients / (1 << 20),
	})
	if each > 256 {
		t.Errorf("the router holds %.0f KiB for each reader", each)
	}
	if sent > clients*size/10 {
		t.Errorf("the region could send %d MiB to each of the readers, who read nothing", sent/clients>>20)
	}
	eventually(t, "no request is in flight", 10*time.Second, func() bool { return router.inFlight() == 0 })
}

// normal asks for some short answers, one after the other, and returns how long they
// took. None may fail.
func (r *Router) normal(requests int) load.Latency {
	r.t.Helper()
	question := strings.Replace(question("llama-3-8b", ""), `"max_tokens":4`, `"max_tokens":1`, 1)
	var took []time.Duration
	for range requests {
		asked := time.Now()
		got := r.ask(berlin, http.MethodPost, "/v1/chat/completions", question)
		took = append(took, time.Since(asked))
		if got.Status != http.StatusOK {
			r.t.Errorf("a normal request: %d %s", got.Status, got.Body)
		}
	}
	return load.LatencyOf(took)
}

// gather opens connections to the router, and lets each begin with something.
func (r *Router) gather(clients int, begin func(net.Conn) error) []io.Closer {
	r.t.Helper()
	conns := make([]io.Closer, clients)
	inParallel(r.t, clients, func(i int) error {
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.URL, "http://"))
		if err != nil {
			return err
		}
		r.t.Cleanup(func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(time.Minute)) // so that a test may fail, but does not hang
		conns[i] = conn
		return begin(conn)
	})
	return conns
}

// inParallel does something n times, a few at once, and ends the test if it went wrong.
func inParallel(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	const atOnce = 32
	var next, failed atomic.Int64
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil && failed.Add(1) == 1 {
					t.Errorf("%d of %d: %v", i, n, err)
				}
			}
		})
	}
	workers.Wait()
	if failed.Load() > 0 {
		t.Fatalf("%d of %d failed", failed.Load(), n)
	}
}

// affordable is how many of n clients the limit of open files allows, here and in the
// router. Go has raised the soft limit to the hard one when the process began.
func affordable(t *testing.T, n, filesEach int) int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	const others = 500
	if uint64(n*filesEach+others) <= files.Cur {
		return n
	}
	fewer := (int(files.Cur) - others) / filesEach
	t.Logf("%d files may be open: %d clients instead of %d", files.Cur, fewer, n)
	return fewer
}

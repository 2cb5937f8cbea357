package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"proxima/internal/modelserver"
)

// addressesVariable asks for another number of client addresses than is quickly done:
// PROXIMA_E2E_ADDRESSES=1000000 takes some minutes.
const addressesVariable = "PROXIMA_E2E_ADDRESSES"

func TestClientsAreNotRemembered(t *testing.T) {
	addresses := 60_000
	if text := os.Getenv(addressesVariable); text != "" {
		var err error
		if addresses, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", addressesVariable, err)
		}
	}
	world := newWorld(t, modelserver.Settings{}, "europe-west1")
	world.AddInside("us-east1", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	router := serveBuilt(t, world.Config(roomy, "failover: {hedge: true, models: {llama-3-8b: {hedge: false}}}"), false)
	router.strangers(0, 2000)
	before, series := router.normal(20), router.tally()
	fresh := router.size()

	began := time.Now()
	router.strangers(2000, 2000+addresses)
	took := time.Since(began)

	known := router.size()
	during := router.normal(20)
	growth := known.rss - fresh.rss
	more := router.tally()
	for name := range series {
		delete(more, name)
	}
	figures(t, map[string]any{
		"addresses": addresses, "seconds": took.Seconds(), "rss_grown_mib": float64(growth) / (1 << 20),
		"series": len(series), "new_series": more,
		"others_p99_ms_before": before.P99, "others_p99_ms_after": during.P99,
	})
	if growth > 64<<20 {
		t.Errorf("the router has grown by %d MiB", growth>>20)
	}
	if len(more) > 0 {
		t.Errorf("metrics have new series: %v", more)
	}
}

// strangers sends one request from each of many clients, no two of which have the same
// address, and which invent a name for everything that they may name.
func (r *Router) strangers(from, to int) {
	r.t.Helper()
	const inTurn = 50 // requests that are sent before their answers are read
	const lines = 8   // connections
	var next atomic.Int64
	next.Store(int64(from))
	r.gather(lines, func(conn net.Conn) error {
		for {
			first := int(next.Add(inTurn)) - inTurn
			last := min(first+inTurn, to)
			if first >= last {
				return conn.Close()
			}
			var requests strings.Builder
			for i := first; i < last; i++ {
				requests.WriteString(strange(i))
			}
			if _, err := io.WriteString(conn, requests.String()); err != nil {
				return err
			}
			if err := wantAllOK(conn, last-first); err != nil {
				return err
			}
		}
	})
}

// wantAllOK reads so many answers, which must be good ones. It only looks for their
// first lines: the time is the router's.
func wantAllOK(conn net.Conn, answers int) error {
	const good = "HTTP/1.1 200 OK\r\n"
	buf, kept, found := make([]byte, 64<<10), 0, 0
	for found < answers {
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, err := conn.Read(buf[kept:])
		if err != nil {
			return fmt.Errorf("%d of %d answers were good: %w", found, answers, err)
		}
		came := buf[:kept+n]
		found += bytes.Count(came, []byte(good))
		kept = copy(buf, came[max(0, len(came)-len(good)+1):])
	}
	return nil
}

// strange is the request of the i-th stranger: mostly a GET, sometimes a question.
func strange(i int) string {
	about := fmt.Sprintf("Host: host-%d.test\r\nX-Forwarded-For: %s\r\nX-Proxima-Session: session-%[1]d\r\nX-Request-Id: request-%[1]d\r\n", i, stranger(i))
	if i%10 > 0 {
		return fmt.Sprintf("GET / HTTP/1.1\r\n%sX-Proxima-Model: model-%d\r\n\r\n", about, i)
	}
	body := fmt.Sprintf(`{"model":"model-%d","max_tokens":1,"messages":[{"role":"user","content":"question %[1]d%s"}]}`, i, strings.Repeat(" x", 300))
	return fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s", about, len(body), body)
}

// stranger is the i-th of many addresses all over the world: two of three are IPv4, the
// others IPv6 and each in a network of its own.
func stranger(i int) string {
	if i%3 == 2 {
		return fmt.Sprintf("2a00:%x:%x::1", i>>16, i&0xffff)
	}
	spread := uint32(i) * 2654435761 // an odd number: no two are alike
	var address [4]byte
	binary.BigEndian.PutUint32(address[:], spread)
	return net.IP(address[:]).String()
}

func TestRequestsThatAreResetAtOnceDoNotReachRegionsByTheThousand(t *testing.T) {
	world := newWorld(t, modelserver.Settings{})
	var reached atomic.Int64
	region := &crowdMeter{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet { // it does not notice at once that its client has left
			reached.Add(1)
			time.Sleep(200 * time.Millisecond)
		}
	})}
	world.AddInside("europe-west1", region)
	router := serveBuilt(t, world.Config(roomy), false)
	before := router.normal(20)
	calm := router.size()
	conn, err := net.Dial("tcp", strings.TrimPrefix(router.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	sent, ended := make(chan int, 1), make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, conn) // until the router has enough
		ended <- err
	}()
	go func() { sent <- openAndReset(conn, 20_000) }()
	during := router.normal(20)
	if err := <-ended; errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the router did not close the connection")
	}

	eventually(t, "no request is in flight", 10*time.Second, func() bool { return router.inFlight() == 0 })
	flooded := router.size()
	figures(t, map[string]any{
		"requests_sent": <-sent, "reached_region": reached.Load(), "most_at_once": region.most.Load(),
		"turned_away":          router.tally()[`connections_turned_away_total{reason="h2_flood"}`],
		"rss_grown_mib":        float64(flooded.rss-calm.rss) / (1 << 20),
		"others_p99_ms_before": before.P99, "others_p99_ms_during": during.P99,
	})
	if most := region.most.Load(); most == 0 || most > 250 {
		t.Errorf("%d requests were in the region at once", most)
	}
	if grown := flooded.rss - calm.rss; grown > 32<<20 {
		t.Errorf("the router has grown by %d MiB", grown>>20)
	}
}

// openAndReset sends GETs over HTTP/2 and resets each at once (CVE-2023-44487). It
// returns how many were taken before the connection was closed.
func openAndReset(conn net.Conn, requests int) int {
	const (
		headers, settings, reset = 0x1, 0x4, 0x3
		endOfStreamAndHeaders    = 0x5
		get                      = "\x82\x86\x84\x41\x06router" // GET http://router/ (RFC 7541, Appendix A)
		cancel                   = "\x00\x00\x00\x08"
	)
	frame := func(kind, flags byte, stream uint32, payload string) string {
		head := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
		return string(binary.BigEndian.AppendUint32(head, stream)) + payload
	}
	hello := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(settings, 0, 0, "")
	if _, err := io.WriteString(conn, hello); err != nil {
		return 0
	}
	for i := range requests {
		id := uint32(2*i + 1)
		if _, err := io.WriteString(conn, frame(headers, endOfStreamAndHeaders, id, get)+frame(reset, 0, id, cancel)); err != nil {
			return i
		}
	}
	return requests
}

func TestARouterWithoutFilesComesBack(t *testing.T) {
	const files, clients = 512, 2000
	world := newWorld(t, modelserver.Settings{}, "europe-west1")
	for _, limit := range []struct {
		name     string
		limits   string
		reserved bool // some files are kept for operators
	}{
		{"as many connections as files allow", "0", true},
		{"more connections than files allow", "5000", false},
	} {
		t.Run(limit.name, func(t *testing.T) {
			config := world.Config(strings.Replace(roomy, "11000", limit.limits, 1))
			ulimit := fmt.Sprintf(`ulimit -n %d; exec "$0" "$@"`, files)
			router := serveBy(t, config, "bash", "-c", ulimit, program(t, false))
			router.normal(1)

			crowd := router.gather(affordable(t, clients, 1), func(net.Conn) error { return nil })
			if limit.reserved {
				eventually(t, "the router is full", 10*time.Second, func() bool { return router.Metric("connections_open") > 200 })
				router.normalByAdmin()
			} else {
				router.Await("the log says that no file is left", 10*time.Second, func(e entry) bool {
					return strings.Contains(fmt.Sprint(e["msg"]), "too many open files")
				})
			}
			for _, one := range crowd {
				one.Close()
			}
			released := time.Now()
			eventually(t, "the router answers again", 10*time.Second, router.answers)
			back := time.Since(released)

			figures(t, map[string]any{"files": files, "clients": len(crowd), "answers_after_s": back.Seconds()})
			if back > 2*time.Second {
				t.Errorf("it took %v to answer again", back)
			}
			router.normal(20)
			router.normalByAdmin()
		})
	}
}

// normalByAdmin asks for the status a few times.
func (r *Router) normalByAdmin() {
	for range 5 {
		r.Status()
	}
}

// answers reports whether a request is answered well, and soon.
func (r *Router) answers() bool {
	response, err := single(500 * time.Millisecond).Get(r.URL)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// capped lets four requests be at each endpoint, and 100 wait.
func capped(config string) string {
	return strings.ReplaceAll(config, "capacity: 4096", "max_in_flight: 4") + `
client: {trusted_proxies: [127.0.0.0/8]}
steering: {shed: {batch: 0}}
admission: {queue: 100, wait: 1m}
`
}

// slowdown is an endpoint that answers nothing until it is let go, and then each
// request after a moment.
type slowdown struct {
	let   chan struct{} // closed: go
	order *order
}

func (s slowdown) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.order.add(r.Header.Get(rank))
	select {
	case <-s.let:
	case <-r.Context().Done():
	}
	time.Sleep(20 * time.Millisecond)
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, "{}")
}

// rank is what a client calls its own priority, for those behind the router.
const rank = "X-Rank"

// order is the priorities of requests as they came to regions.
type order struct {
	mu   sync.Mutex
	came []string
}

func (o *order) add(priority string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.came = append(o.came, priority)
}

func TestFullEndpointsGetNoMoreAndOthersWaitInTheirOrder(t *testing.T) {
	world := newWorld(t, modelserver.Settings{})
	came, let := &order{}, make(chan struct{})
	europe := &crowdMeter{Handler: slowdown{let, came}}
	us := &crowdMeter{Handler: slowdown{let, came}}
	world.AddInside("europe-west1", europe)
	world.AddInside("us-east1", us)
	router := serve(t, capped(world.Config()))
	const requests = 200 // 20 critical, 60 standard and 120 batch ones
	priorities := strings.Fields("batch batch standard batch standard batch critical batch standard batch")
	answers := make(chan answer, requests)

	for i := range requests {
		go func() { answers <- router.askAs(priorities[i%len(priorities)]) }()
	}
	eventually(t, "eight requests are served, 100 wait, and the others know", 20*time.Second, func() bool {
		return europe.now.Load() == 4 && us.now.Load() == 4 && router.Metric("admission_waiting") == 100 && len(answers) == requests-108
	})
	close(let)

	served, refused := 0, map[string]int{}
	for range requests {
		got := <-answers
		switch {
		case got.Status == http.StatusOK:
			served++
		case got.Status == http.StatusTooManyRequests && got.Header.Get("Retry-After") != "":
			refused[got.Header.Get(rank)]++
		default:
			t.Errorf("%d, Retry-After %q: %s", got.Status, got.Header.Get("Retry-After"), got.Body)
		}
	}
	waited := came.came[8:]
	pairs, swapped := disorder(waited)
	figures(t, map[string]any{
		"requests": requests, "served": served, "refused": refused, "most_in_europe": europe.most.Load(), "most_in_us": us.most.Load(),
		"overtook": swapped, "pairs": pairs,
	})
	if served != 108 || refused["critical"]+refused["standard"] > 0 {
		t.Errorf("%d served, and refused were %v", served, refused)
	}
	if europe.most.Load() > 4 || us.most.Load() > 4 {
		t.Errorf("%d and %d requests were in the regions at once", europe.most.Load(), us.most.Load())
	}
	if swapped > pairs/20 { // eight are on their way at once, and may overtake each other there
		t.Errorf("of %d pairs of different priority %d came in the wrong order: %v", pairs, swapped, waited)
	}
	if n := router.Metric("admission_waiting"); n != 0 {
		t.Errorf("%v requests still wait", n)
	}
}

// disorder counts the pairs of different priority, and those of them in which the lower
// one came first.
func disorder(came []string) (pairs, swapped int) {
	ranks := map[string]int{"critical": 0, "standard": 1, "batch": 2}
	for i, first := range came {
		for _, second := range came[i+1:] {
			if first != second {
				pairs++
			}
			if ranks[first] > ranks[second] {
				swapped++
			}
		}
	}
	return pairs, swapped
}

// askAs asks with a priority, and repeats it in the header of the answer. Status is 0
// when there is none.
func (r *Router) askAs(priority string) answer {
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.URL+"/v1/chat/completions", strings.NewReader(question("llama-3-8b", "")))
	if err != nil {
		return answer{Body: err.Error()}
	}
	request.Header.Set("X-Proxima-Priority", priority)
	request.Header.Set(rank, priority)
	response, err := single(time.Minute).Do(request)
	if err != nil {
		return answer{Body: err.Error()}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{Body: err.Error()}
	}
	response.Header.Set(rank, priority)
	return answer{Status: response.StatusCode, Header: response.Header, Body: string(text)}
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"proxima/admin"
	"proxima/internal/modelserver"
	"proxima/router"
)

// running is `proxima serve` in this process.
type running struct {
	t       *testing.T
	file    string
	log     *logbook
	address string // of the clients' listener
	admin   string
	stop    func() int // asks it to stop and returns the exit code
}

// logbook is what the router logs, for reading while it writes.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// line returns the first event with this message, once there is one.
func (l *logbook) line(t *testing.T, message string) map[string]any {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for line := range strings.Lines(l.String()) {
			var event map[string]any
			if json.Unmarshal([]byte(line), &event) == nil && event["msg"] == message {
				return event
			}
		}
	}
	t.Fatalf("no event %q in the log:\n%s", message, l)
	return nil
}

// serve starts a router on a configuration and waits until it listens.
func serve(t *testing.T, config string, flags ...string) *running {
	t.Helper()
	file := filepath.Join(t.TempDir(), "proxima.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return serveFile(t, file, flags...)
}

func serveFile(t *testing.T, file string, flags ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{t: t, file: file, log: &logbook{}}
	done := make(chan int, 1)
	args := append([]string{"serve", "-c", file}, flags...)
	go func() { done <- run(ctx, args, os.LookupEnv, strings.NewReader(""), r.log, r.log) }()
	r.stop = sync.OnceValue(func() int { cancel(); return <-done })
	t.Cleanup(func() { r.stop() })
	event := r.log.line(t, "listening")
	r.address, r.admin = "http://"+event["address"].(string), "http://"+event["admin"].(string)
	return r
}

// simulated is a simulated model server on loopback.
func simulated(t *testing.T, region string) string {
	t.Helper()
	server := httptest.NewServer(modelserver.New(modelserver.Settings{Region: region}))
	t.Cleanup(server.Close)
	return server.URL
}

func oneRegion(url string) string {
	return fmt.Sprintf(`version: 1
listen: 127.0.0.1:0
admin: {listen: "127.0.0.1:0"}
log: {format: json}
health: {interval: 100ms, timeout: 1s}
regions: {us-east1: {}}
endpoints: [{id: us-1, url: %q, region: us-east1}]
`, url)
}

func TestServeAnswersAndStopsClean(t *testing.T) {
	r := serve(t, oneRegion(simulated(t, "us-east1")))
	body := `{"model": "any", "max_tokens": 3, "messages": [{"role": "user", "content": "secret words"}]}`
	request, _ := http.NewRequest(http.MethodPost, r.address+"/v1/chat/completions?key=secret-query", strings.NewReader(body))
	request.Header.Set("Authorization", "Bearer secret-key")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK || response.Header.Get("X-Proxima-Region") != "us-east1" {
		t.Errorf("status %d from %q", response.StatusCode, response.Header.Get("X-Proxima-Region"))
	}
	access := r.log.line(t, "request")
	if access["endpoint"] != "us-1" || access["path"] != "/v1/chat/completions" || access["status"] != 200.0 {
		t.Errorf("access line %v", access)
	}
	http.DefaultClient.CloseIdleConnections()
	if code := r.stop(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if strings.Contains(r.log.String(), "secret") {
		t.Errorf("a secret reached the log:\n%s", r.log)
	}
}

func TestABrokenFileEndsServeUnlessSomethingServedWellBefore(t *testing.T) {
	url, state := simulated(t, "us-east1"), t.TempDir()
	broken := filepath.Join(t.TempDir(), "proxima.yaml")
	if err := os.WriteFile(broken, []byte("version: 1\nregions: {"), 0o600); err != nil {
		t.Fatal(err)
	}
	var said logbook
	for _, flags := range [][]string{nil, {"--state", state}} {
		args := append([]string{"serve", "-c", broken}, flags...)
		if code := run(t.Context(), args, os.LookupEnv, strings.NewReader(""), &said, &said); code != exitConfig {
			t.Fatalf("with nothing remembered the exit code is %d:\n%s", code, &said)
		}
	}
	if err := (good{state}).remember([]byte(oneRegion(url)), time.Now()); err != nil {
		t.Fatal(err)
	}

	r := serveFile(t, broken, "--state", state)

	if refused := r.log.line(t, "configuration refused, the one in use stays"); refused["because"] != "start" {
		t.Errorf("the log says %v", refused)
	}
	if err := os.WriteFile(broken, []byte(oneRegion(url)+"steering: {slack: 11ms}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.log.line(t, "configuration reloaded")
}

func TestThreeGoodConfigurationsAreKept(t *testing.T) {
	g := good{t.TempDir()}
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for i := range 5 {
		if err := g.remember([]byte(oneRegion(fmt.Sprint("http://127.0.0.1:", 1000+i))), noon.Add(time.Duration(i)*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	newest := []byte(oneRegion("http://127.0.0.1:1004"))
	if err := g.remember(newest, noon.Add(time.Hour)); err != nil { // as after another start
		t.Fatal(err)
	}
	names, err := g.list()
	if err != nil || len(names) != 3 || strings.Contains(names[0], fmt.Sprint(noon.Add(time.Hour).UnixNano())) {
		t.Fatalf("kept %v: %v", names, err)
	}
	if err := os.WriteFile(filepath.Join(g.dir, names[0]), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := g.remembered("proxima.yaml", os.LookupEnv)
	if err != nil || d.config.Endpoints[0].URL.Port() != "1003" {
		t.Errorf("the newest that can be used is %+v: %v", d.config, err)
	}
}

func TestAnAddressInUseIsSaidPlainly(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "proxima.yaml")
	config := strings.Replace(oneRegion("http://127.0.0.1:1"), "127.0.0.1:0", taken.Addr().String(), 1)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var said logbook
	code := run(t.Context(), []string{"serve", "-c", file}, os.LookupEnv, strings.NewReader(""), &said, &said)
	if code != exitFailed || !strings.Contains(said.String(), "choose another address in the file's listen") {
		t.Errorf("exit code %d:\n%s", code, &said)
	}
}

func TestADemoAnswersFromTheNearestRegion(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	var out logbook
	done := make(chan int, 1)
	go func() {
		args := []string{"demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}
		done <- run(ctx, args, os.LookupEnv, strings.NewReader(""), &out, &out)
	}()
	var base string
	for deadline := time.Now().Add(10 * time.Second); base == "" && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if _, after, told := strings.Cut(out.String(), "Proxima is listening at "); told {
			base, _, _ = strings.Cut(after, ";")
		}
	}
	for client, region := range map[string]string{"133.11.0.1": "asia-northeast1", "141.2.1.1": "europe-west3", "128.59.1.1": "us-east4"} {
		body := `{"model": "demo-llm", "stream": true, "max_tokens": 1, "messages": []}`
		request, _ := http.NewRequest(http.MethodPost, base+"/v1/chat/completions", strings.NewReader(body))
		request.Header.Set("X-Forwarded-For", client)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if got := response.Header.Get("X-Proxima-Region"); got != region {
			t.Errorf("%s was answered by %q, want %s", client, got, region)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	if code := <-done; code != exitOK {
		t.Errorf("exit code %d:\n%s", code, &out)
	}
}

func TestExplainGivesTheCostThatTheRouterThenUses(t *testing.T) {
	eu, us := simulated(t, "europe-west1"), simulated(t, "us-east1")
	r := serve(t, fmt.Sprintf(`version: 1
listen: 127.0.0.1:0
admin: {listen: "127.0.0.1:0"}
log: {format: json}
client: {trusted_proxies: [127.0.0.1/32]}
health: {interval: 100ms, timeout: 1s}
regions: {us-east1: {}, europe-west1: {bias: 7ms}}
endpoints:
  - {id: us-1, url: %q, region: us-east1, capacity: 8}
  - {id: eu-1, url: %q, region: europe-west1, capacity: 4}
`, us, eu))
	r.eventually("the router is ready", func() bool { return r.ready() })
	for _, session := range []string{"", "alice", "", "alice", "alice"} { // each answer teaches; the next decision knows
		var x admin.Explanation
		r.ask("/v1/explain?client=141.2.1.1&model=any&session="+session, &x)
		request, _ := http.NewRequest(http.MethodPost, r.address+"/v1/chat/completions",
			strings.NewReader(`{"model": "any", "stream": true, "max_tokens": 1, "messages": []}`))
		request.Header.Set("X-Forwarded-For", "141.2.1.1")
		request.Header.Set("X-Proxima-Session", session)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		used := r.request(response.Header.Get("X-Request-Id"))
		if x.Chosen == nil || used.Endpoint != x.Chosen.Endpoint || used.Decision.CostMs != x.Chosen.CostMs {
			t.Errorf("explained %+v, used %s at %+v", x.Chosen, used.Endpoint, used.Decision)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestStatusSaysWhatTheOtherSteeringWouldDo(t *testing.T) {
	r := serve(t, oneRegion(simulated(t, "us-east1"))+"client: {trusted_proxies: [127.0.0.1/32]}\n")
	r.eventually("the router is ready", r.ready)
	id := ""
	for n := 0; id == "" || router.Key(id)%64 != 0; n++ {
		id = fmt.Sprint("request-", n)
	}
	for _, id := range []string{"no-lot", id} {
		request, _ := http.NewRequest(http.MethodGet, r.address+"/anything", nil)
		request.Header.Set("X-Request-Id", id)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
	var status admin.Status
	r.ask("/v1/status", &status)
	if o := status.Steering.Otherwise; status.Steering.By != "client" || o == nil || o.By != "path" || o.Sampled != 1 {
		t.Errorf("steering %+v, otherwise %+v", status.Steering, o)
	}
}

// ask reads JSON from the admin listener.
func (r *running) ask(path string, into any) {
	r.t.Helper()
	response, err := http.Get(r.admin + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		r.t.Fatal(err)
	}
}

// text reads from the admin listener.
func (r *running) text(path string) string {
	r.t.Helper()
	response, err := http.Get(r.admin + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

// request is what the router remembers of one, once it is over.
func (r *running) request(id string) (found admin.Request) {
	r.t.Helper()
	r.eventually("request "+id+" is over", func() bool {
		var last admin.Requests
		r.ask("/v1/requests?limit=1", &last)
		if len(last.Requests) > 0 {
			found = last.Requests[0]
		}
		return found.ID == id
	})
	return found
}

// ready reports whether every endpoint was probed.
func (r *running) ready() bool {
	response, err := http.Get(r.admin + "/readyz")
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func (r *running) eventually(what string, is func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain until %s:\n%s", what, r.log)
		}
	}
}

func TestARouterThatSuspectsItsOwnNetworkSaysSo(t *testing.T) {
	var servers []*modelserver.Server
	var urls []any
	for _, region := range []string{"us-east1", "europe-west1"} {
		server := modelserver.New(modelserver.Settings{Region: region})
		listener := httptest.NewServer(server)
		t.Cleanup(listener.Close)
		servers, urls = append(servers, server), append(urls, listener.URL)
	}
	r := serve(t, fmt.Sprintf(`version: 1
listen: 127.0.0.1:0
admin: {listen: "127.0.0.1:0"}
log: {format: json}
health: {interval: 100ms, timeout: 1s}
regions: {us-east1: {}, europe-west1: {}}
endpoints:
  - {id: us-1, url: %q, region: us-east1}
  - {id: eu-1, url: %q, region: europe-west1}
`, urls...))
	r.eventually("the router is ready", r.ready)

	for _, server := range servers { // no way out of here leads anywhere any more
		server.Break(modelserver.Fault{Mode: modelserver.Down})
	}
	r.log.line(t, "this router suspects its own network, so failures change no health")
	var during admin.Status
	r.ask("/v1/status", &during)
	if x := during.SelfSuspicion; x == nil || x.Since.IsZero() || !strings.Contains(x.Detail, "2 of 2 endpoints") {
		t.Errorf("the status says %+v", x)
	}
	if metrics := r.text("/metrics"); !strings.Contains(metrics, "\nproxima_self_suspected 1\n") {
		t.Error("the metric does not say so")
	}

	for _, server := range servers {
		server.Mend()
	}
	r.log.line(t, "this router trusts its own network again")
	var after admin.Status
	r.ask("/v1/status", &after)
	if after.SelfSuspicion != nil || !strings.Contains(r.text("/metrics"), "\nproxima_self_suspected 0\n") {
		t.Errorf("the status still says %+v", after.SelfSuspicion)
	}
}

func TestAnUpgradedConnectionThatOutlivesTheDrainIsCutAndSaid(t *testing.T) {
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			return
		}
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "echo")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			defer conn.Close()
			_, _ = io.Copy(conn, conn)
		}
	}))
	defer echo.Close()
	r := serve(t, oneRegion(echo.URL)+"failover: {drain_timeout: 100ms}\n")
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.address, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v", response, err)
	}
	if code := r.stop(); code != exitPartly {
		t.Errorf("exit code %d", code)
	}
}

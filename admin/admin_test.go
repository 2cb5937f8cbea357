package admin

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"proxima/geo"
	"proxima/router"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is when everything happens.
var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func TestStatusTellsAllThatIsBelieved(t *testing.T) {
	s := newServer(t)
	golden(t, "status.json", s.get("/v1/status"))
}

func TestStatusTellsTheLearnedCapacityInWholeRequests(t *testing.T) {
	s := newServer(t)
	meter := s.Live.Snapshot().Meter(0)
	for range 8 {
		meter.Begin(noon, 0)
	}
	meter.Cool(noon, time.Second) // eight were too many, so it is 0.9 of that
	var status Status
	s.decode(s.get("/v1/status"), &status)
	got, learned := status.Regions[0].Endpoints[0].LearnedCapacity, meter.Capacity()
	if got == nil || *got != 7 || learned <= 7 {
		t.Errorf("learned %v, told %v", learned, got)
	}
}

func TestStatusTellsWhatTheRouterSuspectsAndWhatTheOtherSteeringWouldDo(t *testing.T) {
	s := newServer(t)
	s.Suspicion = func() *SelfSuspicion { return &SelfSuspicion{Since: noon, Detail: "5 of 6 endpoints fell silent"} }
	s.Compared = &Comparison{}
	there := func(region router.RegionID, costMs float64) router.Candidate {
		return router.Candidate{Region: region, CostMs: costMs}
	}
	s.Compared.Add(router.Otherwise{By: router.ByPath, Found: true, Chosen: there("us-east1", 100), Ours: there("europe-west1", 130)})
	s.Compared.Add(router.Otherwise{By: router.ByPath, Found: true, Chosen: there("us-east1", 100), Ours: there("us-east1", 110)})
	s.Compared.Add(router.Otherwise{By: router.ByPath})
	got := compact(s.get("/v1/status"))
	for _, want := range []string{
		`"self_suspicion":{"since":"2026-11-24T12:00:00Z","detail":"5 of 6 endpoints fell silent"}`,
		`"steering":{"by":"client","otherwise":{"by":"path","sampled":2,"moved_ratio":0.5,"difference_ms":20}}`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}

func TestAComparisonBeginsAnewWhenTheSettingChanges(t *testing.T) {
	var c Comparison
	compared := router.Otherwise{By: router.ByPath, Found: true, Ours: router.Candidate{CostMs: 50}}
	c.Add(compared)
	if got := c.with(router.ByPath); got != nil {
		t.Errorf("the present setting is compared with itself: %+v", got)
	}
	compared.By, compared.Ours.CostMs = router.ByClient, 7
	c.Add(compared)
	if got := c.with(router.ByPath); got == nil || *got != (OtherSteering{By: "client", Sampled: 1, DifferenceMs: 7}) {
		t.Errorf("got %+v", got)
	}
	for range 2000 { // what was true long ago is forgotten
		compared.Ours.CostMs = 90
		c.Add(compared)
	}
	if got := c.with(router.ByPath); got.DifferenceMs < 89.9 {
		t.Errorf("got %+v", got)
	}
}

func TestExplainTellsEveryTerm(t *testing.T) {
	s := newServer(t)
	golden(t, "explain.json", s.get("/v1/explain?client=203.0.113.7&model=llama"))
}

func TestExplainTellsWhyNobodyMayServe(t *testing.T) {
	s := newServer(t)
	golden(t, "explain-none.json", s.get("/v1/explain?client=192.0.2.1&model=gpt-9"))
}

func TestExplainDecidesAsTheRouterDoes(t *testing.T) {
	s := newServer(t)
	for _, q := range []Question{
		{Client: addr("203.0.113.7"), Model: "llama"},
		{Client: addr("203.0.113.7"), Model: "mistral"},
		{Client: addr("203.0.113.7"), Model: "llama", Session: "alice"},
		{Client: addr("192.0.2.1"), Prefer: "us-east1"},
		{Client: addr("::ffff:203.0.113.7"), Model: "gpt-9"},
		{Client: addr("203.0.113.7"), Down: []router.RegionID{"europe-west1"}},
	} {
		t.Run(q.values().Encode(), func(t *testing.T) {
			var got Explanation
			s.decode(s.get("/v1/explain?"+q.values().Encode()), &got)

			supposed, err := WithDown(s.Live.Snapshot(), q.Down)
			if err != nil {
				t.Fatal(err)
			}
			d := supposed.Decide(q.Query(s.Locate(q.Client.Unmap())), s.Live.Snapshot().Measure(nil, noon))
			chosen := ""
			if got.Chosen != nil {
				chosen = got.Chosen.Endpoint
				if first := find(t, got.Candidates, chosen); first.CostMs != got.Chosen.CostMs {
					t.Errorf("chosen costs %v, its candidate %v", got.Chosen.CostMs, first.CostMs)
				}
			}
			if chosen != string(d.Chosen.Endpoint) || got.Reason != string(d.Reason) || got.FailOpen != d.FailOpen() {
				t.Errorf("explained %q %q fail_open %v, decided %q %q fail_open %v",
					chosen, got.Reason, got.FailOpen, d.Chosen.Endpoint, d.Reason, d.FailOpen())
			}
		})
	}
}

func TestExplainKnowsWhatWasLearnedOfTheClientAndOfTheSession(t *testing.T) {
	s := newServer(t)
	question := Question{Client: addr("203.0.113.7"), Model: "llama", Session: "alice"}
	paris := s.Locate(question.Client)
	ask := func(q Question) (x Explanation) {
		s.decode(s.get("/v1/explain?"+q.values().Encode()), &x)
		return x
	}
	before := ask(question)

	europe, _ := s.Live.Snapshot().Table.RegionPosition("europe-west1")
	for range 100 {
		s.Live.Cells.Learn(question.Client, paris.Country, europe, 40)
	}
	eu := s.Live.Snapshot().Meter(2)
	for at := range 100 { // 2 ms for each KB, and 50
		kb := float64(10 + at%50)
		eu.Served(router.Sample{At: noon, KB: kb, Elapsed: time.Duration(50+2*kb) * time.Millisecond, Streamed: true})
	}
	s.Live.Sent(question.Query(paris).Key, "eu-1", 20, noon)
	after := ask(question)
	was, is := find(t, before.Candidates, "eu-1"), find(t, after.Candidates, "eu-1")
	if is.NetMs < was.NetMs+30 || was.WarmMs != 0 || is.WarmMs < 30 {
		t.Errorf("before %+v\nafter %+v", was, is)
	}
	question.Session = ""
	if other := find(t, ask(question).Candidates, "eu-1"); other.WarmMs != 0 || other.NetMs != is.NetMs {
		t.Errorf("without a session %+v", other)
	}
}

func TestAnybodyCanRecomputeACost(t *testing.T) {
	s := newServer(t)
	meter := s.Live.Snapshot().Meter(0)
	meter.Served(router.Sample{Elapsed: 4321 * time.Millisecond, Streamed: true})
	for at := range 100 {
		kb := float64(10 + at%50)
		meter.Served(router.Sample{At: noon, KB: kb, Elapsed: time.Duration(50+2*kb) * time.Millisecond, Streamed: true})
	}
	for range 6 {
		meter.Begin(noon, 10)
	}
	var x Explanation
	s.decode(s.get("/v1/explain?client=203.0.113.7&model=llama"), &x)
	if c := find(t, x.Candidates, "us-east1/10.0.0.1:8000"); c.WaitMs < 100 || c.Load < 0.8 {
		t.Errorf("it has hardly anything to recompute: %+v", c)
	}
	for _, c := range x.Candidates {
		sum := c.NetMs + c.ServeMs*(1+c.Load*c.Load*c.Load) + c.WaitMs - c.WarmMs + c.BiasMs
		if off := sum - c.CostMs; off > 0.02 || off < -0.02 {
			t.Errorf("%s: the terms give %v, cost_ms is %v", c.Endpoint, sum, c.CostMs)
		}
	}
}

func TestABadQuestionIsToldWhatToAsk(t *testing.T) {
	s := newServer(t)
	for query, want := range map[string]string{
		"":                                "is not an IP address",
		"client=here":                     `client \"here\" is not an IP address`,
		"client=192.0.2.1&client=::1":     `parameter \"client\" stands twice`,
		"client=192.0.2.1&modle=llama":    `parameter \"modle\" is not known`,
		"client=192.0.2.1&down=the-moon":  `no region \"the-moon\"`,
		"client=192.0.2.1;model=llama":    "the query is not well formed",
		"client=%1b%5B31m&model=x%0d%0ay": `client \"�[31m\"`,
	} {
		t.Run(query, func(t *testing.T) {
			answer := s.do("GET", "/v1/explain?"+query)
			if answer.Code != 400 || !strings.Contains(answer.Body.String(), want) {
				t.Errorf("answered %d, want 400 with %q:\n%s", answer.Code, want, answer.Body)
			}
			if !strings.Contains(answer.Body.String(), `"hint"`) {
				t.Errorf("no hint:\n%s", answer.Body)
			}
		})
	}
}

func TestEveryURLKnowsItsMethods(t *testing.T) {
	s := newServer(t)
	allowed := map[string]string{
		"/":                        "GET, HEAD",
		"/dashboard/app.js":        "GET, HEAD",
		"/dashboard/style.css":     "GET, HEAD",
		"/livez":                   "GET, HEAD",
		"/readyz":                  "GET, HEAD",
		"/metrics":                 "GET, HEAD",
		"/v1/status":               "GET, HEAD",
		"/v1/explain":              "GET, HEAD",
		"/v1/requests":             "GET, HEAD",
		"/v1/config":               "GET, HEAD",
		"/v1/reload":               "POST",
		"/v1/endpoints/eu-1/drain": "DELETE, PUT",
		"/v1/regions/lab/drain":    "DELETE, PUT",
	}
	for path, allow := range allowed {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "G\x1bT"} {
			answer := s.do(method, path)
			may := strings.Contains(allow, method)
			if refused := answer.Code == http.StatusMethodNotAllowed; refused == may {
				t.Errorf("%q %s answered %d, allowed are %s", method, path, answer.Code, allow)
			}
			if may {
				continue
			}
			if answer.Header().Get("Allow") != allow {
				t.Errorf("%q %s: Allow is %q, want %q", method, path, answer.Header().Get("Allow"), allow)
			}
			isProblem(t, answer)
		}
	}
}

func TestWhatIsNotServedSaysWhatIs(t *testing.T) {
	s := newServer(t)
	for _, path := range []string{"/v2/status", "/v1/endpoints/eu-1", "/v1/endpoints/", "/dashboard/index.html", "/a%1b%0d%0ab"} {
		method := "GET"
		if strings.Contains(path, "endpoints") {
			method = "PUT"
		}
		answer := s.do(method, path)
		if answer.Code != 404 || !strings.Contains(answer.Body.String(), "/v1/status") {
			t.Errorf("%s answered %d: %s", path, answer.Code, answer.Body)
		}
		isProblem(t, answer)
	}
}

func TestReadyzSaysWhyNot(t *testing.T) {
	s := newServer(t)
	if answer := s.do("GET", "/readyz"); answer.Code != 200 || answer.Body.String() != "ready\n" {
		t.Errorf("ready answered %d %q", answer.Code, answer.Body)
	}
	s.Ready = func() error { return errors.New("draining: 3 streams are still open") }
	answer := s.do("GET", "/readyz")
	if answer.Code != 503 || isProblem(t, answer).Detail != "draining: 3 streams are still open" {
		t.Errorf("not ready answered %d: %s", answer.Code, answer.Body)
	}
	if answer := s.do("GET", "/livez"); answer.Code != 200 || answer.Body.String() != "ok\n" {
		t.Errorf("alive answered %d %q", answer.Code, answer.Body)
	}
}

func TestAnEndpointIsDrainedByItsURL(t *testing.T) {
	for name, path := range map[string]string{
		"plain":   "/v1/endpoints/us-east1/10.0.0.1:8000/drain",
		"encoded": "/v1/endpoints/us-east1%2F10.0.0.1%3A8000/drain",
		"half":    "/v1/endpoints/us-east1%2f10.0.0.1:8000/drain",
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			at, _ := s.Live.Snapshot().Table.Position("us-east1/10.0.0.1:8000")
			want := `{"endpoint":"us-east1/10.0.0.1:8000","drained":true}`
			if answer := s.do("PUT", path); answer.Code != 200 || compact(answer.Body.String()) != want {
				t.Fatalf("answered %d: %s", answer.Code, answer.Body)
			}
			if !s.Live.Snapshot().IsDrained(at) {
				t.Error("it is not drained")
			}
			if answer := s.do("DELETE", path); answer.Code != 200 {
				t.Errorf("giving it back answered %d: %s", answer.Code, answer.Body)
			}
			if s.Live.Snapshot().IsDrained(at) {
				t.Error("it is still drained")
			}
			if got := strings.Join(s.events, "\n"); got != "drain: endpoint us-east1/10.0.0.1:8000\nundrain: endpoint us-east1/10.0.0.1:8000" {
				t.Errorf("the audit has:\n%s", got)
			}
		})
	}
}

func TestARegionIsDrainedByItsURL(t *testing.T) {
	s := newServer(t)
	if answer := s.do("PUT", "/v1/regions/europe-west1/drain"); compact(answer.Body.String()) != `{"region":"europe-west1","drained":true}` {
		t.Fatalf("answered %d: %s", answer.Code, answer.Body)
	}
	var x Explanation
	s.decode(s.get("/v1/explain?client=203.0.113.7&model=llama"), &x)
	if x.Chosen == nil || x.Chosen.Region == "europe-west1" {
		t.Errorf("chosen is %v", x.Chosen)
	}
}

func TestDrainingTheUnknownListsTheKnown(t *testing.T) {
	s := newServer(t)
	for path, hint := range map[string]string{
		"/v1/endpoints/us-9/drain":   "the endpoints are us-east1/10.0.0.1:8000, us-2, eu-1",
		"/v1/regions/the-moon/drain": "the regions are us-east1, europe-west1, lab",
		"/v1/regions/%2F/drain":      "the regions are us-east1, europe-west1, lab",
	} {
		answer := s.do("PUT", path)
		if p := isProblem(t, answer); answer.Code != 404 || p.Hint != hint {
			t.Errorf("%s answered %d, hint %q, want %q", path, answer.Code, p.Hint, hint)
		}
	}
	if len(s.events) > 0 {
		t.Errorf("the audit has %q", s.events)
	}
}

func TestReloadTellsWhatChanged(t *testing.T) {
	s := newServer(t)
	s.Reload = func(_ context.Context, force bool) (Reload, error) {
		return Reload{Changed: true, Summary: fmt.Sprintf("1 region more, force %v", force), Hash: "cafe"}, nil
	}
	want := `{"changed":true,"summary":"1 region more, force true","hash":"cafe"}`
	if answer := s.do("POST", "/v1/reload?force=true"); answer.Code != 200 || compact(answer.Body.String()) != want {
		t.Errorf("answered %d: %s", answer.Code, answer.Body)
	}
	if got := strings.Join(s.events, "\n"); got != "reload: 1 region more, force true" {
		t.Errorf("the audit has %q", got)
	}
}

func TestAReloadThatFailsTellsEveryProblem(t *testing.T) {
	s := newServer(t)
	s.Reload = func(context.Context, bool) (Reload, error) {
		return Reload{}, errors.New("proxima.yaml:3:5: regions.x: unknown\nproxima.yaml:9:1: listen: missing")
	}
	answer := s.do("POST", "/v1/reload")
	golden(t, "reload-refused.json", answer.Body.String())
	if answer.Code != 422 {
		t.Errorf("answered %d", answer.Code)
	}
	for _, event := range s.events {
		if strings.ContainsAny(event, "\n\r") {
			t.Errorf("an audit line is two: %q", event)
		}
	}
}

func TestAReloadThatTakesTooMuchAsksForForce(t *testing.T) {
	s := newServer(t)
	s.Reload = func(context.Context, bool) (Reload, error) {
		return Reload{}, fmt.Errorf("it removes 3 of 4 regions: %w", ErrNeedsForce)
	}
	answer := s.do("POST", "/v1/reload")
	if p := isProblem(t, answer); answer.Code != 409 || !strings.Contains(p.Hint, "force=true") {
		t.Errorf("answered %d: %s", answer.Code, answer.Body)
	}
	if answer := s.do("POST", "/v1/reload?force=perhaps"); answer.Code != 400 {
		t.Errorf("?force=perhaps answered %d", answer.Code)
	}
	s.Reload = nil
	if answer := s.do("POST", "/v1/reload"); answer.Code != 501 {
		t.Errorf("a router without a file answered %d", answer.Code)
	}
}

func TestTheConfigurationIsShownAsItsOwnerGivesIt(t *testing.T) {
	s := newServer(t)
	answer := s.do("GET", "/v1/config")
	if answer.Body.String() != "version: 1\n" || answer.Header().Get("ETag") != `"5eed"` || answer.Header().Get("Content-Type") != "application/yaml" {
		t.Errorf("answered %v %q", answer.Header(), answer.Body)
	}
}

func TestMetricsAreServed(t *testing.T) {
	s := newServer(t)
	if got := s.get("/metrics"); got != "proxima_build_info 1\n" {
		t.Errorf("got %q", got)
	}
}

// testServer is a Server that is asked from this machine.
type testServer struct {
	*Server
	t      *testing.T
	events []string
}

// newServer has three regions: us-east1 with two endpoints of which one is down,
// europe-west1 with one that is up, and lab with none.
func newServer(t *testing.T) *testServer {
	t.Helper()
	table, err := router.NewTable(
		[]router.Region{
			{ID: "us-east1", Place: geo.Location{Placed: true, Lat: 33.196, Lon: -80.013, Country: "US"}},
			{ID: "europe-west1", Place: geo.Location{Placed: true, Lat: 50.4706, Lon: 3.8170, Country: "BE"}, Bias: 5 * time.Millisecond},
			{ID: "lab", Place: geo.Location{Placed: true, Lat: 52.52, Lon: 13.4, Country: "DE"}},
		},
		[]router.Endpoint{
			{ID: "us-east1/10.0.0.1:8000", Region: "us-east1", Models: []router.Model{"llama"}, Capacity: 8, URL: &url.URL{Scheme: "http", Host: "10.0.0.1:8000", User: url.UserPassword("proxima", "hunter2")}},
			{ID: "us-2", Region: "us-east1", Models: []router.Model{"llama", "mistral"}, URL: &url.URL{Scheme: "https", Host: "us-2.example", Path: "/vllm"}},
			{ID: "eu-1", Region: "europe-west1", Models: []router.Model{"llama"}, Capacity: 32, URL: &url.URL{Scheme: "http", Host: "eu-1.example:8000"}},
		},
		router.Steering{Slack: 10 * time.Millisecond, SlowStart: 15 * time.Second},
	)
	if err != nil {
		t.Fatal(err)
	}
	live := router.NewLive(table)
	live.SetStatus("us-east1/10.0.0.1:8000", router.Status{Health: router.Up, Latency: 92100 * time.Microsecond, Since: noon.Add(-time.Hour)})
	live.SetStatus("us-2", router.Status{Health: router.Down, Since: noon.Add(-90 * time.Second), Cause: "connection refused"})
	live.SetStatus("eu-1", router.Status{Health: router.Up, Latency: 8 * time.Millisecond, Since: noon.Add(-time.Hour)})
	eu, _ := table.Position("eu-1")
	live.Snapshot().Meter(eu).Begin(noon, 0)
	s := &testServer{t: t}
	s.Server = &Server{
		Live:    live,
		Version: "1.2.3",
		Config: func() ConfigInfo {
			return ConfigInfo{Hash: "5eed", LoadedAt: noon.Add(-24 * time.Hour), Text: []byte("version: 1\n")}
		},
		Reload: func(context.Context, bool) (Reload, error) { return Reload{}, nil },
		Locate: func(client netip.Addr) geo.Location {
			if client == addr("203.0.113.7") {
				return geo.Location{Placed: true, Lat: 48.85, Lon: 2.35, Country: "FR", Source: geo.SourceDatabase}
			}
			return geo.Location{Source: geo.SourceUnknown}
		},
		Ready:       func() error { return nil },
		Metrics:     http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "proxima_build_info 1\n") }),
		Recent:      &Recent{},
		Audit:       func(event string, _ *http.Request, detail string) { s.events = append(s.events, event+": "+detail) },
		Attribution: Attribution{Text: "IP Geolocation by DB-IP", URL: "https://db-ip.com"},
		Now:         func() time.Time { return noon },
	}
	return s
}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// fromHere is a request as curl on this machine sends it.
func fromHere(method, path string) *http.Request {
	r := httptest.NewRequest("GET", "http://127.0.0.1:9090"+path, nil)
	r.Method, r.RemoteAddr = method, "127.0.0.1:50000"
	return r
}

func (s *testServer) do(method, path string) *httptest.ResponseRecorder {
	s.t.Helper()
	return s.send(fromHere(method, path))
}

func (s *testServer) send(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

func (s *testServer) get(path string) string {
	s.t.Helper()
	w := s.do("GET", path)
	if w.Code != 200 {
		s.t.Fatalf("GET %s answered %d: %s", path, w.Code, w.Body)
	}
	return w.Body.String()
}

func (s *testServer) decode(text string, to any) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(text), to); err != nil {
		s.t.Fatal(err)
	}
}

// isProblem checks that an answer is a whole problem and holds no control byte.
func isProblem(t *testing.T, answer *httptest.ResponseRecorder) Problem {
	t.Helper()
	var p Problem
	if err := json.Unmarshal(answer.Body.Bytes(), &p); err != nil {
		t.Fatalf("not JSON: %s", answer.Body)
	}
	if answer.Header().Get("Content-Type") != "application/problem+json" ||
		p.Type != "about:blank" || p.Title == "" || p.Detail == "" || p.Status != answer.Code {
		t.Errorf("not a problem: %v %s", answer.Header(), answer.Body)
	}
	isClean(t, p.Detail+p.Hint)
	return p
}

func isClean(t *testing.T, text string) {
	t.Helper()
	if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f || c == 0x202e }) {
		t.Errorf("control characters in %q", text)
	}
}

func find(t *testing.T, candidates []Candidate, endpoint string) Candidate {
	t.Helper()
	for _, c := range candidates {
		if c.Endpoint == endpoint {
			return c
		}
	}
	t.Fatalf("%s is not among the candidates %v", endpoint, candidates)
	return Candidate{}
}

func compact(text string) string {
	short, err := json.Marshal(json.RawMessage(text))
	if err != nil {
		return text
	}
	return string(short)
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (rewrite with -update when it is meant):\n%s", file, got)
	}
}

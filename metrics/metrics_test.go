package metrics

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"proxima/geo"
	"proxima/router"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAScrapeTellsWhatHappened(t *testing.T) {
	live := router.NewLive(world(t))
	m := New(live, Build{Version: "1.2.3", Revision: "abc", GoVersion: "go1.26"})
	live.SetStatus("us-1", router.Status{Health: router.Up})
	live.SetStatus("eu-1", router.Status{Health: router.Down})
	m.Budget(func() float64 { return 2.5 })
	at := time.Unix(1_800_000_000, 0)
	served := router.Attempt{Endpoint: "us-1", Region: "us-east1", Started: at, FirstByte: 80 * time.Millisecond, Status: 200}
	broken := router.Attempt{Endpoint: "eu-1", Region: "europe-west1", Started: at, Outcome: router.Broken}
	second := served
	second.Started = at.Add(40 * time.Millisecond)
	cut := served
	cut.Outcome = router.Cut

	m.Observe(&router.Record{Started: at, Model: "llama", Status: 200, Elapsed: 2 * time.Second, Attempts: []router.Attempt{served}})
	m.Observe(&router.Record{Started: at, Model: "llama", Status: 200, Elapsed: 3 * time.Second, Attempts: []router.Attempt{broken, second}})
	m.Observe(&router.Record{Started: at, Model: "mistral", Status: 200, Elapsed: time.Second, Attempts: []router.Attempt{cut}})
	m.Observe(&router.Record{Started: at, Model: "gpt-9", Status: 404, Elapsed: time.Millisecond})
	m.Observe(&router.Record{Started: at, Status: 0, Elapsed: time.Millisecond})
	m.Probed("us-1", 90*time.Millisecond, "")
	m.Probed("eu-1", time.Second, "timeout")
	m.Probed("gone", time.Second, "timeout")
	m.Ejected("eu-1")
	m.Ejected("gone")
	m.Suspected(false)
	m.Suspected(true)
	m.Located(geo.SourceDatabase)
	m.Located("the moon")
	m.Streams(1)
	m.Streams(1)
	m.Streams(-1)
	m.Reloaded(true, at)
	m.Reloaded(false, at.Add(time.Hour))
	m.GeoLoaded(at.Add(-24 * time.Hour))
	m.Panicked("probe")
	m.Panicked("the moon")

	golden(t, "scrape.txt", scrape(t, m))
}

func TestTheScrapeHasTheProcessAndTheRuntime(t *testing.T) {
	m := New(router.NewLive(world(t)), Build{})
	text := scrapeAll(t, m)
	for _, want := range []string{"\ngo_goroutines ", "\nprocess_resident_memory_bytes "} {
		if !strings.Contains(text, want) {
			t.Errorf("the scrape has no %q", want)
		}
	}
}

func TestStrangersCannotGrowTheSeries(t *testing.T) {
	m := New(router.NewLive(world(t)), Build{})
	observe := func(model router.Model, status int) {
		m.Observe(&router.Record{Model: model, Status: status, Attempts: []router.Attempt{
			{Region: "us-east1", Endpoint: "us-1", FirstByte: time.Millisecond},
		}})
	}
	observe("anything", 200)
	before := series(t, m)
	random := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		name := make([]byte, random.IntN(40)+6)
		for i := range name {
			name[i] = byte(random.Uint32())
		}
		observe(router.Model(name), 200)
	}
	if after := series(t, m); after != before {
		t.Errorf("10,000 model names grew %d series to %d", before, after)
	}
	for status := range 2000 {
		observe("llama", status-1000)
	}
	if after := series(t, m); after > before+600 {
		t.Errorf("every status there is grew %d series to %d", before, after)
	}
}

func TestWhatLeavesTheTableTakesItsSeriesAlong(t *testing.T) {
	live := router.NewLive(world(t))
	m := New(live, Build{})
	stream := router.Record{Model: "mistral", Status: 200, Attempts: []router.Attempt{
		{Region: "us-east1", Endpoint: "us-2", Outcome: router.Broken},
		{Region: "europe-west1", Endpoint: "eu-1", FirstByte: time.Millisecond},
	}}
	m.Observe(&stream)
	m.Probed("eu-1", time.Millisecond, "")
	m.Probed("eu-1", time.Millisecond, "timeout")
	m.Ejected("eu-1")

	live.SetTable(table(t, []router.Region{{ID: "us-east1"}}, []router.Endpoint{endpoint("us-1", "us-east1", 8, "llama")}))

	for _, gone := range []string{"europe-west1", "eu-1", "mistral", "us-2"} {
		if text := scrape(t, m); strings.Contains(text, gone) {
			t.Errorf("%s is still in the scrape:\n%s", gone, text)
		}
	}
	m.Observe(&stream)
	want := `proxima_requests_total{code="200",model="other",region="other"} 1`
	if text := scrape(t, m); !strings.Contains(text, want) {
		t.Errorf("a stream that outlived its region is not counted as other:\n%s", text)
	}
}

func TestTheCostIsTheRoutersOwnWithoutDistance(t *testing.T) {
	for name, serve := range map[string]time.Duration{"never answered": 0, "fast": 40 * time.Millisecond, "slow": 3 * time.Second} {
		for _, capacity := range []int{0, 4} {
			for inFlight := range 4 {
				t.Run(fmt.Sprintf("%s, %d of %d", name, inFlight, capacity), func(t *testing.T) {
					live := router.NewLive(table(t,
						[]router.Region{{ID: "us-east1", Bias: 7 * time.Millisecond}},
						[]router.Endpoint{endpoint("us-1", "us-east1", capacity)}))
					s, now := live.Snapshot(), time.Now()
					if serve > 0 {
						s.Meter(0).Served(router.Sample{Elapsed: serve, Streamed: true})
					}
					for range inFlight {
						s.Meter(0).Begin(now, 0)
					}
					load := s.Measure(nil, now)
					x := s.Explain(router.Query{}, load)
					want := x.Candidates[0].CostMs - x.Candidates[0].NetMs
					got := s.ServerCost(0, load)
					if math.Abs(got-want) > 1e-9 {
						t.Errorf("cost %v, the router says %v", got, want)
					}
				})
			}
		}
	}
}

func TestHistogramsAreNativeToo(t *testing.T) {
	m := New(router.NewLive(world(t)), Build{})
	m.Observe(&router.Record{Model: "llama", Status: 200, Elapsed: time.Second})
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "proxima_request_duration_seconds" {
			continue
		}
		h := family.GetMetric()[0].GetHistogram()
		if h.GetSchema() != 3 || len(h.GetPositiveSpan()) == 0 || len(h.GetBucket()) != len(inferenceSeconds) {
			t.Errorf("not a native and classic histogram: %v", h)
		}
		return
	}
	t.Error("no request_duration_seconds")
}

func TestMetricsStandConcurrentReloads(t *testing.T) {
	live := router.NewLive(world(t))
	m := New(live, Build{})
	one, two := world(t), table(t, []router.Region{{ID: "us-east1"}}, []router.Endpoint{endpoint("us-1", "us-east1", 8, "llama")})
	r := router.Record{Model: "mistral", Status: 200, Attempts: []router.Attempt{
		{Region: "us-east1", Endpoint: "us-2", Outcome: router.Broken},
		{Region: "europe-west1", Endpoint: "eu-1"},
	}}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 500 {
				m.Observe(&r)
				m.Probed("eu-1", time.Millisecond, "timeout")
				m.Located(geo.SourceDatabase)
			}
		})
	}
	for range 50 {
		live.SetTable(two)
		scrape(t, m)
		live.SetTable(one)
		scrape(t, m)
	}
	all.Wait()
	live.SetTable(two)
	if text := scrape(t, m); strings.Contains(text, "eu-1") || strings.Contains(text, "europe-west1") {
		t.Errorf("a race brought a dropped series back:\n%s", text)
	}
}

func TestARequestLikeOneBeforeCostsNoAllocation(t *testing.T) {
	m := New(router.NewLive(world(t)), Build{})
	at := time.Unix(1_800_000_000, 0)
	r := router.Record{
		Started: at, Model: "llama", Status: 200, Elapsed: time.Second,
		Attempts: []router.Attempt{{Region: "us-east1", Endpoint: "us-1", Started: at, FirstByte: 80 * time.Millisecond}},
	}
	m.Observe(&r)
	if allocs := testing.AllocsPerRun(100, func() { m.Observe(&r) }); allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkObserve(b *testing.B) {
	m := New(router.NewLive(world(b)), Build{})
	at := time.Now()
	r := router.Record{
		Started: at, Model: "llama", Status: 200, Elapsed: 740 * time.Millisecond,
		Attempts: []router.Attempt{{Region: "us-east1", Endpoint: "us-1", Started: at, FirstByte: 80 * time.Millisecond}},
	}
	b.ReportAllocs()
	for b.Loop() {
		m.Observe(&r)
	}
}

func BenchmarkObserveParallel(b *testing.B) {
	m := New(router.NewLive(world(b)), Build{})
	at := time.Now()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		r := router.Record{
			Started: at, Model: "llama", Status: 200, Elapsed: 740 * time.Millisecond,
			Attempts: []router.Attempt{{Region: "us-east1", Endpoint: "us-1", Started: at, FirstByte: 80 * time.Millisecond}},
		}
		for pb.Next() {
			m.Observe(&r)
		}
	})
}

// world has two regions, three endpoints and the models llama and mistral.
func world(t testing.TB) *router.Table {
	return table(t,
		[]router.Region{{ID: "us-east1"}, {ID: "europe-west1", Bias: 5 * time.Millisecond}},
		[]router.Endpoint{
			endpoint("us-1", "us-east1", 32, "llama"),
			endpoint("us-2", "us-east1", 0, "mistral", "llama"),
			endpoint("eu-1", "europe-west1", 8, "llama"),
		})
}

func table(t testing.TB, regions []router.Region, endpoints []router.Endpoint) *router.Table {
	t.Helper()
	made, err := router.NewTable(regions, endpoints, router.Steering{})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func endpoint(id router.EndpointID, region router.RegionID, capacity int, models ...router.Model) router.Endpoint {
	return router.Endpoint{
		ID: id, Region: region, Capacity: capacity, Models: models,
		URL: &url.URL{Scheme: "http", Host: string(id) + ".example:8000"},
	}
}

// scrape returns what Prometheus reads, but for the Go runtime and the process.
func scrape(t testing.TB, m *Metrics) string {
	t.Helper()
	var ours strings.Builder
	for line := range strings.Lines(scrapeAll(t, m)) {
		if strings.Contains(line, "proxima_") {
			ours.WriteString(line)
		}
	}
	return ours.String()
}

func scrapeAll(t testing.TB, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("the scrape answered %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// series counts all there are.
func series(t testing.TB, m *Metrics) int {
	t.Helper()
	families, err := prometheus.Gatherer(m.registry).Gather()
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, family := range families {
		if strings.HasPrefix(family.GetName(), "proxima_") {
			count += len(family.GetMetric())
		}
	}
	return count
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

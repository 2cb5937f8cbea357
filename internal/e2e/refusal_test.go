package e2e

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"proxima/internal/modelserver"
)

func TestAllEndpointsDownIsSaidPlainly(t *testing.T) {
	world := newWorld(t, modelserver.Settings{}, "us-east1", "europe-west1")
	router := serve(t, world.Config(quick))
	for _, region := range world.Regions {
		region.Kill()
	}

	atOnce := router.chat(berlin, "llama-3-8b")
	eventually(t, "every endpoint is found down", 10*time.Second, func() bool {
		health := router.Health()
		return health["us-east1"] == "down" && health["europe-west1"] == "down"
	})
	later := router.chat(berlin, "llama-3-8b")

	for when, got := range map[string]answer{"at once": atOnce, "found down": later} {
		if got.Status != http.StatusServiceUnavailable || got.Code != "no_endpoint_available" || got.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %d, Retry-After %q, %s", when, got.Status, got.Header.Get("Retry-After"), got.Body)
		}
	}
}

func TestUnknownModel(t *testing.T) {
	world := newWorld(t, modelserver.Settings{}, "us-east1", "europe-west1")
	for _, region := range world.Regions {
		region.Models = "llama-3-8b"
	}
	router := serve(t, world.Config(quick))

	got := router.chat(berlin, "llama-3-9b")

	if got.Status != http.StatusNotFound || got.Code != "model_not_found" || !strings.Contains(got.Body, "llama-3-9b") {
		t.Errorf("%d %s", got.Status, got.Body)
	}
	world.wantUntouched()
}

const euResidency = `
steering: {residency: [{name: eu, countries: [DE], regions: [europe-west1]}]}
`

func TestResidencyWithNoRegion(t *testing.T) {
	world := newWorld(t, modelserver.Settings{}, "us-east1", "europe-west1")
	world.Region("us-east1").Models = "llama-3-8b"
	world.Region("europe-west1").Models = "mistral-7b"
	router := serve(t, world.Config(quick, euResidency))

	german, anybody := router.chat(berlin, "llama-3-8b"), router.chat("", "llama-3-8b")

	if german.Status != http.StatusUnavailableForLegalReasons || german.Code != "residency_unavailable" {
		t.Errorf("a client in Germany: %d %s", german.Status, german.Body)
	}
	if anybody.Status != http.StatusOK || anybody.region() != "us-east1" {
		t.Errorf("a client elsewhere: %d from %q", anybody.Status, anybody.region())
	}
}

func TestResidencyHoldsWhenTheOnlyRegionDies(t *testing.T) {
	world := newWorld(t, modelserver.Settings{}, "us-east1", "europe-west1")
	router := serve(t, world.Config(quick, euResidency))
	world.Region("europe-west1").Kill()

	got := router.chat(berlin, "llama-3-8b")

	if got.Status != http.StatusServiceUnavailable {
		t.Errorf("%d %s", got.Status, got.Body)
	}
	if stats := world.Region("us-east1").Stats(); stats.Received != 0 {
		t.Errorf("a request from Germany reached us-east1: %+v", stats)
	}
}

func TestABodyThatIsNotJSON(t *testing.T) {
	world := newWorld(t, modelserver.Settings{}, "us-east1", "europe-west1")
	for _, region := range world.Regions {
		region.Models = "llama-3-8b" // so that the decision depends on the body
	}
	router := serve(t, world.Config(quick))

	got := router.ask(berlin, http.MethodPost, "/v1/chat/completions", "please say hello")

	if got.Status != http.StatusBadRequest || got.Code == "" {
		t.Errorf("%d %s", got.Status, got.Body)
	}
	world.wantUntouched()
}

// calm lets nothing but real requests find out that a region has died.
const calm = `
client: {trusted_proxies: [127.0.0.0/8]}
health: {interval: 1h, passive: {trip_after: 0}}
geo: {overrides: [{cidr: 198.51.100.0/24, lat: 52.5, lon: 13.4, country: DE}]}
failover: {replay_limit: 64KiB}
`

func TestABodyOverTheReplayLimitIsServed(t *testing.T) {
	world := newWorld(t, modelserver.Settings{}, "us-east1", "europe-west1")
	router := serve(t, world.Config(calm))

	got := router.ask(berlin, http.MethodPost, "/v1/chat/completions", question("llama-3-8b", large))

	if got.Status != http.StatusOK || got.region() != "europe-west1" || got.attempts() != "1" {
		t.Errorf("%d from %q after %s attempts", got.Status, got.region(), got.attempts())
	}
	if stats := world.Region("europe-west1").Stats(); stats.Executions != 1 {
		t.Errorf("europe-west1 made %d answers", stats.Executions)
	}
}

func TestABodyOverTheReplayLimitGoesToTheNextRegionIfItWasNotSent(t *testing.T) {
	world := newWorld(t, modelserver.Settings{}, "us-east1", "europe-west1")
	router := serve(t, world.Config(calm))
	world.Region("europe-west1").Kill()

	got := router.ask(berlin, http.MethodPost, "/v1/chat/completions", question("llama-3-8b", large))

	if got.Status != http.StatusOK || got.region() != "us-east1" || got.attempts() != "2" {
		t.Errorf("%d from %q after %s attempts: %s", got.Status, got.region(), got.attempts(), got.Body)
	}
	if stats := world.Region("us-east1").Stats(); stats.Executions != 1 {
		t.Errorf("us-east1 made %d answers", stats.Executions)
	}
}

func TestABodyOverTheReplayLimitIsNotSentTwice(t *testing.T) {
	world := newWorld(t, modelserver.Settings{}, "us-east1", "europe-west1")
	router := serve(t, world.Config(calm))
	world.Region("europe-west1").Break("down") // it reads the whole body and breaks off

	got := router.ask(berlin, http.MethodPost, "/v1/chat/completions", question("llama-3-8b", large))

	if got.Status != http.StatusBadGateway || got.Code == "" {
		t.Errorf("%d %s", got.Status, got.Body)
	}
	if stats := world.Region("us-east1").Stats(); stats.Received != 0 {
		t.Errorf("part of a body reached us-east1: %+v", stats)
	}
}

func TestABodyWithinTheReplayLimitIsSentAgain(t *testing.T) {
	world := newWorld(t, modelserver.Settings{}, "us-east1", "europe-west1")
	router := serve(t, world.Config(calm))
	world.Region("europe-west1").Break("down")

	got := router.ask(berlin, http.MethodPost, "/v1/chat/completions", question("llama-3-8b", "how are you?"))

	if got.Status != http.StatusOK || got.region() != "us-east1" || got.attempts() != "2" {
		t.Errorf("%d from %q after %s attempts: %s", got.Status, got.region(), got.attempts(), got.Body)
	}
}

func TestAClientThatLeavesFreesTheModelServer(t *testing.T) {
	world := newWorld(t, modelserver.Settings{PerToken: 100 * time.Millisecond}, "europe-west1")
	router := serve(t, world.Config(quick))
	europe := world.Region("europe-west1")
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	body := strings.Replace(question("llama-3-8b", ""), `"max_tokens":4`, `"stream":true,"max_tokens":600,"min_tokens":600`, 1)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, router.URL+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := single(time.Minute).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	events := bufio.NewScanner(response.Body)
	for range 6 { // three events, each with its empty line
		if !events.Scan() {
			t.Fatalf("the stream ended: %v", events.Err())
		}
	}
	left := time.Now()

	leave()

	eventually(t, "the model server sees that the client left", 5*time.Second, func() bool {
		return europe.Stats().Cancelled == 1
	})
	figures(t, map[string]any{"model_server_free_after_ms": time.Since(left).Milliseconds()})
	eventually(t, "the router forgets the request", 5*time.Second, func() bool { return router.inFlight() == 0 })
}

// large is more than the replay limit of calm.
var large = strings.Repeat("x", 300<<10)

// wantUntouched fails the test if a request, other than a probe, reached a region.
func (w *World) wantUntouched() {
	w.t.Helper()
	for _, region := range w.Regions {
		if stats := region.Stats(); stats.Received != 0 {
			w.t.Errorf("a request reached %s: %+v", region.Name, stats)
		}
	}
}

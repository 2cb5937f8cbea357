package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"proxima/admin"
	"proxima/bench/load"
	"proxima/internal/modelserver"
)

func TestTwoHundredReloadsCutNothing(t *testing.T) {
	world := newWorld(t, modelserver.Settings{PerToken: 20 * time.Millisecond}, "us-east1", "europe-west1", "europe-west4")
	router := serveBuilt(t, world.Config(quick), false) // the race detector's memory is not the router's
	chats := load.Mix{Posts: 0.5, Model: "llama-3-8b", Tokens: 4, BodyBytes: 1024, ForwardedFor: []string{berlin}}
	streams := load.Mix{Posts: 1, Streams: 1, Model: "llama-3-8b", Tokens: 1050, ForwardedFor: []string{berlin}}
	before := router.warmed(world, chats, streams)
	long := router.send(load.Plan{Rate: 100, Duration: 200 * time.Millisecond, Request: streams.Request})
	short := router.send(load.Plan{Rate: 200, Request: chats.Request})

	began := time.Now()
	for i := range 200 {
		router.Change(world.changed(i))
		time.Sleep(time.Until(began.Add(time.Duration(i+1) * 100 * time.Millisecond)))
	}
	took := time.Since(began)

	requests, held := short.Stop(), long.Wait()
	wantNoFailure(t, "during 200 reloads", requests)
	wantNoFailure(t, "streams through 200 reloads", held)
	if took > 22*time.Second {
		t.Errorf("200 reloads took %v, meant for 20 s", took)
	}
	if regions := len(requests.Regions); regions < 2 {
		t.Errorf("the reloads moved no traffic: %+v", requests.Regions)
	}
	after := router.settled(before)
	figures(t, map[string]any{
		"reloads": 200, "seconds": took.Seconds(), "requests": requests.Requests, "failed": requests.Failed,
		"streams": held.Requests, "streams_cut": held.Failed, "p99_ms": requests.Total.P99,
		"goroutines_before": before.goroutines, "goroutines_after": after.goroutines,
		"rss_mib_before": before.rss >> 20, "rss_mib_after": after.rss >> 20,
	})
}

// changed is the i-th of many configurations: the region next to the client comes
// and goes, and another one becomes nearer and farther.
func (w *World) changed(i int) string {
	changed := &World{t: w.t}
	for _, r := range w.Regions {
		region := *r
		switch r.Name {
		case "europe-west4":
			if i%2 == 1 {
				continue
			}
		case "europe-west1":
			region.Bias = time.Duration(i%3) * 100 * time.Millisecond
		}
		changed.Regions = append(changed.Regions, &region)
	}
	return changed.Config(quick, fmt.Sprintf("steering: {slack: %dms}", 10+i%5))
}

func TestReloadWithAThousandOpenStreamsHarmsNone(t *testing.T) {
	world := newWorld(t, modelserver.Settings{PerToken: 500 * time.Millisecond}, "us-east1", "europe-west1")
	world.Region("us-east1").Bias = 10 * time.Second // whatever this machine's load does to serve times
	router := serve(t, world.Config(quick))
	mix := load.Mix{Posts: 1, Streams: 1, Model: "llama-3-8b", Tokens: 24, ForwardedFor: []string{berlin}}
	traffic := router.send(load.Plan{Rate: 200, Duration: 5 * time.Second, Request: mix.Request})
	eventually(t, "1000 streams are open", 15*time.Second, func() bool { return router.Metric("streams_open") == 1000 })
	europe := world.Region("europe-west1").Stats()

	without := &World{t: t, Regions: world.Regions[:1]} // without the region that serves them all
	router.Change(without.Config(quick))
	next := router.chat(berlin, "llama-3-8b")

	report := traffic.Wait()
	wantNoFailure(t, "streams of a region that a reload removed", report)
	figures(t, map[string]any{"streams": report.Requests, "cut": report.Failed, "open_in_removed_region": europe.InFlight})
	if europe.InFlight < 1000 || next.region() != "us-east1" {
		t.Errorf("%d streams were open in europe-west1, the next request went to %q", europe.InFlight, next.region())
	}
}

func TestABrokenFileKeepsTheOldTable(t *testing.T) {
	world := newWorld(t, modelserver.Settings{}, "us-east1", "europe-west1")
	router := serve(t, world.Config(quick))
	old := router.Status().Config.Hash

	router.Write(world.Config(quick, "steering: {slak: 10ms}"))
	_, err := router.Reload(false)

	var problem *admin.Problem
	if !errors.As(err, &problem) || problem.Status != http.StatusUnprocessableEntity {
		t.Fatalf("the reload said %v", err)
	}
	if said := strings.Join(problem.Problems, "\n"); !strings.Contains(said, "slak") || !strings.Contains(said, "slack") {
		t.Errorf("it does not say what is wrong and what was meant:\n%s", said)
	}
	if router.Metric("config_last_reload_successful") != 0 {
		t.Error("config_last_reload_successful is not 0")
	}
	if got := router.chat(berlin, "llama-3-8b"); got.Status != http.StatusOK || got.region() != "europe-west1" {
		t.Errorf("the old table answers %d from %q", got.Status, got.region())
	}
	if hash := router.Status().Config.Hash; hash != old {
		t.Error("the broken file is said to be in use")
	}
	router.Await("the log says so", 5*time.Second, func(e entry) bool {
		return e["level"] == "error" && strings.Contains(fmt.Sprint(e), "slak")
	})
}

func TestAFileThatIsWrittenInTwoPartsCountsWhenItIsWhole(t *testing.T) {
	world := newWorld(t, modelserver.Settings{}, "us-east1", "europe-west1")
	router := serve(t, world.Config(quick))
	next := world.Config(quick, "steering: {slack: 25ms}")
	mix := load.Mix{Posts: 0.5, Model: "llama-3-8b", Tokens: 4, ForwardedFor: []string{berlin}}
	traffic := router.send(load.Plan{Rate: 100, Request: mix.Request})

	torn := strings.Index(next, "trusted_proxies") // in the midst of a value
	file, err := os.Create(router.File)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(next[:torn]); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if _, err := file.WriteString(next[torn:]); err != nil {
		t.Fatal(err)
	}
	written := time.Now()
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}

	eventually(t, "the whole file is in use", 10*time.Second, func() bool {
		return router.Status().Config.Hash == hashOf(next)
	})
	figures(t, map[string]any{"file_in_use_after_s": time.Since(written).Seconds()})
	if router.Metric("config_last_reload_successful") != 1 {
		t.Error("config_last_reload_successful is not 1")
	}
	wantNoFailure(t, "a file written in two parts", traffic.Stop())
}

func TestASignalReloads(t *testing.T) {
	world := newWorld(t, modelserver.Settings{}, "us-east1", "europe-west1")
	router := serve(t, world.Config(quick))

	router.Write(world.Config(quick, "steering: {slack: 25ms}"))
	if err := router.process.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}

	router.Await("the signal has reloaded the file", 10*time.Second, func(e entry) bool {
		return e["msg"] == "configuration reloaded" && e["because"] == "SIGHUP"
	})
}

func TestARemovalOfMostRegionsNeedsForce(t *testing.T) {
	world := newWorld(t, modelserver.Settings{}, "us-east1", "europe-west1", "asia-northeast1")
	router := serve(t, world.Config(quick))
	one := &World{t: t, Regions: world.Regions[:1]}
	router.Write(one.Config(quick))

	_, err := router.Reload(false)

	var problem *admin.Problem
	if !errors.As(err, &problem) || problem.Status != http.StatusConflict || !strings.Contains(problem.Hint, "force") {
		t.Errorf("without force it said %v", err)
	}
	if regions := len(router.Status().Regions); regions != 3 {
		t.Errorf("%d regions are left", regions)
	}
	if _, err := router.Reload(true); err != nil {
		t.Errorf("with force it said %v", err)
	}
	if regions := router.Status().Regions; len(regions) != 1 || regions[0].ID != "us-east1" {
		t.Errorf("with force there are %+v", regions)
	}
	if got := router.chat(berlin, "llama-3-8b"); got.region() != "us-east1" {
		t.Errorf("a client in Berlin is answered by %q", got.region())
	}
}

func hashOf(config string) string {
	sum := sha256.Sum256([]byte(config))
	return hex.EncodeToString(sum[:])
}

// size is how large the router's process is.
type size struct {
	goroutines int
	rss        int // bytes
}

func (r *Router) size() size {
	return size{int(r.Metric("go_goroutines")), int(r.Metric("process_resident_memory_bytes"))}
}

// keepAlive is how long the simulated model servers keep an idle connection.
const keepAlive = 5 * time.Second

// warmed is how large the router is after a taste of what will follow, when the
// connections that it kept are closed again.
func (r *Router) warmed(world *World, chats, streams load.Mix) size {
	streams.Tokens = 50
	long := r.send(load.Plan{Rate: 100, Duration: 200 * time.Millisecond, Request: streams.Request})
	short := r.send(load.Plan{Rate: 200, Duration: 3 * time.Second, Request: chats.Request})
	for i := range 6 {
		time.Sleep(400 * time.Millisecond)
		r.Change(world.changed(i))
	}
	wantNoFailure(r.t, "streams before the reloads", long.Wait())
	wantNoFailure(r.t, "requests before the reloads", short.Wait())
	time.Sleep(keepAlive + time.Second)
	return r.size()
}

// settled waits until the process is about as large as it was and returns how
// large it is then; what it does not give back within 15 seconds fails the test.
func (r *Router) settled(before size) (now size) {
	r.t.Helper()
	const someGoroutines, someMemory = 20, 16 << 20
	deadline := time.Now().Add(15 * time.Second)
	for {
		now = r.size()
		grown := now.goroutines > before.goroutines+max(before.goroutines/20, someGoroutines) ||
			now.rss > before.rss+max(before.rss/20, someMemory)
		if !grown {
			return now
		}
		if time.Now().After(deadline) {
			r.t.Errorf("the router has grown from %+v to %+v", before, now)
			return now
		}
		time.Sleep(200 * time.Millisecond)
	}
}

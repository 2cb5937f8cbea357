package e2e

import (
	"testing"
	"time"

	"proxima/bench/load"
	"proxima/internal/modelserver"
)

// quick lets a test of some seconds see what takes half a minute with the
// defaults: probes are five times as frequent and recovery is as much faster.
const quick = `
client: {trusted_proxies: [127.0.0.0/8]}
health: {interval: 400ms, timeout: 300ms, passive: {eject: 1s}, slow_start: 1s}
geo:
  overrides:
    - {cidr: 198.51.100.0/24, lat: 52.5, lon: 13.4, country: DE}
    - {cidr: 203.0.113.0/24, lat: 38.7, lon: -9.1, country: PT}
`

// Addresses of clients whom quick puts in these cities. From Lisbon to the
// regions of the tests it is 1,700 km to europe-west1, 6,300 km to us-east1 and
// 11,100 km to asia-northeast1.
const (
	berlin = "198.51.100.7"
	lisbon = "203.0.113.7"
)

func TestARegionDiesAndNoClientNotices(t *testing.T) {
	world := newWorld(t, modelserver.Settings{FirstToken: 20 * time.Millisecond, PerToken: time.Millisecond},
		"us-east1", "europe-west1", "asia-northeast1")
	// A burst of moved requests slows this machine down, which counts as us-east1's
	// own time. The toll keeps that from making the farthest region the better one.
	world.Region("asia-northeast1").Bias = time.Second
	router := serve(t, world.Config(quick))
	europe := world.Region("europe-west1")
	faults := []struct {
		name        string
		begin, mend func()
	}{
		{"killed", europe.Kill, europe.Start},
		{"frozen", europe.Freeze, europe.Thaw},
		{"answers 503", europe.Answer503, europe.Revive},
	}
	mix := load.Mix{Posts: 0.5, Model: "llama-3-8b", Tokens: 8, BodyBytes: 1024, ForwardedFor: []string{lisbon}}
	traffic := router.send(load.Plan{Rate: 200, Request: mix.Request})
	traffic.AwaitRegion("europe-west1", 100, 10*time.Second)

	var outages []outage
	for _, fault := range faults {
		o := outage{fault: fault.name, from: traffic.Now()}
		fault.begin()
		traffic.AwaitRegion("us-east1", 200, 20*time.Second)
		o.to = traffic.Now()
		fault.mend()
		traffic.AwaitRegion("europe-west1", 200, 30*time.Second)
		o.over = traffic.Now()
		outages = append(outages, o)
		time.Sleep(500 * time.Millisecond) // the next fault does not meet requests of this one
	}

	report := traffic.Stop()
	wantNoFailure(t, "one region of three dies", report)
	for _, o := range outages {
		o.watch(report)
		figures(t, map[string]any{
			"fault": o.fault, "requests": report.Requests, "failed": report.Failed,
			"last_request_to_it_after_s": o.lastTried.Seconds(), "traffic_back_after_s": o.firstBack.Seconds(),
			"all_traffic_back_after_s": o.allBack.Seconds(), "slowest_ms": o.slowest.Milliseconds(),
			"elsewhere": o.elsewhere,
		})
		if o.elsewhere > 0 {
			t.Errorf("%s: %d answers came from neither it nor the next nearest region", o.fault, o.elsewhere)
		}
		if o.lastTried > 5*time.Second {
			t.Errorf("%s: requests still went there after %v", o.fault, o.lastTried)
		}
	}
}

func TestAStreamThatLosesItsRegionNeverEndsAsIfWhole(t *testing.T) {
	world := newWorld(t, modelserver.Settings{PerToken: 20 * time.Millisecond}, "us-east1", "europe-west1")
	router := serve(t, world.Config(quick))
	mix := load.Mix{Posts: 1, Streams: 1, Model: "llama-3-8b", Tokens: 100, ForwardedFor: []string{berlin}}
	traffic := router.send(load.Plan{Rate: 20, Duration: 3 * time.Second, Request: mix.Request})
	time.Sleep(2 * time.Second)

	world.Region("europe-west1").Kill()

	report := traffic.Wait()
	told := report.Errors[load.ErrorEvent] + report.Errors[load.Cut]
	figures(t, map[string]any{"streams": report.Requests, "complete": report.Complete, "cut_and_told": told})
	if report.Failed != told {
		t.Errorf("%d streams failed, %d of them visibly: %v", report.Failed, told, report.Errors)
	}
	if report.Failed == 0 {
		t.Error("no stream was open when the region died: this test saw nothing")
	}
}

// outage is what clients saw of one fault. Times are from the beginning of the
// load, the results from the fault or from its end.
type outage struct {
	fault          string
	from, to, over time.Duration // it began, it was mended, all traffic was back

	lastTried time.Duration // the last request that was tried there in vain, after from
	firstBack time.Duration // the first answer that it gave again, after to
	allBack   time.Duration // the last answer that another region gave, after to
	slowest   time.Duration // answer of a request that was due between from and over
	elsewhere int           // answers of regions that are not the next nearest
}

// watch finds what the fault did in the results of the load.
func (o *outage) watch(report load.Report) {
	for _, r := range report.Results {
		if r.Due < o.from || r.Due >= o.over {
			continue
		}
		if r.Attempts > 1 && r.Due < o.to {
			o.lastTried = r.Due - o.from
		}
		switch {
		case r.Region == "europe-west1" && r.Due >= o.to && o.firstBack == 0:
			o.firstBack = r.Due - o.to
		case r.Region == "us-east1" && r.Due >= o.to:
			o.allBack = r.Due - o.to
		case r.Region != "europe-west1" && r.Region != "us-east1":
			o.elsewhere++
		}
		o.slowest = max(o.slowest, r.Total)
	}
}

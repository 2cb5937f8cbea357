package e2e

import (
	"syscall"
	"testing"
	"time"

	"proxima/bench/load"
	"proxima/internal/modelserver"
)

// TestARouterThatStoodStillBlamesNobody stops the router itself for five seconds, as a
// paused virtual machine or a starved processor does. When it goes on, every timer of
// it is over: the answers that have come meanwhile must not count as missing.
func TestARouterThatStoodStillBlamesNobody(t *testing.T) {
	const still = 5 * time.Second
	world := newWorld(t, modelserver.Settings{FirstToken: 20 * time.Millisecond, PerToken: time.Millisecond},
		"us-east1", "europe-west1", "asia-northeast1")
	router := serve(t, world.Config(quick+"failover: {first_byte_timeout: 3500ms, stall_timeout: 3500ms}"))
	mix := load.Mix{Posts: 0.5, Streams: 0.5, Model: "llama-3-8b", Tokens: 20, ForwardedFor: []string{lisbon}}
	traffic := router.send(load.Plan{Rate: 100, Request: mix.Request})
	traffic.AwaitRegion("europe-west1", 100, 20*time.Second)
	before := router.tally()

	router.standStill(still)
	began := time.Now()
	eventually(t, "every endpoint is up", 2*time.Second, func() bool {
		for _, health := range router.Health() {
			if health != "up" {
				return false
			}
		}
		return true
	})
	up := time.Since(began)
	time.Sleep(2 * time.Second) // in which what piled up is over
	report := traffic.Stop()

	after := router.tally()
	wantNoFailure(t, "the router stands still", report)
	if told := after.ejected(before); told != "" {
		t.Errorf("ejected: %s", told)
	}
	figures(t, map[string]any{
		"requests": report.Requests, "failed": report.Failed, "all_up_after_ms": up.Milliseconds(),
		"attempts": after.since(before),
	})
}

// standStill stops the router's process for a time.
func (r *Router) standStill(d time.Duration) {
	for _, s := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
		if err := r.process.Process.Signal(s); err != nil {
			r.t.Fatalf("%v to the router: %v", s, err)
		}
		if s == syscall.SIGSTOP {
			time.Sleep(d)
		}
	}
}

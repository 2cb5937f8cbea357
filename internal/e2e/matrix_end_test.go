package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// The rows of the matrix where a client ends a request, or the router all of them.
func (m *matrix) meetEnds() {
	m.run("client gone before the first byte", func() { m.leave("client gone before the first byte", "slow-first=1m", 0) })
	m.run("client gone midway", func() { m.leave("client gone midway", "slow-tokens=20ms", 5) })
	m.run("restart, streams end in time", m.restart)
	m.run("restart, streams do not end in time", m.restartTooSoon)
}

// leave lets clients leave after some events of an answer. The region must hear of each
// at once; half of them within 100 ms, so that one pause of this machine fails nothing.
func (m *matrix) leave(fault, mode string, events int) {
	const clients = 5
	m.rest(plain)
	europe := m.region("europe-west1")
	europe.Break(mode)
	before := m.router.tally()
	var took []time.Duration
	for range clients {
		took = append(took, m.leaveOne(europe, events))
	}

	slices.Sort(took)
	if median := took[clients/2]; median > 100*time.Millisecond {
		m.t.Errorf("the region heard after %v", took)
	}
	want := fmt.Sprintf("europe-west1 cancelled ×%d", clients)
	outcome := m.outcome(before, want)
	if ejected := m.router.tally().ejected(before); outcome != want || ejected != "" {
		m.t.Errorf("%s, not %s; ejected %q", outcome, want, ejected)
	}
	m.quiet()
	figures(m.t, map[string]any{"cancelled_p50_ms": milliseconds(took[clients/2]), "cancelled_max_ms": milliseconds(took[clients-1])})
	m.tell(fault, "left", outcome, "nothing; europe-west1 cancelled within 100 ms", "")
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// leaveOne returns how long it took until the region knew.
func (m *matrix) leaveOne(at *Region, events int) time.Duration {
	ctx, leave := context.WithCancel(m.t.Context())
	defer leave()
	question := m.question(plain, 400)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, m.router.URL+"/v1/chat/completions", strings.NewReader(question))
	if err != nil {
		m.t.Fatal(err)
	}
	request.Header.Set("X-Forwarded-For", berlin)
	before := at.Stats()
	read, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		response, err := single(time.Minute).Do(request)
		if err != nil {
			return
		}
		defer response.Body.Close()
		lines := bufio.NewScanner(response.Body)
		for n := 0; lines.Scan(); n++ {
			if n == 2*events { // each is a line and an empty one
				close(read)
			}
		}
	}()
	eventually(m.t, "the region has the request", 10*time.Second, func() bool { return at.Stats().Received > before.Received })
	if events > 0 {
		select {
		case <-read:
		case <-gone:
			m.t.Fatal("the answer has ended before the client could leave")
		}
	}

	began := time.Now()
	leave()
	for at.Stats().Cancelled == before.Cancelled {
		if time.Since(began) > 10*time.Second {
			m.t.Fatal("the region was never told that the client has left")
		}
		time.Sleep(time.Millisecond)
	}
	<-gone
	return time.Since(began)
}

// restart ends a router that has streams and requests under way, and time for them.
func (m *matrix) restart() {
	router, streams, waiting := m.underWay("drain_timeout: 30s")

	router.Terminate()
	router.Await("it is stopping", 10*time.Second, func(e entry) bool {
		said, _ := e["msg"].(string)
		return strings.HasPrefix(said, "stopping")
	})
	m.region("europe-west1").Revive()
	code := router.Ended()

	answers := m.answers(append(streams, waiting...))
	if answers[whole] != 25 || code != 0 {
		m.t.Errorf("%v, exit code %d", answers, code)
	}
	m.tell("restart, streams end in time", whole, fmt.Sprintf("exit code %d", code), "nothing", "")
}

// restartTooSoon ends a router that has no time for what is under way.
func (m *matrix) restartTooSoon() {
	router, streams, waiting := m.underWay("drain_timeout: 300ms")
	europe := m.region("europe-west1")
	cancelled := europe.Stats().Cancelled

	router.Terminate()
	code := router.Ended()

	cutOff, refused := "200, 5 tokens, router_stopping, cut off", "503, router_stopping"
	if answers := m.answers(streams); answers[cutOff] != 20 {
		m.t.Errorf("the streams: %v", answers)
	}
	if answers := m.answers(waiting); answers[refused] != 5 {
		m.t.Errorf("those without an answer: %v", answers)
	}
	if code != 5 {
		m.t.Errorf("exit code %d", code)
	}
	eventually(m.t, "the region is told", 5*time.Second, func() bool { return europe.Stats().Cancelled-cancelled == 25 })
	m.tell("restart, streams do not end in time", cutOff+"; before any token: "+refused, fmt.Sprintf("exit code %d", code), "nothing", "")
}

// underWay is a router of its own with 20 streams that have five tokens each, and 5
// requests that wait for their first. They go on when the region is revived.
func (m *matrix) underWay(failover string) (router *Router, streams, waiting []*listener) {
	m.rest(plain)
	router = serve(m.t, m.config(failover))
	europe := m.region("europe-west1")
	europe.Break("stall-after=5")
	streams = m.listenTo(router, 20, 40)
	eventually(m.t, "each has its role and five tokens", 10*time.Second, func() bool {
		return !slices.ContainsFunc(streams, func(l *listener) bool { return len(l.events()) < 6 })
	})
	europe.Break("stall-after=0") // holds the streams as well
	waiting = m.listenTo(router, 5, 10)
	eventually(m.t, "all of them are at the region", 10*time.Second, func() bool { return router.inFlight() == 25 })
	return router, streams, waiting
}

// listenTo asks a router for streams.
func (m *matrix) listenTo(router *Router, streams, tokens int) (all []*listener) {
	for range streams {
		all = append(all, router.listen(m.question(plain, tokens), nil))
	}
	return all
}

// answers counts what clients saw.
func (m *matrix) answers(of []*listener) map[string]int {
	seen := map[string]int{}
	for _, l := range of {
		seen[saw(l.Wait(), alone(m.t, "", l.Question))]++
	}
	return seen
}

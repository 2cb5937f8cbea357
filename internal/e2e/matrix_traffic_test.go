package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"proxima/bench/load"
	"proxima/internal/modelserver"
)

// The faults of the matrix that show only when many requests meet them.
func (m *matrix) meetTraffic() {
	m.run("all regions gone, then one back", m.allGone)
	m.run("probes time out while tokens flow", m.busyProbes)
	m.run("all probes fail while requests are served", m.noProbes)
	m.run("flapping each 700 ms", m.flap)
	m.run("poison that regions answer with 503", m.poison)
	m.run("poison that crashes regions", m.crashes)
}

// chats are short ones in one piece, as other clients send them.
var chats = load.Mix{Posts: 1, Model: plain, Tokens: 4, BodyBytes: 1024, ForwardedFor: []string{berlin}}

// busyProbes is an engine too busy to answer probes. Its only requests are streams that
// flow already: what they bring speaks for it.
func (m *matrix) busyProbes() {
	m.rest(plain)
	before, europe := m.router.tally(), m.region("europe-west1")
	streams := m.listenTo(m.router, 3, 1200)
	eventually(m.t, "tokens flow", 10*time.Second, func() bool { return m.router.Metric("streams_open") == 3 })

	europe.Break("health=freeze")
	health := map[string]bool{}
	eventually(m.t, "three probes have timed out", 10*time.Second, func() bool {
		health[m.router.Health()["europe-west1"]] = true
		return m.router.tally().grown(before, "probe_failures_total", europe.Name) >= 3
	})
	open := m.router.Metric("streams_open")
	europe.Break("slow-tokens=0s") // the rest comes at once

	answers, want := m.answers(streams), "europe-west1 served ×3"
	outcome, ejected := m.outcome(before, want), m.router.tally().ejected(before)
	if open != 3 {
		m.t.Errorf("%v streams were open when the probes had failed: this test saw too little", open)
	}
	if answers[whole] != 3 || outcome != want || ejected != "" || health["down"] || health["ejected"] {
		m.t.Errorf("%v, %s, ejected %q; its health was %v", answers, outcome, ejected, slices.Sorted(maps.Keys(health)))
	}
	m.tell("probes time out while tokens flow", whole, outcome, "nothing", ejected)
}

// noProbes is a health path that is broken everywhere while models answer well: every
// endpoint is believed down, and requests are served all the same.
func (m *matrix) noProbes() {
	m.rest(plain)
	breaksAll("health=503")(m)
	eventually(m.t, "three regions are believed down", 10*time.Second, func() bool {
		health := m.router.Health()
		return health["europe-west1"] == "down" && health["us-east1"] == "down" && health["asia-northeast1"] == "down"
	})
	before := m.router.tally()

	report := m.router.send(load.Plan{Rate: 50, Duration: time.Second, Request: chats.Request}).Wait()

	wantNoFailure(m.t, "all probes fail", report)
	want := fmt.Sprintf("europe-west1 served ×%d", report.Requests)
	outcome, ejected := m.outcome(before, want), m.router.tally().ejected(before)
	if outcome != want || ejected != "" {
		m.t.Errorf("%s, not %s; ejected %q", outcome, want, ejected)
	}
	m.tell("all probes fail while requests are served", fmt.Sprintf("%d errors of %d", report.Failed, report.Requests), outcome, "nothing", ejected)
}

// flap is a region that is dead and alive in turn. Every request is served, and the
// router does not follow each turn.
func (m *matrix) flap() {
	m.rest(plain)
	before, europe := m.router.tally(), m.region("europe-west1")
	changes := m.changesOf("europe-west1")
	traffic := m.router.send(load.Plan{Rate: 50, Request: chats.Request})
	for range 2 {
		time.Sleep(700 * time.Millisecond)
		europe.Break("down")
		time.Sleep(700 * time.Millisecond)
		europe.Revive()
	}
	report := traffic.Stop()

	wantNoFailure(m.t, "a region flaps", report)
	changes = m.changesOf("europe-west1") - changes
	if changes > 6 {
		m.t.Errorf("its health has changed %d times", changes)
	}
	ejected := m.router.tally().ejected(before)
	if strings.Contains(ejected, "us-east1") || strings.Contains(ejected, "asia-northeast1") {
		m.t.Errorf("ejected: %s", ejected)
	}
	m.tell("flapping each 700 ms", fmt.Sprintf("%d errors of %d", report.Failed, report.Requests),
		fmt.Sprintf("%d changes of health in 4 turns", changes), "us-east1: the rest", ejected)
}

// changesOf is how often the router has changed what it believes of an endpoint.
func (m *matrix) changesOf(endpoint string) int {
	return m.router.log.count(func(e entry) bool {
		said, _ := e["msg"].(string)
		return strings.HasPrefix(said, "endpoint is ") && e["endpoint"] == endpoint
	})
}

// allBreakOff is an outage in which the regions still take requests and break them off,
// which may cost them work: the retry budget bounds it. It comes first of all rows, so
// that no requests of earlier ones have added to the budget.
func (m *matrix) allBreakOff() {
	m.rest(plain)
	m.router.Change(m.config("retry_budget: {ratio: 0.2, floor: 3}"))
	defer func() { m.router.Change(m.config(generous)) }()
	m.router.chat(berlin, plain) // from now on the budget is the new one
	breaksAll("down")(m)
	before, came, kept := m.router.tally(), m.sum(received), m.sum(connections)

	report := m.router.send(load.Plan{Rate: 50, Duration: 2 * time.Second, Request: chats.Request}).Wait()

	came = m.sum(received) - came
	now := m.router.tally()
	most := report.Requests + int(0.2*now.grown(nil, "requests_total", "")+3)
	most += int(now.grown(before, "attempts_total", `"abandoned"`)) // moved once when a region is found down, whatever the budget
	most += kept                                                    // and sent again where a kept connection had ended
	if came > most || report.Complete > 0 {
		m.t.Errorf("the regions had %d attempts, more than %d; %d requests were served by nobody", came, most, report.Complete)
	}
	ejected := now.ejected(before)
	figures(m.t, map[string]any{"requests": report.Requests, "attempts": came, "told": report.Statuses})
	m.tell("all regions break off", "502, endpoint_broke", fmt.Sprintf("%d requests, %d attempts", report.Requests, came),
		"what the retry budget allows", ejected)
}

// allGone is an outage in which nothing listens. Clients are told when to come back, and
// are served as soon as one region is there.
func (m *matrix) allGone() {
	m.rest(plain)
	before := m.router.tally()
	for _, r := range m.processes() {
		r.Kill()
	}
	traffic := m.router.send(load.Plan{Rate: 50, Request: chats.Request})
	var refused answer
	eventually(m.t, "clients are turned away", 5*time.Second, func() bool {
		refused = m.router.chat(berlin, plain)
		return refused.Status != http.StatusOK && traffic.Now() > 200*time.Millisecond
	})
	us := m.region("us-east1")
	us.Start()
	back := traffic.Now()
	traffic.AwaitRegion("us-east1", 20, 10*time.Second)
	report := traffic.Stop()

	if refused.Status != http.StatusServiceUnavailable || refused.Code != "no_endpoint_available" || refused.Header.Get("Retry-After") == "" {
		m.t.Errorf("without any region: %d %s", refused.Status, refused.Body)
	}
	took := firstSuccess(report) - back
	if took > time.Second {
		m.t.Errorf("the first success came %v after the region", took)
	}
	if made := us.Stats().Executions; made != int64(report.Complete) {
		m.t.Errorf("the region that came back made %d answers, clients got %d", made, report.Complete)
	}
	ejected := m.router.tally().ejected(before)
	figures(m.t, map[string]any{"requests": report.Requests, "served": report.Complete, "first_success_after_s": took.Seconds()})
	m.tell("all regions gone, then one back", "503, no_endpoint_available with Retry-After; then 200",
		fmt.Sprintf("first success after %v", took.Round(time.Millisecond)), "us-east1: each request once", ejected)
}

// sum adds up what the regions count.
func (m *matrix) sum(of func(modelserver.Stats) int64) (n int) {
	for _, r := range m.processes() {
		n += int(of(r.Stats()))
	}
	return n
}

func received(s modelserver.Stats) int64    { return s.Received }
func connections(s modelserver.Stats) int64 { return s.Connections }

// firstSuccess is when the first answer was complete, from the beginning of a load.
func firstSuccess(report load.Report) time.Duration {
	at := time.Hour
	for _, r := range report.Results {
		if r.Complete {
			at = min(at, r.Due+r.Total)
		}
	}
	return at
}

// poison is a request that regions answer with 503, whoever asks. Its sender sees the
// error, and nobody else sees anything.
func (m *matrix) poison() {
	m.rest(plain)
	breaksAll("poison=503")(m)
	before := m.router.tally()
	traffic := m.router.send(load.Plan{Rate: 50, Request: chats.Request})
	traffic.AwaitRegion("europe-west1", 10, 10*time.Second)
	told := map[string]int{}
	for range 6 {
		told[m.told("POISON")]++
	}
	report := traffic.Stop()

	wantNoFailure(m.t, "other clients", report)
	want := fmt.Sprintf("asia-northeast1 failed ×6, europe-west1 failed ×6, europe-west1 served ×%d, us-east1 failed ×6; "+
		"europe-west1 to us-east1: failed ×6, us-east1 to asia-northeast1: failed ×6", report.Requests)
	outcome, ejected := m.outcome(before, want), m.router.tally().ejected(before)
	if outcome != want || ejected != "" || told["503, simulated_fault"] != 6 {
		m.t.Errorf("%v; %s, not %s; ejected %q", told, outcome, want, ejected)
	}
	m.tell("poison that regions answer with 503", "its sender: 503, simulated_fault; others: no errors", outcome, "the same request", ejected)
}

// told is what the sender of a text was told.
func (m *matrix) told(text string) string {
	got := m.router.ask(berlin, http.MethodPost, "/v1/chat/completions", question(plain, text))
	return fmt.Sprintf("%d, %s", got.Status, got.Code)
}

// crashes is a request that crashes every region that reads it. The router lets it read
// two, so that the third serves everybody else while they restart. Those who come
// after it see no error; who was in both of them when they crashed cannot be told from
// the one who did it.
func (m *matrix) crashes() {
	m.rest(plain)
	breaksAll("poison=crash")(m)
	before, asia := m.router.tally(), m.region("asia-northeast1")
	const deadly = "POISON that kills"
	first := m.told(deadly)
	var again []string
	for range 6 {
		for range 3 {
			if got := m.router.chat(berlin, plain); got.Status != http.StatusOK {
				m.t.Errorf("another client got %d %s", got.Status, got.Body)
			}
		}
		again = append(again, m.told(deadly))
	}

	if first != "502, endpoint_broke" || slices.ContainsFunc(again, func(told string) bool { return told != "502, request_breaks_endpoints" }) {
		m.t.Errorf("its sender was told %s, and then %v", first, again)
	}
	for _, request := range asia.Requests() {
		if strings.Contains(request.Body, deadly) {
			m.t.Error("it was sent to the third region")
		}
	}
	ejected := m.router.tally().ejected(before)
	if strings.Contains(ejected, asia.Name) {
		m.t.Errorf("ejected: %s", ejected)
	}
	m.tell("poison that crashes regions", "its sender: 502, endpoint_broke, then 502, request_breaks_endpoints; others: no errors",
		m.router.tally().since(before), "us-east1: the same request; the third one: nothing", ejected)
}

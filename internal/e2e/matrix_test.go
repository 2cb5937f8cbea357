package e2e

import (
	"slices"
	"testing"
)

// The fault matrix: every way in which a region fails, over real sockets and real
// processes, and for each what the client saw, what the metrics say and what the next
// region got. docs/failures.md is its table in words.
//
// Here are the faults that one request meets. matrix_traffic_test.go has those that
// need many, matrix_end_test.go those where a client or the router itself ends, and
// matrix_scene_test.go what all of them happen to. Of a reload under a thousand
// streams TestReloadWithAThousandOpenStreamsHarmsNone tells.
func TestMatrix(t *testing.T) {
	m := newMatrix(t)
	m.run("all regions break off", m.allBreakOff)
	for _, f := range faults {
		m.run(f.name, func() { m.meet(f) })
	}
	m.meetTraffic()
	m.meetEnds()
	m.print()
}

// fault is one that a streamed answer meets in the region nearest to its client. The
// same question, asked elsewhere, gets the same text.
type fault struct {
	name  string
	model string
	begin func(*matrix)
	times int // questions, one after the other; 0: one

	saw     string   // each client
	outcome string   // in the metrics
	or      []string // as good, where the moment decides
	next    string   // what the next region got of each question
	ejected string   // which endpoint; "": none
}

// What clients see of a good answer, and the next region of a request.
const (
	whole       = "200, whole text, [DONE]"
	mended      = whole + ", noted as resumed"
	cut         = "200, 5 tokens, stream_cut, cut off"
	stalled     = "200, 5 tokens, stream_stalled, cut off"
	sameRequest = "us-east1: the same request"
	theRest     = "us-east1: the rest after 5 tokens"
)

var faults = []fault{
	{
		name: "refused", model: plain, begin: kill,
		saw: whole, outcome: moved("refused"), next: sameRequest,
	},
	{
		name: "reset at connect", model: gated, begin: turn(reset),
		saw: whole, outcome: movedFrom("europe-west3", "broken"), or: []string{movedFrom("europe-west3", "refused")}, next: sameRequest,
	},
	{
		name: "reset instead of an answer", model: plain, begin: breaks("reset"),
		saw: whole, outcome: moved("broken"), next: sameRequest,
	},
	{
		name: "black hole, no SYN answered", model: gated, begin: turn(hole),
		saw: whole, outcome: movedFrom("europe-west3", "refused"), or: []string{movedFrom("europe-west3", "abandoned")}, next: sameRequest,
	},
	{
		name: "black hole, process stopped (SIGSTOP)", model: plain, begin: freeze,
		saw: whole, outcome: moved("abandoned"), next: sameRequest,
	},
	{
		name: "TLS handshake without an answer", model: secured, begin: func(m *matrix) { m.tlsGate.Turn(silent) },
		saw: whole, outcome: movedFrom("europe-west4", "abandoned"), or: []string{movedFrom("europe-west4", "refused")}, next: sameRequest,
	},
	{
		name: "slow first byte, healthy probes", model: hasty, begin: breaks("slow-first=1m"),
		saw: whole, outcome: moved("late"), next: sameRequest,
	},
	{
		name: "head, then silence", model: hasty, begin: breaks("head-first=1m"),
		saw: whole, outcome: moved("late"), next: sameRequest,
	},
	{
		name: "role, then silence", model: wary, begin: breaks("stall-after=0"),
		saw: whole, outcome: moved("stalled"), next: sameRequest,
	},
	{
		name: "wedged engine, healthy probes", model: hasty, begin: breaks("wedged"), times: 3,
		saw: whole, outcome: "europe-west1 late ×3, us-east1 served ×3; europe-west1 to us-east1: late ×3", next: sameRequest,
		ejected: "europe-west1",
	},
	{
		name: "cut after 5 tokens", model: plain, begin: breaks("cut-after=5"),
		saw: cut, outcome: "europe-west1 cut; broken", next: "nothing",
	},
	{
		name: "cut after 5 tokens, resume", model: resumed, begin: breaks("cut-after=5"),
		saw: mended, outcome: wentOn("cut"), next: theRest,
	},
	{
		name: "reset after 5 tokens", model: plain, begin: breaks("reset-after=5"),
		saw: cut, outcome: "europe-west1 cut; broken", next: "nothing",
	},
	{
		name: "reset after 5 tokens, resume", model: resumed, begin: breaks("reset-after=5"),
		saw: mended, outcome: wentOn("cut"), next: theRest,
	},
	{
		name: "silence after 5 tokens", model: wary, begin: breaks("stall-after=5"),
		saw: stalled, outcome: "europe-west1 stalled; broken", next: "nothing",
	},
	{
		name: "silence after 5 tokens, resume", model: waryResumed, begin: breaks("stall-after=5"),
		saw: mended, outcome: wentOn("stalled"), next: theRest,
	},
	{
		name: "malformed chunk after 5 tokens", model: plain, begin: breaks("bad-chunk-after=5"),
		saw: cut, outcome: "europe-west1 cut; broken", next: "nothing",
	},
	{
		name: "malformed chunk after 5 tokens, resume", model: resumed, begin: breaks("bad-chunk-after=5"),
		saw: mended, outcome: wentOn("cut"), next: theRest,
	},
	{
		name: "clean end without [DONE] after 5 tokens", model: plain, begin: breaks("eof-after=5"),
		saw: cut, outcome: "europe-west1 cut; broken", next: "nothing",
	},
	{
		name: "clean end without [DONE] after 5 tokens, resume", model: resumed, begin: breaks("eof-after=5"),
		saw: mended, outcome: wentOn("cut"), next: theRest,
	},
	{
		name: "error event first", model: plain, begin: breaks("error-first"),
		saw: whole, outcome: moved("failed"), next: sameRequest,
	},
	{
		name: "error event after 5 tokens", model: plain, begin: breaks("error-after=5"),
		saw: "200, 5 tokens, simulated_fault, cut off", outcome: "europe-west1 cut; broken", next: "nothing",
	},
	{
		name: "error event after 5 tokens, resume", model: resumed, begin: breaks("error-after=5"),
		saw: mended, outcome: wentOn("cut"), next: theRest,
	},
	{
		name: "429 with Retry-After", model: plain, begin: breaks("busy=429,retry=2s"), times: 2,
		saw: whole, outcome: "europe-west1 busy, us-east1 served ×2; europe-west1 to us-east1: busy", next: sameRequest,
	},
	{
		name: "429 without Retry-After", model: plain, begin: breaks("busy=429"),
		saw: whole, outcome: moved("busy"), next: sameRequest,
	},
	{
		name: "529", model: plain, begin: breaks("busy=529"),
		saw: whole, outcome: moved("busy"), next: sameRequest,
	},
	{
		name: "429 everywhere", model: plain, begin: breaksAll("busy=429"),
		saw: "429, simulated_fault", next: sameRequest + ", asia-northeast1: the same request",
		outcome: "asia-northeast1 busy, europe-west1 busy, us-east1 busy; europe-west1 to us-east1: busy, us-east1 to asia-northeast1: busy",
	},
	{
		name: "every stream cut after 5 tokens, resume", model: resumed, begin: breaksAll("cut-after=5"),
		saw: "200, 15 tokens, stream_cut, cut off", next: theRest + ", asia-northeast1: the rest after 10 tokens",
		outcome: "asia-northeast1 cut, europe-west1 cut, us-east1 cut; broken ×3; resumed ×2",
	},
}

// moved is the outcome of a request that the nearest region failed and the next served.
func moved(how string) string { return movedFrom("europe-west1", how) }

func movedFrom(region, how string) string {
	return region + " " + how + ", us-east1 served; " + region + " to us-east1: " + how
}

// wentOn is the outcome of a stream that the nearest region broke and the next finished.
func wentOn(how string) string { return "europe-west1 " + how + ", us-east1 served; broken; resumed" }

func kill(m *matrix)   { m.region("europe-west1").Kill() }
func freeze(m *matrix) { m.region("europe-west1").Freeze() }

func turn(to way) func(*matrix) {
	return func(m *matrix) { m.gate.Turn(to) }
}

func breaks(mode string) func(*matrix) {
	return func(m *matrix) { m.region("europe-west1").Break(mode) }
}

func breaksAll(mode string) func(*matrix) {
	return func(m *matrix) {
		for _, r := range m.processes() {
			r.Break(mode)
		}
	}
}

// meet lets questions meet a fault. When a probe was there first, the router has not
// sent them to the fault at all, and it begins again.
func (m *matrix) meet(f fault) {
	for range 10 {
		m.rest(f.model)
		before := m.router.tally()
		f.begin(m)
		if !m.ask(f, before) {
			continue
		}
		m.quiet()
		ejected := m.router.tally().ejected(before)
		if ejected != f.ejected {
			m.t.Errorf("ejected: %q, not %q", ejected, f.ejected)
		}
		return
	}
	m.t.Error("a probe was always there before the request")
}

// ask reports false when no request met the fault.
func (m *matrix) ask(f fault, before tally) (met bool) {
	var answers, nexts []string
	for range max(f.times, 1) {
		question := m.question(f.model, 40)
		alone := alone(m.t, "", question)
		answers = append(answers, saw(m.router.listen(question, nil).Wait(), alone))
		nexts = append(nexts, m.next(question, alone))
	}
	unmet := "us-east1 served"
	outcome := m.outcome(before, append(f.or, f.outcome, unmet)...)
	if outcome == unmet {
		return false
	}
	if !slices.Contains(append(f.or, f.outcome), outcome) {
		m.t.Errorf("outcome: %s, not %s", outcome, f.outcome)
	}
	for i, answer := range answers {
		if answer != f.saw {
			m.t.Errorf("the client of question %d saw %q, not %q", i, answer, f.saw)
		}
		if nexts[i] != f.next {
			m.t.Errorf("of question %d, the next regions got %q, not %q", i, nexts[i], f.next)
		}
	}
	m.tell(f.name, answers[0], outcome, nexts[0], f.ejected)
	return true
}

package healthcheck

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"proxima/router"
)

// regions names endpoints "a1", "a2", "b1"… in regions "a", "b"…, so many in each.
func regions(sizes ...int) []router.Endpoint {
	var all []router.Endpoint
	for i, n := range sizes {
		for j := range n {
			e := endpoint(fmt.Sprintf("%c%d", 'a'+i, j+1))
			e.Region = router.RegionID(e.ID[:1])
			all = append(all, e)
		}
	}
	return all
}

// inquest is a suspicion and what it hears, in the words of its tests. A word names
// an endpoint, a region or all, and what is heard of them: "a1=lost", "b=reached",
// "all=none". "+2s" is time that passes; each piece of evidence takes a millisecond.
type inquest struct {
	Suspicion
	now      time.Time
	verdicts []string
}

var (
	evidences = map[string]Evidence{"none": NoEvidence, "reached": Reached, "lost": Unreached}
	verdicts  = [...]string{Suspected: "suspected", Cleared: "cleared", Confirmed: "confirmed"}
)

func inquire(endpoints []router.Endpoint, story string) *inquest {
	q := &inquest{now: noon}
	q.Watch(endpoints, DefaultPolicy())
	for _, word := range strings.Fields(story) {
		if after, ok := strings.CutPrefix(word, "+"); ok {
			passed, err := time.ParseDuration(after)
			if err != nil {
				panic(err)
			}
			q.now = q.now.Add(passed)
			continue
		}
		name, what, _ := strings.Cut(word, "=")
		for _, e := range endpoints {
			if string(e.ID) == name || string(e.Region) == name || name == "all" {
				q.hear(e.ID, evidences[what])
			}
		}
	}
	return q
}

func (q *inquest) hear(id router.EndpointID, e Evidence) {
	q.now = q.now.Add(time.Millisecond)
	if v := q.Hear(id, e, q.now); v != Unchanged {
		q.verdicts = append(q.verdicts, verdicts[v])
	}
}

func TestSuspicionFallsOnTheRouterWhenManyPlacesFailAtOnce(t *testing.T) {
	three, two, one := regions(2, 2, 2), regions(2, 2), regions(4)
	repeat := strings.Repeat
	for _, c := range []struct {
		name      string
		endpoints []router.Endpoint
		story     string
		want      string
	}{
		{"nothing is known", three, "all=lost +1m all=lost", ""},
		{"all is well", three, "all=reached +1m all=reached", ""},
		{"everything fails", three, "all=reached +2s all=lost", "suspected"},
		{"half, in two regions", three, "all=reached +2s a=lost b1=lost", "suspected"},
		{"fewer than half", three, "all=reached +2s a1=lost b1=lost", ""},
		{"half, in one region", two, "all=reached +2s a=lost", ""},
		{"a fleet with one region", one, "all=reached +2s all=lost", ""},
		{"one endpoint", regions(1), "a1=reached +2s a1=lost", ""},
		{"two endpoints", regions(1, 1), "all=reached +2s all=lost", "suspected"},
		{"not at once", three, "all=reached +2s a=lost +8s b=reached c=reached +1s b=lost", ""},
		{"on top of an outage", regions(1, 2, 2), "all=reached +2s a=lost +1m b=reached c=reached +2s b=lost c1=lost", "suspected"},
		{"a known outage counts among all", regions(4, 1, 1), "all=reached +2s a=lost +1m b=reached c=reached +2s b=lost c=lost", ""},
		{"no evidence is none", three, "all=reached +2s all=none", ""},

		{"it passes", three, "all=reached +2s all=lost +8s all=reached +2100ms all=reached", "suspected cleared"},
		{"not at the first good word", three, "all=reached +2s all=lost +8s all=reached +1s all=reached", "suspected"},
		{"nor while it comes and goes", three, "all=reached +2s all=lost" + repeat(" +1s all=reached +1s all=lost", 4), "suspected"},
		{"nothing at all is reached, for long", three, "all=reached +2s" + repeat(" all=lost +2s", 1800), "suspected"},
		{"and then it passes", three, "all=reached +2s" + repeat(" all=lost +2s", 1800) + " all=reached +2100ms all=reached", "suspected cleared"},

		{"the clock steps back meanwhile", three, "all=reached +2s all=lost +8s all=reached +-1h all=reached +2100ms all=reached", "suspected cleared"},
		{"or before it is believed", three, "all=reached +2s a=lost b=lost c=reached +-1h" + repeat(" a=lost b=lost c=reached +2s", 6), "suspected confirmed"},

		{"two of three regions are gone", three, "all=reached +2s" + repeat(" a=lost b=lost c=reached +2s", 5), "suspected"},
		{"and after ten seconds believed to be", three, "all=reached +2s" + repeat(" a=lost b=lost c=reached +2s", 6), "suspected confirmed"},
		{"and that is no new suspicion", three, "all=reached +2s" + repeat(" a=lost b=lost c=reached +2s", 60), "suspected confirmed"},
		{"the third is gone later", three, "all=reached +2s" + repeat(" a=lost b=lost c=reached +2s", 30) + " all=lost +1s all=lost", "suspected confirmed"},
		{"half of each region is gone", two, "all=reached +2s" + repeat(" a1=lost b1=lost a2=reached b2=reached +2s", 6), "suspected confirmed"},
		{"the witness is too old", three, "all=reached +2s a=lost b=lost c=reached" + repeat(" +4s a=lost b=lost", 5) + " +4s c=reached a=lost", "suspected"},
		{"the network fails and comes back in part", three, "all=reached +2s all=lost +1m all=lost c=reached" + repeat(" +2s c=reached a=lost b=lost", 4), "suspected confirmed"},
		{"the first to answer does not speak for long", three, "all=reached +2s all=lost +1m all=lost c=reached" + repeat(" +2s c=reached a=lost b=lost", 3), "suspected"},
		{"nor when it falls silent between", three, "all=reached +2s all=lost +1m all=lost c=reached +2s c=reached +2s c=lost a=lost b=lost" + repeat(" +2s c=reached a=lost b=lost", 3), "suspected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := inquire(c.endpoints, c.story)
			if got := strings.Join(q.verdicts, " "); got != c.want {
				t.Errorf("got %q, want %q: %s", got, c.want, q.Detail())
			}
			if _, yes := q.Since(); yes != strings.HasSuffix(c.want, "suspected") {
				t.Errorf("suspects: %v", yes)
			}
		})
	}
}

func TestASuspicionSaysWhy(t *testing.T) {
	begin := "all=reached +2s a=lost b=lost "
	for story, want := range map[string]string{
		begin: "3 of 6 endpoints, not all in one region, fell silent within 7s",
		begin + "a=reached +1s b=reached +2100ms a=reached":              "0 of 6 endpoints are silent, no more half of them in several regions",
		begin + "c=reached" + strings.Repeat(" +2s c=reached b=lost", 5): "c1 is reached while 4 of 6 endpoints are silent",
	} {
		if got := inquire(regions(2, 2, 2), story).Detail(); got != want {
			t.Errorf("%s\n got %s\nwant %s", story, got, want)
		}
	}
}

func TestASuspicionKnowsAMovedEndpointForAnother(t *testing.T) {
	all := regions(1, 1)
	q := inquire(all, "all=reached +2s a=lost")
	moved := slices.Clone(all)
	moved[1].URL = &url.URL{Scheme: "http", Host: "elsewhere"}
	q.Watch(moved, DefaultPolicy())
	if q.hear("b1", Unreached); len(q.verdicts) != 0 {
		t.Error("an endpoint that was never reached at its new place failed at once")
	}
	q.Watch(all[:1], DefaultPolicy())
	if v := q.Hear("b1", Reached, q.now); v != Unchanged {
		t.Error("an endpoint that is not watched was heard")
	}
}

// Whatever is heard, at whatever time: a suspicion begins only when half of all
// in two regions are silent, and is believed only after ten seconds, on the word
// of one that is not.
func TestRandomEvidenceKeepsTheRulesOfSuspicion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := regions(rapid.SliceOfN(rapid.IntRange(1, 3), 1, 4).Draw(t, "regions")...)
		q := inquire(all, "all=reached")
		lost := map[router.EndpointID]bool{}
		steps := []time.Duration{0, time.Millisecond, 300 * time.Millisecond, 2 * time.Second, 9 * time.Second, -time.Hour, time.Hour}
		for range rapid.IntRange(1, 80).Draw(t, "evidence") {
			q.now = q.now.Add(rapid.SampledFrom(steps).Draw(t, "later"))
			e := rapid.SampledFrom(all).Draw(t, "endpoint")
			heard := rapid.SampledFrom([]Evidence{NoEvidence, Reached, Unreached}).Draw(t, "evidence")
			if heard != NoEvidence {
				lost[e.ID] = heard == Unreached
			}
			silent, places := 0, map[router.RegionID]bool{}
			for _, e := range all {
				if lost[e.ID] {
					silent++
					places[e.Region] = true
				}
			}
			since, suspected := q.Since()
			switch q.Hear(e.ID, heard, q.now) {
			case Suspected:
				if suspected || 2*silent < len(all) || len(places) < 2 {
					t.Fatalf("suspected by %d of %d in %d regions", silent, len(all), len(places))
				}
			case Confirmed:
				if !suspected || q.now.Sub(since) < 10*time.Second || silent == len(all) {
					t.Fatalf("believed after %s by %d of %d", q.now.Sub(since), silent, len(all))
				}
			case Cleared:
				if !suspected {
					t.Fatal("cleared of nothing")
				}
			}
		}
	})
}

func TestOnlySilenceIsEvidenceAgainstTheRoutersNetwork(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for _, c := range []struct {
		attempt router.Attempt
		want    Evidence
	}{
		{router.Attempt{Outcome: router.Served, Status: 200}, Reached},
		{router.Attempt{Outcome: router.Failed, Status: 503}, Reached},
		{router.Attempt{Outcome: router.Busy, Status: 429}, Reached},
		{router.Attempt{Outcome: router.Refused, Err: dial(syscall.ECONNREFUSED)}, Reached},
		{router.Attempt{Outcome: router.Refused, Err: dial(os.ErrDeadlineExceeded)}, Unreached},
		{router.Attempt{Outcome: router.Refused, Err: dial(context.DeadlineExceeded)}, Unreached},
		{router.Attempt{Outcome: router.Refused, Err: dial(&net.DNSError{Err: "server misbehaving"})}, Unreached},
		{router.Attempt{Outcome: router.Refused, Err: dial(syscall.ENETUNREACH)}, Unreached},
		{router.Attempt{Outcome: router.Refused, Err: dial(syscall.EHOSTUNREACH)}, Unreached},
		{router.Attempt{Outcome: router.Refused, Err: dial(syscall.EMFILE)}, Unreached},
		{router.Attempt{Outcome: router.Refused, Err: dial(syscall.EADDRNOTAVAIL)}, Unreached},
		{router.Attempt{Outcome: router.Refused, Err: &deniedAddressError{}}, NoEvidence},
		{router.Attempt{Outcome: router.Refused}, NoEvidence},
		{router.Attempt{Outcome: router.Broken, Err: syscall.ECONNRESET}, Unreached},
		{router.Attempt{Outcome: router.Cut, Status: 200, Err: syscall.ECONNRESET}, NoEvidence},
		{router.Attempt{Outcome: router.Late, Err: context.Canceled}, NoEvidence},
		{router.Attempt{Outcome: router.Stalled, Status: 200, Err: context.Canceled}, NoEvidence},
		{router.Attempt{Outcome: router.Cancelled, Err: context.Canceled}, NoEvidence},
		{router.Attempt{Outcome: router.Abandoned, Err: context.Canceled}, NoEvidence},
	} {
		if got := AttemptEvidence(c.attempt); got != c.want {
			t.Errorf("%s, %v: got %d, want %d", c.attempt.Outcome, c.attempt.Err, got, c.want)
		}
	}
	for kind, want := range map[Kind]Evidence{
		KindTimeout: Unreached, KindDNS: Unreached, KindReset: Unreached, KindUnreachable: Unreached, KindExhausted: Unreached,
		KindRefused: Reached, KindStatus: Reached, KindTLS: Reached, KindOther: NoEvidence,
	} {
		if got := NewBelief(DefaultPolicy()).Evidence(Result{Cause: "ill", Kind: kind}); got != want {
			t.Errorf("a probe that failed by %s: got %d, want %d", kind, got, want)
		}
	}
	busy := tell(NewBelief(DefaultPolicy()), noon, "ok slow 200")
	if got := busy.Evidence(blackHole); got != NoEvidence {
		t.Error("a probe that timed out while requests were served is evidence")
	}
	if got := busy.Evidence(Result{Cause: "the answer did not end", Kind: KindTimeout, Status: 200}); got != Reached {
		t.Error("an answer that did not end came from nowhere")
	}
}

// severed is what requests and probes meet when the router's own network fails.
var severed = router.Attempt{Outcome: router.Refused, Err: os.ErrDeadlineExceeded}

// traffic is 50 requests a second at each endpoint that is up, until the test
// ends: served, unless its host is ill.
func (w *ward) traffic(t *testing.T, all []router.Endpoint) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			time.Sleep(20 * time.Millisecond)
			for _, e := range all {
				if w.last(e.ID).Health == router.Up {
					w.request(e)
				}
			}
		}
	}()
	leave := w.leave
	w.leave = func() { cancel(); <-ended; leave() }
}

func (w *ward) request(e router.Endpoint) {
	w.mu.Lock()
	ill := w.ill[e.URL.Host]
	w.mu.Unlock()
	a := router.Attempt{Outcome: router.Served}
	switch ill.Kind {
	case KindTimeout:
		a = severed
	case KindRefused:
		a = router.Attempt{Outcome: router.Refused, Err: syscall.ECONNREFUSED}
	case KindStatus:
		a = router.Attempt{Outcome: router.Failed, Status: 503}
	}
	a.Endpoint, a.Started = e.ID, time.Now()
	w.Observe(a, time.Now())
}

func (w *ward) fallAll(all []router.Endpoint, how Result) {
	for _, e := range all {
		w.fall(e.URL.Host, how)
	}
}

func (w *ward) healAll(all []router.Endpoint) {
	for _, e := range all {
		w.heal(e.URL.Host)
	}
}

// healths counts the endpoints by what is published of them: "4 up, 2 down".
func (w *ward) healths(all []router.Endpoint) string {
	count := map[router.Health]int{}
	for _, e := range all {
		count[w.last(e.ID).Health]++
	}
	var words []string
	for h := router.Untested; h <= router.Down; h++ {
		if count[h] > 0 {
			words = append(words, fmt.Sprintf("%d %s", count[h], h))
		}
	}
	return strings.Join(words, ", ")
}

// suspecting is a ward with regions, and what it tells of its suspicions.
func suspecting(all []router.Endpoint) (w *ward, told func() string) {
	w = newWard(all...)
	var words []string
	w.Suspected = func(since time.Time, yes bool, detail string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		words = append(words, fmt.Sprint(yes))
		if yes == since.IsZero() || detail == "" {
			words = append(words, "without a time or a reason")
		}
	}
	return w, func() string {
		w.mu.Lock()
		defer w.mu.Unlock()
		return strings.Join(words, " ")
	}
}

func TestAFailureOfTheRoutersOwnNetworkEvictsNobody(t *testing.T) {
	for _, c := range []struct {
		lasting time.Duration
		busy    bool
	}{{8 * time.Second, false}, {8 * time.Second, true}, {time.Minute, false}, {time.Minute, true}, {time.Hour, false}} {
		t.Run(fmt.Sprintf("%s, busy %v", c.lasting, c.busy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := regions(4, 4, 4)
				w, told := suspecting(all)
				w.open(t)
				defer func() { w.leave() }()
				time.Sleep(10 * time.Second)
				if c.busy {
					w.traffic(t, all)
				}
				time.Sleep(50 * time.Second)
				w.fallAll(all, blackHole)
				time.Sleep(5 * time.Second)
				for range int(c.lasting/time.Second) - 5 {
					if got := w.healths(all); got != "12 up" {
						t.Fatalf("while it fails: %s", got)
					}
					time.Sleep(time.Second)
				}
				w.healAll(all)
				synctest.Wait()
				if _, yes := w.Suspects(); !yes {
					t.Error("no suspicion")
				}
				for range 600 {
					time.Sleep(100 * time.Millisecond)
					if got := w.healths(all); got != "12 up" {
						t.Fatalf("afterwards: %s", got)
					}
				}
				for _, e := range all {
					if s := w.last(e.ID); !s.Recovered.IsZero() || s.Cause != "" || s.Since.Sub(noonOfBubble) > time.Second {
						t.Errorf("%s remembers: %+v", e.ID, s)
					}
					if got := w.course(e.ID); c.busy && got != "[up]" {
						t.Errorf("%s: %s, although requests told of it at once", e.ID, got)
					}
				}
				if got := told(); got != "true false" {
					t.Errorf("told: %s", got)
				}
			})
		})
	}
}

func TestTwoOfThreeRegionsThatReallyDieAreDownAfterTenSeconds(t *testing.T) {
	for _, busy := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			all := regions(4, 4, 4)
			w, told := suspecting(all)
			w.open(t)
			defer func() { w.leave() }()
			time.Sleep(10 * time.Second)
			if busy {
				w.traffic(t, all)
			}
			time.Sleep(50 * time.Second)
			w.fallAll(all[:8], blackHole)
			time.Sleep(16 * time.Second) // noticed within Unnoticed, and ten seconds of doubt
			if got := w.healths(all); got != "4 up, 8 down" {
				t.Errorf("busy %v: %s", busy, got)
			}
			time.Sleep(time.Minute)
			if got := w.healths(all); got != "4 up, 8 down" {
				t.Errorf("busy %v, later: %s", busy, got)
			}
			w.healAll(all)
			time.Sleep(time.Minute)
			if got := w.healths(all); got != "12 up" {
				t.Errorf("busy %v, in the end: %s", busy, got)
			}
			if got := told(); got != "true false" {
				t.Errorf("told: %s", got)
			}
		})
	}
}

func TestOneOfTwoRegionsThatDiesIsNoReasonForSuspicion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := regions(4, 4)
		w, told := suspecting(all)
		w.open(t)
		defer func() { w.leave() }()
		time.Sleep(time.Minute)
		w.fallAll(all[:4], blackHole)
		time.Sleep(DefaultPolicy().Unnoticed())
		synctest.Wait()
		if got := w.healths(all) + told(); got != "4 up, 4 down" {
			t.Error(got)
		}
	})
}

func TestRefusedConnectionsEverywhereAreNotTheRoutersNetwork(t *testing.T) {
	for _, how := range []Result{refusing, {Cause: "answered 503, wants 200-299", Kind: KindStatus, Status: 503}} {
		synctest.Test(t, func(t *testing.T) {
			all := regions(4, 4, 4)
			w, told := suspecting(all)
			w.open(t)
			defer func() { w.leave() }()
			time.Sleep(10 * time.Second)
			w.traffic(t, all)
			time.Sleep(50 * time.Second)
			w.fallAll(all, how)
			time.Sleep(DefaultPolicy().Unnoticed())
			synctest.Wait()
			if got := w.healths(all) + told(); got != "12 down" {
				t.Errorf("%s: %s", how.Cause, got)
			}
		})
	}
}

func TestEachTurnOfTheRequestsIsEvidence(t *testing.T) {
	all := regions(2, 2)
	policy := DefaultPolicy()
	policy.Passive.TripAfter = 0 // nothing else makes a monitor listen that is calm
	m := &Monitor{}
	m.Watch(all, policy)
	now := noon
	requests := func(a router.Attempt, want bool) {
		t.Helper()
		for _, e := range all {
			now = now.Add(time.Millisecond)
			a.Endpoint = e.ID
			m.Observe(a, now)
		}
		if _, yes := m.Suspects(); yes != want {
			t.Errorf("suspects: %v", yes)
		}
	}
	served := router.Attempt{Outcome: router.Served, Status: 200}
	requests(served, false)
	requests(severed, true)
	requests(served, true)
	now = now.Add(3 * time.Second)
	m.Observe(router.Attempt{Endpoint: "a1", Outcome: router.Refused, Err: syscall.ETIMEDOUT}, now)
	requests(served, false)
}

func TestAnEndpointThatIsAddedDuringASuspicionIsFrozenToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := regions(2, 2, 1)
		w, told := suspecting(all[:4])
		w.open(t)
		defer func() { w.leave() }()
		time.Sleep(time.Minute)
		w.fallAll(all, blackHole)
		time.Sleep(10 * time.Second)
		w.Watch(all, DefaultPolicy())
		time.Sleep(10 * time.Second)
		if got := w.healths(all) + told(); got != "1 untested, 4 uptrue" {
			t.Error(got)
		}
	})
}

func TestAPanicOfSuspectedIsContained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := regions(2, 2)
		w := newWard(all...)
		var panicked atomic.Int64
		w.Suspected = func(time.Time, bool, string) { panic("suspected") }
		w.Panicked = func(id router.EndpointID, _ any, _ []byte) {
			if id == "" {
				panicked.Add(1)
			}
		}
		w.open(t)
		defer func() { w.leave() }()
		time.Sleep(time.Minute)
		w.fallAll(all, blackHole)
		time.Sleep(20 * time.Second)
		w.healAll(all)
		time.Sleep(20 * time.Second)
		if got := w.healths(all); got != "4 up" || panicked.Load() != 2 {
			t.Errorf("%s, %d panics", got, panicked.Load())
		}
	})
}

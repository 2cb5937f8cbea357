package healthcheck

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"proxima/router"
)

// ward is a monitor with everything that it says written down, and endpoints
// that are well until a test says otherwise.
type ward struct {
	*Monitor
	mu       sync.Mutex
	ill      map[string]Result // by host; absent: well
	asked    map[string][]time.Time
	statuses map[router.EndpointID][]router.Status
	ejected  []router.EndpointID
	results  int
	measured int
	leave    func()
}

func newWard(endpoints ...router.Endpoint) *ward {
	w := &ward{
		ill: map[string]Result{}, asked: map[string][]time.Time{}, statuses: map[router.EndpointID][]router.Status{},
	}
	w.Monitor = &Monitor{
		Probe: w.probe,
		Publish: func(id router.EndpointID, s router.Status) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.statuses[id] = append(w.statuses[id], s)
		},
		Probed:   func(router.EndpointID, Result) { w.mu.Lock(); w.results++; w.mu.Unlock() },
		Measured: func(router.EndpointID, time.Duration) { w.mu.Lock(); w.measured++; w.mu.Unlock() },
		Ejected: func(id router.EndpointID, _ string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.ejected = append(w.ejected, id)
		},
	}
	w.Watch(endpoints, DefaultPolicy())
	return w
}

// open runs the ward until the test ends.
func (w *ward) open(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	w.leave = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// probe takes a millisecond, or for a timeout as long as the policy allows.
func (w *ward) probe(ctx context.Context, at *url.URL, policy Policy) Result {
	w.mu.Lock()
	w.asked[at.Host] = append(w.asked[at.Host], time.Now())
	r := w.ill[at.Host]
	w.mu.Unlock()
	took := time.Millisecond
	if r.Kind == KindTimeout {
		took = policy.Timeout
	}
	r.Latency = took
	select {
	case <-time.After(took):
	case <-ctx.Done():
	}
	return r
}

var (
	blackHole = Result{Cause: "timed out after 1s: no connection", Kind: KindTimeout}
	refusing  = Result{Cause: "connection refused", Kind: KindRefused}
)

func (w *ward) fall(host string, how Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ill[host] = how
}

func (w *ward) heal(host string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.ill, host)
}

func (w *ward) last(id router.EndpointID) router.Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.statuses[id]) == 0 {
		return router.Status{}
	}
	return w.statuses[id][len(w.statuses[id])-1]
}

func (w *ward) times(host string) []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.asked[host])
}

// course is the healths that were published, repetitions left out.
func (w *ward) course(id router.EndpointID) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var healths []router.Health
	for _, s := range w.statuses[id] {
		healths = append(healths, s.Health)
	}
	return fmt.Sprint(slices.Compact(healths))
}

func endpoint(name string) router.Endpoint {
	return router.Endpoint{ID: router.EndpointID(name), URL: &url.URL{Scheme: "http", Host: name}}
}

func endpoints(n int) []router.Endpoint {
	all := make([]router.Endpoint, n)
	for i := range all {
		all[i] = endpoint(fmt.Sprintf("e%d", i))
	}
	return all
}

func attempt(name string, outcome router.Outcome) router.Attempt {
	return router.Attempt{Endpoint: router.EndpointID(name), Outcome: outcome, Started: time.Now()}
}

func TestAnOutageAndItsEndArePublishedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(endpoint("us-1"))
		w.open(t)
		defer func() { w.leave() }()
		time.Sleep(10 * time.Second)
		w.fall("us-1", refusing)
		time.Sleep(10 * time.Second)
		w.heal("us-1")
		time.Sleep(10 * time.Second)
		if got, want := w.course("us-1"), "[up suspect down up]"; got != want {
			t.Errorf("published %s, want %s", got, want)
		}
		if s := w.last("us-1"); s.Recovered.IsZero() || s.Latency != time.Millisecond || s.Cause != "" {
			t.Errorf("%+v", s)
		}
	})
}

func TestADayOfProbingKeepsItsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(endpoint("us-1"))
		w.open(t)
		defer func() { w.leave() }()
		time.Sleep(24 * time.Hour)
		asked := w.times("us-1")
		if n, want := len(asked), 43200; n < want*99/100 || n > want*101/100 {
			t.Errorf("%d probes in a day, want about %d", n, want)
		}
		shortest, longest := 24*time.Hour, time.Duration(0)
		for i := range asked[1:] {
			pause := asked[i+1].Sub(asked[i]) - time.Millisecond
			shortest, longest = min(shortest, pause), max(longest, pause)
		}
		if shortest < 1600*time.Millisecond || longest > 2400*time.Millisecond {
			t.Errorf("pauses from %s to %s, want 2s ±20 %%", shortest, longest)
		}
		if shortest > 1610*time.Millisecond || longest < 2390*time.Millisecond {
			t.Errorf("pauses only from %s to %s: that is little jitter", shortest, longest)
		}
		if w.results != len(asked) || w.measured != len(asked) {
			t.Errorf("%d probes, %d results, %d latencies", len(asked), w.results, w.measured)
		}
	})
}

func TestFirstProbesAreSpread(t *testing.T) {
	for _, c := range []struct {
		n    int
		over time.Duration
	}{{10, 50 * time.Millisecond}, {1000, 2 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWard(endpoints(c.n)...)
			w.open(t)
			defer func() { w.leave() }()
			began := time.Now()
			time.Sleep(c.over + 10*time.Millisecond)
			tenths := make([]int, 11)
			for _, e := range endpoints(c.n) {
				tenths[w.times(e.URL.Host)[0].Sub(began)*10/c.over]++
			}
			for i, n := range tenths[:10] {
				if n < c.n/10-1 || n > c.n/10+1 {
					t.Errorf("%d endpoints: %d first probes in tenth %d of %s", c.n, n, i, c.over)
				}
			}
			if !w.Settled() {
				t.Error("all were asked, but it has not settled")
			}
		})
	}
}

func TestNeverMoreThan64ProbesAreOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(endpoints(1000)...)
		var out, most, asked atomic.Int64
		w.Probe = func(ctx context.Context, _ *url.URL, _ Policy) Result {
			most.Store(max(most.Load(), out.Add(1)))
			defer out.Add(-1)
			asked.Add(1)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			return blackHole
		}
		w.open(t)
		defer func() { w.leave() }()
		time.Sleep(time.Minute)
		if most.Load() != 64 {
			t.Errorf("up to %d probes were out, want 64", most.Load())
		}
		if got := asked.Load(); got < 60*64-64 {
			t.Errorf("%d probes in a minute: places stayed empty", got)
		}
		if s := w.last("e999"); s.Health != router.Down {
			t.Errorf("waiting for a place was taken for something else: %+v", s)
		}
	})
}

func TestAnOutageIsNoticedWithinTheBound(t *testing.T) {
	policies := map[string]Policy{"default": DefaultPolicy(), "patient": DefaultPolicy(), "quick": DefaultPolicy()}
	for name, change := range map[string]func(*Policy){
		"patient": func(p *Policy) { p.Fall, p.Interval = 5, 10*time.Second },
		"quick":   func(p *Policy) { p.Fall, p.Interval, p.Timeout = 1, 250*time.Millisecond, 200*time.Millisecond },
	} {
		p := policies[name]
		change(&p)
		policies[name] = p
	}
	for name, policy := range policies {
		for _, luck := range []struct {
			name   string
			chance func() float64
			least  time.Duration // the bound is not idle: bad luck comes this close to it
		}{
			{"bad luck", func() float64 { return 1 }, policy.Unnoticed()},
			{"any luck", rand.New(rand.NewPCG(1, 2)).Float64, 0},
		} {
			t.Run(name+", "+luck.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWard()
					w.Rand = luck.chance
					w.Watch([]router.Endpoint{endpoint("us-1")}, policy)
					w.open(t)
					defer func() { w.leave() }()
					answered := make(chan bool)
					w.Probed = func(router.EndpointID, Result) {
						select {
						case answered <- true:
						default:
						}
					}
					longest := time.Duration(0)
					for range 20 {
						w.heal("us-1")
						for w.last("us-1").Health != router.Up {
							time.Sleep(time.Second)
						}
						time.Sleep(2 * time.Minute)
						<-answered
						w.fall("us-1", blackHole)
						began := time.Now()
						time.Sleep(policy.Unnoticed())
						synctest.Wait()
						s := w.last("us-1")
						if s.Health != router.Down {
							t.Fatalf("%s after the outage began: %s", policy.Unnoticed(), s.Health)
						}
						longest = max(longest, s.Since.Sub(began))
					}
					t.Logf("noticed after at most %s, bound %s", longest, policy.Unnoticed())
					if longest < luck.least {
						t.Errorf("noticed after at most %s: the bound of %s is too careful", longest, policy.Unnoticed())
					}
				})
			})
		}
	}
}

func TestFailingRequestsEjectWhileAProbeHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(endpoint("us-1"))
		w.open(t)
		defer func() { w.leave() }()
		time.Sleep(10 * time.Second)
		w.fall("us-1", blackHole)
		n := len(w.times("us-1"))
		for len(w.times("us-1")) == n {
			time.Sleep(time.Millisecond)
		}
		for range 3 {
			w.Observe(attempt("us-1", router.Late), time.Now())
		}
		synctest.Wait()
		if s := w.last("us-1"); s.Health != router.Ejected {
			t.Errorf("not at once: %+v", s)
		}
		if got := fmt.Sprint(w.ejected); got != "[us-1]" {
			t.Errorf("ejections told: %s", got)
		}
	})
}

func TestAnEjectionEndsOnTimeWithoutAnyRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(endpoint("us-1"))
		w.Rand = func() float64 { return 0.5 }
		w.open(t)
		defer func() { w.leave() }()
		time.Sleep(10 * time.Second)
		for range 3 {
			w.Observe(attempt("us-1", router.Failed), time.Now())
		}
		time.Sleep(5*time.Second - time.Millisecond)
		if s := w.last("us-1"); s.Health != router.Ejected {
			t.Errorf("before its time: %+v", s)
		}
		time.Sleep(2 * time.Millisecond)
		if s := w.last("us-1"); !s.Trial {
			t.Errorf("after its time: %+v", s)
		}
		time.Sleep(DefaultPolicy().SlowStart)
		if s := w.last("us-1"); s.Health != router.Up || s.Recovered.IsZero() {
			t.Errorf("no request came to try it: %+v", s)
		}
	})
}

func TestATrialIsDecidedByTheRequestThatWasSentInIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(endpoint("us-1"))
		w.Rand = func() float64 { return 0.5 }
		w.open(t)
		defer func() { w.leave() }()
		stream := attempt("us-1", router.Served)
		time.Sleep(10 * time.Second)
		for range 3 {
			w.Observe(attempt("us-1", router.Failed), time.Now())
		}
		for range 8 { // a stream from before flows on
			time.Sleep(time.Second)
			w.Observe(stream, time.Now())
		}
		synctest.Wait()
		if s := w.last("us-1"); !s.Trial {
			t.Errorf("after its time: %+v", s)
		}
		w.Observe(attempt("us-1", router.Failed), time.Now())
		synctest.Wait()
		if s := w.last("us-1"); s.Trial || s.Health != router.Ejected {
			t.Errorf("after a failed trial: %+v", s)
		}
		if got := fmt.Sprint(w.ejected); got != "[us-1 us-1]" {
			t.Errorf("ejections told: %s", got)
		}
		time.Sleep(11 * time.Second)
		w.Observe(attempt("us-1", router.Served), time.Now())
		synctest.Wait()
		if s := w.last("us-1"); s.Health != router.Up || s.Trial || !s.Recovered.Equal(time.Now()) {
			t.Errorf("after a trial that was served: %+v", s)
		}
	})
}

func TestReloadsDoNotStarveProbing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := endpoints(3)
		w := newWard(all...)
		w.open(t)
		defer func() { w.leave() }()
		policy := DefaultPolicy()
		for i := range 200 {
			policy.Fall = 2 + i%2
			w.Watch(all, policy)
			time.Sleep(100 * time.Millisecond)
		}
		for _, e := range all {
			if n := len(w.times(e.URL.Host)); n < 8 || n > 16 {
				t.Errorf("%s: %d probes in 20 s of reloads", e.ID, n)
			}
			if got := w.course(e.ID); got != "[up]" {
				t.Errorf("%s: %s", e.ID, got)
			}
		}
	})
}

func TestWatchTouchesOnlyWhatChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stays, moves, goes := endpoint("stays"), endpoint("moves"), endpoint("goes")
		w := newWard(stays, moves, goes)
		w.open(t)
		defer func() { w.leave() }()
		time.Sleep(time.Minute)
		moves.URL = &url.URL{Scheme: "http", Host: "elsewhere"}
		w.fall("elsewhere", refusing)
		gone := len(w.times("goes"))
		w.Watch([]router.Endpoint{stays, moves, endpoint("comes")}, DefaultPolicy())
		time.Sleep(time.Minute)
		got := w.course("stays") + w.course("moves") + w.course("goes") + w.course("comes")
		if want := "[up][up untested down][up][up]"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if n := len(w.times("goes")); n != gone {
			t.Errorf("%d probes of an endpoint that is not watched", n-gone)
		}
	})
}

func TestAStatusOfTheOldPlaceIsNotPublishedAfterTheMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(endpoint("us-1"))
		w.open(t)
		defer func() { w.leave() }()
		time.Sleep(10 * time.Second)
		w.fall("us-1", blackHole)
		n := len(w.times("us-1"))
		for len(w.times("us-1")) == n {
			time.Sleep(time.Millisecond)
		}
		moved := endpoint("us-1")
		moved.URL = &url.URL{Scheme: "http", Host: "elsewhere"}
		w.Watch([]router.Endpoint{moved}, DefaultPolicy())
		time.Sleep(10 * time.Second)
		if got, want := w.course("us-1"), "[up untested up]"; got != want {
			t.Errorf("published %s, want %s", got, want)
		}
	})
}

func TestAPolicyChangeTakesEffectAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard()
		lazy, brisk := DefaultPolicy(), DefaultPolicy()
		lazy.Interval, brisk.Interval = time.Hour, time.Second
		all := []router.Endpoint{endpoint("us-1")}
		w.Watch(all, lazy)
		w.open(t)
		defer func() { w.leave() }()
		time.Sleep(time.Minute)
		n := len(w.times("us-1"))
		w.Watch(all, brisk)
		time.Sleep(10 * time.Second)
		if more := len(w.times("us-1")) - n; more < 8 || more > 12 {
			t.Errorf("%d probes in 10 s, want about 10", more)
		}
	})
}

func TestAKickProbesNowButNeverTwiceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(endpoint("us-1"))
		w.open(t)
		defer func() { w.leave() }()
		time.Sleep(10*time.Second + 500*time.Millisecond)
		before := w.times("us-1")
		w.Kick("us-1")
		w.Kick("nobody")
		time.Sleep(100 * time.Millisecond)
		if n := len(w.times("us-1")) - len(before); n != 1 {
			t.Fatalf("%d probes after a kick, want 1", n)
		}
		for range 1000 {
			w.Kick("us-1")
			time.Sleep(time.Millisecond)
		}
		if n := len(w.times("us-1")) - len(before); n < 8 || n > 12 {
			t.Errorf("%d probes in a second of kicks, want about 10", n)
		}
	})
}

func TestReadinessWaitsForEveryFirstAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(endpoint("us-1"), endpoint("eu-1"))
		w.fall("eu-1", blackHole)
		if new(Monitor).Settled() || w.Settled() {
			t.Error("settled before anything was asked")
		}
		w.open(t)
		defer func() { w.leave() }()
		time.Sleep(500 * time.Millisecond)
		if w.Settled() {
			t.Error("settled although eu-1 has not answered")
		}
		time.Sleep(time.Second)
		if !w.Settled() {
			t.Error("not settled although both have an answer")
		}
	})
}

func TestAPanicIsContainedAndTold(t *testing.T) {
	for _, where := range []string{"Probe", "Publish", "Probed", "Panicked"} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWard(endpoint("us-1"), endpoint("eu-1"))
				var told []string
				probe, publish := w.Probe, w.Publish
				bad := func(host string) bool { return host == "us-1" && time.Since(noonOfBubble) < 20*time.Second }
				w.Probe = func(ctx context.Context, at *url.URL, p Policy) Result {
					if (where == "Probe" || where == "Panicked") && bad(at.Host) {
						panic("probe")
					}
					return probe(ctx, at, p)
				}
				w.Publish = func(id router.EndpointID, s router.Status) {
					if where == "Publish" && bad(string(id)) {
						panic("publish")
					}
					publish(id, s)
				}
				w.Probed = func(id router.EndpointID, _ Result) {
					if where == "Probed" && bad(string(id)) {
						panic("probed")
					}
				}
				w.Panicked = func(id router.EndpointID, value any, stack []byte) {
					told = append(told, fmt.Sprint(id, value, len(stack) > 0))
					if where == "Panicked" {
						panic("again")
					}
				}
				w.open(t)
				defer func() { w.leave() }()
				time.Sleep(time.Minute)
				if got := w.course("us-1") + w.course("eu-1"); got != "[up][up]" {
					t.Errorf("published %s", got)
				}
				if n := w.Panics(); n < 5 || n > 25 || int(n) != len(told) {
					t.Errorf("%d panics, %d told", n, len(told))
				}
				if n := len(w.times("us-1")); n < 15 {
					t.Errorf("%d probes in a minute", n)
				}
			})
		})
	}
}

// noonOfBubble is where every synctest bubble's clock begins.
var noonOfBubble = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func TestAStandstillOfTheRouterIsNotTheEndpointsFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(endpoint("us-1"))
		var stood atomic.Int64
		probe := w.Probe
		w.Probe = func(ctx context.Context, at *url.URL, p Policy) Result {
			if stood.Add(-1) >= 0 { // stopped for 5 s in the midst of a probe
				time.Sleep(5 * time.Second)
				return blackHole
			}
			return probe(ctx, at, p)
		}
		w.open(t)
		defer func() { w.leave() }()
		time.Sleep(10 * time.Second)
		stood.Store(3)
		time.Sleep(30 * time.Second)
		if got := w.course("us-1"); got != "[up]" {
			t.Errorf("published %s", got)
		}
		stood.Store(1 << 30)
		time.Sleep(2 * time.Minute)
		if s := w.last("us-1"); s.Health != router.Down {
			t.Errorf("an endpoint whose probes always come late is %s, want down in the end", s.Health)
		}
	})
}

func TestAProbeThatSetsOutLateIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(endpoint("us-1"))
		first := true
		w.Probed = func(router.EndpointID, Result) { // starves the keeper once
			if first {
				first = false
				time.Sleep(7 * time.Second)
				w.fall("us-1", refusing)
				go func() {
					time.Sleep(time.Millisecond / 2)
					w.heal("us-1")
				}()
			}
		}
		w.open(t)
		defer func() { w.leave() }()
		time.Sleep(20 * time.Second)
		if got := w.course("us-1"); got != "[up]" {
			t.Errorf("published %s", got)
		}
	})
}

func TestRunStartsOnceAndAgainAfterItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if err := new(Monitor).Run(t.Context()); err == nil {
			t.Error("a monitor without a Probe runs")
		}
		w := newWard(endpoint("us-1"))
		w.open(t)
		time.Sleep(5 * time.Second)
		if err := w.Run(t.Context()); err == nil {
			t.Error("it runs twice at once")
		}
		w.leave()
		n := len(w.times("us-1"))
		w.open(t)
		time.Sleep(5 * time.Second)
		w.leave()
		if got := w.course("us-1"); len(w.times("us-1")) == n || got != "[up]" {
			t.Errorf("after a second start: %s", got)
		}
	})
}

func TestEveryoneAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := endpoints(8)
		w := newWard(all...)
		publish := w.Publish
		w.Publish = func(id router.EndpointID, s router.Status) {
			publish(id, s)
			w.Observe(router.Attempt{Endpoint: id, Outcome: router.Served}, time.Now()) // no lock is held
		}
		w.open(t)
		var busy sync.WaitGroup
		for i := range 8 {
			busy.Go(func() {
				chance := rand.New(rand.NewPCG(uint64(i), 3))
				for range 2000 {
					e := all[chance.IntN(len(all))]
					switch chance.IntN(12) {
					case 0:
						w.Watch(all[:4+chance.IntN(5)], DefaultPolicy())
					case 1:
						w.Kick(e.ID)
					case 2:
						w.fall(e.URL.Host, refusing)
					case 3:
						w.heal(e.URL.Host)
					case 4:
						w.Settled()
					default:
						w.Observe(router.Attempt{Endpoint: e.ID, Outcome: router.Outcome(chance.IntN(10))}, time.Now())
					}
					time.Sleep(time.Duration(chance.IntN(10)) * time.Millisecond)
				}
			})
		}
		busy.Wait()
		w.Watch(all, DefaultPolicy())
		for _, e := range all {
			w.heal(e.URL.Host)
		}
		time.Sleep(10 * time.Minute)
		for _, e := range all {
			w.Monitor.watching()[e.ID].mu.Lock()
			believed := w.Monitor.watching()[e.ID].belief.Status()
			w.Monitor.watching()[e.ID].mu.Unlock()
			if said := w.last(e.ID); said.Health != router.Up || said.Health != believed.Health {
				t.Errorf("%s: published %s, believed %s", e.ID, said.Health, believed.Health)
			}
		}
		w.leave()
	})
}

func TestASuccessThatChangesNothingDoesNotAllocate(t *testing.T) {
	m, a := calm()
	if n := testing.AllocsPerRun(100, func() { m.Observe(a, noon) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// calm is a monitor of 64 endpoints that are well, and a success at one of them.
func calm() (*Monitor, router.Attempt) {
	m := &Monitor{}
	m.Watch(endpoints(64), DefaultPolicy())
	a := router.Attempt{Endpoint: "e17", Outcome: router.Served, Status: 200, Started: noon}
	m.Observe(a, noon)
	return m, a
}

func BenchmarkObserve(b *testing.B) {
	m, a := calm()
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		m.Observe(a, now)
	}
}

func BenchmarkObserveFromEveryCore(b *testing.B) {
	m, a := calm()
	now := time.Now()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.Observe(a, now)
		}
	})
}

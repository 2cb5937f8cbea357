package healthcheck

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/url"
	"reflect"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"proxima/router"
)

// Monitor watches endpoints: it probes them, takes in how requests ended, and
// publishes what is to be believed. Who does what:
//
//	Run's goroutine     starts a keeper for each watched endpoint, waits for all, and
//	                    calls Suspected
//	a keeper's          its endpoint's schedule, and every call of the other functions
//	a probe's           one Probe at a time for its keeper, nothing else
//	the pulse's         notices when this process stood still
//	anybody's           Watch, Observe, Completed, Alive, Kick, Settled, Suspects: they change a
//	                    belief under its lock and wake the keeper; they call only Rand
//
// So the statuses of one endpoint are published one after the other, the newest
// last, with no lock held, and a function that panics harms no request. A keeper
// that is slow to publish skips what is already out of date.
//
// Fill in the fields before the first call. Only Probe is required. Different
// endpoints call the functions at the same time.
type Monitor struct {
	Probe    Prober
	Publish  func(router.EndpointID, router.Status)              // what is believed now, at each change
	Measured func(router.EndpointID, time.Duration)              // the latency of each good probe
	Probed   func(router.EndpointID, Result)                     // each probe
	Ejected  func(id router.EndpointID, cause string)            // each ejection
	Panicked func(id router.EndpointID, value any, stack []byte) // a panic that was contained; of Suspected, with no id
	Rand     func() float64                                      // chance, 0 to 1; nil: math/rand

	// Suspected is told when this router begins to suspect its own network, and
	// when that is over: then since is zero. Meanwhile failures change nothing; see
	// Suspicion. detail says why, in words for an operator.
	Suspected func(since time.Time, yes bool, detail string)

	watched atomic.Pointer[map[router.EndpointID]*watch] // replaced, never changed
	panics  atomic.Int64
	running atomic.Bool
	places  chan struct{} // one for each probe that may be out
	pulse   pulse

	mu      sync.Mutex // held by Watch
	once    sync.Once
	changed chan struct{} // watched was replaced, or a verdict passed; see changes

	court     sync.Mutex // guards suspicion, until every belief follows it; taken before a watch's
	suspicion Suspicion
	told      bool // of it; of Run's goroutine
}

// probesAtOnce is the most probes that are out at the same time.
const probesAtOnce = 64

// Run probes until ctx is done, and returns nil when every probe has ended. An
// error means that it did not start. It may be called again after it returned.
func (m *Monitor) Run(ctx context.Context) error {
	if m.Probe == nil {
		return errors.New("monitor has no Probe")
	}
	if !m.running.CompareAndSwap(false, true) {
		return errors.New("monitor runs already")
	}
	defer m.running.Store(false)
	m.places = make(chan struct{}, probesAtOnce)
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { m.pulse.run(ctx) })
	keepers := map[router.EndpointID]*keeper{}
	for ctx.Err() == nil {
		m.reconcile(ctx, keepers, &all)
		m.tellSuspicion()
		select {
		case <-ctx.Done():
		case <-m.changes():
		}
	}
	return nil
}

// reconcile makes the keepers those of the watched endpoints. A keeper whose
// endpoint is watched anew waits for its predecessor to end, so that an old
// status is never published after a new one.
func (m *Monitor) reconcile(ctx context.Context, keepers map[router.EndpointID]*keeper, all *sync.WaitGroup) {
	watched := m.watching()
	for id, k := range keepers {
		if watched[id] != k.watch {
			k.stop()
		}
		if k.ended() {
			delete(keepers, id)
		}
	}
	for id, w := range watched {
		before := keepers[id]
		if before != nil && before.watch == w {
			continue
		}
		k := &keeper{watch: w, monitor: m, done: make(chan struct{}), answers: make(chan answer, 1)}
		own, stop := context.WithCancel(ctx)
		k.stop = stop
		keepers[id] = k
		all.Go(func() {
			defer close(k.done)
			defer stop()
			if before != nil {
				<-before.done
			}
			k.run(own)
		})
	}
}

// Watch sets which endpoints are probed, and how. It may be called before and
// while Run runs, as often as one likes: an endpoint whose ID and URL stay keeps
// its schedule and what is believed of it. A new or moved one starts Untested,
// and new ones spread their first probes over n·5 ms, at most the interval.
func (m *Monitor) Watch(endpoints []router.Endpoint, policy Policy) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.watching()
	next := make(map[router.EndpointID]*watch, len(endpoints))
	var fresh []*watch
	for _, e := range endpoints {
		address := e.URL.String()
		w := old[e.ID]
		if w == nil || w.address != address {
			w = newWatch(e, address, policy)
			w.moved = old[e.ID] != nil
			fresh = append(fresh, w)
		}
		w.adopt(policy)
		next[e.ID] = w
	}
	spread := min(policy.interval(), time.Duration(len(fresh))*5*time.Millisecond)
	for i, w := range fresh {
		w.offset = time.Duration((float64(i) + m.chance()) / float64(len(fresh)) * float64(spread))
	}
	m.summon(endpoints, policy, next, fresh)
	m.nudge()
}

// Observe takes in how an attempt at an endpoint ended; now is when. It is for
// the path of every request: a success that changes nothing takes no lock and
// does not allocate. Attempts at endpoints that are not watched are ignored.
func (m *Monitor) Observe(a router.Attempt, now time.Time) {
	w := m.watching()[a.Endpoint]
	served := a.Outcome == router.Served
	if w == nil || served && w.calm.Load() {
		return
	}
	evidence := AttemptEvidence(a)
	if !served && evidence != Reached && m.pulse.unsteady(time.Now()) {
		return
	}
	m.testify(w, evidence, now)
	if served || a.Outcome.Blames() {
		w.hear(func(b *Belief) { b.Attempted(a, now, m.chance()) })
	}
	if evidence == Unreached {
		w.calm.Store(false) // the next success is evidence again
	}
}

// Completed tells that an answer of an endpoint went out to its end, as cheaply.
func (m *Monitor) Completed(id router.EndpointID, now time.Time) {
	w := m.watching()[id]
	if w == nil || w.calm.Load() {
		return
	}
	w.hear(func(b *Belief) { b.Completed(now) })
}

// Alive tells that content arrived from an endpoint, as cheaply as Observe does.
// Who relays a long stream calls it now and then: busy is not dead.
func (m *Monitor) Alive(id router.EndpointID, now time.Time) {
	w := m.watching()[id]
	if w == nil || w.calm.Load() {
		return
	}
	m.testify(w, Reached, now)
	w.hear(func(b *Belief) { b.Alive(now) })
}

// Kick probes an endpoint now, unless a probe is out or was just sent.
func (m *Monitor) Kick(id router.EndpointID) {
	w := m.watching()[id]
	if w == nil {
		return
	}
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// Settled reports whether every watched endpoint has had its first answer, good
// or bad. It is false until Watch was called.
func (m *Monitor) Settled() bool {
	for _, w := range m.watching() {
		if !w.asked.Load() {
			return false
		}
	}
	return m.watched.Load() != nil
}

// Panics counts the panics of probes and functions that were contained.
func (m *Monitor) Panics() int64 { return m.panics.Load() }

// Suspects reports whether this router suspects its own network, and since when.
func (m *Monitor) Suspects() (since time.Time, yes bool) {
	m.court.Lock()
	defer m.court.Unlock()
	return m.suspicion.Since()
}

// testify gives evidence of an endpoint to the suspicion, and lets every belief
// follow the verdict before the caller's own takes the evidence in.
func (m *Monitor) testify(w *watch, e Evidence, now time.Time) {
	if e == NoEvidence {
		return
	}
	m.court.Lock()
	defer m.court.Unlock()
	verdict := m.suspicion.Hear(w.id, e, now)
	if verdict == Unchanged {
		return
	}
	for _, each := range m.watching() {
		each.hear(func(b *Belief) { m.follow(b, verdict, now) })
	}
	m.nudge()
}

func (m *Monitor) follow(b *Belief, v Verdict, now time.Time) {
	if v == Suspected {
		b.Freeze(m.suspicion.Horizon())
	} else {
		b.Thaw(now, v == Confirmed)
	}
}

// summon makes those the watched endpoints that suspicion is about. A suspicion
// that is there holds for new ones, too.
func (m *Monitor) summon(endpoints []router.Endpoint, policy Policy, watched map[router.EndpointID]*watch, fresh []*watch) {
	m.court.Lock()
	defer m.court.Unlock()
	m.suspicion.Watch(endpoints, policy)
	m.watched.Store(&watched)
	if _, yes := m.suspicion.Since(); !yes {
		return
	}
	for _, w := range fresh {
		w.hear(func(b *Belief) { m.follow(b, Suspected, time.Time{}) })
	}
}

// tellSuspicion tells that a suspicion has begun or ended, if that is news.
func (m *Monitor) tellSuspicion() {
	m.court.Lock()
	since, yes := m.suspicion.Since()
	detail := m.suspicion.Detail()
	m.court.Unlock()
	if yes == m.told {
		return
	}
	m.told = yes
	if m.Suspected != nil {
		m.contain("", func() { m.Suspected(since, yes, detail) })
	}
}

func (m *Monitor) watching() map[router.EndpointID]*watch {
	if watched := m.watched.Load(); watched != nil {
		return *watched
	}
	return nil
}

// nudge wakes Run's goroutine.
func (m *Monitor) nudge() {
	select {
	case m.changes() <- struct{}{}:
	default:
	}
}

// changes is made on first use, by Watch or by Run.
func (m *Monitor) changes() chan struct{} {
	m.once.Do(func() { m.changed = make(chan struct{}, 1) })
	return m.changed
}

// contain calls f and reports whether it came back without a panic.
func (m *Monitor) contain(id router.EndpointID, f func()) (calm bool) {
	defer func() {
		if value := recover(); value != nil {
			m.report(id, value, debug.Stack())
		}
	}()
	f()
	return true
}

// report counts a panic and tells of it. Whoever panics at that is past help.
func (m *Monitor) report(id router.EndpointID, value any, stack []byte) {
	m.panics.Add(1)
	if m.Panicked == nil {
		return
	}
	defer func() { _ = recover() }()
	m.Panicked(id, value, stack)
}

func (m *Monitor) chance() float64 {
	if m.Rand == nil {
		return rand.Float64()
	}
	return m.Rand()
}

// watch is an endpoint under observation: what requests and its keeper share.
type watch struct {
	id      router.EndpointID
	url     *url.URL
	address string        // url as text
	offset  time.Duration // of the first probe
	moved   bool          // the ID stood for another URL before
	wake    chan struct{} // the belief changed
	kick    chan struct{} // a probe is wanted now
	asked   atomic.Bool   // the first probe has ended
	calm    atomic.Bool   // Belief.Calm, for those who do not take the lock

	mu     sync.Mutex // guards the belief
	belief *Belief
}

func newWatch(e router.Endpoint, address string, policy Policy) *watch {
	return &watch{
		id: e.ID, url: e.URL, address: address,
		wake: make(chan struct{}, 1), kick: make(chan struct{}, 1),
		belief: NewBelief(policy),
	}
}

// hear takes in what requests tell, and wakes the keeper if that is news.
func (w *watch) hear(event func(*Belief)) {
	if before, after := w.change(event); news(before, after) {
		w.rouse()
	}
}

func (w *watch) change(event func(*Belief)) (before, after router.Status) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before = w.belief.Status()
	event(w.belief)
	w.calm.Store(w.belief.Calm())
	return before, w.belief.Status()
}

func (w *watch) adopt(policy Policy) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !reflect.DeepEqual(w.belief.policy, policy) {
		w.belief.SetPolicy(policy)
		w.rouse()
	}
}

func (w *watch) rouse() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// What a status may drift by before it is published for that alone: a snapshot
// of the whole table for each good probe would be a high price for a digit.
const (
	latencyDrift   = 0.2
	succeededDrift = 5 * time.Second
)

// news reports whether a status is worth publishing after another.
func news(before, after router.Status) bool {
	steady := func(s router.Status) router.Status {
		s.Latency, s.Succeeded = 0, time.Time{}
		return s
	}
	drift := (after.Latency - before.Latency).Abs()
	return steady(before) != steady(after) ||
		drift >= time.Millisecond && float64(drift) > latencyDrift*float64(before.Latency) ||
		after.Succeeded.Sub(before.Succeeded).Abs() >= succeededDrift
}

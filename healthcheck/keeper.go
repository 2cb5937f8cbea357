package healthcheck

import (
	"context"
	"runtime/debug"
	"time"

	"proxima/router"
)

// keeper is the goroutine that looks after one watched endpoint: it waits for
// whatever comes next, takes it in, and tells the monitor's functions. Its
// fields are its own; what it shares with requests is in watch.
type keeper struct {
	*watch
	monitor *Monitor
	stop    context.CancelFunc // ends the run
	done    chan struct{}      // closed when nothing of the keeper runs any more

	due       time.Time // when the next probe sets out
	sent      time.Time // when the last one did
	out       bool      // a probe has not answered yet
	answers   chan answer
	discarded int           // answers in a row that said more about this router
	published router.Status // the last one
	trips     int           // ejections that were told
}

// answer is what a probe's goroutine hands to its keeper.
type answer struct {
	result Result
	late   bool // this router stood still in between
	panic  any  // what the probe panicked with; nil: it did not
	stack  []byte
}

func (a *answer) empty() bool { return a.panic == nil && a.result.At.IsZero() }

// afterPanic is how long a keeper rests when something that it called panicked.
const afterPanic = time.Second

// discards is how many failed answers in a row may be laid to this router's own
// standstill. Then they count: a probe that always comes late is of no use.
const discards = 10

// run keeps the endpoint until ctx is done. A panic costs a pause, no more.
func (k *keeper) run(ctx context.Context) {
	k.due = time.Now().Add(k.offset)
	alarm := time.NewTimer(k.offset)
	defer alarm.Stop()
	if k.moved {
		k.rouse() // whoever still holds the old place's status learns at once
	}
	for ctx.Err() == nil {
		if !k.monitor.contain(k.id, func() { k.step(ctx, alarm) }) {
			pause(ctx, afterPanic)
		}
	}
	if k.out {
		<-k.answers
	}
}

// step waits for one event, takes it in, sends the next probe when it is due,
// and tells. Telling comes last: a function that panics does not stop the probes.
func (k *keeper) step(ctx context.Context, alarm *time.Timer) {
	alarm.Reset(time.Until(k.next()))
	var learnt *answer
	select {
	case <-ctx.Done():
		return
	case <-alarm.C:
		k.change(func(b *Belief) { b.Tick(time.Now()) })
	case <-k.wake:
		k.hasten(time.Now().Add(k.gap()))
	case <-k.kick:
		k.hasten(later(time.Now(), k.sent.Add(fastest)))
	case a := <-k.answers:
		k.out = false
		if k.learn(a) {
			learnt = &a
		}
	}
	if late := time.Since(k.due); late >= 0 && !k.out {
		k.send(ctx, late)
	}
	if ctx.Err() == nil {
		k.publish()
		k.tell(learnt)
	}
}

// next is when the keeper has something to do of its own accord: to send a
// probe, unless one is out, or to let time change the belief.
func (k *keeper) next() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	next := k.due
	if k.out {
		next = now.Add(time.Hour)
	}
	if alarm, set := k.belief.Alarm(now); set && alarm.Before(next) {
		return alarm
	}
	return next
}

// hasten moves the next probe forward, never back, so that no stream of events
// can put it off for ever.
func (k *keeper) hasten(to time.Time) {
	if to.Before(k.due) {
		k.due = to
	}
}

// gap is how long the belief wants to wait from now to the next probe.
func (k *keeper) gap() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.belief.Next(time.Now(), k.monitor.chance())
}

// send sends a probe, late by so much.
func (k *keeper) send(ctx context.Context, late time.Duration) {
	k.out, k.sent = true, time.Now()
	go func() { k.answers <- k.ask(ctx, late) }()
}

// ask is the probe itself, on a goroutine of its own. Waiting for a place is no
// part of it. When ctx is done the answer is empty.
func (k *keeper) ask(ctx context.Context, late time.Duration) (a answer) {
	select {
	case k.monitor.places <- struct{}{}:
		defer func() { <-k.monitor.places }()
	case <-ctx.Done():
		return answer{}
	}
	defer func() {
		if value := recover(); value != nil {
			a = answer{panic: value, stack: debug.Stack()}
		}
	}()
	var policy Policy
	k.change(func(b *Belief) { b.Probing(); policy = b.policy })
	began := time.Now()
	result := k.monitor.Probe(ctx, k.url, policy)
	if ctx.Err() != nil {
		return answer{}
	}
	result.At = time.Now()
	overrun := result.At.Sub(began) - policy.timeout()
	return answer{result: result, late: late > policy.timeout() || overrun > policy.timeout()/4}
}

// learn takes in an answer and reports whether it counts. What a probe missed
// while this router stood still is not the endpoint's fault: it is asked again.
func (k *keeper) learn(a answer) (counts bool) {
	if a.empty() {
		return false
	}
	if a.panic != nil {
		k.asked.Store(true)
		k.due = time.Now().Add(max(k.gap(), afterPanic))
		k.monitor.report(k.id, a.panic, a.stack)
		return false
	}
	if a.late && a.result.Cause != "" && k.discarded < discards {
		k.discarded++
		k.due = time.Now()
		return false
	}
	k.discarded = 0
	k.monitor.testify(k.watch, k.evidence(a.result), a.result.At)
	k.change(func(b *Belief) { b.Probed(a.result) })
	k.due = time.Now().Add(k.gap())
	return true
}

func (k *keeper) evidence(r Result) Evidence {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.belief.Evidence(r)
}

// publish hands on what is believed, if that is news.
func (k *keeper) publish() {
	k.mu.Lock()
	status, trips := k.belief.Status(), k.belief.trips
	k.mu.Unlock()
	if !news(k.published, status) && !k.moved {
		return
	}
	if m := k.monitor; m.Publish != nil {
		m.Publish(k.id, status)
	}
	ejected := status.Health == router.Ejected && trips != k.trips
	k.published, k.trips, k.moved = status, trips, false
	if m := k.monitor; m.Ejected != nil && ejected {
		m.Ejected(k.id, status.Cause)
	}
}

// tell hands on what a probe found; nil: there is nothing.
func (k *keeper) tell(a *answer) {
	if a == nil {
		return
	}
	k.asked.Store(true)
	if m := k.monitor; m.Probed != nil {
		m.Probed(k.id, a.result)
	}
	if m := k.monitor; m.Measured != nil && a.result.Cause == "" && !a.late {
		m.Measured(k.id, a.result.Latency)
	}
}

// ended reports whether nothing of the keeper runs any more.
func (k *keeper) ended() bool {
	select {
	case <-k.done:
		return true
	default:
		return false
	}
}

func pause(ctx context.Context, d time.Duration) {
	rest := time.NewTimer(d)
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-ctx.Done():
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

package healthcheck

import (
	"fmt"
	"time"

	"proxima/router"
)

// Belief is what is believed of one endpoint, and what it takes to change that.
// It is pure: answers and the time come in, a router.Status comes out. It is for
// one goroutine at a time.
//
//	Untested  the first answer decides
//	Up        a failed probe makes it Suspect, Fall in a row make it Down
//	Suspect   a good answer brings it back at once
//	Ejected   TripAfter requests failed in a row; when its time is over, and the
//	          last probe was good, it is on trial (Status.Trial); Fall failed
//	          probes in a row make it Down all the same
//	Down      Rise good answers in a row bring it back
//
// A trial is for real requests that were sent after it began. One that is served
// brings the endpoint back, one that fails ejects it again for twice as long, and
// when none comes for long enough, it is back on the word of its probes: an
// endpoint far from every client must not stay ejected for ever. What an older
// request says, or a stream that was flowing before, neither ends an ejection
// early nor decides a trial. An ejected endpoint that probes call Down, and then
// well, is back without a trial: it is likely another process.
//
// A request that succeeds is as good as a good probe, once for each probe. Busy
// is not dead: a probe that fails does not count when a request has succeeded
// since the probe began. An endpoint that leaves Up again before it was Up for a
// minute flaps, and needs ever more good answers.
//
// While this router suspects its own network (Suspicion), beliefs are frozen:
// see Freeze and Thaw.
//
// Times are compared by their monotonic readings where they have one, so that a
// stepped clock changes nothing. Without, a step forward ends an ejection early,
// and a step back begins what was running anew.
type Belief struct {
	policy Policy
	memory

	heard bool // a request succeeded since the last probe began
	trips int  // ejections, ever

	frozen bool
	before memory    // as it was before the failure that made it leave
	left   time.Time // when it last left Up, or failed a trial
}

// memory is what failures change, and what Freeze can bring back.
type memory struct {
	status router.Status

	good   int // answers in a row, of probes and requests
	bad    int // failed probes in a row
	blames int // failed requests in a row
	cuts   int // answers in a row that broke off or fell silent midway

	doubt      string        // what the last failed probe said
	departures int           // how often it left Up without a minute of peace between
	ejected    time.Time     // when the last ejection began
	ejection   time.Duration // how long it lasts
	ejections  int           // one after the other, without long good service between
	fresh      time.Time     // requests sent before it say nothing of what it is now
}

// peace is how long an endpoint must stay Up until its flapping is forgotten,
// and the least until its ejections are.
const peace = time.Minute

// NewBelief knows nothing of its endpoint yet.
func NewBelief(policy Policy) *Belief { return &Belief{policy: policy} }

// Status is what is believed now. Its Cause says what speaks against the
// endpoint, and is empty when nothing does.
func (b *Belief) Status() router.Status { return b.status }

// SetPolicy changes the rules and keeps what is believed.
func (b *Belief) SetPolicy(policy Policy) { b.policy = policy }

// Probing tells that a probe sets out now: only a request that succeeds from
// here on can speak for the endpoint if the probe fails.
func (b *Belief) Probing() { b.heard = false }

// Probed takes in the answer of a probe at the time it came, Result.At.
func (b *Belief) Probed(r Result) {
	b.Tick(r.At)
	if r.Cause == "" {
		b.status.Latency = r.Latency
		b.answered(r.At)
		return
	}
	if b.heard {
		b.excuse("while requests were served", r.Cause)
		return
	}
	b.remember()
	b.doubt = r.Cause
	b.bad++
	if b.frozen {
		b.excuse("while this router suspects its own network", r.Cause)
		return
	}
	b.failed(r.At)
}

// Attempted takes in how a request at the endpoint ended. r, from 0 to 1, is the
// chance in the length of an ejection. Outcomes that do not blame the endpoint
// change nothing, nor does the failure of a request that was sent before the
// endpoint came back, or before its trial.
func (b *Belief) Attempted(a router.Attempt, now time.Time, r float64) {
	b.Tick(now)
	if a.Outcome == router.Served {
		if b.tries(a) && a.Status < 400 { // an error of the client's shows little
			b.comeBack(now)
		}
		b.Alive(now)
		return
	}
	if a.Outcome.Blames() && b.blamable(a) {
		b.remember()
		b.blames++
		if midway(a) {
			b.cuts++
		}
		if max(b.blames, b.cuts) >= b.tripAfter(now) {
			b.eject(now, r, attemptCause(a))
		}
	}
}

// midway reports whether an attempt broke an answer off of which some had come.
func midway(a router.Attempt) bool {
	return a.Outcome == router.Cut || a.Outcome == router.Stalled && a.FirstByte > 0
}

// Completed tells that an answer came to its end. Content alone does not end a row of
// answers that broke off midway: each of them had some.
func (b *Belief) Completed(now time.Time) {
	b.Tick(now)
	b.cuts = 0
}

// tries reports whether an attempt decides the trial that runs: it was sent in it.
func (b *Belief) tries(a router.Attempt) bool {
	return b.status.Trial && !a.Started.IsZero() && !a.Started.Before(b.fresh)
}

// blamable reports whether a failed attempt counts against the endpoint.
func (b *Belief) blamable(a router.Attempt) bool {
	if b.frozen || b.policy.Passive.TripAfter <= 0 {
		return false
	}
	switch b.status.Health {
	case router.Down:
		return false
	case router.Ejected:
		return b.tries(a)
	}
	stale := !a.Started.IsZero() && a.Started.Before(b.fresh)
	return !stale
}

// Alive tells that content arrived from the endpoint, as after a success: a
// long stream speaks for its endpoint while it flows. It decides no trial.
//
// Between two probes only the first success counts as a good answer: a burst of
// them says no more than one.
func (b *Belief) Alive(now time.Time) {
	b.Tick(now)
	b.blames = 0
	b.status.Succeeded = now
	if !b.heard {
		b.heard = true
		b.answered(now)
	}
}

// Tick ends what is over by now: an ejection, a trial that nobody came for, or
// the memory of old trouble.
func (b *Belief) Tick(now time.Time) {
	b.rewind(now)
	if b.frozen {
		return
	}
	switch b.status.Health {
	case router.Ejected:
		b.release(now)
	case router.Up:
		if now.Sub(b.status.Since) >= peace {
			b.departures = 0
		}
		if now.Sub(b.status.Recovered) >= max(10*b.ejection, peace) {
			b.ejections = 0
		}
	}
}

// Calm reports that another success, or good end of an answer, would change nothing
// until the next probe.
func (b *Belief) Calm() bool {
	return b.status.Health == router.Up && b.heard && b.blames == 0 && b.cuts == 0
}

// Ends returns when the ejection that runs at now is over; ok is false when none
// runs, and while a trial does.
func (b *Belief) Ends(now time.Time) (end time.Time, ok bool) {
	end = b.ejected.Add(b.ejection)
	return end, b.status.Health == router.Ejected && now.Before(end)
}

// Alarm returns when Tick will change what is believed although nothing happens;
// ok is false when it will not.
func (b *Belief) Alarm(now time.Time) (at time.Time, ok bool) {
	if b.frozen {
		return time.Time{}, false
	}
	if b.status.Trial {
		return b.fresh.Add(b.policy.trial()), true
	}
	return b.Ends(now)
}

// Next returns the pause until the next probe, ±20 % by r, a random number from
// 0 to 1: shorter while an answer would settle something, longer for an endpoint
// that has been Down for minutes.
func (b *Belief) Next(now time.Time, r float64) time.Duration {
	return jittered(b.pause(now), r)
}

func (b *Belief) pause(now time.Time) time.Duration {
	switch b.status.Health {
	case router.Untested, router.Suspect:
		return b.policy.inDoubt()
	case router.Ejected:
		if _, runs := b.Ends(now); !runs && !b.status.Trial {
			return b.policy.inDoubt()
		}
	case router.Down:
		if b.good > 0 {
			return b.policy.inDoubt()
		}
		return b.policy.whenDown(now.Sub(b.status.Since))
	}
	return b.policy.interval()
}

// answered is a good answer, of a probe or of a request.
func (b *Belief) answered(now time.Time) {
	b.good++
	b.bad = 0
	b.status.Succeeded = now
	switch b.status.Health {
	case router.Ejected:
		b.release(now)
	case router.Up:
		b.status.Cause = ""
	default:
		b.rise(now)
	}
}

// rise brings the endpoint back, or says how far on its way it is.
func (b *Belief) rise(now time.Time) {
	if need := b.needed(); b.good < need {
		b.status.Cause = fmt.Sprintf("%s: %d of %d probes answered", b.progress(), b.good, need)
		return
	}
	if b.status.Health == router.Down {
		b.fresh = now
		b.comeBack(now)
		return
	}
	b.become(router.Up, now, "")
}

// comeBack ends an absence: traffic returns slowly.
func (b *Belief) comeBack(now time.Time) {
	b.status.Recovered = now
	b.become(router.Up, now, "")
}

func (b *Belief) progress() string {
	if b.departures > 1 {
		return "flapping"
	}
	return "recovering"
}

// needed is how many good answers in a row bring the endpoint back. The second
// departure without a minute of peace between needs 4·Rise, each further one
// 8·Rise: with less, an endpoint that flaps each 700 ms is back too often by luck
// (TestFlappingEach700MillisecondsIsAtMostSixChangesAMinute).
func (b *Belief) needed() int {
	if b.departures > 1 {
		return b.policy.rise() << min(b.departures, 3)
	}
	if b.status.Health == router.Down {
		return b.policy.rise()
	}
	return 1
}

// failed draws the consequence of a probe that counts as failed.
func (b *Belief) failed(now time.Time) {
	b.good = 0
	health := b.status.Health
	switch {
	case health == router.Untested || b.bad >= b.policy.fall():
		b.become(router.Down, now, b.failure())
	case health == router.Up || health == router.Suspect:
		b.become(router.Suspect, now, b.failure())
	case health == router.Ejected:
		b.release(now)
	case health == router.Down:
		b.status.Cause = b.failure()
	}
}

// failure says what the probes say. It stops counting at Fall, so that a long
// outage is one story and not a new one with each probe.
func (b *Belief) failure() string {
	if n := min(b.bad, b.policy.fall()); n > 1 {
		return fmt.Sprintf("%d probes in a row: %s", n, b.doubt)
	}
	return "probe failed: " + b.doubt
}

// excuse notes a failed probe that does not count.
func (b *Belief) excuse(why, cause string) {
	if b.status.Health == router.Up {
		b.status.Cause = fmt.Sprintf("probe failed %s: %s", why, cause)
	}
}

// tripAfter is how many failures in a row eject the endpoint. On trial, and just
// after it, one is enough.
func (b *Belief) tripAfter(now time.Time) int {
	if b.status.Trial || b.onProbation(now) {
		return 1
	}
	return b.policy.Passive.TripAfter
}

func (b *Belief) onProbation(now time.Time) bool {
	return b.ejections > 0 && now.Sub(b.status.Recovered) < b.policy.SlowStart
}

// eject leaves the endpoint alone for Eject·2ⁿ, at most EjectMax, ±20 %.
func (b *Belief) eject(now time.Time, r float64, cause string) {
	if b.status.Trial {
		b.left = now
	}
	p := b.policy.Passive
	length := min(p.Eject, p.EjectMax)
	for range b.ejections {
		if length >= p.EjectMax/2 {
			length = p.EjectMax
			break
		}
		length *= 2
	}
	b.ejected, b.ejection = now, jittered(length, r)
	b.ejections++
	b.trips++
	failed := fmt.Sprintf("%d requests in a row failed", b.blames)
	switch {
	case b.cuts > b.blames:
		failed = fmt.Sprintf("%d answers in a row broke off", b.cuts)
	case b.blames == 1:
		failed = "a request failed"
	}
	until := now.Add(b.ejection).UTC().Format("15:04:05 UTC")
	b.become(router.Ejected, now, fmt.Sprintf("%s: %s; left alone until %s", failed, cause, until))
	b.blames, b.cuts = 0, 0
}

// release puts an endpoint whose ejection is over on trial, unless it owes
// answers, and ends a trial that no request came for.
func (b *Belief) release(now time.Time) {
	if _, runs := b.Ends(now); runs {
		return
	}
	need := b.needed()
	switch {
	case b.good < need:
		b.status.Trial = false
		b.status.Cause = fmt.Sprintf("ejection over, %d of %d probes answered", b.good, need)
	case !b.status.Trial:
		b.status.Trial, b.fresh = true, now
		b.status.Cause = "ejection over; one request at a time may try it"
	case now.Sub(b.fresh) >= b.policy.trial():
		b.comeBack(now)
	}
}

// rewind moves what lies in the future to now: the clock went back. Callers read
// the clock before they wait for their turn, so a second of disorder is normal.
func (b *Belief) rewind(now time.Time) {
	for _, at := range []*time.Time{&b.status.Since, &b.status.Recovered, &b.status.Succeeded, &b.ejected, &b.fresh, &b.left} {
		if at.Sub(now) > time.Second {
			*at = now
		}
	}
}

func (b *Belief) become(health router.Health, now time.Time, cause string) {
	before := b.status.Health
	b.status.Cause, b.status.Trial = cause, false
	if health == before {
		return
	}
	b.status.Health, b.status.Since = health, now
	switch {
	case before == router.Up:
		b.departures++
		b.left = now
	case health == router.Up, health == router.Down:
		b.blames, b.cuts = 0, 0
	}
}

// remember keeps what is believed before a failure is taken in, for as long as
// the endpoint has not left.
func (b *Belief) remember() {
	if b.status.Health == router.Up || b.status.Trial {
		b.before = b.memory
	}
}

// Freeze stops failures from changing what is believed: the router's own network
// is suspected of them. If the endpoint has left Up, or failed a trial, since a
// time, it is what it was before, as if that had not happened. Successes still
// count. An ejection does not end, nor a trial without a request.
func (b *Belief) Freeze(since time.Time) {
	b.frozen = true
	if !b.left.IsZero() && !b.left.Before(since) {
		b.restore()
	}
	b.blames, b.cuts = 0, 0
}

// restore goes back to what was believed before the endpoint left. What was
// learned of it since then stays: its failed probes go on being counted.
func (b *Belief) restore() {
	now := b.memory
	b.memory = b.before
	b.bad, b.doubt = now.bad, now.doubt
	b.status.Latency, b.status.Succeeded = now.status.Latency, now.status.Succeeded
	b.left = time.Time{}
}

// Thaw ends what Freeze began. The probes that have failed in a row meanwhile
// count at once if they are believed now, and else never did.
func (b *Belief) Thaw(now time.Time, believed bool) {
	b.frozen = false
	switch {
	case b.bad > 0 && believed:
		b.failed(now)
	case b.bad > 0:
		b.forgive(now)
	}
}

// forgive forgets failed probes. An endpoint on trial owes a good one first.
func (b *Belief) forgive(now time.Time) {
	b.bad = 0
	switch b.status.Health {
	case router.Up:
		b.status.Cause = ""
	case router.Ejected:
		b.good = 0
		b.release(now)
	}
}

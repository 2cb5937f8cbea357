package healthcheck

import (
	"fmt"
	"time"

	"proxima/router"
)

// Suspicion decides whether this router should suspect its own network: when many
// endpoints in different places fall silent at once, what they have in common is
// the one who asks. It is pure, for one goroutine at a time, and the zero value
// watches nothing.
//
// It begins when at least half of all endpoints, in two or more regions, have
// failed at once: the latest evidence of each is Unreached, and it was Reached
// within Window before. Endpoints that were silent before that count among all,
// not among the failing, so that an outage which is known is no new evidence.
//
// It ends in one of two ways. That is so no more for longer than an interval: it
// has passed, or was a mistake. Or it has lasted for Patience, and for Window
// there was always an endpoint that had been reached within two intervals, while
// the others went on failing: this router's network carries, and they are really
// gone. While nothing at all is reached it lasts as long as it takes.
//
// A Belief does not follow by itself: whoever holds the beliefs freezes them all
// at Suspected and thaws them at Cleared and Confirmed. Give Hear the evidence
// before the Belief takes it in, so that the failure that tips the scales changes
// nothing any more.
type Suspicion struct {
	policy Policy
	seen   map[router.EndpointID]*sight
	since  time.Time // when it began; zero: there is none
	eased  time.Time // since when there would be no reason to begin it; zero: there is
	spoke  time.Time // since when there is a witness; zero: there is none
	judged time.Time
	detail string
}

// sight is how an endpoint was last seen.
type sight struct {
	region  router.RegionID
	url     string
	reached time.Time // the last evidence that it can be reached; zero: none yet
	lost    bool      // the latest evidence says that it cannot
}

// Verdict is what a piece of evidence changed.
type Verdict uint8

// What may change.
const (
	Unchanged Verdict = iota
	Suspected         // a suspicion began: freeze every belief since Horizon
	Cleared           // it ended: thaw; the failures meanwhile were this router's
	Confirmed         // it ended: thaw; the failures meanwhile are believed
)

// Hear takes in evidence of an endpoint, and tells what it changed. Evidence of
// endpoints that are not watched says nothing.
func (s *Suspicion) Hear(id router.EndpointID, e Evidence, now time.Time) Verdict {
	at := s.seen[id]
	if at == nil || e == NoEvidence {
		return Unchanged
	}
	turned := at.lost != (e == Unreached)
	at.lost = e == Unreached
	if e == Reached {
		at.reached = now
	}
	// A success among many is no reason to look at everything again.
	if e == Reached && !turned && now.Sub(s.judged).Abs() < fastest {
		return Unchanged
	}
	s.judged = now
	return s.judge(now)
}

// Watch sets which endpoints count, and the policy that they are probed by. What
// was seen of those whose ID, region and URL stay is kept.
func (s *Suspicion) Watch(endpoints []router.Endpoint, policy Policy) {
	next := make(map[router.EndpointID]*sight, len(endpoints))
	for _, e := range endpoints {
		at := sight{region: e.Region, url: e.URL.String()}
		if old := s.seen[e.ID]; old != nil && old.region == at.region && old.url == at.url {
			at = *old
		}
		next[e.ID] = &at
	}
	s.seen, s.policy = next, policy
}

// Since returns when the suspicion began; yes is false when there is none.
func (s *Suspicion) Since() (since time.Time, yes bool) { return s.since, !s.since.IsZero() }

// Horizon is how far back a suspicion that is there reaches: who left Up after it
// is restored.
func (s *Suspicion) Horizon() time.Time { return s.since.Add(-s.Window()) }

// Detail says why the last verdict was passed, in words for an operator.
func (s *Suspicion) Detail() string { return s.detail }

// Window is how far apart failures may be seen that happened at once:
// Policy.Unnoticed and an interval. 7 s with the defaults.
func (s *Suspicion) Window() time.Duration { return s.policy.Unnoticed() + s.policy.interval() }

// Patience is the least that a suspicion lasts against the word of those that are
// reached: 10 s, or Window if that is longer.
func (s *Suspicion) Patience() time.Duration { return max(10*time.Second, s.Window()) }

func (s *Suspicion) judge(now time.Time) Verdict {
	s.rewind(now)
	failing, places := s.failing(now)
	many := places > 1 && 2*failing >= len(s.seen)
	if _, suspected := s.Since(); !suspected {
		if !many {
			return Unchanged
		}
		s.begin(now, failing)
		return Suspected
	}
	return s.review(now, failing, many)
}

func (s *Suspicion) begin(now time.Time, failing int) {
	s.since, s.eased, s.spoke = now, time.Time{}, time.Time{}
	s.detail = fmt.Sprintf("%d of %d endpoints, not all in one region, fell silent within %s", failing, len(s.seen), s.Window())
}

// review decides whether a suspicion ends.
func (s *Suspicion) review(now time.Time, failing int, many bool) Verdict {
	witness := s.witness(now)
	hold(&s.spoke, witness != "", now)
	hold(&s.eased, !many, now)
	switch {
	case !many && now.Sub(s.eased) > s.policy.interval():
		return s.end(Cleared, fmt.Sprintf("%d of %d endpoints are silent, no more half of them in several regions", failing, len(s.seen)))
	case many && witness != "" && now.Sub(s.since) >= s.Patience() && now.Sub(s.spoke) >= s.Window():
		return s.end(Confirmed, fmt.Sprintf("%s is reached while %d of %d endpoints are silent", witness, failing, len(s.seen)))
	}
	return Unchanged
}

// hold keeps since when something is so: zero while it is not.
func hold(since *time.Time, so bool, now time.Time) {
	switch {
	case !so:
		*since = time.Time{}
	case since.IsZero():
		*since = now
	}
}

// failing counts the endpoints that failed at once, and the places that they are
// in: none, one, or two for several.
func (s *Suspicion) failing(now time.Time) (failing, places int) {
	horizon := now.Add(-s.Window())
	if _, suspected := s.Since(); suspected {
		horizon = s.Horizon()
	}
	var first router.RegionID
	for _, at := range s.seen {
		if !at.lost || at.reached.IsZero() || at.reached.Before(horizon) {
			continue
		}
		failing++
		switch {
		case failing == 1:
			first, places = at.region, 1
		case at.region != first:
			places = 2
		}
	}
	return failing, places
}

// witness names an endpoint that was reached a short time ago, of several the
// first by name; "": there is none.
func (s *Suspicion) witness(now time.Time) (witness router.EndpointID) {
	for id, at := range s.seen {
		fresh := !at.lost && !at.reached.IsZero() && now.Sub(at.reached) < 2*s.policy.interval()
		if fresh && (witness == "" || id < witness) {
			witness = id
		}
	}
	return witness
}

func (s *Suspicion) end(v Verdict, why string) Verdict {
	s.since, s.detail = time.Time{}, why
	return v
}

// rewind begins anew what lies in the future: the clock went back.
func (s *Suspicion) rewind(now time.Time) {
	back := func(at *time.Time) {
		if at.Sub(now) > time.Second {
			*at = now
		}
	}
	back(&s.since)
	back(&s.eased)
	back(&s.spoke)
	for _, at := range s.seen {
		back(&at.reached)
	}
}

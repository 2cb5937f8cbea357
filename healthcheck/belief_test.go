package healthcheck

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"proxima/router"
)

// noon has no monotonic reading: the rules hold for plain wall times as well.
var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// tale tells a belief what happens, in the words of its tests:
//
//	ok       a probe is answered well
//	steady   sixteen of them
//	fail     a probe is refused
//	slow     a probe is sent; fails or answers what comes next
//	late     that probe times out
//	200 404  a request is served with that status
//	503      a request fails with that status
//	old-200 old-503    so ends a request that was sent at noon
//	refused late-request cut stalled busy abandoned cancelled    a request ends so
//	+5s      time passes
//	freeze   this router suspects its own network, of what happened in the last 7s too
//	thaw     it does no more
//	believe  it does no more, but believes the failures meanwhile
//
// A step without a time of its own takes a millisecond.
type tale struct {
	*Belief
	now    time.Time
	chance float64
}

func tell(b *Belief, from time.Time, story string) *tale {
	t := &tale{Belief: b, now: from, chance: 0.5}
	for _, event := range strings.Fields(story) {
		t.happen(event)
	}
	return t
}

func (t *tale) happen(event string) {
	t.now = t.now.Add(time.Millisecond)
	switch event {
	case "ok":
		t.Probing()
		t.Probed(Result{At: t.now, Latency: 7 * time.Millisecond})
	case "steady":
		for range 16 {
			t.happen("ok")
		}
	case "fail":
		t.Probing()
		t.Probed(Result{At: t.now, Cause: "connection refused", Kind: KindRefused})
	case "slow":
		t.Probing()
	case "late":
		t.Probed(Result{At: t.now, Cause: "timed out after 1s: no answer", Kind: KindTimeout})
	case "flowing":
		t.Alive(t.now)
	case "freeze":
		t.Freeze(t.now.Add(-7 * time.Second))
	case "thaw", "believe":
		t.Thaw(t.now, event == "believe")
	default:
		if after, ok := strings.CutPrefix(event, "+"); ok {
			passed, err := time.ParseDuration(after)
			if err != nil {
				panic(err)
			}
			t.now = t.now.Add(passed - time.Millisecond)
			t.Tick(t.now)
			return
		}
		kind, old := strings.CutPrefix(event, "old-")
		a := requests[kind]
		a.Started = t.now.Add(-time.Millisecond / 2)
		if old {
			a.Started = noon
		}
		t.Attempted(a, t.now, t.chance)
	}
}

var requests = map[string]router.Attempt{
	"200":          {Outcome: router.Served, Status: 200},
	"404":          {Outcome: router.Served, Status: 404},
	"503":          {Outcome: router.Failed, Status: 503},
	"refused":      {Outcome: router.Refused},
	"late-request": {Outcome: router.Late},
	"cut":          {Outcome: router.Cut, Status: 200},
	"stalled":      {Outcome: router.Stalled, Status: 200},
	"busy":         {Outcome: router.Busy, Status: 429},
	"abandoned":    {Outcome: router.Abandoned},
	"cancelled":    {Outcome: router.Cancelled},
}

func (t *tale) String() string {
	s := t.Status()
	words := s.Health.String()
	if s.Cause != "" {
		words += ": " + s.Cause
	}
	if !s.Recovered.IsZero() {
		words += fmt.Sprintf(" (recovered %s ago)", t.now.Sub(s.Recovered).Round(time.Second))
	}
	return words
}

const onTrial = "ejected: ejection over; one request at a time may try it"

func TestTheBeliefFollowsProbesAndRequests(t *testing.T) {
	for _, c := range []struct{ name, story, want string }{
		{"nobody answered yet", "", "untested"},
		{"the first answer decides for it", "ok", "up"},
		{"the first answer decides against it", "fail", "down: probe failed: connection refused"},
		{"a first success decides too", "200", "up"},

		{"one failure is suspect", "ok fail", "suspect: probe failed: connection refused"},
		{"two in a row are down", "ok fail fail", "down: 2 probes in a row: connection refused"},
		{"a long outage stays one story", "ok fail fail fail fail", "down: 2 probes in a row: connection refused"},
		{"a suspect that answers never left", "ok fail ok", "up"},
		{"a success clears suspicion", "ok fail 200", "up"},
		{"a success parts two failures", "ok +2m fail 200 fail", "suspect: probe failed: connection refused"},

		{"rising takes two", "ok fail fail ok", "down: recovering: 1 of 2 probes answered"},
		{"and then it is back", "ok fail fail ok ok", "up (recovered 0s ago)"},
		{"a failure begins the rise anew", "ok fail fail ok fail ok", "down: recovering: 1 of 2 probes answered"},
		{"a success counts as one good probe", "ok fail fail 200", "down: recovering: 1 of 2 probes answered"},
		{"a burst counts as one", "ok fail fail 200 200 200", "down: recovering: 1 of 2 probes answered"},
		{"a success and a probe make two", "ok fail fail 200 ok", "up (recovered 0s ago)"},

		{"busy is not dead", "ok slow 200 late slow 200 late slow 200 late", "up: probe failed while requests were served: timed out after 1s: no answer"},
		{"a live stream is not dead", "ok slow flowing late", "up: probe failed while requests were served: timed out after 1s: no answer"},
		{"a success before the probe does not count", "ok 200 slow late", "suspect: probe failed: timed out after 1s: no answer"},
		{"a good probe ends the doubt", "ok slow 200 late ok", "up"},
		{"a client error is an answer", "ok slow 404 late", "up: probe failed while requests were served: timed out after 1s: no answer"},

		{"two failed requests are not enough", "ok 503 503", "up"},
		{"three eject", "ok 503 503 503", "ejected: 3 requests in a row failed: answered 503; left alone until 12:00:05 UTC"},
		{"of any kind", "ok late-request cut stalled", "ejected: 3 requests in a row failed: fell silent in the midst of the answer; left alone until 12:00:05 UTC"},
		{"refused in words", "ok 503 503 refused", "ejected: 3 requests in a row failed: refused; left alone until 12:00:05 UTC"},
		{"a success parts them", "ok 503 503 200 503 503", "up"},
		{"a client error parts them", "ok 503 503 404 503 503", "up"},
		{"what does not blame does not count", "ok 503 busy 503 cancelled abandoned", "up"},
		{"nor part them", "ok 503 busy 503 cancelled 503", "ejected: 3 requests in a row failed: answered 503; left alone until 12:00:05 UTC"},
		{"failures on their way do not add up", "ok 503 503 503 503 503 503", "ejected: 3 requests in a row failed: answered 503; left alone until 12:00:05 UTC"},

		{"probes call an ejected endpoint down", "ok 503 503 503 fail fail", "down: 2 probes in a row: connection refused"},
		{"requests do not eject what is down", "ok fail fail 503 503 503", "down: 2 probes in a row: connection refused"},
		{"an untested endpoint can be ejected", "503 503 503", "ejected: 3 requests in a row failed: answered 503; left alone until 12:00:05 UTC"},

		{"an ejection ends in a trial", "ok 503 503 503 +5s", onTrial},
		{"with the next event, too", "ok 503 503 503 +4990ms ok +1ms +1ms +1ms +1ms +1ms +1ms +1ms +1ms +1ms +1ms", onTrial},
		{"not before", "ok 503 503 503 ok +4900ms", "ejected: 3 requests in a row failed: answered 503; left alone until 12:00:05 UTC"},
		{"nor for a stream that flows", "ok 503 503 503 flowing flowing ok flowing", "ejected: 3 requests in a row failed: answered 503; left alone until 12:00:05 UTC"},
		{"nor for a request that was on its way", "ok 503 503 503 200 old-200", "ejected: 3 requests in a row failed: answered 503; left alone until 12:00:05 UTC"},
		{"a probe still owes an answer", "ok 503 503 503 fail +5s", "ejected: ejection over, 0 of 1 probes answered"},
		{"and gives it", "ok 503 503 503 fail +5s ok", onTrial},
		{"or a stream does", "ok 503 503 503 fail +5s flowing", onTrial},
		{"or nobody", "ok 503 503 503 fail +5s fail", "down: 2 probes in a row: connection refused"},

		{"a request of the trial that is served ends it", "ok 503 503 503 +5s 200", "up (recovered 0s ago)"},
		{"one that the client asked wrongly does not", "ok 503 503 503 +5s 404", onTrial},
		{"one that fails ejects for twice as long", "ok 503 503 503 +5s 503", "ejected: a request failed: answered 503; left alone until 12:00:15 UTC"},
		{"an older success decides nothing", "ok 503 503 503 +5s old-200 flowing", onTrial},
		{"nor does an older failure", "ok 503 503 503 +5s old-503 old-503 old-503", onTrial},
		{"nor what does not blame", "ok 503 503 503 +5s busy cancelled abandoned", onTrial},
		{"a failed probe interrupts it", "ok 503 503 503 +5s fail", "ejected: ejection over, 0 of 1 probes answered"},
		{"a good one begins it anew", "ok 503 503 503 +5s +10s fail ok +14s", onTrial},
		{"without a request it waits for the slow start", "ok 503 503 503 +5s +14900ms", onTrial},
		{"and then the probes are believed", "ok 503 503 503 +5s +15s", "up (recovered 0s ago)"},
		{"just after it one failure is enough", "ok 503 503 503 +5s 200 +14s 503", "ejected: a request failed: answered 503; left alone until 12:00:29 UTC (recovered 14s ago)"},
		{"also the end of the answer that ended it", "ok 503 503 503 +5s slow 200 cut", "ejected: a request failed: broke off in the midst of the answer; left alone until 12:00:15 UTC (recovered 0s ago)"},
		{"later three are needed again", "ok 503 503 503 +5s 200 +15s 503 503", "up (recovered 15s ago)"},

		{"frozen, failures change nothing", "ok freeze fail fail fail 503 503 503", "up: probe failed while this router suspects its own network: connection refused"},
		{"and are forgotten", "ok freeze fail fail fail 503 503 503 thaw fail", "suspect: probe failed: connection refused"},
		{"or believed at once", "ok freeze fail fail fail believe", "down: 2 probes in a row: connection refused"},
		{"one is not two", "ok freeze fail believe", "suspect: probe failed: connection refused"},
		{"a success meanwhile parts them", "ok freeze fail fail ok believe", "up"},
		{"successes count", "ok fail fail +8s freeze ok ok", "up (recovered 0s ago)"},
		{"who just went down never did", "ok fail fail freeze thaw", "up"},
		{"but its failed probes are believed with the rest", "ok fail freeze fail believe", "down: 2 probes in a row: connection refused"},
		{"who went down before is down", "ok fail fail +8s freeze", "down: 2 probes in a row: connection refused"},
		{"who was just ejected never was", "ok 503 503 503 freeze thaw 503 503", "up"},
		{"nor for longer the next time", "ok 503 503 503 freeze thaw 503 503 503", "ejected: 3 requests in a row failed: answered 503; left alone until 12:00:05 UTC"},
		{"who just failed its trial is on trial", "ok 503 503 503 +5s 503 +10s 503 freeze", onTrial},
		{"a frozen trial waits", "ok 503 503 503 +5s +8s freeze +60s", onTrial},
		{"and owes an answer after failed ones", "ok 503 503 503 +5s +8s freeze fail +60s thaw", "ejected: ejection over, 0 of 1 probes answered"},
		{"a served request ends it all the same", "ok 503 503 503 +5s +8s freeze 200", "up (recovered 0s ago)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := tell(NewBelief(DefaultPolicy()), noon, c.story).String(); got != c.want {
				t.Errorf("%s\n got %s\nwant %s", c.story, got, c.want)
			}
		})
	}
}

func TestALateFailureFromBeforeTheReturnDoesNotCount(t *testing.T) {
	s := tell(NewBelief(DefaultPolicy()), noon, "ok 503 503 503 +5s")
	s.Attempted(router.Attempt{Outcome: router.Stalled, Started: noon}, s.now, 0.5)
	if got := s.String(); got != onTrial {
		t.Errorf("a request sent before the ejection ended the trial: %s", got)
	}
	s.happen("200")
	s.Attempted(router.Attempt{Outcome: router.Stalled, Started: noon}, s.now, 0.5)
	if s.Status().Health != router.Up {
		t.Errorf("a request sent before the ejection ejected again: %s", s)
	}
}

func TestEachEjectionIsTwiceAsLongAsTheOneBefore(t *testing.T) {
	s := tell(NewBelief(DefaultPolicy()), noon, "steady 503 503")
	var lengths []string
	for range 9 {
		s.happen("503")
		end, _ := s.Ends(s.now)
		length := end.Sub(s.now)
		lengths = append(lengths, length.String())
		s.now = s.now.Add(length)
		s.happen("ok")
	}
	want := "5s 10s 20s 40s 1m20s 2m40s 5m0s 5m0s 5m0s"
	if got := strings.Join(lengths, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEjectionsAreForgottenAfterLongGoodService(t *testing.T) {
	twice := "steady 503 503 503 +5s 503 +10s 200 "
	for _, c := range []struct{ story, want string }{
		{twice + "+99s 503 503 503", "20s"},
		{twice + "+101s 503 503 503", "5s"},
		{"ok 503 503 503 +5s 200 +59s 503 503 503", "10s"},
		{"ok 503 503 503 +5s 200 +61s 503 503 503", "5s"},
	} {
		s := tell(NewBelief(DefaultPolicy()), noon, c.story)
		end, _ := s.Ends(s.now)
		if got := end.Sub(s.now).String(); got != c.want {
			t.Errorf("%s: left alone for %s, want %s", c.story, got, c.want)
		}
	}
}

func TestTripAfterZeroSwitchesEjectionOff(t *testing.T) {
	policy := DefaultPolicy()
	policy.Passive.TripAfter = 0
	s := tell(NewBelief(policy), noon, "ok 503 503 503 503 503 503 503 503")
	if got := s.String(); got != "up" {
		t.Error(got)
	}
}

func TestAPolicyChangeKeepsTheBelief(t *testing.T) {
	s := tell(NewBelief(DefaultPolicy()), noon, "ok fail")
	policy := DefaultPolicy()
	policy.Fall = 3
	s.SetPolicy(policy)
	s.happen("fail")
	if got, want := s.String(), "suspect: 2 probes in a row: connection refused"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestFlappingNeedsEverMoreAnswers(t *testing.T) {
	s := tell(NewBelief(DefaultPolicy()), noon, "ok")
	var needed []int
	for range 6 {
		s.happen("fail")
		s.happen("fail")
		answers := 0
		for s.Status().Health != router.Up {
			s.happen("ok")
			answers++
		}
		needed = append(needed, answers)
	}
	if got, want := fmt.Sprint(needed), "[2 8 16 16 16 16]"; got != want {
		t.Errorf("answers needed: got %s, want %s", got, want)
	}
	s.happen("+1m")
	s.happen("fail")
	s.happen("ok")
	if s.Status().Health != router.Up {
		t.Errorf("flapping is not forgotten after a stable minute: %s", s)
	}
}

// The endpoint answers for 700 ms and refuses for 700 ms, for a minute; with and
// without 50 requests a second while it is Up.
func TestFlappingEach700MillisecondsIsAtMostSixChangesAMinute(t *testing.T) {
	for _, requestsASecond := range []int{0, 50} {
		most := 0
		for seed := range uint64(100) {
			most = max(most, flap(seed, 700*time.Millisecond, requestsASecond))
		}
		t.Logf("%d requests a second: at most %d changes", requestsASecond, most)
		if most > 6 || most < 2 {
			t.Errorf("%d requests a second: %d changes of health in a minute, want 2 to 6", requestsASecond, most)
		}
	}
}

// flap counts the changes of health in a minute, after a first good answer.
func flap(seed uint64, period time.Duration, requestsASecond int) (changes int) {
	chance := rand.New(rand.NewPCG(seed, 7))
	s := tell(NewBelief(DefaultPolicy()), noon, "ok")
	begin := s.now
	probe := begin.Add(s.Next(s.now, chance.Float64()))
	for s.now.Sub(begin) < time.Minute {
		s.now = s.now.Add(10 * time.Millisecond)
		s.chance = chance.Float64()
		before := s.Status().Health
		s.Tick(s.now)
		well := s.now.Sub(begin)/period%2 == 0
		asked := before == router.Up || s.Status().Trial
		if asked && chance.Float64() < float64(requestsASecond)*0.01 {
			a := requests[map[bool]string{true: "200", false: "refused"}[well]]
			a.Started = s.now
			s.Attempted(a, s.now, s.chance)
		}
		if !s.now.Before(probe) {
			r := Result{At: s.now}
			if !well {
				r.Cause = "connection refused"
			}
			s.Probing()
			s.Probed(r)
			probe = s.now.Add(s.Next(s.now, chance.Float64()))
		}
		if s.Status().Health != before {
			changes++
		}
	}
	return changes
}

func TestASteppingClockNeitherEjectsNorHoldsFast(t *testing.T) {
	for _, years := range []int{-20, -1, 1, 20} {
		t.Run(fmt.Sprintf("up, %+d years", years), func(t *testing.T) {
			s := tell(NewBelief(DefaultPolicy()), noon, "ok 200")
			s.now = s.now.AddDate(years, 0, 0)
			for _, event := range []string{"ok", "503", "200", "fail", "ok", "503", "503"} {
				s.happen(event)
			}
			if s.Status().Health != router.Up {
				t.Errorf("not up: %s", s)
			}
			s.happen("503")
			if s.Status().Health != router.Ejected {
				t.Errorf("three failures still eject: %s", s)
			}
		})
		t.Run(fmt.Sprintf("ejected, %+d years", years), func(t *testing.T) {
			s := tell(NewBelief(DefaultPolicy()), noon, "ok 503 503 503")
			s.now = s.now.AddDate(years, 0, 0)
			s.happen("ok")
			s.happen("+5s")
			if !s.Status().Trial {
				t.Errorf("the ejection did not end: %s", s)
			}
		})
		t.Run(fmt.Sprintf("on trial, %+d years", years), func(t *testing.T) {
			s := tell(NewBelief(DefaultPolicy()), noon, "ok 503 503 503 +5s")
			s.now = s.now.AddDate(years, 0, 0)
			s.happen("ok")
			if s.Status().Recovered.IsZero() != s.Status().Trial {
				t.Errorf("neither on trial nor back: %s", s)
			}
			s.happen("200")
			if s.Status().Health != router.Up {
				t.Errorf("a request that was served did not end the trial: %s", s)
			}
		})
		t.Run(fmt.Sprintf("down, %+d years", years), func(t *testing.T) {
			s := tell(NewBelief(DefaultPolicy()), noon, "ok fail fail")
			s.now = s.now.AddDate(years, 0, 0)
			s.happen("fail")
			if s.Status().Health != router.Down {
				t.Errorf("the clock brought it back: %s", s)
			}
			if pause := s.Next(s.now, 1); pause > 12*time.Second {
				t.Errorf("next probe in %s", pause)
			}
		})
	}
}

func TestTimesKeepTheirMonotonicReading(t *testing.T) {
	s := tell(NewBelief(DefaultPolicy()), time.Now(), "ok 503 503 503 +5s 200 +1s")
	for name, at := range map[string]time.Time{
		"Since": s.Status().Since, "Recovered": s.Status().Recovered, "Succeeded": s.Status().Succeeded, "ejected": s.ejected, "fresh": s.fresh,
	} {
		if !strings.Contains(at.String(), " m=") {
			t.Errorf("%s lost its monotonic reading: %s", name, at)
		}
	}
}

func TestProbesComeFasterInDoubtAndSlowerWhenLongDown(t *testing.T) {
	quick := DefaultPolicy()
	quick.Interval = 200 * time.Millisecond
	slow := DefaultPolicy()
	slow.Interval = 20 * time.Second
	for _, c := range []struct {
		policy Policy
		story  string
		want   time.Duration
	}{
		{DefaultPolicy(), "", 500 * time.Millisecond},
		{DefaultPolicy(), "ok", 2 * time.Second},
		{DefaultPolicy(), "ok fail", 500 * time.Millisecond},
		{DefaultPolicy(), "ok fail fail", 2 * time.Second},
		{DefaultPolicy(), "ok fail fail ok", 500 * time.Millisecond},
		{DefaultPolicy(), "ok fail fail +61s", 4 * time.Second},
		{DefaultPolicy(), "ok fail fail +301s", 10 * time.Second},
		{DefaultPolicy(), "ok 503 503 503", 2 * time.Second},
		{DefaultPolicy(), "ok 503 503 503 fail +5s", 500 * time.Millisecond},
		{DefaultPolicy(), "ok 503 503 503 +5s", 2 * time.Second},
		{quick, "", 100 * time.Millisecond},
		{slow, "ok fail fail +61s", 30 * time.Second},
		{slow, "ok fail fail +301s", 30 * time.Second},
		{Policy{}, "ok", 10 * time.Millisecond},
	} {
		s := tell(NewBelief(c.policy), noon, c.story)
		for r, share := range map[float64]time.Duration{0: 8, 0.5: 10, 1: 12} {
			if got, want := s.Next(s.now, r), c.want*share/10; (got - want).Abs() > time.Microsecond {
				t.Errorf("every %s, %q, chance %v: next in %s, want %s", c.policy.Interval, c.story, r, got, want)
			}
		}
	}
}

func TestUnnoticedIsASumThatCanBeDoneByHand(t *testing.T) {
	if got, want := DefaultPolicy().Unnoticed(), 5*time.Second; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Whatever happens, in whatever order, the rules that people rely on hold.
func TestRandomEventsKeepTheRules(t *testing.T) {
	events := []string{"ok", "fail", "slow", "late", "flowing", "+10ms", "+1s", "+7s", "+90s"}
	for event := range requests {
		events = append(events, event)
	}
	rapid.Check(t, func(t *rapid.T) {
		policy := Policy{
			Interval: 2 * time.Second, Timeout: time.Second,
			Rise: rapid.IntRange(0, 4).Draw(t, "rise"), Fall: rapid.IntRange(0, 4).Draw(t, "fall"),
			Passive:   Passive{rapid.IntRange(0, 4).Draw(t, "trip after"), 5 * time.Second, time.Minute},
			SlowStart: 15 * time.Second,
		}
		s := tell(NewBelief(policy), noon, "")
		failures, heard, blamed := 0, false, 0
		for range rapid.IntRange(1, 80).Draw(t, "events") {
			event := rapid.SampledFrom(events).Draw(t, "event")
			s.chance = rapid.Float64Range(0, 1).Draw(t, "chance")
			before := s.Status()
			s.happen(event)
			after := s.Status()

			served := requests[event].Outcome == router.Served && requests[event].Status != 0
			switch {
			case event == "ok":
				failures, heard = 0, false
			case served || event == "flowing":
				failures, heard, blamed = 0, true, 0
			case event == "slow":
				heard = false
			case event == "fail", event == "late" && !heard:
				failures++
				heard = false
			case requests[event].Outcome.Blames():
				blamed++
			}
			if after.Health == router.Down && before.Health != router.Down && before.Health != router.Untested && failures < policy.fall() {
				t.Fatalf("down after %d failed probes in a row, Fall is %d", failures, policy.Fall)
			}
			if after.Health == router.Ejected && before.Health != router.Ejected && !requests[event].Outcome.Blames() {
				t.Fatalf("ejected by %s", event)
			}
			if after.Health == router.Ejected && blamed == 0 && policy.Passive.TripAfter > 0 && before.Health != router.Ejected {
				t.Fatal("ejected without a failed request")
			}
			if policy.Passive.TripAfter == 0 && after.Health == router.Ejected {
				t.Fatal("ejected although it is switched off")
			}
			if end, runs := s.Ends(s.now); runs && end.Sub(s.now) > 72*time.Second {
				t.Fatalf("ejected for %s, the longest is 1m + 20 %%", end.Sub(s.now))
			}
			if after.Health != router.Up && (after.Cause == "") != (after.Health == router.Untested) {
				t.Fatalf("%s with cause %q", after.Health, after.Cause)
			}
			if after.Health != before.Health && !after.Since.After(before.Since) {
				t.Fatalf("%s → %s at no new time", before.Health, after.Health)
			}
			if pause := s.Next(s.now, s.chance); pause < 80*time.Millisecond || pause > 36*time.Second {
				t.Fatalf("next probe in %s", pause)
			}
		}
	})
}

// Whatever happens, an ejected endpoint is not sent to before its time is over:
// first the status is on trial, unless probes find it down and then well. The
// trial ends well only by a request that was sent in it, or by its length.
func TestAfterATripNothingIsSentUntilTheTrial(t *testing.T) {
	events := []string{"ok", "fail", "slow", "late", "flowing", "old-200", "old-503", "200", "404", "503", "+10ms", "+1s", "+4s", "+20s", "freeze", "thaw", "believe"}
	rapid.Check(t, func(t *rapid.T) {
		s := tell(NewBelief(DefaultPolicy()), noon, "ok")
		var began time.Time // of the trial
		wasDown := false
		for range rapid.IntRange(1, 120).Draw(t, "events") {
			event := rapid.SampledFrom(events).Draw(t, "event")
			before, trips := s.Status(), s.trips
			s.happen(event)
			after := s.Status()

			wasDown = after.Health == router.Down || wasDown && s.trips == trips && before.Health != router.Up
			restored := event == "freeze"
			if after.Trial && !before.Trial && !restored {
				began = s.now
			}
			if _, runs := s.Ends(s.now); after.Trial && (runs || after.Health != router.Ejected) {
				t.Fatalf("on trial before its time, or at none: %s", s)
			}
			if before.Health != router.Ejected || after.Health != router.Up || restored || wasDown {
				continue
			}
			served := event == "200" || event == "404"
			if !before.Trial {
				t.Fatalf("%s brought an ejected endpoint back without a trial", event)
			}
			if !served && s.now.Sub(began) < DefaultPolicy().SlowStart {
				t.Fatalf("%s ended a trial after %s", event, s.now.Sub(began))
			}
			if !after.Recovered.Equal(s.now) {
				t.Fatal("an end of a trial without a ramp")
			}
		}
	})
}

// A client that leaves, or asks wrongly, never makes an endpoint worse.
func TestClientsNeverTripAnEndpoint(t *testing.T) {
	events := []string{"404", "cancelled", "abandoned", "busy", "200", "ok", "+100ms", "+3s"}
	rapid.Check(t, func(t *rapid.T) {
		s := tell(NewBelief(DefaultPolicy()), noon, "ok")
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			event := rapid.SampledFrom(events).Draw(t, "event")
			if s.happen(event); s.Status().Health != router.Up {
				t.Fatalf("%s: %s", event, s)
			}
		}
	})
}

// An endpoint that fails every trial is tried ever more rarely.
func TestAnEndpointThatFailsItsTrialsIsTriedEverMoreRarely(t *testing.T) {
	s := tell(NewBelief(DefaultPolicy()), noon, "ok 503 503 503")
	trials := 0
	for s.now.Sub(noon) < time.Hour {
		if s.happen("ok"); s.Status().Trial {
			trials++
			s.happen("503")
		}
		s.happen("+1s")
	}
	if trials < 15 || trials > 18 { // 5 + 10 + … + 160 s, then each 300 s
		t.Errorf("%d requests in an hour", trials)
	}
}

func TestAnswersThatBreakOffMidwayEjectHoweverManyOfThemBegan(t *testing.T) {
	for name, c := range map[string]struct {
		outcome   router.Outcome
		completed bool // an answer comes to its end in between
		want      router.Health
	}{
		"cut":                          {router.Cut, false, router.Ejected},
		"fell silent":                  {router.Stalled, false, router.Ejected},
		"cut, but others are complete": {router.Cut, true, router.Up},
	} {
		now := time.Unix(1_000_000, 0)
		b := NewBelief(DefaultPolicy())
		for range 2 {
			b.Probed(Result{At: now})
		}
		for range 3 {
			now = now.Add(time.Second)
			b.Attempted(router.Attempt{Outcome: router.Served, Status: 200, Started: now}, now, 0)
			b.Attempted(router.Attempt{Outcome: c.outcome, Status: 200, Started: now, FirstByte: time.Millisecond}, now, 0)
			if c.completed {
				b.Completed(now)
			}
		}
		if got := b.Status().Health; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

package proxy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"proxima/router"
)

const nearby = "X-Proxima-Prefer-Region: us"

// takes answers after a time.
func takes(d time.Duration, act action) action {
	return func(c *call) { time.Sleep(d); act(c) }
}

// hedging tells a story in a world where the first byte usually takes 100 ms, and the
// router knows it.
func hedging(t *testing.T, tell func(w *world, us, eu *endpoint)) {
	t.Helper()
	story(t, func(w *world) {
		w.settings.Hedge = true
		us, eu := w.endpoint("us-1", takes(100*time.Millisecond, says("usual"))), w.endpoint("eu-1", says("hallo"))
		w.learn("POST /v1/chat/completions", `{"model":"m"}`)
		tell(w, us, eu)
	})
}

// learn asks as often as it takes for the router to know what is usual.
func (w *world) learn(line, content string) {
	for range paceLeast {
		w.ask(line, content, nearby)
	}
	time.Sleep(time.Minute) // the budget is what it was
	w.told = nil
}

func TestASecondEndpointIsAskedWhenTheFirstIsSlowerThanNearlyAlways(t *testing.T) {
	hedging(t, func(w *world, us, eu *endpoint) {
		us.act = freezes
		began := time.Now()
		got := w.chat(nearby)
		w.want("answer", got.body, "hallo")
		w.want("time", time.Since(began), 100*time.Millisecond)
		w.want("attempts", w.attempts(), "us-1 lost, eu-1 served")
		w.want("heard", w.heard(), "eu-1 served")
		w.want("calls ended at us", us.hungUpOn(), 1)
		w.want("hedged", w.record().Hedged, true)
		w.want("decision", string(w.record().Decision.Chosen.Endpoint), "eu-1")
		w.want("X-Proxima-Region", got.header.Get("X-Proxima-Region"), "eu")
		w.want("X-Proxima-Endpoint", got.header.Get("X-Proxima-Endpoint"), "eu-1")
		w.want("X-Proxima-Attempts", got.header.Get("X-Proxima-Attempts"), "2")
	})
}

func TestAFirstByteThatTakesNoLongerThanUsualIsWaitedFor(t *testing.T) {
	hedging(t, func(w *world, us, eu *endpoint) {
		us.act = takes(99*time.Millisecond, says("soon"))
		w.want("answer", w.chat(nearby).body, "soon")
		w.want("attempts", w.attempts(), "us-1 served")
		w.want("hedged", w.record().Hedged, false)
		w.want("eu saw", eu.last(), "none")
	})
}

func TestTheFirstMayWinAllTheSame(t *testing.T) {
	hedging(t, func(w *world, us, eu *endpoint) {
		us.act, eu.act = takes(150*time.Millisecond, says("at last")), freezes
		began := time.Now()
		got := w.chat(nearby)
		w.want("answer", got.body, "at last")
		w.want("time", time.Since(began), 150*time.Millisecond)
		w.want("attempts", w.attempts(), "eu-1 lost, us-1 served")
		w.want("calls ended at eu", eu.hungUpOn(), 1)
		w.want("X-Proxima-Region", got.header.Get("X-Proxima-Region"), "us")
		w.want("decision", string(w.record().Decision.Chosen.Endpoint), "us-1")
	})
}

func TestTheLoserHoldsNoPlaceWhileTheWinnerTalks(t *testing.T) {
	hedging(t, func(w *world, us, eu *endpoint) {
		us.act, eu.act = freezes, func(c *call) { tongue{header: sse}.begin(c, []string{"data: 1\n\n"}); c.untilLeft() }
		c := w.connect()
		c.send(requestText("POST /v1/chat/completions", `{"model":"m"}`, nearby))
		time.Sleep(100 * time.Millisecond)
		w.want("stream", c.content(), "data: 1\n\n")
		w.want("at us", w.inFlight(us), 0)
		w.want("calls ended at us", us.hungUpOn(), 1)
		w.want("at eu", w.inFlight(eu), 1)
	})
}

func TestAFailureBesideAGoodAnswerIsToldAsSuch(t *testing.T) {
	for name, act := range map[string]action{"failed": answers("503 Off", "off"), "broken": breaks, "busy": answers("429 Many", "busy")} {
		t.Run(name, func(t *testing.T) {
			hedging(t, func(w *world, us, eu *endpoint) {
				us.act, eu.act = takes(150*time.Millisecond, act), takes(100*time.Millisecond, says("hallo"))
				w.want("answer", w.chat(nearby).body, "hallo")
				w.want("attempts", w.attempts(), "us-1 "+name+", eu-1 served")
				w.want("heard", w.heard(), "us-1 "+name+", eu-1 served")
			})
		})
	}
}

func TestWhenBothFailAThirdIsAsked(t *testing.T) {
	hedging(t, func(w *world, us, eu *endpoint) {
		us.act, eu.act = takes(150*time.Millisecond, answers("503 Off", "off")), takes(time.Millisecond, breaks)
		got := w.chat(nearby)
		w.want("status of the last", got.status, 503)
		w.want("attempts", w.attempts(), "eu-1 broken, us-1 failed")
		w.want("heard", w.heard(), "")
	})
	story(t, func(w *world) {
		w.settings.Hedge = true
		us := w.endpoint("us-1", takes(100*time.Millisecond, says("usual")))
		w.endpoint("eu-1", breaks)
		w.endpoint("asia-1", says("konnichiwa"))
		w.learn("POST /v1/chat/completions", `{"model":"m"}`)
		us.act = takes(150*time.Millisecond, answers("503 Off", "off"))
		w.want("answer", w.chat(nearby).body, "konnichiwa")
		w.want("attempts", w.attempts(), "eu-1 broken, us-1 failed, asia-1 served")
		w.want("heard", w.heard(), "eu-1 broken, us-1 failed, asia-1 served")
	})
}

// TestABugInEitherAttemptCostsOneRequest is about goroutines beside the request's own.
func TestABugInEitherAttemptCostsOneRequest(t *testing.T) {
	for _, buggy := range []string{"us-1.test:80", "eu-1.test:80"} {
		for _, other := range []time.Duration{120 * time.Millisecond, 180 * time.Millisecond} {
			t.Run(fmt.Sprint(buggy, other), func(t *testing.T) {
				hedging(t, func(w *world, us, eu *endpoint) {
					us.act, eu.act = takes(other, says("us")), takes(other-100*time.Millisecond, says("eu"))
					began := time.Now()
					w.handler.Failover.Next = carrier(func(r *http.Request) (*http.Response, error) {
						if r.URL.Host != buggy {
							return w.transport.RoundTrip(r)
						}
						time.Sleep(150*time.Millisecond - time.Since(began))
						panic("a bug")
					})
					got := w.chat(nearby)
					w.want("problem", got.problem(), "internal_error")
					w.want("bugs", fmt.Sprint(w.bugs), "[a bug]")
					w.want("at us", w.inFlight(us), 0)
					w.want("at eu", w.inFlight(eu), 0)
					w.bugs = nil
				})
			})
		}
	}
}

func TestAHedgeDrawsOnTheRetryBudget(t *testing.T) {
	hedging(t, func(w *world, us, eu *endpoint) {
		w.settings.RetryFloor, w.settings.RetryRatio = 1, 0
		us.act = takes(150*time.Millisecond, says("at last"))
		w.want("the first", w.chat(nearby).body, "hallo")
		w.want("retries left", w.handler.Failover.RetriesLeft(), 0.0)
		w.want("the second", w.chat(nearby).body, "at last")
		w.want("attempts", w.attempts(), "us-1 served")
		w.want("hedged", w.record().Hedged, false)
		w.want("at eu", w.inFlight(eu), 0)
	})
}

func TestAClientThatLeavesEndsBothCalls(t *testing.T) {
	hedging(t, func(w *world, us, eu *endpoint) {
		us.act, eu.act = freezes, freezes
		c := w.connect()
		c.send(requestText("POST /v1/chat/completions", `{"model":"m"}`, nearby))
		time.Sleep(time.Second)
		w.want("at us", w.inFlightAfter(us), 1)
		w.want("at eu", w.inFlightAfter(eu), 1)
		c.leave()
		w.want("calls ended at us", us.hungUpOn(), 1)
		w.want("calls ended at eu", eu.hungUpOn(), 1)
		w.want("status", w.record().Status, 499)
	})
}

func TestWhatIsNeverHedged(t *testing.T) {
	const completion = "POST /v1/completions"
	for name, test := range map[string]struct {
		line   string
		change func(w *world, eu *endpoint)
	}{
		"what creates something":         {"POST /v1/files", func(*world, *endpoint) {}},
		"a body that is not kept whole":  {completion, func(w *world, _ *endpoint) { w.settings.ReplayLimit = 10 }},
		"where one attempt is all":       {completion, func(w *world, _ *endpoint) { w.settings.Attempts = 1 }},
		"where it is not asked for":      {completion, func(w *world, _ *endpoint) { w.settings.Hedge = false }},
		"a model with rules of its own":  {completion, func(w *world, _ *endpoint) { w.settings.Models = map[router.Model]Rules{"m": {}} }},
		"where the others are not ready": {completion, func(w *world, eu *endpoint) { w.believe(eu, router.Down) }},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				w.settings.Hedge = true
				us, eu := w.endpoint("us-1", takes(100*time.Millisecond, says("usual"))), w.endpoint("eu-1", says("hallo"))
				w.learn(test.line, `{"model":"m"}`)
				us.act = takes(time.Hour, says("at last"))
				test.change(w, eu)
				w.want("answer", w.ask(test.line, `{"model":"m"}`, nearby).body, "at last")
				w.want("eu saw", eu.last(), "none")
			})
		})
	}
}

func TestAHedgedRequestLeavesAnEndpointThatIsFoundDown(t *testing.T) {
	hedging(t, func(w *world, us, eu *endpoint) {
		us.act = freezes
		c := w.connect()
		c.send(requestText("POST /v1/chat/completions", `{"model":"m"}`, nearby))
		w.want("at us", w.inFlightAfter(us), 1)
		w.findDown(us)
		w.want("answer", c.waits().body, "hallo")
		w.want("attempts", w.attempts(), "us-1 abandoned, eu-1 served")
	})
}

// TestALoserMayStillGoOnWithTheStream is about two endpoints that are all there is.
func TestALoserMayStillGoOnWithTheStream(t *testing.T) {
	for name, late := range map[string]bool{"eu-1 lost, us-1 cut, eu-1 served": false, "us-1 lost, eu-1 cut, us-1 served": true} {
		story(t, func(w *world) {
			w.settings.Hedge, w.settings.Resume = true, true
			us, eu := w.endpoint("us-1", takes(100*time.Millisecond, narrator(all, nil))), w.endpoint("eu-1", nil)
			eu.act = takes(100*time.Millisecond, narrator(all, nil))
			w.learn("POST /v1/chat/completions", asked)
			if us.act = takes(150*time.Millisecond, narrator(2, dies)); late {
				us.act = takes(250*time.Millisecond, narrator(all, nil))
				eu.act = narrator(2, dies)
			}
			w.want("told", strings.Contains(w.tale(asked, nearby).body, "the end.|stop|{proxima: resumed"), true)
			w.want("attempts", w.attempts(), name)
		})
	}
}

func TestWhatIsUsualIsKnownOfTheLatest(t *testing.T) {
	var p pace
	for i := range paceLeast - 1 {
		p.took(time.Duration(i))
	}
	if got := p.slow(); got != 0 {
		t.Errorf("%v is slow, as far as %d can tell", got, paceLeast-1)
	}
	for i := range 1000 {
		p.took(time.Duration(i + 1))
	}
	if got, want := p.slow(), time.Duration(1000-paceSamples+1+paceSamples*95/100); got < want-8 || got > want {
		t.Errorf("%d of the latest %d is slow, want about %d", got, paceSamples, want)
	}
}

func TestInventedModelsTakeNoMoreRoomThanThereIs(t *testing.T) {
	var p paces
	for i := range maxPaces + 10 {
		p.took(&exchange{query: router.Query{Model: router.Model(fmt.Sprint(i))}}, 1)
	}
	if len(p.known) != maxPaces {
		t.Errorf("%d models are known", len(p.known))
	}
	if last := p.of(&exchange{query: router.Query{Model: router.Model(fmt.Sprint(maxPaces + 9))}}); last == nil {
		t.Error("the latest model is not")
	}
}

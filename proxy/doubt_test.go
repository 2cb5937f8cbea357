package proxy

import (
	"strings"
	"testing"
	"time"

	"proxima/router"
)

// The ways of a request that is at fault itself, whoever gets it.
var poisons = map[string]struct {
	act     action
	outcome string
}{
	"503":                    {answers("503 Off", "off"), "failed"},
	"500":                    {answers("500 Oops", "oops"), "failed"},
	"a crash":                {breaks, "broken"},
	"a crash in the header":  {writes("HTTP/1.1 200 O"), "broken"},
	"a crash after its head": {writes(head("200 OK", sse, chunked)), "broken"},
	"no answer":              {freezes, "late"},
	"an error first":         {tongues["chat completions"].streams(tongues["chat completions"].fails), "failed"},
	"silence after its head": {func(c *call) { tongues["chat completions"].begin(c, []string{": hi\n\n"}); c.untilLeft() }, "stalled"},
}

// withEveryPoison tells a story for each of them.
func withEveryPoison(t *testing.T, tell func(w *world, act action, outcome string)) {
	for name, poison := range poisons {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				w.settings.FirstByteTimeout = time.Minute // longer than silence
				tell(w, poison.act, poison.outcome)
			})
		})
	}
}

func TestARequestThatNobodyCanServeBlamesNobody(t *testing.T) {
	withEveryPoison(t, func(w *world, act action, outcome string) {
		w.endpoint("us-1", act)
		w.endpoint("eu-1", act)
		w.chat()
		w.want("attempts", w.attempts(), strings.ReplaceAll("us-1 X, eu-1 X", "X", outcome))
		w.want("heard", w.heard(), "")
	})
}

func TestAFailureIsToldOnceAnotherEndpointHasServed(t *testing.T) {
	withEveryPoison(t, func(w *world, act action, outcome string) {
		w.endpoint("us-1", act)
		said := make(chan struct{})
		w.endpoint("eu-1", func(c *call) { tongue{header: sse}.begin(c, []string{"data: 1\n\n"}); close(said); c.untilLeft() })
		c := w.begin(asked)
		<-said
		w.want("heard while it still answers", w.heard(), "us-1 "+outcome+", eu-1 served")
		c.leave()
	})
}

func TestTheOnlyEndpointIsToldOf(t *testing.T) {
	withEveryPoison(t, func(w *world, act action, outcome string) {
		w.endpoint("us-1", act)
		w.chat()
		w.want("heard", w.heard(), "us-1 "+outcome)
	})
}

func TestTheOnlyAttemptIsToldOf(t *testing.T) {
	withEveryPoison(t, func(w *world, act action, outcome string) {
		w.settings.Attempts = 1
		w.endpoint("us-1", act)
		w.endpoint("eu-1", says("never asked"))
		w.chat()
		w.want("heard", w.heard(), "us-1 "+outcome)
	})
}

func TestWhenTheBudgetForbidsToAskElsewhereNobodyKnows(t *testing.T) {
	withEveryPoison(t, func(w *world, act action, outcome string) {
		w.settings.RetryFloor, w.settings.RetryRatio = 0, 0
		w.endpoint("us-1", act)
		w.endpoint("eu-1", says("never asked"))
		w.chat()
		w.want("attempts", w.attempts(), "us-1 "+outcome)
		w.want("heard", w.heard(), "")
	})
}

func TestWhatIsNotTheRequestsDoingIsToldAtOnce(t *testing.T) {
	for name, test := range map[string]struct {
		act  action
		want string
	}{
		"refused": {refuses, "us-1 refused, eu-1 refused"},
		"busy":    {answers("429 Many", "busy"), "us-1 busy, eu-1 busy"},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				w.endpoint("us-1", test.act)
				w.endpoint("eu-1", test.act)
				w.chat()
				w.want("heard", w.heard(), test.want)
			})
		})
	}
}

func TestAnAnswerThatBlamesTheClientCountsAsServed(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", breaks)
		w.endpoint("eu-1", answers("400 No", "bad"))
		w.want("status", w.chat().status, 400)
		w.want("heard", w.heard(), "us-1 broken, eu-1 served")
	})
}

func TestAClientThatLeavesLeavesTheDoubtOpen(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", breaks)
		eu := w.endpoint("eu-1", freezes)
		c := w.begin(asked)
		w.want("at eu", w.inFlightAfter(eu), 1)
		c.leave()
		w.want("attempts", w.attempts(), "us-1 broken, eu-1 cancelled")
		w.want("heard", w.heard(), "eu-1 cancelled")
	})
}

func TestWhenNobodyElseIsReadyTheFailureIsTheEndpoints(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", answers("503 Off", "off"))
		eu := w.endpoint("eu-1", says("never asked"))
		w.open()
		w.believe(eu, router.Down)
		w.want("status", w.chat().status, 503)
		w.want("heard", w.heard(), "us-1 failed")
	})
}

func TestAPoisonThatBreaksStreamsAfterAnotherDoesNotSpread(t *testing.T) {
	resuming(t, func(w *world) {
		w.endpoint("us-1", narrator(1, dies))
		w.endpoint("eu-1", breaks)
		w.endpoint("asia-1", answers("503 Off", "off"))
		w.want("told", w.tale(asked).body, "<us-1><assistant>Once!stream_cut")
		w.want("attempts", w.attempts(), "us-1 cut, eu-1 broken, asia-1 failed")
		w.want("heard", w.heard(), "us-1 served, us-1 cut")
	})
}

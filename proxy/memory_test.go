package proxy

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"proxima/router"
)

// prompt is a request's body of a thousand bytes.
var prompt = strings.Replace(asked, "A story.", strings.Repeat("a", 1000-len(asked)+len("A story.")), 1)

// cramped tells a story in a world that has memory for two and a half prompts.
func cramped(t *testing.T, tell func(w *world)) {
	t.Helper()
	story(t, func(w *world) {
		w.settings.BodyMemory = 2500
		tell(w)
		synctest.Wait()
		w.want("bytes kept in the end", w.kept(), int64(0))
	})
}

// kept is how many bytes of bodies are kept now.
func (w *world) kept() int64 {
	synctest.Wait()
	return w.handler.kept.bytes()
}

func TestWhenMemoryForBodiesIsUsedUpRequestsAreTurnedAway(t *testing.T) {
	cramped(t, func(w *world) {
		us := w.endpoint("us-1", freezes)
		first, second := w.begin(prompt), w.begin(prompt)
		w.want("at us", w.inFlightAfter(us), 2)
		w.want("kept", w.kept(), int64(2000))
		got := w.ask("POST /v1/chat/completions", prompt)
		w.want("status", got.status, 503)
		w.want("problem", got.problem(), "overloaded")
		w.want("Retry-After", got.header.Get("Retry-After"), "1")
		w.want("at us", w.inFlightAfter(us), 2)
		w.want("kept", w.kept(), int64(2000))
		us.act = says("hello")
		w.want("a small one", w.chat().body, "hello")
		first.leave()
		w.want("kept when one has left", w.kept(), int64(1000))
		w.want("with room again", w.ask("POST /v1/chat/completions", prompt).body, "hello")
		second.leave()
	})
}

func TestMemoryIsTakenForWhatHasCome(t *testing.T) {
	cramped(t, func(w *world) {
		w.settings.BodyMemory = 1200
		w.endpoint("us-1", says("hello"))
		slow := w.connect()
		slow.send("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n" + prompt[:100])
		w.want("kept", w.kept(), int64(100))
		w.want("another", w.ask("POST /v1/chat/completions", prompt).body, "hello")
		slow.send(prompt[100:])
		w.want("the slow one", slow.waits().body, "hello")
	})
}

func TestABodyInChunksIsTurnedAwayAsSoonAsItIsTooMuch(t *testing.T) {
	cramped(t, func(w *world) {
		us := w.endpoint("us-1", says("never asked"))
		c := w.connect()
		c.send("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
		for range 3 {
			c.send(chunk(prompt))
		}
		got := parse(c.sees(), "POST")
		w.want("problem", got.problem(), "overloaded")
		w.want("last on its connection", strings.Contains(got.text, "\r\nConnection: close\r\n"), true)
		w.want("us saw", us.last(), "none")
		<-c.done
	})
}

func TestOfALongBodyOnlyWhatIsKeptTakesMemory(t *testing.T) {
	cramped(t, func(w *world) {
		w.settings.ReplayLimit = 2000
		us := w.endpoint("us-1", func(c *call) { says("got it")(c); c.hangUp() })
		w.want("answer", w.ask("POST /v1/files", strings.Repeat(prompt, 50)).body, "got it")
		w.want("us got it", strings.HasSuffix(us.last(), strings.Repeat(prompt, 50)), true)
	})
}

func TestWithoutALimitNobodyIsTurnedAway(t *testing.T) {
	cramped(t, func(w *world) {
		w.settings.BodyMemory = 0
		w.endpoint("us-1", says("hello"))
		w.want("answer", w.ask("POST /v1/files", strings.Repeat(prompt, 1000)).body, "hello")
	})
}

// TestMemoryIsGivenBackHoweverARequestEnds asks in every way a second time: had the
// first one kept anything, there would be no room for it.
func TestMemoryIsGivenBackHoweverARequestEnds(t *testing.T) {
	for name, test := range map[string]struct {
		us, eu action
		header []string
		status int
	}{
		"served":              {us: says("hello"), status: 200},
		"served elsewhere":    {us: breaks, eu: says("hallo"), status: 200},
		"resumed":             {us: narrator(1, dies), eu: narrator(all, nil), status: 200},
		"not resumed":         {us: narrator(1, dies), eu: breaks, status: 200},
		"cut":                 {us: writes(head("200 OK", chunked), chunk("half")), status: 200},
		"stalled":             {us: narrator(1, stalls), eu: narrator(1, stalls), status: 200},
		"failed":              {us: answers("503 Off", "off"), eu: answers("503 Off", "off"), status: 503},
		"refused":             {us: refuses, eu: refuses, status: 503},
		"too late":            {us: freezes, header: []string{"X-Request-Timeout: 3"}, status: 504},
		"with a conflict":     {us: says("never"), header: []string{"X-Proxima-Model: n"}, status: 400},
		"where nobody may go": {us: says("never"), header: []string{"X-Forwarded-For: 203.0.113.9"}, status: 451},
		"a request of ours":   {us: says("never"), header: []string{"CDN-Loop: proxima; id=here"}, status: 508},
	} {
		t.Run(name, func(t *testing.T) {
			cramped(t, func(w *world) {
				w.settings.Resume, w.settings.BodyMemory = true, 1500
				w.from = "10.0.0.1:1"
				w.steering.Residency = []router.Residency{{Name: "nowhere", Countries: []string{"DE"}, Regions: []router.RegionID{"asia"}}}
				w.endpoint("us-1", test.us, "m")
				w.endpoint("eu-1", test.eu, "m")
				for range 2 {
					got := w.ask("POST /v1/chat/completions", prompt, test.header...)
					w.want("status", got.status, test.status)
					w.want("kept", w.kept(), int64(0))
				}
			})
		})
	}
}

func TestMemoryIsGivenBackWhenTheClientLeaves(t *testing.T) {
	for name, test := range map[string]struct {
		act  action
		sent int // bytes of the body
	}{
		"while it sends":        {says("never"), 500},
		"before the first byte": {freezes, len(prompt)},
		"midway":                {narrator(1, stalls), len(prompt)},
	} {
		t.Run(name, func(t *testing.T) {
			cramped(t, func(w *world) {
				w.settings.Resume = true
				w.endpoint("us-1", test.act)
				c := w.connect()
				c.send("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + prompt[:test.sent])
				w.want("kept", w.kept(), int64(test.sent))
				c.leave()
				w.want("kept after it left", w.kept(), int64(0))
			})
		})
	}
}

func TestMemoryIsGivenBackAfterABug(t *testing.T) {
	cramped(t, func(w *world) {
		w.endpoint("us-1", says("hello"))
		w.open()
		w.handler.Failover.Next = carrier(func(*http.Request) (*http.Response, error) { panic("a bug") })
		w.want("problem", w.ask("POST /v1/chat/completions", prompt).problem(), "internal_error")
		w.want("kept", w.kept(), int64(0))
		w.bugs = nil
	})
}

func TestMemoryIsHeldWhileAStreamMayGoOnElsewhere(t *testing.T) {
	cramped(t, func(w *world) {
		w.settings.Resume = true
		w.holdsMidway(1000)
	})
}

func TestAStreamAtRestThatCannotGoOnElsewhereHoldsNoBody(t *testing.T) {
	storyWhere(t, true, func(w *world) {
		w.settings.BodyMemory = 1500
		w.holdsMidway(0)
	})
}

// holdsMidway looks at what is kept of a body while its stream has yet to end.
func (w *world) holdsMidway(want int64) {
	w.t.Helper()
	next := make(chan struct{})
	w.endpoint("us-1", narrator(all, func(c *call) { <-next; c.event("[DONE]"); c.write(lastChunk) }))
	c := w.begin(prompt)
	w.want("kept", w.kept(), want)
	close(next)
	c.waits()
}

func TestStreamsAtRestAreWorthAnEighthOfARequest(t *testing.T) {
	storyWhere(t, true, func(w *world) {
		w.settings.Requests = 2
		w.endpoint("us-1", narrator(1, stalls))
		for range 10 {
			w.want("status", parse(w.begin(prompt).sees(), "POST").status, 200)
		}
		for range 6 {
			w.begin(prompt).sees()
		}
		w.want("status of the one too many", w.ask("POST /v1/chat/completions", prompt).status, 503)
	})
}

func TestNoMoreRequestsAreUnderWayThanMayBe(t *testing.T) {
	story(t, func(w *world) {
		w.settings.Requests = 2
		us := w.endpoint("us-1", freezes)
		first, second := w.begin(asked), w.begin(asked)
		w.want("at us", w.inFlightAfter(us), 2)
		got := w.chat()
		w.want("status", got.status, 503)
		w.want("problem", got.problem(), "overloaded")
		w.want("Retry-After", got.header.Get("Retry-After"), "1")
		w.want("at us", w.inFlightAfter(us), 2)
		first.leave()
		w.want("at us when one has left", w.inFlightAfter(us), 1)
		us.act = says("hello")
		w.want("when one has left", w.chat().body, "hello")
		second.leave()
	})
}

// TestABodyThatTricklesInIsNotWaitedForForEver is about a client that is never silent
// for long, and would hold memory that others need.
func TestABodyThatTricklesInIsNotWaitedForForEver(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", says("never asked"))
		c := w.connect()
		c.send("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
		began := time.Now()
		for range 5 {
			c.send(" ")
			time.Sleep(w.settings.StallTimeout * 2 / 5)
		}
		got := c.waits()
		w.want("status", got.status, 408)
		w.want("problem", got.problem(), "request_timeout")
		w.want("not much later than after the first silence", time.Since(began) < 5*w.settings.StallTimeout, true)
		w.want("us saw", us.last(), "none")
	})
}

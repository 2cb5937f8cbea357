package proxy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"proxima/router"
)

func TestTheNearestAnswers(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("asia-1", says("konnichiwa"))
		w.endpoint("eu-1", says("hallo"))
		w.endpoint("us-1", says("hello"))
		got := w.chat()
		w.want("answer", got.body, "hello")
		w.want("attempts", w.attempts(), "us-1 served")
		w.want("client", w.record().Client.String(), "198.51.100.7")
		w.want("complete", w.record().Complete, true)
		w.want("bytes", w.record().Bytes, int64(5))
	})
}

// TestFailover tells what each fault costs: nothing that the client can see,
// where asking again does no harm.
func TestFailover(t *testing.T) {
	const upload, inference = "POST /v1/files", "POST /v1/chat/completions"
	early := head("200 OK", sse, chunked)
	for _, test := range []struct {
		fault    string
		act      action
		line     string
		header   string
		status   int
		attempts string
	}{
		{"refused", refuses, inference, "", 200, "us-1 refused, eu-1 served"},
		{"refused upload", refuses, upload, "", 200, "us-1 refused, eu-1 served"},
		{"broken before the answer", breaks, inference, "", 200, "us-1 broken, eu-1 served"},
		{"broken get", breaks, "GET /v1/files", "", 200, "us-1 broken, eu-1 served"},
		{"broken post to a path of its own", breaks, "POST /generate", "", 200, "us-1 broken, eu-1 served"},
		{"broken upload", breaks, upload, "", 502, "us-1 broken"},
		{"broken upload with a key", breaks, upload, "Idempotency-Key: a", 200, "us-1 broken, eu-1 served"},
		{"header but no content", writes(early), inference, "", 200, "us-1 broken, eu-1 served"},
		{"half a header", writes("HTTP/1.1 200 O"), inference, "", 200, "us-1 broken, eu-1 served"},
		{"no HTTP at all", writes("hello\r\n\r\n"), inference, "", 200, "us-1 broken, eu-1 served"},
		{"status zero", writes(head("000 Zero", "Content-Length: 0")), inference, "", 200, "us-1 broken, eu-1 served"},
		{"a switch nobody asked for", writes(head("101 Switching Protocols", "Connection: upgrade", "Upgrade: x")), inference, "", 200, "us-1 broken, eu-1 served"},
		{"500", answers("500 Oops", "bad"), inference, "", 200, "us-1 failed, eu-1 served"},
		{"500 get", answers("500 Oops", "bad"), "GET /v1/files", "", 200, "us-1 failed, eu-1 served"},
		{"500 upload", answers("500 Oops", "bad"), upload, "", 500, "us-1 failed"},
		{"502 upload", answers("502 Oops", "bad"), upload, "", 502, "us-1 failed"},
		{"503", answers("503 Off", "bad"), inference, "", 200, "us-1 failed, eu-1 served"},
		{"503 upload", answers("503 Off", "bad"), upload, "", 200, "us-1 failed, eu-1 served"},
		{"503 for a while", answers("503 Off", "bad", "Retry-After: 7"), inference, "", 200, "us-1 busy, eu-1 served"},
		{"429", answers("429 Many", "bad"), inference, "", 200, "us-1 busy, eu-1 served"},
		{"529", answers("529 Full", "bad"), inference, "", 200, "us-1 busy, eu-1 served"},
		{"404", answers("404 No", "bad"), inference, "", 404, "us-1 served"},
		{"400", answers("400 No", "bad"), inference, "", 400, "us-1 served"},
		{"501", answers("501 No", "bad"), inference, "", 501, "us-1 served"},
	} {
		t.Run(test.fault, func(t *testing.T) {
			story(t, func(w *world) {
				w.endpoint("us-1", test.act)
				w.endpoint("eu-1", says("hallo"))
				var header []string
				if test.header != "" {
					header = append(header, test.header)
				}
				content := `{"model":"m"}`
				if strings.HasPrefix(test.line, "GET") {
					content = ""
				}
				got := w.ask(test.line, content, header...)
				w.want("status", got.status, test.status)
				w.want("attempts", w.attempts(), test.attempts)
				w.want("heard", w.heard(), test.attempts)
				w.want("X-Proxima-Attempts", got.header.Get("X-Proxima-Attempts"), fmt.Sprint(len(w.record().Attempts)))
			})
		})
	}
}

func TestFailoverReplaysTheBody(t *testing.T) {
	content := `{"model":"m","prompt":"` + strings.Repeat("abc", 10_000) + `"}`
	story(t, func(w *world) {
		w.endpoint("us-1", breaks)
		eu := w.endpoint("eu-1", says("hallo"))
		w.want("status", w.ask("POST /v1/completions", content).status, 200)
		w.want("length", strings.Contains(eu.last(), fmt.Sprintf("\nContent-Length: %d\n", len(content))), true)
		_, body, _ := strings.Cut(eu.last(), "\n\n")
		w.want("body as sent", body == content, true)
	})
}

func TestABodyInChunksIsReplayedWithItsLength(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", breaks)
		eu := w.endpoint("eu-1", says("hallo"))
		c := w.connect()
		c.send("POST /v1/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n")
		c.send(chunk(`{"mod`) + chunk(`el":"m"}`) + "0\r\nX-End: yes\r\n\r\n")
		w.want("status", c.waits().status, 200)
		_, body, _ := strings.Cut(eu.last(), "\n\n")
		w.want("body", body, `{"model":"m"}`)
		w.want("length", strings.Contains(eu.last(), "\nContent-Length: 13\n"), true)
		w.want("trailer", strings.Contains(eu.last(), "X-End"), false)
	})
}

func TestALongBodyInChunksIsPassedOnWithoutItsTrailer(t *testing.T) {
	story(t, func(w *world) {
		w.settings.ReplayLimit = 10
		us := w.endpoint("us-1", says("hello"))
		c := w.connect()
		c.send("POST /v1/files HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n")
		c.send(chunk("0123456789") + chunk("0123456789") + "0\r\nX-End: yes\r\n\r\n")
		w.want("status", c.waits().status, 200)
		w.want("chunked", strings.Contains(us.last(), "\nTransfer-Encoding: chunked\n"), true)
		w.want("trailer", strings.Contains(us.last(), "X-End"), false)
	})
}

func TestALongBodyGoesToTheNextRegionWhenTheFirstWasNeverReached(t *testing.T) {
	content := `{"model":"m","prompt":"` + strings.Repeat("long", 5_000) + `"}`
	story(t, func(w *world) {
		w.settings.ReplayLimit = 1000
		w.endpoint("us-1", refuses)
		eu := w.endpoint("eu-1", says("hallo"))
		w.want("status", w.ask("POST /v1/completions", content).status, 200)
		w.want("attempts", w.attempts(), "us-1 refused, eu-1 served")
		_, body, _ := strings.Cut(eu.last(), "\n\n")
		w.want("body as sent", body == content, true)
	})
}

func TestALongBodyThatWasSentIsNotSentAgain(t *testing.T) {
	content := `{"model":"m","prompt":"` + strings.Repeat("long", 5_000) + `"}`
	story(t, func(w *world) {
		w.settings.ReplayLimit = 1000
		w.endpoint("us-1", breaks)
		eu := w.endpoint("eu-1", says("hallo"))
		got := w.ask("POST /v1/completions", content)
		w.want("status", got.status, 502)
		w.want("problem", got.problem(), "endpoint_broke")
		w.want("attempts", w.attempts(), "us-1 broken")
		w.want("eu saw", eu.last(), "none")
	})
}

func TestBusyIsRemembered(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", answers("429 Many", "bad", "Retry-After: 20"))
		w.endpoint("eu-1", says("hallo"))
		w.chat()
		w.chat()
		w.want("second request", w.attempts(), "eu-1 served")
		time.Sleep(21 * time.Second)
		us.act = says("hello")
		w.chat()
		w.want("after the wait", w.attempts(), "us-1 served")
	})
}

func TestBusyEverywherePassesThrough(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", answers("429 Many", "us is busy", "Retry-After: 20"))
		w.endpoint("eu-1", answers("429 Many", "eu is busy", "Retry-After: 30"))
		got := w.chat()
		w.want("status", got.status, 429)
		w.want("answer", got.body, "eu is busy")
		w.want("Retry-After", got.header.Get("Retry-After"), "30")
		w.want("attempts", w.attempts(), "us-1 busy, eu-1 busy")
	})
}

func TestRetryAfterIsReadAsSecondsOrDate(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"0": 0, "7": 7 * time.Second, "Thu, 01 Jan 2026 12:01:00 GMT": time.Minute, "Thu, 01 Jan 2026 11:59:00 GMT": -time.Minute,
		"99999999999999999999": (1<<31 - 1) * time.Second,
	} {
		if wait, asked := retryAfter(http.Header{"Retry-After": {value}}, now); wait != want || !asked {
			t.Errorf("%s: %v %v, want %v", value, wait, asked, want)
		}
	}
	for _, value := range []string{"", "soon", "-5", "1.5"} {
		if wait, asked := retryAfter(http.Header{"Retry-After": {value}}, now); asked {
			t.Errorf("%q is taken for %v", value, wait)
		}
	}
}

func TestAnAnswerInHandBeatsATryAtADeadEndpoint(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", answers("503 Off", "us is off"))
		eu := w.endpoint("eu-1", freezes)
		w.open()
		w.believe(eu, router.Down)
		got := w.chat()
		w.want("answer", got.body, "us is off")
		w.want("attempts", w.attempts(), "us-1 failed")
	})
}

func TestADeadEndpointIsTriedWhenNoOtherIsLeft(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", refuses)
		eu := w.endpoint("eu-1", says("alive after all"))
		w.open()
		w.believe(eu, router.Down)
		w.want("answer", w.chat().body, "alive after all")
		w.want("attempts", w.attempts(), "us-1 refused, eu-1 served")
	})
}

func TestADeadEndpointThatHangsIsNotWaitedForForEver(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", freezes)
		eu := w.endpoint("eu-1", says("alive after all"))
		w.open()
		w.believe(us, router.Down)
		w.believe(eu, router.Down)
		began := time.Now()
		w.want("answer", w.chat().body, "alive after all")
		w.want("attempts", w.attempts(), "us-1 late, eu-1 served")
		w.want("time", time.Since(began), downWait)
	})
}

func TestALateFirstByteMovesOn(t *testing.T) {
	story(t, func(w *world) {
		w.settings.FirstByteTimeout = 5 * time.Second
		us := w.endpoint("us-1", freezes)
		w.endpoint("eu-1", says("hallo"))
		began := time.Now()
		w.want("answer", w.chat().body, "hallo")
		w.want("attempts", w.attempts(), "us-1 late, eu-1 served")
		w.want("time", time.Since(began), 5*time.Second)
		w.want("us was told", us.hungUpOn(), 1)
	})
}

func TestLateEverywhereIs504(t *testing.T) {
	story(t, func(w *world) {
		w.settings.FirstByteTimeout = 5 * time.Second
		w.endpoint("us-1", freezes)
		w.endpoint("eu-1", freezes)
		got := w.chat()
		w.want("status", got.status, 504)
		w.want("problem", got.problem(), "first_byte_timeout")
		w.want("attempts", w.attempts(), "us-1 late, eu-1 late")
	})
}

func TestWaitingRequestsMoveAtOnceWhenTheirEndpointIsFoundDown(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", freezes)
		w.endpoint("eu-1", says("hallo"))
		var waiting []*client
		for range 5 {
			c := w.connect()
			c.send(requestText("POST /v1/chat/completions", `{"model":"m"}`))
			waiting = append(waiting, c)
		}
		w.want("at us", len(us.requests()), 5)
		began := time.Now()
		w.findDown(us)
		for _, c := range waiting {
			w.want("answer", c.content(), "hallo")
		}
		w.want("time", time.Since(began), time.Duration(0))
		w.want("attempts", w.attempts(), "us-1 abandoned, eu-1 served")
		w.want("calls ended at us", us.hungUpOn(), 5)
		w.want("budget left", w.handler.Failover.RetriesLeft(), 3+0.2*5)
	})
}

func TestARequestWaitsWhenNowhereIsBetter(t *testing.T) {
	story(t, func(w *world) {
		release := make(chan struct{})
		us := w.endpoint("us-1", func(c *call) { c.read(); <-release; says("at last")(c) })
		eu := w.endpoint("eu-1", says("hallo"))
		w.open()
		w.believe(eu, router.Down)
		c := w.connect()
		c.send(requestText("POST /v1/chat/completions", `{"model":"m"}`))
		synctest.Wait()
		w.findDown(us)
		w.want("nothing yet", c.sees(), "")
		close(release)
		w.want("answer", c.content(), "at last")
		w.want("attempts", w.attempts(), "us-1 served")
	})
}

func TestWhatMayNotBeDoneTwiceIsNotMoved(t *testing.T) {
	story(t, func(w *world) {
		release := make(chan struct{})
		us := w.endpoint("us-1", func(c *call) { c.read(); <-release; says("done once")(c) })
		w.endpoint("eu-1", says("done twice"))
		c := w.connect()
		c.send(requestText("POST /v1/files", "data"))
		synctest.Wait()
		w.findDown(us)
		close(release)
		w.want("answer", c.content(), "done once")
	})
}

func TestAnEndpointFoundDownBetweenDecisionAndRequestIsLeftAtOnce(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", freezes)
		w.endpoint("eu-1", says("hallo"))
		w.open()
		x := w.exchange()
		p := w.handler.Failover.claim(x)
		w.findDown(us) // nobody waits yet
		a := w.handler.Failover.start(x, p)
		_, err := a.do()
		w.want("outcome", a.Outcome, router.Abandoned)
		w.want("error", err != nil, true)
	})
}

func TestAnEndpointFoundDownBetweenDecisionAndRequestIsKeptWhenNowhereIsBetter(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", says("hello"))
		x := w.exchange()
		p := w.handler.Failover.claim(x)
		w.findDown(us)
		a := w.handler.Failover.start(x, p)
		response, err := a.do()
		if err != nil {
			t.Fatal(err)
		}
		w.want("outcome", a.Outcome, router.Served)
		response.Body.Close()
	})
}

func TestTheLastAttemptIsNotAbandoned(t *testing.T) {
	story(t, func(w *world) {
		w.settings.Attempts = 1
		release := make(chan struct{})
		us := w.endpoint("us-1", func(c *call) { c.read(); <-release; says("at last")(c) })
		w.endpoint("eu-1", says("hallo"))
		c := w.connect()
		c.send(requestText("POST /v1/chat/completions", `{"model":"m"}`))
		synctest.Wait()
		w.findDown(us)
		close(release)
		w.want("answer", c.content(), "at last")
	})
}

// TestNoByteIsLostWhenTheFirstComesAsTheEndpointIsFoundDown looks at the one
// instant where an answer and its abandonment meet.
func TestNoByteIsLostWhenTheFirstComesAsTheEndpointIsFoundDown(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", func(c *call) {
			c.read()
			c.write(head("200 OK", chunked) + chunk("first"))
			c.untilLeft()
		})
		w.endpoint("eu-1", says("hallo"))
		w.open()
		w.handler.Failover.Next = carrier(func(r *http.Request) (*http.Response, error) {
			response, err := w.transport.RoundTrip(r)
			if r.URL.Host == us.host {
				response.Body = &eventful{response.Body, func() { w.findDown(us) }}
			}
			return response, err
		})
		got := w.chat()
		w.want("answer", got.body, "hallo")
		w.want("cut", got.cut, false)
		w.want("attempts", w.attempts(), "us-1 abandoned, eu-1 served")
	})
}

func TestAttemptsAreLimited(t *testing.T) {
	story(t, func(w *world) {
		w.settings.Attempts = 2
		w.endpoint("us-1", answers("503 Off", "us"))
		w.endpoint("us-2", answers("503 Off", "us"))
		w.endpoint("eu-1", says("hallo"))
		w.want("status", w.chat().status, 503)
		w.want("attempts", len(w.record().Attempts), 2)
	})
}

func TestOneAttemptIsAlwaysMade(t *testing.T) {
	story(t, func(w *world) {
		w.settings.Attempts = 0
		w.endpoint("us-1", says("hello"))
		w.want("answer", w.chat().body, "hello")
	})
}

func TestRetriesStayWithinTheBudget(t *testing.T) {
	story(t, func(w *world) {
		for _, id := range []string{"us-1", "eu-1", "asia-1"} {
			w.endpoint(id, answers("503 Off", "off"))
		}
		attempts := 0
		for range 100 {
			w.want("status", w.chat().status, 503)
			attempts += len(w.record().Attempts)
		}
		if most := 100*1.2 + 3; float64(attempts) > most || attempts < 110 {
			t.Errorf("%d attempts for 100 requests, want at most %v and some", attempts, most)
		}
	})
}

func TestRefusedAttemptsDoNotDrawOnTheBudget(t *testing.T) {
	story(t, func(w *world) {
		w.settings.RetryFloor, w.settings.RetryRatio = 0, 0
		w.endpoint("us-1", refuses)
		w.endpoint("eu-1", says("hallo"))
		w.want("answer", w.chat().body, "hallo")
	})
}

func TestNothingReachableIs503(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", refuses)
		w.endpoint("eu-1", refuses)
		got := w.chat()
		w.want("status", got.status, 503)
		w.want("problem", got.problem(), "no_endpoint_available")
		w.want("Retry-After", got.header.Get("Retry-After"), "1")
		w.want("attempts", w.attempts(), "us-1 refused, eu-1 refused")
	})
}

func TestFailoverCarriesRequestsOfAHandlerOnly(t *testing.T) {
	f := &Failover{}
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://a.test", nil)
	if _, err := f.RoundTrip(r); err == nil {
		t.Error("a request from nowhere is carried")
	}
}

func TestASlowErrorDoesNotHoldUpFailover(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", func(c *call) {
			c.read()
			c.write(head("503 Off", "Content-Length: 100") + "and then")
			c.untilLeft()
		})
		w.endpoint("eu-1", says("hallo"))
		began := time.Now()
		w.want("answer", w.chat().body, "hallo")
		w.want("soon", time.Since(began) <= discardWait, true)
	})
}

func TestAConnectionIsKeptAfterAnErrorThatWasReplaced(t *testing.T) {
	story(t, func(w *world) {
		calls := 0
		var conns []any
		us := w.endpoint("us-1", nil)
		us.act = func(c *call) {
			conns = append(conns, c.conn)
			calls++
			c.read()
			c.write(head("503 Off", chunked) + chunk("sorry") + lastChunk)
		}
		w.endpoint("eu-1", says("hallo"))
		w.chat()
		w.chat()
		w.want("calls", calls, 2)
		w.want("one connection", conns[0] == conns[1], true)
	})
}

func TestSettingsAndHintsOfTheClientSteer(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", says("hello"))
		w.endpoint("eu-1", says("hallo"))
		w.want("preferred", w.chat("X-Proxima-Prefer-Region: eu").body, "hallo")
		w.want("a region that is none", w.chat("X-Proxima-Prefer-Region: mars").body, "hello")
	})
	story(t, func(w *world) {
		for i := range 8 {
			w.endpoint(fmt.Sprintf("us-%d", i), says(fmt.Sprint(i)))
		}
		w.steering.Slack = time.Hour
		first := w.chat("X-Proxima-Session: anna").body
		others := map[string]bool{}
		for i := range 20 {
			w.want("the session stays", w.chat("X-Proxima-Session: anna").body, first)
			others[w.chat(fmt.Sprintf("X-Proxima-Session: %d", i)).body] = true
		}
		w.want("others spread", len(others) > 2, true)
	})
}

// carrier is a http.RoundTripper in a function.
type carrier func(*http.Request) (*http.Response, error)

func (c carrier) RoundTrip(r *http.Request) (*http.Response, error) { return c(r) }

// TestAKeptConnectionThatWasClosedMeanwhileBlamesNobody is the race of keep-alive:
// the endpoint closes an idle connection as the next request sets out on it.
func TestAKeptConnectionThatWasClosedMeanwhileBlamesNobody(t *testing.T) {
	for line, attempts := range map[string]string{
		"POST /v1/completions": "us-1 served",
		"DELETE /v1/files/a":   "us-1 served",
		"POST /v1/files":       "us-1 broken", // may have been carried out
	} {
		story(t, func(w *world) {
			var used any
			us := w.endpoint("us-1", func(c *call) {
				if used == c.conn {
					c.hangUp()
					return
				}
				used = c.conn
				says("hello")(c)
			})
			w.chat()
			w.ask(line, `{"model":"m"}`)
			w.want(line, w.attempts(), attempts)
			w.want("a made-up key", strings.Contains(us.last(), "Idempotency"), false)
		})
	}
}

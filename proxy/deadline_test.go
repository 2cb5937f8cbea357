package proxy

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"proxima/router"
)

func TestAClientsOwnDeadlineEndsItsRequest(t *testing.T) {
	for field, after := range map[string]time.Duration{
		"X-Request-Timeout: 3":                           3 * time.Second,
		"X-Request-Timeout: 2.5":                         2500 * time.Millisecond,
		"X-Request-Timeout: 1500ms":                      1500 * time.Millisecond,
		"X-Request-Timeout: 1m30s":                       90 * time.Second,
		"grpc-timeout: 7S":                               7 * time.Second,
		"grpc-timeout: 250m":                             250 * time.Millisecond,
		"grpc-timeout: 2M":                               2 * time.Minute,
		"grpc-timeout: 00000001H":                        time.Hour,
		"grpc-timeout: 9S\r\nX-Request-Timeout: 3":       3 * time.Second,
		"X-Request-Timeout:  24h \r\nX-Other: no matter": 24 * time.Hour,
	} {
		t.Run(field, func(t *testing.T) {
			story(t, func(w *world) {
				us := w.endpoint("us-1", freezes)
				eu := w.endpoint("eu-1", says("never asked"))
				began := time.Now()
				got := w.chat(field)
				w.want("time", time.Since(began), after)
				w.want("status", got.status, 504)
				w.want("problem", got.problem(), "deadline_exceeded")
				w.want("attempts", w.attempts(), "us-1 cancelled")
				w.want("calls ended at us", us.hungUpOn(), 1)
				w.want("eu saw", eu.last(), "none")
			})
		})
	}
}

func TestAnAnswerInTimeIsNotTouchedByItsDeadline(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", streaming(sse, "data: 1\n\n", "2s", "data: 2\n\n"))
		w.saw(w.chat("X-Request-Timeout: 3"), "data: 1\n\ndata: 2\n\n", false)
	})
}

func TestADeadlineCountsForAllAttemptsTogether(t *testing.T) {
	story(t, func(w *world) {
		w.settings.FirstByteTimeout = 2 * time.Second
		for _, id := range []string{"us-1", "eu-1", "asia-1"} {
			w.endpoint(id, freezes)
		}
		began := time.Now()
		w.want("problem", w.chat("X-Request-Timeout: 3").problem(), "deadline_exceeded")
		w.want("time", time.Since(began), 3*time.Second)
		w.want("attempts", w.attempts(), "us-1 late, eu-1 cancelled")
	})
}

func TestADeadlineAlsoEndsAListOfModels(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", freezes)
		began := time.Now()
		got := w.ask("GET /v1/models", "", "X-Request-Timeout: 1")
		w.want("problem", got.problem(), "deadline_exceeded")
		w.want("time", time.Since(began), time.Second)
		w.want("calls ended at us", us.hungUpOn(), 1)
	})
}

func TestADeadlineMidwayIsToldInTheStream(t *testing.T) {
	inEveryTongue(t, func(w *world, in tongue) {
		w.settings.Resume = true
		us := w.endpoint("us-1", func(c *call) { in.begin(c, []string{in.begins, in.says}); c.untilLeft() })
		began := time.Now()
		got := w.ask("POST "+in.path, `{"model":"m","stream":true}`, "X-Request-Timeout: 3")
		w.want("time", time.Since(began), 3*time.Second)
		w.want("told", strings.Contains(got.body, problemDeadline.Message), true)
		w.want("so far", strings.HasPrefix(got.body, in.begins+in.says), true)
		w.want("cut", got.cut, true)
		w.want("problem", w.record().Problem, "deadline_exceeded")
		w.want("attempts", w.attempts(), "us-1 cancelled")
		w.want("calls ended at us", us.hungUpOn(), 1)
	})
}

func TestADeadlineWhileAStreamIsResumedIsToldAsOne(t *testing.T) {
	resuming(t, func(w *world) {
		w.endpoint("us-1", narrator(1, dies))
		w.endpoint("eu-1", freezes)
		w.want("told", w.tale(asked, "X-Request-Timeout: 3").body, "<us-1><assistant>Once!deadline_exceeded")
		w.want("attempts", w.attempts(), "us-1 cut, eu-1 cancelled")
	})
}

// most is how many requests an endpoint may have at once.
func (w *world) most(e *endpoint, n int) {
	w.t.Helper()
	w.open()
	list := slices.Clone(w.live.Snapshot().Table.Endpoints)
	at, _ := w.live.Snapshot().Table.Position(router.EndpointID(e.id))
	list[at].MaxInFlight = n
	table, err := router.NewTable(regions, list, w.steering)
	if err != nil {
		w.t.Fatal(err)
	}
	w.live.SetTable(table)
}

func TestADeadlineAlsoEndsTheWaitForAPlace(t *testing.T) {
	story(t, func(w *world) {
		w.settings.QueueLength, w.settings.QueueWait = 10, time.Minute
		us := w.endpoint("us-1", freezes)
		w.most(us, 1)
		w.begin(asked)
		synctest.Wait()
		began := time.Now()
		w.want("problem", w.chat("X-Request-Timeout: 3").problem(), "deadline_exceeded")
		w.want("time", time.Since(began), 3*time.Second)
		w.want("attempts", w.attempts(), "")
	})
}

func TestATimeoutThatIsNoneIsTheClientsError(t *testing.T) {
	for _, field := range []string{
		"X-Request-Timeout: soon", "X-Request-Timeout: 0", "X-Request-Timeout: -1", "X-Request-Timeout: -1s", "X-Request-Timeout: NaN",
		"X-Request-Timeout: Inf", "X-Request-Timeout: 1e300", "X-Request-Timeout: 25h", "X-Request-Timeout: 3, 4", "X-Request-Timeout: 1e-12",
		"grpc-timeout: 3", "grpc-timeout: S", "grpc-timeout: 3s", "grpc-timeout: 123456789S", "grpc-timeout: 99999999H", "grpc-timeout: 0S",
		"grpc-timeout: -1S", "grpc-timeout: 1.5S",
	} {
		t.Run(field, func(t *testing.T) {
			story(t, func(w *world) {
				us := w.endpoint("us-1", says("never asked"))
				got := w.chat(field)
				name, _, _ := strings.Cut(field, ":")
				w.want("status", got.status, 400)
				w.want("problem", got.problem(), "invalid_timeout")
				w.want("the field's name", strings.Contains(strings.ToLower(got.body), strings.ToLower(name)), true)
				w.want("us saw", us.last(), "none")
			})
		})
	}
}

// stoppable gives the router a door at which it can stop waiting for requests.
func (w *world) stoppable() (stop func()) {
	w.open()
	ctx, cancel := context.WithCancelCause(w.t.Context())
	server := &http.Server{Handler: w.handler, BaseContext: func(net.Listener) context.Context { return ctx }, Protocols: w.server.Protocols}
	go server.Serve(w.network.listen("proxima.test:80"))
	return func() { cancel(ErrStopping); synctest.Wait() }
}

func TestAStopBeforeTheFirstByteIsAnAnswer(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", freezes)
		stop := w.stoppable()
		c := w.begin(asked)
		w.want("at us", w.inFlightAfter(us), 1)
		stop()
		got := c.waits()
		w.want("status", got.status, 503)
		w.want("problem", got.problem(), "router_stopping")
		w.want("Retry-After", got.header.Get("Retry-After"), "1")
		w.want("attempts", w.attempts(), "us-1 cancelled")
		w.want("calls ended at us", us.hungUpOn(), 1)
	})
}

func TestAStopMidwayIsToldInTheStream(t *testing.T) {
	inEveryTongue(t, func(w *world, in tongue) {
		w.settings.Resume = true
		w.endpoint("us-1", func(c *call) { in.begin(c, []string{in.begins, in.says}); c.untilLeft() })
		stop := w.stoppable()
		c := w.connect()
		c.send(requestText("POST "+in.path, `{"model":"m","stream":true}`))
		w.want("so far", c.content(), in.begins+in.says)
		stop()
		got := c.waits()
		w.want("told", strings.Contains(got.body, problemStopping.Message), true)
		w.want("cut", got.cut, true)
		w.want("problem", w.record().Problem, "router_stopping")
		w.want("attempts", w.attempts(), "us-1 cancelled")
	})
}

func TestAStopWhileAStreamIsResumedIsToldAsOne(t *testing.T) {
	resuming(t, func(w *world) {
		w.endpoint("us-1", narrator(1, dies))
		w.endpoint("eu-1", freezes)
		stop := w.stoppable()
		c := w.begin(asked)
		synctest.Wait()
		stop()
		w.want("told", tale(c.waits().body), "<us-1><assistant>Once!router_stopping")
	})
}

func TestAStopMidwayOfAnAnswerInOnePieceIsACut(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", func(c *call) { c.read(); c.write(head("200 OK", "Content-Length: 10") + "half"); c.untilLeft() })
		stop := w.stoppable()
		c := w.begin(asked)
		w.want("so far", strings.HasSuffix(c.sees(), "half"), true)
		stop()
		got := c.waits()
		w.want("body", got.body, "half")
		w.want("cut", got.cut, true)
		w.want("problem", w.record().Problem, "router_stopping")
	})
}

func TestAStopAfterTheTextIsCompleteDoesNoHarm(t *testing.T) {
	story(t, func(w *world) {
		in := tongues["chat completions"]
		w.endpoint("us-1", func(c *call) { in.begin(c, []string{in.begins, in.says, in.finishes}); c.untilLeft() })
		stop := w.stoppable()
		c := w.begin(asked)
		synctest.Wait()
		stop()
		w.saw(c.waits(), in.begins+in.says+in.finishes+in.last, false)
	})
}

func TestAStopEndsAnUpgradedConnection(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", echoes)
		stop := w.stoppable()
		c := w.connect()
		c.send(upgradeRequest)
		w.want("status", parse(c.sees(), "GET").status, 101)
		w.want("under way", w.handler.UnderWay(), 1)
		stop()
		<-c.done
		w.want("held", w.inFlightAfter(us), 0)
		w.want("under way after it", w.handler.UnderWay(), 0)
		w.want("calls ended at us", us.hungUpOn(), 1)
	})
}

// TestWhileABodyComesItsRequestMayEndToo is about clients that take their time to ask.
func TestWhileABodyComesItsRequestMayEndToo(t *testing.T) {
	const half = "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\nX-Request-Timeout: 3\r\n\r\n{"
	story(t, func(w *world) {
		us := w.endpoint("us-1", says("never asked"))
		stop := w.stoppable()
		c := w.connect()
		c.send(half)
		synctest.Wait()
		stop()
		w.want("problem", parse(c.sees(), "POST").problem(), "router_stopping")
		w.want("us saw", us.last(), "none")
	})
	story(t, func(w *world) {
		us := w.endpoint("us-1", says("never asked"))
		c := w.connect()
		c.send(half)
		time.Sleep(3 * time.Second)
		w.want("problem", parse(c.sees(), "POST").problem(), "deadline_exceeded")
		w.want("us saw", us.last(), "none")
	})
}

func TestOverHTTP2AStopMidwayIsToldInTheStream(t *testing.T) {
	story(t, func(w *world) {
		in := tongues["chat completions"]
		w.endpoint("us-1", func(c *call) { in.begin(c, []string{in.begins, in.says}); c.untilLeft() })
		stop := w.stoppable()
		response, err := w.http2().Post("http://proxima.test"+in.path, "application/json", strings.NewReader(asked))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		stop()
		got, err := io.ReadAll(response.Body)
		w.want("error", err != nil, true)
		w.want("told", strings.Contains(string(got), `"code":"router_stopping"`), true)
	})
}

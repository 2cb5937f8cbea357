package proxy

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"proxima/router"
)

func TestEveryEventIsSeenBeforeTheNextOneIsWritten(t *testing.T) {
	story(t, func(w *world) {
		next := make(chan struct{})
		w.endpoint("us-1", func(c *call) {
			c.read()
			c.write(head("200 OK", sse, chunked))
			for i := range 5 {
				<-next
				c.event(fmt.Sprint(i))
			}
			c.write(lastChunk)
		})
		c := w.connect()
		c.send(requestText("POST /v1/chat/completions", `{"model":"m"}`))
		want := ""
		for i := range 5 {
			w.want("before the event", c.content(), want)
			next <- struct{}{}
			want += fmt.Sprintf("data: %d\n\n", i)
		}
		got := c.waits()
		w.want("stream", got.body, want)
		w.want("cut", got.cut, false)
		w.want("attempts", w.attempts(), "us-1 served")
	})
}

func TestAnyPieceIsFlushedAtOnce(t *testing.T) {
	story(t, func(w *world) {
		next := make(chan struct{})
		w.endpoint("us-1", func(c *call) {
			c.read()
			c.write(head("200 OK", "Content-Length: 4") + "ab")
			<-next
			c.write("cd")
		})
		c := w.connect()
		c.send(requestText("GET /anything", ""))
		w.want("first half", strings.HasSuffix(c.sees(), "\r\n\r\nab"), true)
		close(next)
		w.want("whole", c.waits().body, "abcd")
	})
}

// TestACutStreamIsNeverAGoodOne looks at the bytes after the commit point: the
// client gets an error it can read where that is possible, and in any case an
// end that is none.
func TestACutStreamIsNeverAGoodOne(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", writes(head("200 OK", sse, chunked)+chunk("data: 1\n\n")))
		w.endpoint("eu-1", says("never asked"))
		got := w.chat()
		w.want("cut", got.cut, true)
		w.want("body", got.body, "data: 1\n\n"+`data: {"error":{"message":"The endpoint broke off in the midst of the answer. What came is incomplete.",`+
			`"type":"server_error","param":null,"code":"stream_cut"}}`+"\n\n")
		w.want("last chunk", strings.HasSuffix(got.text, lastChunk), false)
		w.want("attempts", w.attempts(), "us-1 cut")
		w.want("heard", w.heard(), "us-1 served, us-1 cut")
		w.want("complete", w.record().Complete, false)
		w.want("problem", w.record().Problem, "stream_cut")
	})
}

func TestOnlyPlainEventStreamsGetAnErrorEvent(t *testing.T) {
	for _, header := range []string{"Content-Type: application/json", "Content-Type: text/event-stream\r\nContent-Encoding: gzip"} {
		story(t, func(w *world) {
			w.endpoint("us-1", writes(head("200 OK", header, chunked)+chunk("half")))
			got := w.chat()
			w.want("cut", got.cut, true)
			w.want("body", got.body, "half")
			w.want("attempts", w.attempts(), "us-1 cut")
		})
	}
}

func TestAnAnswerShorterThanItsLengthIsCut(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", writes(head("200 OK", "Content-Length: 100")+"half"))
		got := w.chat()
		w.want("cut", got.cut, true)
		w.want("body", got.body, "half")
		w.want("attempts", w.attempts(), "us-1 cut")
	})
}

func TestAStalledStreamEndsWithAnErrorEvent(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", func(c *call) {
			c.read()
			c.write(head("200 OK", sse, chunked))
			c.event("1")
			time.Sleep(29 * time.Second)
			c.event("2")
			c.untilLeft()
		})
		began := time.Now()
		got := w.chat()
		w.want("cut", got.cut, true)
		w.want("events", strings.HasPrefix(got.body, "data: 1\n\ndata: 2\n\ndata: {\"error\":"), true)
		w.want("problem", strings.Contains(got.body, `"code":"stream_stalled"`), true)
		w.want("time", time.Since(began), 59*time.Second)
		w.want("attempts", w.attempts(), "us-1 stalled")
		w.want("calls ended at us", us.hungUpOn(), 1)
	})
}

func TestALongStreamSpeaksForItsEndpointFiveTimesASecond(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", func(c *call) {
			c.read()
			c.write(head("200 OK", sse, chunked))
			for i := range 6 {
				c.event(fmt.Sprint(i))
				time.Sleep(100 * time.Millisecond)
			}
			c.write(lastChunk)
		})
		w.chat()
		w.want("heard", w.heard(), "us-1 served, us-1 served, us-1 served")
	})
}

func TestAClientThatLeavesBeforeTheFirstByteEndsTheCallAtOnce(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", freezes)
		eu := w.endpoint("eu-1", says("never asked"))
		c := w.connect()
		c.send(requestText("POST /v1/chat/completions", `{"model":"m"}`))
		w.want("at us", w.inFlightAfter(us), 1)
		began := time.Now()
		c.leave()
		w.want("calls ended at us", us.hungUpOn(), 1)
		w.want("time", time.Since(began), time.Duration(0))
		w.want("attempts", w.attempts(), "us-1 cancelled")
		w.want("status", w.record().Status, 499)
		w.want("eu saw", eu.last(), "none")
	})
}

func TestAClientThatLeavesMidwayEndsTheCallAtOnce(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", func(c *call) {
			c.read()
			c.write(head("200 OK", sse, chunked))
			c.event("1")
			c.untilLeft()
		})
		c := w.connect()
		c.send(requestText("POST /v1/chat/completions", `{"model":"m"}`))
		w.want("first event", c.content(), "data: 1\n\n")
		began := time.Now()
		c.leave()
		w.want("calls ended at us", us.hungUpOn(), 1)
		w.want("time", time.Since(began), time.Duration(0))
		w.want("attempts", w.attempts(), "us-1 cancelled")
		w.want("heard", w.heard(), "us-1 served")
		w.want("complete", w.record().Complete, false)
	})
}

func TestAClientThatLeavesWhileItsBodyIsReadBlamesNobody(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", says("never asked"))
		c := w.connect()
		c.send("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
		synctest.Wait()
		c.leave()
		w.want("status", w.record().Status, 499)
		w.want("attempts", w.attempts(), "")
		w.want("us saw", us.last(), "none")
	})
}

func TestAClientThatLeavesWhileItsLongBodyIsPassedOnBlamesNobody(t *testing.T) {
	story(t, func(w *world) {
		w.settings.ReplayLimit = 10
		w.endpoint("us-1", breaks)
		c := w.connect()
		c.send("POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n0123456789abcdef")
		synctest.Wait()
		c.leave()
		w.want("attempts", w.attempts(), "us-1 cancelled")
		w.want("status", w.record().Status, 499)
	})
}

func TestAMalformedLongBodyBlamesNobody(t *testing.T) {
	story(t, func(w *world) {
		w.settings.ReplayLimit = 10
		w.endpoint("us-1", breaks)
		w.endpoint("eu-1", says("never asked"))
		c := w.connect()
		c.send("POST /v1/files HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk("0123456789abcdef") + "no chunk\r\n")
		w.want("status", c.waits().status, 400)
		w.want("attempts", w.attempts(), "us-1 cancelled")
	})
}

func TestAClientThatStopsReadingIsGoneAfterAWhile(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", func(c *call) {
			c.read()
			c.write(head("200 OK", sse, chunked))
			for c.event("more") {
			}
		})
		w.open()
		conn, err := w.network.dial(w.t.Context(), "proxima.test:80", w.from)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte(requestText("POST /v1/chat/completions", `{"model":"m"}`))); err != nil {
			t.Fatal(err)
		}
		w.want("held for it", w.inFlightAfter(us), 1)
		time.Sleep(2*w.settings.StallTimeout + time.Second)
		w.want("held after a minute", w.inFlightAfter(us), 0)
		w.want("attempts", w.attempts(), "us-1 cancelled")
	})
}

// inFlightAfter is how many requests an endpoint has once nothing more happens.
func (w *world) inFlightAfter(e *endpoint) int {
	synctest.Wait()
	return w.inFlight(e)
}

func TestAKeptConnectionIsUsedAgainAfterAStream(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", says("hello"))
		c := w.connect()
		const get = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
		c.send(get)
		w.want("first", strings.Count(c.sees(), "hello"), 1)
		time.Sleep(10 * time.Minute) // no deadline of the first answer is left
		c.send("GET /a HTTP/1.1\r\nHost: a\r\nCDN-Loop: proxima; id=here\r\n\r\n")
		w.want("our own word", strings.Count(c.sees(), "loop_detected"), 1)
		c.send(get)
		w.want("second", strings.Count(c.sees(), "hello"), 2)
	})
}

func TestTrailersReachTheClient(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", writes(head("200 OK", chunked, "Trailer: X-Took, X-Proxima-Region, Connection"),
			chunk("text"), "0\r\nX-Took: 3\r\nX-Proxima-Region: mars\r\nX-Late: yes\r\n\r\n"))
		got := w.chat()
		_, end, _ := strings.Cut(got.text, chunk("text"))
		w.want("trailer", end == "0\r\nX-Late: yes\r\nX-Took: 3\r\n\r\n", true)
		w.want("announced", strings.Contains(got.text, "\r\nTrailer: X-Took\r\n"), true)
	})
}

func TestAnswersWithoutContentAreComplete(t *testing.T) {
	for _, test := range []struct{ line, answer, want string }{
		{"HEAD /a", head("200 OK", "Content-Length: 100", "Content-Type: text/plain"), "Content-Length: 100"},
		{"HEAD /a", head("404 No", "Content-Length: 0"), "Content-Length: 0"},
		{"GET /a", head("204 No Content"), ""},
		{"GET /a", head("304 Not Modified", `ETag: "a"`), `Etag: "a"`},
		{"GET /a", head("200 OK", "Content-Length: 0"), "Content-Length: 0"},
		{"GET /a", head("200 OK", chunked) + lastChunk, "Content-Length: 0"},
		{"GET /a", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + head("200 OK", "Content-Length: 0"), "Content-Length: 0"},
	} {
		story(t, func(w *world) {
			w.endpoint("us-1", func(c *call) { c.read(); c.write(test.answer) })
			got := w.ask(test.line, "")
			w.want(test.line+" cut", got.cut, false)
			w.want(test.line+" body", got.body, "")
			w.want(test.line+" header", strings.Contains(got.text, test.want), true)
			w.want(test.line+" attempts", w.attempts(), "us-1 served")
			w.want(test.line+" complete", w.record().Complete, true)
		})
	}
}

func TestAnAnswerThatComesBeforeTheWholeRequestIsPassedOn(t *testing.T) {
	story(t, func(w *world) {
		w.settings.ReplayLimit = 10
		w.endpoint("us-1", func(c *call) {
			c.write(head("200 OK", chunked) + chunk("early"))
			content := c.read()
			c.write(chunk(fmt.Sprintf(" and %d bytes", len(content))) + lastChunk)
		})
		c := w.connect()
		c.send("POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\n0123456789abcdef0123")
		w.want("early", c.content(), "early")
		c.send("456789abcdef01234567")
		got := c.waits()
		w.want("whole", got.body, "early and 40 bytes")
		w.want("last on its connection", strings.Contains(got.text, "\r\nConnection: close\r\n"), true)
		w.want("attempts", w.attempts(), "us-1 served")
	})
}

func TestAnEarlyRefusalOfALongBodyReachesTheClient(t *testing.T) {
	story(t, func(w *world) {
		w.settings.ReplayLimit = 10
		w.endpoint("us-1", func(c *call) {
			c.write(head("413 Too Large", "Content-Length: 8") + "too long")
			c.read()
		})
		c := w.connect()
		c.send("POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\n0123456789abcdef")
		began := time.Now()
		got := c.waits() // though the client never sends the rest
		w.want("status", got.status, 413)
		w.want("body", got.body, "too long")
		w.want("soon", time.Since(began) < 2*lingering, true)
		w.want("attempts", w.attempts(), "us-1 served")
	})
}

func TestACutWhileTheClientStillSendsIsSeenAtOnce(t *testing.T) {
	story(t, func(w *world) {
		w.settings.ReplayLimit = 10
		die := make(chan struct{})
		w.endpoint("us-1", func(c *call) {
			_, _ = io.ReadFull(c.request.Body, make([]byte, 11))
			c.write(head("200 OK", chunked) + chunk("early"))
			<-die
			c.hangUp()
		})
		c := w.connect()
		c.send("POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: 400000\r\n\r\n" + strings.Repeat("0123456789abcdef", 1000))
		w.want("early", c.content(), "early")
		began := time.Now()
		close(die)
		got := c.waits()
		w.want("cut", got.cut, true)
		w.want("soon", time.Since(began) < 2*lingering, true)
		w.want("attempts", w.attempts(), "us-1 cut")
	})
}

func TestASlowAnswerIsWaitedForHoweverFastTheRequestCame(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", func(c *call) {
			c.read()
			time.Sleep(10 * w.settings.StallTimeout)
			says("at last")(c)
		})
		w.want("answer", w.chat().body, "at last")
	})
}

func TestAClientsFaultAfterTheCommitPointBlamesNobody(t *testing.T) {
	story(t, func(w *world) {
		w.settings.ReplayLimit = 100
		w.endpoint("us-1", func(c *call) {
			_, _ = io.ReadFull(c.request.Body, make([]byte, 100))
			c.write(head("200 OK", sse, chunked) + chunk("data: 1\n\n"))
			_ = c.read()
			c.hangUp()
		}, "m")
		long := longBody(`"model":"m",`, `,"model":"n"`)
		request := requestText("POST /v1/completions", long)
		c := w.connect()
		c.send(request[:len(request)-20])
		w.want("answer", c.content(), "data: 1\n\n")
		c.send(request[len(request)-20:])
		w.want("cut", c.waits().cut, true)
		w.want("attempts", w.attempts(), "us-1 cancelled")
		w.want("heard", w.heard(), "us-1 served")
	})
}

func TestExpectContinueIsAnsweredHere(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", says("hello"))
		c := w.connect()
		c.send("POST /v1/files HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
		w.want("go on", c.sees(), "HTTP/1.1 100 Continue\r\n\r\n")
		c.send("data")
		<-c.done
		w.want("answer", strings.HasSuffix(c.sees(), "hello"), true)
		w.want("us saw the expectation", strings.Contains(us.last(), "Expect"), false)
	})
}

func TestABodyThatNeverComesHoldsNoMemoryForItself(t *testing.T) {
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("{"))
	r.ContentLength = 1 << 30
	var b body
	from := &source{from: r.Body, control: http.NewResponseController(httptest.NewRecorder())}
	if err := b.keep(r, from, 1<<30, &share{room: &room{}}); err != nil || cap(b.kept) > 2*firstRoom {
		t.Errorf("%d bytes set aside for one, %v", cap(b.kept), err)
	}
}

// TestTheRestOfABodyGoesToOneAttemptOnly is about a transport that still writes
// when its attempt was given up.
func TestTheRestOfABodyGoesToOneAttemptOnly(t *testing.T) {
	b := body{kept: []byte("kept"), rest: strings.NewReader("rest"), length: 8}
	first := b.open()
	buf := make([]byte, 100)
	n, _ := first.Read(buf)
	if string(buf[:n]) != "kept" || !b.recall() {
		t.Fatal("the kept part alone binds the body to an attempt")
	}
	second := b.open()
	if _, err := first.Read(buf); err != errRecalled {
		t.Errorf("the first attempt goes on reading: %v", err)
	}
	_, _ = second.Read(buf)
	n, _ = second.Read(buf)
	if string(buf[:n]) != "rest" {
		t.Errorf("the second attempt gets %q", buf[:n])
	}
	if b.recall() || b.replayable() {
		t.Error("a body that is on its way can be had again")
	}
}

func TestInFlightReturnsToZeroAfterABug(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", says("hello"))
		w.open()
		w.handler.Failover.Next = carrier(func(*http.Request) (*http.Response, error) { panic("a bug") })
		got := w.chat()
		w.want("status", got.status, 500)
		w.want("problem", got.problem(), "internal_error")
		w.want("cut", got.cut, false)
		w.want("in flight", w.inFlight(us), 0)
		w.want("bugs", fmt.Sprint(w.bugs), "[a bug]")
		w.bugs = nil
		w.handler.Failover.Next = w.transport
		w.want("the next request", w.chat().body, "hello")
	})
}

func TestLoadIsLearnedFromGoodAnswersOnly(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", func(c *call) {
			c.read()
			time.Sleep(40 * time.Millisecond)
			c.write(head("200 OK", sse, "Content-Length: 9") + "data: 1\n\n")
		})
		w.endpoint("eu-1", answers("400 No", "bad"))
		w.chat()
		w.chat("X-Proxima-Prefer-Region: eu")
		loads := w.live.Snapshot().Measure(nil, time.Now())
		at, _ := w.live.Snapshot().Table.Position("us-1")
		w.want("us serves in", fmt.Sprintf("%.1f ms", loads[at].ServeMs), "113.3 ms") // a third of the way from what is assumed
		at, _ = w.live.Snapshot().Table.Position(router.EndpointID("eu-1"))
		w.want("eu serves in", loads[at].ServeMs, 0.0)
	})
}

func TestAClientThatSendsItsBodyTooSlowlyIsToldSo(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", says("never asked"))
		c := w.connect()
		c.send("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 13\r\n\r\n{\"mod")
		time.Sleep(w.settings.StallTimeout - time.Second)
		c.send("el\":")
		w.want("nothing yet", c.sees(), "")
		began := time.Now()
		got := c.waits()
		w.want("status", got.status, 408)
		w.want("problem", got.problem(), "request_timeout")
		w.want("time", time.Since(began) < w.settings.StallTimeout+2*lingering, true)
		w.want("us saw", us.last(), "none")
	})
}

func TestAClientThatFallsSilentInALongBodyIsToldSo(t *testing.T) {
	story(t, func(w *world) {
		w.settings.ReplayLimit = 10
		w.endpoint("us-1", freezes)
		c := w.connect()
		c.send("POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\n0123456789abcdef")
		got := c.waits()
		w.want("status", got.status, 408)
		w.want("attempts", w.attempts(), "us-1 cancelled")
	})
}

// TestOverHTTP2ALongBodyMayWaitForItsEndpoint is about deadlines, which over HTTP/2
// end a body also while nobody reads it.
func TestOverHTTP2ALongBodyMayWaitForItsEndpoint(t *testing.T) {
	story(t, func(w *world) {
		w.settings.ReplayLimit = 10
		w.endpoint("us-1", func(c *call) {
			_, _ = io.ReadFull(c.request.Body, make([]byte, 11))
			time.Sleep(5 * w.settings.StallTimeout)
			says(fmt.Sprint(len(c.read())))(c)
		})
		response, err := w.http2().Post("http://proxima.test/v1/files", "text/plain", strings.NewReader(strings.Repeat("a", 3_000_011)))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		got, err := io.ReadAll(response.Body)
		w.want("error", err, nil)
		w.want("answer", string(got), "3000000")
		w.want("protocol", response.Proto, "HTTP/2.0")
		w.want("attempts", w.attempts(), "us-1 served")
	})
}

// waitKB is what others would have to wait for at an endpoint now.
func (w *world) waitKB(id router.EndpointID) float64 {
	snapshot := w.live.Snapshot()
	at, _ := snapshot.Table.Position(id)
	return snapshot.Measure(nil, time.Now())[at].WaitKB
}

// What a client says of a body that it has not sent, or of one that is no prompt, is
// nobody's reason to go elsewhere.
func TestAHeldUploadMovesNobody(t *testing.T) {
	for name, head := range map[string]string{
		"an upload": "POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n",
		"a prompt":  "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n{\"stream\":true,\"model\":\"m\",\"x\":\"",
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				w.settings.ReplayLimit = 1 << 10
				us := w.endpoint("us-1", freezes)
				c := w.connect()
				c.send(head + strings.Repeat("a", 64<<10))
				w.want("at us", w.inFlightAfter(us), 1)
				w.want("KB before others", w.waitKB("us-1"), 0.0)
			})
		})
	}
}

func TestAPromptIsWaitedForUntilItsFirstToken(t *testing.T) {
	prompt := strings.Repeat("a", 8<<10)
	for stream, want := range map[string]float64{"true": 8, "false": 0} { // the first byte of a whole answer comes with its last
		t.Run(stream, func(t *testing.T) {
			story(t, func(w *world) {
				us := w.endpoint("us-1", freezes)
				c := w.connect()
				c.send(requestText("POST /v1/chat/completions", `{"model":"m","stream":`+stream+`,"prompt":"`+prompt+`"}`))
				w.want("at us", w.inFlightAfter(us), 1)
				w.want("KB before others", math.Round(w.waitKB("us-1")), want)
			})
		})
	}
}

func TestOnlyWhatWasServedIsRemembered(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", refuses)
		w.endpoint("eu-1", says("hallo"))
		w.chat("X-Proxima-Session: anna")
		key := router.SessionKey(w.record().Model, "anna")
		served := router.Key("eu-1")
		warm := w.live.Warm(key, 100, time.Now())
		w.want("it is where it was served", warm.Endpoint, uint32(served>>32))
		w.ask("GET /v1/models/m", "", "X-Proxima-Session: anna")
		w.want("a GET does not change it", w.live.Warm(key, 100, time.Now()), warm)
	})
}

func TestWhatIsKnownOfANeighbourhoodCounts(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", says("us"))
		w.endpoint("eu-1", says("eu"))
		before := w.chat().body
		client, table := w.record(), w.live.Snapshot().Table
		for at, region := range table.Regions {
			if strings.HasPrefix(before, string(region.ID)) {
				w.live.Cells.Learn(client.Client, client.From.Country, at, 900)
			}
		}
		if after := w.chat().body; after == before {
			t.Errorf("%s is 900 ms further than it looks, and was asked all the same", before)
		}
	})
}

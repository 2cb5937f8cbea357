package proxy

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The stories here are about two things that meet: a queue and a failover, a comment and a
// length, a resume and a deadline.

func TestACommentFitsIntoAStreamOfDeclaredLength(t *testing.T) {
	story(t, func(w *world) {
		w.settings.KeepAlive = 5 * time.Second
		one := `data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}` + "\n\n"
		two := `data: {"choices":[{"index":0,"delta":{"content":" you"},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n"
		w.endpoint("us-1", func(c *call) {
			c.read()
			c.write(head("200 OK", sse, fmt.Sprintf("Content-Length: %d", len(one)+len(two))))
			c.write(one)
			time.Sleep(8 * time.Second)
			c.write(two)
		})
		got := w.chat()
		w.want("stream", strings.HasSuffix(got.body, two), true)
		w.want("cut", got.cut, false)
	})
}

func TestAStreamOfDeclaredLengthGoesOnElsewhere(t *testing.T) {
	resuming(t, func(w *world) {
		w.endpoint("us-1", func(c *call) {
			n := newNarration(c)
			c.write(head("200 OK", sse, "Content-Length: 900"))
			c.write("data: " + n.chunk(`"role":"assistant","content":""`, "null") + "\n\n")
			for _, word := range n.words[:2] {
				c.write("data: " + n.token(word) + "\n\n")
			}
			c.hangUp()
		})
		w.endpoint("eu-1", narrator(all, nil))
		got := w.tale(asked)
		w.want("told", got.body, resumed(inEU))
		w.want("cut", got.cut, false)
	})
}

func TestOverHTTP2AClientWaitsForASlowResume(t *testing.T) {
	resuming(t, func(w *world) {
		w.settings.StallTimeout = 5 * time.Second
		w.settings.KeepAlive = 15 * time.Second
		w.endpoint("us-1", narrator(3, stalls))
		w.endpoint("eu-1", func(c *call) { time.Sleep(8 * time.Second); narrator(all, nil)(c) })
		response, err := w.http2().Post("http://proxima.test/v1/chat/completions", "application/json", strings.NewReader(asked))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		got, err := io.ReadAll(response.Body)
		w.want("error", err, nil)
		w.want("told", tale(string(got)), resumed(inEU))
	})
}

func TestHedgesCountAsAttempts(t *testing.T) {
	story(t, func(w *world) {
		w.settings.Hedge, w.settings.Attempts = true, 2
		us := w.endpoint("us-1", takes(100*time.Millisecond, says("usual")))
		eu := w.endpoint("eu-1", says("hallo"))
		w.endpoint("asia-1", says("konnichiwa"))
		w.learn("POST /v1/chat/completions", `{"model":"m"}`)
		us.act = takes(time.Second, answers("500 X", "us"))
		eu.act = takes(time.Millisecond, answers("500 X", "eu"))
		w.chat(nearby)
		w.want("attempts", len(w.record().Attempts), 2)
	})
}

func TestARequestWhoseEndpointDiedWaitsForAPlaceElsewhere(t *testing.T) {
	story(t, func(w *world) {
		w.settings.QueueLength, w.settings.QueueWait = 10, time.Minute
		us := w.endpoint("us-1", breaks)
		eu := w.endpoint("eu-1", takes(2*time.Second, says("hallo")))
		w.most(us, 10)
		w.most(eu, 1)
		busy := w.connect()
		busy.send(requestText("POST /v1/chat/completions", `{"model":"m"}`, "X-Proxima-Prefer-Region: eu"))
		synctest.Wait()
		got := w.chat(nearby)
		w.want("answer", got.body, "hallo")
	})
}

func TestAResumeWaitsForAPlace(t *testing.T) {
	resuming(t, func(w *world) {
		w.settings.QueueLength, w.settings.QueueWait = 10, time.Minute
		us := w.endpoint("us-1", narrator(3, dies))
		eu := w.endpoint("eu-1", takes(2*time.Second, narrator(all, nil)))
		w.most(us, 10)
		w.most(eu, 1)
		busy := w.connect()
		busy.send(requestText("POST /v1/chat/completions", asked, "X-Proxima-Prefer-Region: eu"))
		synctest.Wait()
		got := w.tale(asked, nearby)
		w.want("told", got.body, resumed(inEU))
	})
}

func TestLinesThatAreNoModelsArePassedOn(t *testing.T) {
	story(t, func(w *world) {
		lines := "{\"level\":\"info\",\"msg\":\"a\"}\n{\"level\":\"warn\",\"error\":\"disk is slow\"}\n{\"level\":\"info\",\"msg\":\"b\"}\n"
		w.endpoint("us-1", answers("200 OK", lines, "Content-Type: application/x-ndjson"))
		got := w.ask("GET /v1/files/f1/content", "")
		w.want("lines", got.body, lines)
		w.want("cut", got.cut, false)
	})
}

func TestEventStreamsWithoutContentAreComplete(t *testing.T) {
	for _, status := range []string{"204 No Content", "304 Not Modified"} {
		story(t, func(w *world) {
			w.settings.KeepAlive = time.Second
			w.endpoint("us-1", func(c *call) { c.read(); c.write(head(status, sse)) })
			got := w.ask("POST /v1/chat/completions", asked)
			t.Logf("%q", got.text)
			w.want("cut", got.cut, false)
		})
	}
	story(t, func(w *world) {
		w.endpoint("us-1", func(c *call) { c.read(); c.write(head("200 OK", sse, "Content-Length: 100")) })
		got := w.ask("HEAD /v1/chat/completions", "")
		w.want("cut", got.cut, false)
	})
}

func TestAHedgeGoesToAnEndpointWithACapAndRoom(t *testing.T) {
	hedging(t, func(w *world, us, eu *endpoint) {
		w.most(eu, 10)
		w.most(us, 10)
		us.act = takes(5*time.Second, says("slow"))
		got := w.chat(nearby)
		time.Sleep(5 * time.Second) // until us is awake
		w.want("answer", got.body, "hallo")
		w.want("attempts", w.attempts(), "us-1 lost, eu-1 served")
	})
}

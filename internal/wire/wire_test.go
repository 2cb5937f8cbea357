// Package wire holds the router to HTTP, byte by byte: what clients and endpoints
// may send, and what must come out at the other end. It has tests only.
//
// Start at TestCases. Each case of testdata/http-cases has a world of its own, in
// world_test.go, in which endpoints write down what they get (region_test.go) and a
// client what it is answered (client_test.go); judge_test.go says how it went.
package wire

import (
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// explained are the cases at SHOULD and MAY that fail, with the reason why they may.
var explained = map[string]string{}

func TestCases(t *testing.T) {
	var mu sync.Mutex
	count := map[string]int{}
	t.Run("case", func(t *testing.T) {
		for _, c := range readCases(t) {
			t.Run(c.ID, func(t *testing.T) {
				t.Parallel()
				v := c.play(t)
				c.report(t, v)
				mu.Lock()
				defer mu.Unlock()
				count[v.word]++
			})
		}
	})
	t.Logf("%d passed, %d warned, %d failed", count["pass"], count["warn"], count["fail"])
}

func (c *Case) report(t *testing.T, v verdict) {
	t.Helper()
	why, known := explained[c.ID]
	switch {
	case v.word == "fail" && known && c.Level != "MUST":
		t.Logf("%s; explained: %s", v.why, why)
	case v.word == "fail":
		t.Errorf("%s (%s, %s): %s", c.Title, c.Level, c.Cite[0], v.why)
	case known:
		t.Errorf("the exception has no reason any more: %s", why)
	case v.word == "warn":
		t.Logf("warning: %s: %s", c.Title, v.why)
	}
}

// play lets a case happen and judges it.
func (c *Case) play(t *testing.T) verdict {
	w := newWorld(t, c.setting())
	switch c.Proto {
	case "response":
		h := w.converse(t, text("GET /case HTTP/1.1\r\nHost: edge.test\r\n\r\n"))
		w.end(t)
		return c.judgeResponse(h)
	case "h2":
		h := w.converseHTTP2(t, &c.Send[0])
		return c.judgeRequest(h, w.end(t))
	default:
		h := w.converse(t, c.Send)
		return c.judgeRequest(h, w.end(t))
	}
}

func (c *Case) setting() setting {
	as := usual()
	as.proxy.TrustedProxies = prefixes(c.Config.TrustedHops)
	as.proxyProtocol = c.Config.ProxyProtocol
	as.proxy.ReplaceForwarded = c.Expect.ClientIP != ""
	if c.ID == "ip-trusted-forwarded-quoted" {
		as.proxy.AddressHeader = "Forwarded" // it counts for routers that are told to read it
	}
	if c.Proto == "response" {
		as.script = c.Send
		as.proxy.FirstByteTimeout = time.Second
	}
	return as
}

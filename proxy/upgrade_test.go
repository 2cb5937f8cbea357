package proxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const upgradeRequest = "GET /v1/realtime HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: k\r\n\r\n"

// echoes switches protocols and sends back what it gets, until "bye".
func echoes(c *call) {
	c.read()
	c.hangUp()
	c.write(head("101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Accept: a", "X-Proxima-Region: mars"))
	buf := make([]byte, 100)
	for {
		n, err := c.conn.Read(buf)
		if err != nil {
			c.left++
			return
		}
		c.write("<" + string(buf[:n]) + ">")
		if string(buf[:n]) == "bye" {
			return
		}
	}
}

func TestAWebSocketPassesBothWaysAfterFailover(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", breaks)
		eu := w.endpoint("eu-1", echoes)
		c := w.connect()
		c.send(upgradeRequest)
		got := parse(c.sees(), "GET")
		w.want("status", got.status, 101)
		w.want("Upgrade", got.header.Get("Upgrade"), "websocket")
		w.want("Connection", got.header.Get("Connection"), "Upgrade")
		w.want("Sec-WebSocket-Accept", got.header.Get("Sec-WebSocket-Accept"), "a")
		w.want("X-Proxima-Region", got.header.Get("X-Proxima-Region"), "eu")
		w.want("asked for", strings.Contains(eu.last(), "\nConnection: Upgrade\n"), true)
		c.send("one")
		w.want("echo", strings.HasSuffix(c.sees(), "<one>"), true)
		w.want("held", w.inFlightAfter(eu), 1)
		c.send("bye")
		<-c.done // the endpoint ended it
		w.want("echo", strings.HasSuffix(c.sees(), "<one><bye>"), true)
		w.want("attempts", w.attempts(), "us-1 broken, eu-1 served")
		w.want("bytes", w.record().Bytes, int64(len("<one><bye>")))
	})
}

func TestAClientThatLeavesEndsItsWebSocket(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", echoes)
		c := w.connect()
		c.send(upgradeRequest)
		w.want("status", parse(c.sees(), "GET").status, 101)
		c.leave()
		w.want("calls ended at us", us.hungUpOn(), 1)
		w.want("held", w.inFlightAfter(us), 0)
	})
}

func TestAnUpgradeThatTheEndpointDeclinesIsAnOrdinaryAnswer(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", answers("426 Upgrade Required", "no", "Connection: Upgrade", "Upgrade: other"))
		c := w.connect()
		c.send(upgradeRequest)
		got := parse(c.sees(), "GET")
		w.want("status", got.status, 426)
		w.want("body", got.body, "no")
		w.want("Upgrade", got.header.Get("Upgrade"), "")
	})
}

func TestUpgradesThatAreNotPassedOn(t *testing.T) {
	for name, request := range map[string]string{
		"to another HTTP":    "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
		"among others":       "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket, H2C\r\n\r\n",
		"to HTTP by name":    "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: HTTP/2.0\r\n\r\n",
		"without Connection": "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nUpgrade: websocket\r\n\r\n",
		"over HTTP/1.0":      "GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"while sending":      "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\nContent-Length: 26\r\n\r\nabcdefghijklmnopqrstuvwxyz",
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				w.settings.ReplayLimit = 10
				us := w.endpoint("us-1", says("hello"))
				c := w.connect()
				c.send(request)
				w.want("answer", c.waits().body, "hello")
				w.want("us was asked to switch", strings.Contains(strings.ToLower(us.last()), "upgrade"), false)
				w.want("us saw the settings", strings.Contains(us.last(), "Http2-Settings"), false)
			})
		})
	}
}

// TestAnUpgradeWhereTheConnectionCannotBeHadIsRefused is what a writer without
// Hijack gets, as HTTP/2's is.
func TestAnUpgradeWhereTheConnectionCannotBeHadIsRefused(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", echoes)
		w.open()
		in := httptest.NewRequestWithContext(w.t.Context(), http.MethodGet, "/v1/realtime", http.NoBody)
		in.RemoteAddr = w.from
		in.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
		got := httptest.NewRecorder()
		w.handler.ServeHTTP(got, in)
		content, _ := io.ReadAll(got.Body)
		w.want("problem", answer{body: string(content)}.problem(), "upgrade_unsupported")
		w.want("status", got.Code, 501)
		w.want("calls ended at us", us.hungUpOn(), 1)
	})
}

func TestOverHTTP2NobodyIsAskedToSwitch(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", says("hello"))
		w.open()
		in := httptest.NewRequestWithContext(w.t.Context(), http.MethodGet, "/v1/realtime", http.NoBody)
		in.RemoteAddr, in.ProtoMajor, in.ProtoMinor = w.from, 2, 0
		in.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
		got := httptest.NewRecorder()
		w.handler.ServeHTTP(got, in)
		w.want("status", got.Code, 200)
		w.want("us was asked to switch", strings.Contains(us.last(), "Upgrade"), false)
	})
}

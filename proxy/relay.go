package proxy

import (
	"maps"
	"net"
	"net/http"
	"time"
)

// relay gives the endpoint's answer to the client, each piece as it comes. It reports
// whether the answer goes on when this goroutine has left it.
func (x *exchange) relay(response *http.Response) (rests bool) {
	if response.StatusCode == http.StatusSwitchingProtocols {
		defer response.Body.Close()
		x.upgrade(response)
		return false
	}
	x.commit(response)
	f := x.newFlow(response)
	x.flow = f
	return f.run(nil)
}

// finished notes that the whole answer went out.
func (f *flow) finished() {
	f.sendTrailer(f.answer)
	f.record.Complete = true
	if completed := f.handler.Failover.Completed; completed != nil && f.record.Status < http.StatusBadRequest {
		completed(f.exchange.attempt.Endpoint)
	}
}

// commit sends the answer's header. The first content byte follows at once: from
// here on the client has seen an endpoint's answer, and no other may replace it.
func (x *exchange) commit(response *http.Response) {
	h := x.w.Header()
	x.passOn(response, h)
	x.closeUnread(h)
	if x.attempt.events && x.in.Method != http.MethodHead {
		h.Del("Content-Length") // a comment, or the rest from elsewhere, may come in between
	}
	x.record.Status = response.StatusCode
	x.committed = true
	x.w.WriteHeader(response.StatusCode)
}

// passOn writes an endpoint's header into the client's.
func (x *exchange) passOn(response *http.Response, h http.Header) {
	maps.Copy(h, response.Header)
	x.describe(h)
	h.Set("Via", appended(response.Header.Values("Via"), viaOf(response.ProtoMajor, response.ProtoMinor)))
	if _, given := h["Content-Type"]; !given {
		h["Content-Type"] = nil // net/http would guess one
	}
	removeLocal(response.Trailer)
	for name := range response.Trailer {
		h.Add("Trailer", name)
	}
}

// cut ends the connection, and with it the handler. Over HTTP/1.0 the end of the
// connection may be the end of a good answer, so there it is reset.
func (x *exchange) cut() {
	if !x.in.ProtoAtLeast(1, 1) {
		x.reset()
	}
	panic(http.ErrAbortHandler)
}

func (x *exchange) reset() {
	client, _, err := x.control.Hijack()
	if err != nil {
		return
	}
	if socket, is := socketOf(client).(interface{ SetLinger(seconds int) error }); is {
		_ = socket.SetLinger(0)
	}
	client.Close()
}

// socketOf is what is left of a connection without what TLS and others put around it.
func socketOf(conn net.Conn) net.Conn {
	for {
		wrapped, is := conn.(interface{ NetConn() net.Conn })
		if !is {
			return conn
		}
		conn = wrapped.NetConn()
	}
}

// Media types of answers that come token by token: OpenAI's and Anthropic's events,
// and Ollama's lines of JSON.
const (
	events    = "text/event-stream"
	jsonLines = "application/x-ndjson"
)

// isStream reports whether an answer comes token by token.
func isStream(h http.Header) bool {
	kind := kindOf(h)
	return kind == events || kind == jsonLines
}

// isPlain reports whether a message's content is not compressed.
func isPlain(h http.Header) bool {
	for _, line := range h["Content-Encoding"] {
		for coding := range elementsFromTheRight(line) {
			if coding != "" && coding != "identity" {
				return false
			}
		}
	}
	return true
}

func (x *exchange) sendTrailer(response *http.Response) {
	removeLocal(response.Trailer)
	for name, values := range response.Trailer {
		for _, value := range values {
			x.w.Header().Add(http.TrailerPrefix+name, value)
		}
	}
}

// aliveStep is how often a flowing stream proves that its endpoint lives: several times
// while a probe is out.
const aliveStep = 200 * time.Millisecond

// alive reports, five times a second at most, that content is coming, so that a busy
// endpoint whose probe times out is not taken for a dead one.
func (a *attempt) alive(now time.Time) {
	if now.Sub(a.seen) >= aliveStep {
		a.seen = now
		a.failover.Attempted(a.Attempt)
	}
}

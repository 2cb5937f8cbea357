package proxy

import (
	"context"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"sync"
	"time"

	"proxima/router"
)

// relaySize is how much of an answer is held at a time. A token's event has some
// 200 bytes, so that a read rarely brings more than the client should see at once.
const relaySize = 16 << 10

var relayBuffers = sync.Pool{New: func() any { return new([relaySize]byte) }}

// relay gives the endpoint's answer to the client, each piece as it comes.
func (x *exchange) relay(response *http.Response) {
	if response.StatusCode == http.StatusSwitchingProtocols {
		x.upgrade(response)
		return
	}
	x.commit(response)
	if isStream(response.Header) {
		x.handler.Streams(1)
		defer x.handler.Streams(-1)
	}
	if err := x.pump(response.Body.(*content)); err != nil {
		x.breakOff(response, err)
	}
	x.sendTrailer(response)
	x.record.Complete = true
}

// commit sends the answer's header. The first content byte follows at once: from
// here on the client has seen an endpoint's answer, and no other may replace it.
func (x *exchange) commit(response *http.Response) {
	h := x.w.Header()
	x.passOn(response, h)
	x.closeUnread(h)
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

// pump copies until the answer ends, flushing after every read. The error is the
// endpoint's or the client's; nil when the whole answer went out.
func (x *exchange) pump(from *content) error {
	to := outlet{control: http.NewResponseController(x.w), to: x.w, limit: 2 * x.settings.StallTimeout}
	watch := from.attempt.watchSilence(x.settings.StallTimeout)
	defer watch.stop()
	for {
		n, err := watch.read(from, from.buf[:])
		if n > 0 {
			now := time.Now()
			from.attempt.alive(now)
			if to.send(from.buf[:n], now) != nil {
				return errClientLeft
			}
			x.record.Bytes += int64(n)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// outlet is the way to the client. One that takes nothing for the limit is gone:
// the endpoint's slot is not held for it. The limit is longer than the endpoint's
// own, so that of two silences the endpoint's is noticed. net/http lifts it before
// the connection's next request.
type outlet struct {
	control  *http.ResponseController
	to       io.Writer
	limit    time.Duration // 0: none
	deadline time.Time
}

// send writes a piece and sees that it goes out at once.
func (o *outlet) send(piece []byte, now time.Time) error {
	if due := now.Add(o.limit); o.limit > 0 && due.Sub(o.deadline) >= aliveStep {
		o.deadline = due
		_ = o.control.SetWriteDeadline(due)
	}
	if _, err := o.to.Write(piece); err != nil {
		return err
	}
	return o.control.Flush()
}

// breakOff ends an answer that cannot be completed so that the client can tell:
// a stream of events gets an error event, and the connection is cut in any case.
func (x *exchange) breakOff(response *http.Response, err error) {
	attempt := x.attempt
	attempt.Err = err
	switch {
	case errors.Is(err, errClientLeft), x.in.Context().Err() != nil, x.body.broken() != nil:
		attempt.Outcome = router.Cancelled
		x.cut()
	case errors.Is(context.Cause(attempt.ctx), errStalled):
		attempt.Outcome = router.Stalled
	default:
		attempt.Outcome = router.Cut
	}
	x.handler.Failover.Attempted(attempt.Attempt)
	p := cutProblem(attempt.Outcome)
	x.record.Problem = p.Code
	if mediaType(response.Header) == events && isPlain(response.Header) {
		event := append([]byte("\n\ndata: "), p.body()...)
		_, _ = x.w.Write(append(event, '\n'))
		_ = http.NewResponseController(x.w).Flush()
	}
	x.cut()
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
	client, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return
	}
	if tcp, is := client.(interface{ SetLinger(seconds int) error }); is {
		_ = tcp.SetLinger(0)
	}
	client.Close()
}

func cutProblem(o router.Outcome) *Problem {
	if o == router.Stalled {
		return &Problem{
			Type: "server_error", Code: "stream_stalled",
			Message: "The endpoint fell silent in the midst of the answer. What came is incomplete.",
		}
	}
	return &Problem{
		Type: "server_error", Code: "stream_cut",
		Message: "The endpoint broke off in the midst of the answer. What came is incomplete.",
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
	kind := mediaType(h)
	return kind == events || kind == jsonLines
}

func mediaType(h http.Header) string {
	kind, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return kind
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

// content is an answer's body whose beginning was read ahead. Closing it ends
// the attempt.
type content struct {
	buf     *[relaySize]byte // what the answer passes through; nil once closed
	ahead   []byte           // the part of buf that was read ahead
	err     error            // what ended the read ahead, if it brought the end too
	rest    io.ReadCloser
	attempt *attempt
}

// peek waits for the first bytes. An answer without content is complete, not broken.
func (c *content) peek() error {
	c.buf = relayBuffers.Get().(*[relaySize]byte)
	for len(c.ahead) == 0 && c.err == nil {
		var n int
		n, c.err = c.rest.Read(c.buf[:])
		c.ahead = c.buf[:n]
	}
	if len(c.ahead) == 0 && c.err != io.EOF {
		return c.err
	}
	return nil
}

func (c *content) Read(p []byte) (int, error) {
	if len(c.ahead) > 0 {
		n := copy(p, c.ahead)
		c.ahead = c.ahead[n:]
		return n, nil
	}
	if c.err != nil {
		return 0, c.err
	}
	return c.rest.Read(p)
}

func (c *content) Close() error {
	err := c.rest.Close()
	if c.buf != nil {
		relayBuffers.Put(c.buf)
		c.buf, c.ahead = nil, nil
	}
	c.attempt.end()
	return err
}

// aliveStep is how often a flowing stream proves that its endpoint lives.
const aliveStep = time.Second

// alive reports, once a second at most, that content is coming, so that a busy
// endpoint whose probe times out is not taken for a dead one.
func (a *attempt) alive(now time.Time) {
	if now.Sub(a.seen) >= aliveStep {
		a.seen = now
		a.failover.Attempted(a.Attempt)
	}
}

// silence cancels an attempt that brings no byte for too long. The time that the
// client takes to read does not count.
type silence struct {
	limit time.Duration
	timer *time.Timer
}

func (a *attempt) watchSilence(limit time.Duration) silence {
	if limit <= 0 {
		return silence{}
	}
	return silence{limit, time.AfterFunc(limit, func() { a.cancel(errStalled) })}
}

func (s silence) read(from io.Reader, p []byte) (int, error) {
	if s.timer != nil {
		s.timer.Reset(s.limit)
		defer s.timer.Stop()
	}
	return from.Read(p)
}

func (s silence) stop() {
	if s.timer != nil {
		s.timer.Stop()
	}
}

package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"proxima/proxy/transport"
	"proxima/router"
)

// What follows lets the stories be told twice, once with a goroutine for each stream and
// once with streams that rest: the server and the transport of these worlds are net/http's,
// which know nothing of that.

// detaching is a handler whose answers over HTTP/1 may go on after it has returned.
type detaching struct{ http.Handler }

func (d detaching) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor != 1 {
		d.Handler.ServeHTTP(w, r)
		return
	}
	to := &detached{ResponseWriter: w, over: make(chan struct{})}
	d.Handler.ServeHTTP(to, r)
	if !to.is {
		return
	}
	<-to.over
	if to.aborted {
		panic(http.ErrAbortHandler)
	}
}

// detached is an answer whose client does not keep up: it takes every third piece only
// when somebody waits for it.
type detached struct {
	http.ResponseWriter
	is, aborted bool
	over        chan struct{}
	pieces      int
	held        []byte
}

func (d *detached) Unwrap() http.ResponseWriter { return d.ResponseWriter }

func (d *detached) Detach() (finish func(), ok bool) {
	d.is = true
	return func() {
		_ = d.FlushError()
		close(d.over)
	}, true
}

func (d *detached) TryWrite(p []byte) (full bool, err error) {
	d.held = append(d.held, p...)
	if d.pieces++; d.pieces%3 == 0 || len(d.held) > len(p) {
		return true, nil
	}
	return false, d.FlushError()
}

func (d *detached) FlushError() error {
	if _, err := d.Write(d.held); err != nil {
		return err
	}
	d.held = nil
	return http.NewResponseController(d.ResponseWriter).Flush()
}

func (d *detached) Abort() { d.aborted = true }

// resting is a transport whose answers can be read without waiting.
type resting struct{ http.RoundTripper }

func (r resting) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := r.RoundTripper.RoundTrip(request)
	if err == nil && response.StatusCode != http.StatusSwitchingProtocols {
		b := &restingBody{ReadCloser: response.Body}
		b.taken.L = &b.mu
		response.Body = b
	}
	return response, err
}

type restingBody struct {
	io.ReadCloser
	rests bool

	mu     sync.Mutex
	taken  sync.Cond
	came   []byte
	err    error
	closed bool
}

func (b *restingBody) Rest(ready func()) bool {
	b.rests = true
	go func() {
		buf := make([]byte, 4096)
		for more := true; more; more = b.waitUntilTaken() {
			n, err := b.ReadCloser.Read(buf)
			b.put(buf[:n], err)
			ready()
		}
	}()
	return true
}

func (b *restingBody) put(came []byte, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.came, b.err = came, err
}

func (b *restingBody) waitUntilTaken() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.came) > 0 && !b.closed {
		b.taken.Wait()
	}
	return b.err == nil && !b.closed
}

func (b *restingBody) Read(p []byte) (int, error) {
	if !b.rests {
		return b.ReadCloser.Read(p)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	n := copy(p, b.came)
	b.came = b.came[n:]
	switch {
	case len(b.came) > 0:
		return n, nil
	case n == 0 && b.err == nil:
		return 0, transport.ErrNothing
	}
	b.taken.Signal()
	return n, b.err
}

func (b *restingBody) Close() error {
	b.mu.Lock()
	b.closed = true
	b.taken.Signal()
	b.mu.Unlock()
	return b.ReadCloser.Close()
}

// tokens are events of a stream, one every half second.
func tokens(n int) action {
	return func(c *call) {
		c.write(head("200 OK", sse, chunked))
		for i := range n {
			c.event(fmt.Sprintf(`{"choices":[{"index":0,"delta":{"content":"%d "}}]}`, i))
			time.Sleep(500 * time.Millisecond)
		}
		c.event("[DONE]")
		c.write(lastChunk)
	}
}

func TestTheHandlerHasReturnedWhileItsStreamRests(t *testing.T) {
	storyWhere(t, true, func(w *world) {
		w.endpoint("us-1", tokens(20))
		w.open()
		returned := make(chan time.Duration, 1)
		began := time.Now()
		handler := w.server.Handler.(detaching)
		w.server.Handler = detaching{http.HandlerFunc(func(to http.ResponseWriter, r *http.Request) {
			handler.Handler.ServeHTTP(to, r)
			returned <- time.Since(began)
		})}
		got := w.ask("POST /v1/chat/completions", `{"model":"m","stream":true}`)
		w.want("the handler returned", <-returned, time.Duration(0))
		w.want("the end", time.Since(began), 10*time.Second)
		w.want("tokens", strings.Count(got.body, "delta"), 20)
		w.want("attempts", w.attempts(), "us-1 served")
		w.want("under way", w.handler.UnderWay(), 0)
	})
}

func TestABugAtRestCostsOneStream(t *testing.T) {
	storyWhere(t, true, func(w *world) {
		w.endpoint("us-1", tokens(20))
		w.open()
		heard := 0
		w.handler.Failover.Attempted = func(*router.Attempt) {
			if heard++; heard == 7 {
				panic("a bug")
			}
		}
		cut := w.ask("POST /v1/chat/completions", `{"model":"m","stream":true}`)
		w.want("the end of the stream with the bug", strings.Contains(cut.body, "[DONE]"), false)
		w.want("bugs", fmt.Sprint(w.bugs), "[a bug]")
		w.want("under way", w.handler.UnderWay(), 0)
		w.bugs = nil
		w.want("the end of the next one", strings.Contains(w.ask("POST /v1/chat/completions", `{"model":"m","stream":true}`).body, "[DONE]"), true)
	})
}

func TestSomebodyIsAlwaysAwakeForWhatCame(t *testing.T) {
	var left turn
	left.take()
	if left.take() {
		t.Fatal("two carry one stream")
	}
	if left.giveBack() {
		t.Error("nobody looks at what came in between")
	}
	if !left.giveBack() || !left.take() {
		t.Error("a stream at rest cannot be woken")
	}
}

// generous is an answer at rest that has ever more to say. Whoever reads too much of it
// at a time waits at the gate.
type generous struct {
	ready chan func()
	gate  chan struct{}
	reads atomic.Int32
	more  atomic.Bool
}

func (g *generous) Rest(ready func()) bool { g.ready <- ready; return true }

func (g *generous) Read(p []byte) (int, error) {
	switch n := g.reads.Add(1); {
	case n > 100:
		return copy(p, "data: [DONE]\n\n"), io.EOF
	case n > 1 && !g.more.Load():
		return 0, transport.ErrNothing
	case n > inTurn+2: // the first two are of the time before
		<-g.gate
	}
	return copy(p, `data: {"choices":[{"index":0,"delta":{"content":"and so on "}}]}`+"\n\n"), nil
}

func (g *generous) Close() error { return nil }

func TestAStreamThatHasMuchToSayLeavesOthersTheirTurn(t *testing.T) {
	storyWhere(t, true, func(w *world) {
		w.endpoint("us-1", says("never asked"))
		w.open()
		body := &generous{ready: make(chan func(), 1), gate: make(chan struct{})}
		w.handler.Failover.Next = carrier(func(r *http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, Body: body,
				Header: http.Header{"Content-Type": {"text/event-stream"}}, Request: r,
			}, nil
		})
		c := w.connect()
		c.send(requestText("POST /v1/chat/completions", `{"model":"m","stream":true}`))
		ready := <-body.ready
		synctest.Wait()
		w.want("reads", body.reads.Load(), int32(2))
		body.more.Store(true)
		ready() // returns, or nobody opens the gate
		close(body.gate)
		w.want("the end", strings.Contains(c.waits().body, "[DONE]"), true)
	})
}

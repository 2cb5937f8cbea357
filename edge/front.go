package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"proxima/http1"
)

// front is HTTP/1 on one connection. One goroutine does everything, in run: it waits for
// a request, calls the handler, which writes the answer, and waits again. While it waits
// it has no buffer, and no timer: Server.sweep ends what takes too long.
//
// It is strict: a request that is not well formed by RFC 9112 (see package http1) is
// answered with 400, and the connection closes. What stands before it was answered by
// then; what stands behind it is never looked at.
type front struct {
	server *Server
	client *client
	conn   net.Conn             // what HTTP is spoken on: client, or TLS over it
	tls    *tls.ConnectionState // nil: no TLS
	ctx    context.Context      // of the connection
	from   string               // the client's address, as in Request.RemoteAddr

	in     ahead
	asked  bool // there was a request
	first  [1]byte
	forget func() // ends Server.Leaving's watch

	left    atomic.Bool              // the client did
	current atomic.Pointer[exchange] // the request under way
}

// exchange is one request and its answer.
type exchange struct {
	front        *front
	request      *http.Request
	old          bool // HTTP/1.0
	head         bool // the method is HEAD
	last         bool // the client wants no other on this connection
	asksContinue bool // the client waits for 100 Continue; guarded by answer.interim
	lazy         bool // it waits before it sends the body, or did

	life   life
	body   body
	answer answer
	broken atomic.Bool // the answer is to end without its end

	detached bool
	holders  atomic.Int32 // who has it: the handler, whoever is to call finish
	finished atomic.Bool
}

// serveHTTP1 serves a connection until it ends. state is that of TLS; nil: there is none,
// and HTTP/2 may begin.
func (s *Server) serveHTTP1(c *client, conn net.Conn, state *tls.ConnectionState) {
	defer s.contain(c)
	f := &front{
		server: s, client: c, conn: conn, tls: state,
		ctx:    s.contextOf(s.base(), conn),
		from:   conn.RemoteAddr().String(),
		in:     ahead{pool: &s.buffers},
		forget: func() {},
	}
	f.in.keep(c.rest)
	c.rest = nil
	f.await(arriving, s.limits.HeaderTimeout)
	isHTTP2, err := f.beginsHTTP2()
	switch {
	case err != nil:
		f.close()
	case isHTTP2:
		f.leaveToNetHTTP()
	default:
		f.begin()
		f.run()
	}
}

// begin is when it is certain that HTTP/1 is spoken.
func (f *front) begin() {
	f.server.mu.Lock()
	f.client.front = f
	f.server.mu.Unlock()
	if f.server.Leaving != nil {
		f.forget = f.server.Leaving(f.client.Conn, f.leave)
	}
}

// run serves requests until the connection ends or is somebody else's, or an answer was
// detached.
func (f *front) run() {
	for {
		x := f.receive()
		if x == nil {
			f.close()
			return
		}
		x.handle()
		if x.isElsewhere() {
			return
		}
		if !x.conclude() {
			f.close()
			return
		}
	}
}

// receive waits for a request; nil: there is none, and the connection is to be closed.
func (f *front) receive() *exchange {
	end, err := f.readHead()
	if err != nil {
		f.refuse(err)
		return nil
	}
	x := &exchange{front: f}
	x.life.Context = f.ctx
	x.answer.exchange, x.answer.length = x, -1
	x.request = new(http.Request).WithContext(&x.life)
	err = http1.ParseRequest(f.in.bytes[:end], x.request)
	f.in.use(end)
	if err != nil {
		f.refuse(err)
		return nil
	}
	if !f.client.stopWaiting() {
		return nil
	}
	f.asked = true
	x.prepare()
	return x
}

// errTooLarge is a head of more than Limits.HeaderSize.
var errTooLarge = errors.New("the head of the request is too large")

// readHead reads until a whole head is there, and returns where it ends.
func (f *front) readHead() (end int, err error) {
	if f.asked && len(f.in.bytes) == 0 {
		f.await(waiting, f.server.limits.IdleTimeout)
		if err := f.more(); err != nil {
			return 0, err
		}
	}
	most := f.server.limits.HeaderSize
	for seen := 0; ; {
		end, err = http1.Head(f.in.bytes, seen, true)
		switch {
		case err != nil:
			return 0, err
		case end > most, end == 0 && len(f.in.bytes) > most:
			return 0, errTooLarge
		case end > 0:
			return end, nil
		}
		seen = len(f.in.bytes)
		f.await(arriving, f.server.limits.HeaderTimeout)
		if err := f.more(); err != nil {
			return 0, err
		}
	}
}

// more waits for more to come from the client.
func (f *front) more() error {
	if len(f.in.bytes) == 0 && f.in.lent == nil {
		return f.moreOfNothing()
	}
	n, err := f.conn.Read(f.in.room())
	f.in.came(n)
	if n > 0 {
		return nil // an error comes again
	}
	return err
}

// moreOfNothing takes a buffer only when something has come.
func (f *front) moreOfNothing() error {
	if f.tls == nil && f.client.socket.raw != nil {
		lent, n, err := f.client.socket.Await()
		if err == nil {
			f.in.lent, f.in.bytes = lent, lent[:n]
		}
		return err
	}
	n, err := f.conn.Read(f.first[:])
	if n > 0 {
		f.in.room()[0] = f.first[0]
		f.in.came(1)
	}
	return err
}

// await says what the connection is about, and until when. The time that a head may take
// begins once.
func (f *front) await(what state, limit time.Duration) {
	c := f.client
	due := c.due.Load()
	if due == expired || due != 0 && what == arriving && c.state.Load() == arriving {
		return
	}
	c.state.Store(what)
	c.due.CompareAndSwap(due, f.server.clock.in(limit))
}

// beginsHTTP2 reads until it is known whether the connection begins with the preface of
// HTTP/2. Over TLS it does not: it was agreed upon before.
func (f *front) beginsHTTP2() (bool, error) {
	for f.tls == nil {
		n := min(len(f.in.bytes), len(preface))
		switch {
		case string(f.in.bytes[:n]) != preface[:n]:
			return false, nil
		case n == len(preface):
			return true, nil
		}
		if err := f.more(); err != nil {
			return false, err
		}
	}
	return false, nil
}

// preface is how HTTP/2 begins (RFC 9113 §3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// leaveToNetHTTP hands a connection over on which HTTP/2 has begun.
func (f *front) leaveToNetHTTP() {
	if !f.client.stopWaiting() {
		f.close()
		return
	}
	f.client.rest = append([]byte(nil), f.in.bytes...)
	f.in.release()
	conn := f.server.newFrames(f.client, nil)
	conn.ctx = f.ctx
	f.server.leaveToNetHTTP(f.client, conn)
}

// prepare makes a request of what was parsed.
func (x *exchange) prepare() {
	f, r := x.front, x.request
	x.old = r.ProtoMinor == 0
	x.head = r.Method == http.MethodHead
	x.last = r.Close
	r.RemoteAddr = f.from
	r.TLS = f.tls
	r.Body = http.NoBody
	if r.ContentLength != 0 {
		x.body.exchange = x
		x.body.chunked = r.ContentLength < 0
		x.body.left.Store(max(r.ContentLength, 0))
		r.Body = &x.body
	}
	f.client.state.Store(answering)
	f.current.Store(x)
	if f.left.Load() {
		x.life.end(context.Canceled)
	}
	if err := f.server.base().Err(); err != nil {
		x.life.end(err)
	}
}

// handle calls the handler.
func (x *exchange) handle() {
	defer x.contain()
	if x.expects() {
		x.front.server.Handler.ServeHTTP(&x.answer, x.request)
		return
	}
	x.answer.Header().Set("Connection", "close")
	x.answer.WriteHeader(http.StatusExpectationFailed)
}

// expects looks at what the client expects before it sends the body, and reports whether
// that is anything known (RFC 9110 §10.1.1).
func (x *exchange) expects() bool {
	expectation := x.request.Header["Expect"]
	switch {
	case len(expectation) == 0:
	case !http1.AnyHasToken(expectation, "100-continue"):
		return len(expectation) == 1 && expectation[0] == ""
	case !x.old && x.hasBody():
		x.lazy, x.asksContinue, x.body.asks = true, true, true
	}
	return true
}

func (x *exchange) hasBody() bool { return x.body.exchange != nil }

// contain keeps a panic of the handler from ending the process.
func (x *exchange) contain() {
	recovered := recover()
	if recovered == nil {
		return
	}
	x.abandon()
	if err, is := recovered.(error); !is || !errors.Is(err, http.ErrAbortHandler) {
		x.front.server.logf("panic while %s was answered: %v\n%s", x.front.from, recovered, debug.Stack())
	}
}

// isElsewhere reports whether the handler has left the rest to somebody else.
func (x *exchange) isElsewhere() bool {
	if x.answer.hijacked {
		x.life.end(context.Canceled)
		x.front.current.Store(nil)
		return true
	}
	return x.detached && !x.letGo()
}

// mustClose reports whether the answer that begins now is the last.
func (x *exchange) mustClose() bool {
	return x.last || x.front.server.isStopping() ||
		x.hasBody() && (x.lazy && !x.body.ended.Load() || x.body.isLong())
}

// conclude ends an exchange when nobody writes or reads any more, and reports whether
// the connection goes on.
func (x *exchange) conclude() bool {
	f := x.front
	x.answer.endControl()
	x.life.end(context.Canceled)
	if x.hasBody() {
		x.body.end()
	}
	f.current.Store(nil)
	if x.broken.Load() {
		x.answer.breakOff()
		return false
	}
	goesOn, err := x.answer.end()
	whole := !x.hasBody() || x.body.ended.Load() || goesOn && err == nil && x.body.drain(f.server.limits.HeaderTimeout)
	switch {
	case err != nil:
		return false
	case !whole, !goesOn && len(f.in.bytes) > 0:
		f.linger()
		return false
	case !goesOn, f.server.isStopping():
		return false
	}
	_ = f.client.SetDeadline(time.Time{})
	return true
}

// leave is called when the client has left.
func (f *front) leave() {
	f.left.Store(true)
	f.cancel(context.Canceled)
}

// cancel ends the context of the request under way.
func (f *front) cancel(err error) {
	if x := f.current.Load(); x != nil {
		x.life.end(err)
	}
}

// handOver gives the connection to somebody who speaks something else on it, with what
// has come already.
func (f *front) handOver() (conn net.Conn, came []byte) {
	f.client.state.Store(elsewhere)
	f.client.socket.out.patience = 0
	f.forget()
	came = append(append(came, f.in.data...), f.in.bytes...)
	f.in.release()
	_ = f.client.SetDeadline(time.Time{})
	return f.conn, came
}

// write writes three pieces as if they were one, and what was kept of those before.
func (f *front) write(a, b, c []byte) (err error) {
	size := len(a) + len(b) + len(c)
	switch {
	case f.tls == nil:
		_, err = f.client.socket.WriteAll(a, b, c)
	case size == 0:
		_, err = f.client.Write(nil)
	case size == len(a):
		_, err = f.conn.Write(a)
	default: // a record for each would be more than a copy
		_, err = f.conn.Write(slices.Concat(a, b, c))
	}
	return err
}

func (f *front) close() {
	f.forget()
	f.in.release()
	_ = f.conn.Close()
}

// refuse answers what is no request, and ends the connection. Who says nothing, or does
// not say all of it in time, gets no answer.
func (f *front) refuse(err error) {
	malformed := http1.Malformed("")
	switch {
	case errors.Is(err, errTooLarge):
		f.say(http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("it may have %d bytes", f.server.limits.HeaderSize))
	case errors.As(err, &malformed):
		f.say(http.StatusBadRequest, err.Error())
	case err == io.EOF && len(f.in.bytes) > 0:
		f.say(http.StatusBadRequest, "the head of the request breaks off")
	}
}

// say answers without a request.
func (f *front) say(status int, why string) {
	text := fmt.Sprintf("%d %s: %s\n", status, http.StatusText(status), why)
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	fmt.Fprintf(&b, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(text), text)
	_ = f.client.SetWriteDeadline(time.Now().Add(lingering))
	_, _ = io.WriteString(f.conn, b.String())
	f.linger()
}

// lingering is how long a client may still send what nobody reads. If its connection were
// closed under it, it might never see the answer (RFC 9112 §9.6).
const lingering = time.Second

func (f *front) linger() {
	_ = f.client.SetDeadline(time.Now().Add(lingering))
	_ = closeWrite(f.conn)
	waste := f.server.buffers.take()
	defer f.server.buffers.give(waste)
	for {
		if _, err := f.client.Read(waste[:]); err != nil {
			return
		}
	}
}

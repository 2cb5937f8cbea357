// Package proxy carries requests. For each one it finds out who asks and for
// what, lets the router decide, forwards to the chosen endpoint, moves to the
// next one while the client has seen nothing, and relays the answer byte by
// byte. It decides nothing about where a request should go: that is router's.
//
// Start at Handler.ServeHTTP. Failover in failover.go is the http.RoundTripper
// behind it; the commit point, after which no silent failover is possible, is
// the call of commit in relay.go.
package proxy

import (
	"net/http"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"proxima/geo"
	"proxima/router"
)

// Handler answers clients. Its fields are set before the first request and not
// changed; what a reload may change comes through functions.
type Handler struct {
	Live     *router.Live
	Settings func() *Settings               // the current ones; never nil
	Locate   func(netip.Addr) geo.Location  // where a client is
	Failover *Failover                      // carries a request to endpoints
	Observe  func(*router.Record)           // one call for each request, when it is over
	Streams  func(more int)                 // a stream of tokens was opened, +1, or has ended, -1
	Panicked func(recovered any, at []byte) // a bug was met and contained: what, and the stack
	Instance string                         // names this router in CDN-Loop, unique in a fleet

	// ClientTrip is the round trip to the other end of a request's connection, for
	// the router to learn from; 0: it is not known, or was told a moment ago. It is
	// asked when that end is the client itself. nil: nobody knows.
	ClientTrip func(*http.Request) time.Duration

	// Compared is told of one request in 64 what the other steering.by would do with
	// it. nil: nobody compares.
	Compared func(router.Otherwise)

	underWay atomic.Int64
	detached atomic.Int64 // of these, the streams that go on without the handler
	kept     room         // what the bodies kept for another attempt take

	naming sync.Once
	token  string // see loopToken
}

// UnderWay is how many requests are being served, upgraded connections included,
// which http.Server.Shutdown does not wait for.
func (h *Handler) UnderWay() int { return int(h.underWay.Load()) }

// A stream that has let go of its goroutine takes an eighth of the memory that is
// reckoned for a request.
const restingShare = 8

// worth is how many requests those under way are worth.
func (h *Handler) worth() int {
	detached := int(h.detached.Load())
	return h.UnderWay() - detached + detached/restingShare
}

// ServeHTTP is the life of a request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var rests bool // the answer goes on without this goroutine
	x := h.begin(w, r)
	defer h.conclude(x, &rests)

	if x.settings.Requests > 0 && h.worth() > x.settings.Requests {
		x.respond(problemMemory)
		return
	}
	if err := x.refuse(); err != nil {
		x.respond(err)
		return
	}
	if x.endsHere() {
		x.respondHere()
		return
	}
	if err := x.limit(); err != nil {
		x.respond(err)
		return
	}
	h.locate(x)
	if isModelList(r) {
		h.listModels(x)
		return
	}
	if err := x.ask(); err != nil {
		x.respond(err)
		return
	}
	response, err := h.Failover.RoundTrip(x.outgoing())
	if err != nil {
		x.respond(err)
		return
	}
	rests = x.relay(response)
}

// begin starts the Record that everything about this request is written to.
func (h *Handler) begin(w http.ResponseWriter, r *http.Request) *exchange {
	h.underWay.Add(1)
	settings := h.Settings()
	x := &exchange{
		w: w, in: r,
		control: *http.NewResponseController(w),
		ctx:     r.Context(), release: func() {},
		settings: settings, rules: settings.Rules,
		handler:  h,
		peer:     peerOf(r),
		attempts: max(settings.Attempts, 1),
	}
	x.trusted = settings.trusts(x.peer)
	x.record.ID = requestID(r, x.trusted)
	x.record.Started, x.record.Method, x.record.Path = time.Now(), r.Method, r.URL.Path
	x.record.Attempts = x.roomFor(x.attempts)
	return x
}

// refuse turns away what is no request to a model server, and targets without a
// path to hold the rules against.
func (x *exchange) refuse() error {
	target := x.in.URL
	switch {
	case x.in.Method == http.MethodConnect:
		return problemMethod
	case target.Opaque != "",
		target.Path == "*" && x.in.Method != http.MethodOptions,
		target.Scheme != "" && target.Scheme != "http" && target.Scheme != "https":
		return problemTarget
	case x.loops():
		return problemLoop
	}
	return nil
}

// locate finds the client's address and place.
func (h *Handler) locate(x *exchange) {
	started := time.Now()
	x.record.Client = x.settings.Client(x.in, x.peer)
	x.record.From = h.Locate(x.record.Client)
	x.record.Locate = time.Since(started)
	h.meet(x)
}

// meet lets the router learn how far away clients are, from those who connected
// themselves: behind a trusted proxy is a way that nobody here has measured.
func (h *Handler) meet(x *exchange) {
	if h.ClientTrip == nil || x.trusted {
		return
	}
	if trip := h.ClientTrip(x.in); trip > 0 {
		h.Live.Met(x.record.Client, x.record.From, trip)
	}
}

// conclude hands the finished Record to those who learn from it, also when the
// stream broke or the handler met a bug. A bug costs one request, not the process.
func (h *Handler) conclude(x *exchange, rests *bool) {
	recovered := recover()
	if *rests {
		return
	}
	defer h.underWay.Add(-1)
	cut := recovered != nil && (x.committed || !isBug(recovered))
	x.end()
	if recovered != nil && isBug(recovered) {
		h.Panicked(recovered, debug.Stack())
		if !x.committed {
			x.respond(problemInternal)
		}
	}
	x.record.Elapsed = time.Since(x.record.Started)
	h.Observe(&x.record)
	x.leave(cut || x.left)
}

// leave is the last of an exchange. A client whose answer is not whole must see the cut.
func (x *exchange) leave(cut bool) {
	switch {
	case x.finish == nil && cut:
		panic(http.ErrAbortHandler)
	case x.finish == nil:
		return
	case cut:
		x.abort()
	}
	x.handler.detached.Add(-1)
	x.finish()
}

package proxy

import (
	"context"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"proxima/router"
)

// exchange is one client's request while it is under way: what came in, what is
// known of it, and the Record that grows. It belongs to the request's goroutine.
type exchange struct {
	w        http.ResponseWriter
	control  http.ResponseController // of w
	in       *http.Request
	ctx      context.Context // ends when the client leaves, or will not wait any longer
	release  func()          // of ctx
	handler  *Handler
	settings *Settings
	rules    Rules      // of the model, once it is known
	peer     netip.Addr // who connected; the client or a proxy in front
	trusted  bool       // the peer's word about the client is believed
	attempts int        // how many may be made

	source   source       // reads what the client sends
	body     body         // what the client sent, kept for another attempt
	query    router.Query // what the decision is about
	session  bool         // the client names one
	streams  bool         // the client asks for the answer token by token
	prefix   []byte       // how the prompt begins; nil: too short to matter
	protocol string       // what the client may switch to, "" for nothing
	record   router.Record

	out       *http.Request     // what endpoints are sent, but for the address and the body
	carried   carried           // its context
	doubts    []*router.Attempt // that failed, of which the request itself may be the reason
	frugal    bool              // the retry budget kept it from another endpoint
	broke     int               // endpoints that it may have broken
	informing sync.Mutex        // held while an interim answer is passed on

	flow      *flow    // the answer on its way; nil: none is
	finish    func()   // ends an answer that went on after the handler; nil: the handler ends it
	abort     func()   // breaks such an answer off
	attempt   *attempt // the last one
	committed bool     // the client has seen the beginning of an answer
	left      bool     // there is no client to answer

	room [3]router.Attempt // of the record, unless more may be made
}

// roomFor is where a record's attempts are written. It is never too small for them, so
// that pointers into it stay good.
func (x *exchange) roomFor(attempts int) []router.Attempt {
	if attempts > len(x.room) {
		return make([]router.Attempt, 0, attempts)
	}
	return x.room[:0]
}

type exchangeKey struct{}

// carried is the context of what endpoints are sent: Failover finds the exchange in it.
type carried struct {
	context.Context
	exchange *exchange
}

// Value is context.Context's.
func (c *carried) Value(key any) any {
	if key == (exchangeKey{}) {
		return c.exchange
	}
	return c.Context.Value(key)
}

// AfterFunc is what package context looks for: without it, it would start a goroutine for
// each request that waits for the end of a context which is not its own, as edge's are.
func (c *carried) AfterFunc(call func()) (stop func() bool) {
	if own, has := c.Context.(interface{ AfterFunc(func()) func() bool }); has {
		return own.AfterFunc(call)
	}
	return context.AfterFunc(c.Context, call)
}

// outgoing is the request as endpoints shall see it, but for the address and the
// body, which each attempt sets. The exchange travels in its context. Trailer
// fields are not passed on: no model API has them.
func (x *exchange) outgoing() *http.Request {
	x.query.Key, x.query.Sticky = x.affinity()
	x.query.From = x.record.From
	x.query.Priority = priorityOf(x.in.Header, x.settings.Keys)
	x.recall()
	x.query.Prefer = router.RegionID(field(x.in.Header, "X-Proxima-Prefer-Region"))
	x.protocol = x.upgradeAsked()
	x.carried = carried{x.ctx, x}
	out := x.in.WithContext(&x.carried)
	out.Header = x.forwardedHeader()
	out.Trailer = nil
	out.TransferEncoding = nil // each attempt says how long its body is
	out.Close = false
	out.RequestURI = ""
	if x.protocol != "" {
		out.Header.Set("Connection", "Upgrade")
		out.Header.Set("Upgrade", x.protocol)
	}
	return out
}

// affinity is what keeps requests together: the client's session if it names one,
// else how the prompt begins. Without either, requests spread.
func (x *exchange) affinity() (key uint64, sticky bool) {
	if session := field(x.in.Header, "X-Proxima-Session"); session != "" {
		x.session = true
		return router.SessionKey(x.record.Model, session), true
	}
	if x.prefix != nil {
		return router.SessionKey(x.record.Model, x.prefix), true
	}
	return router.Key(x.record.ID), false
}

// promptKB is the length of the prompt, about; 0: it is not a prompt, or not all of it
// is here, for nobody is believed about what he has not sent.
func (x *exchange) promptKB() float64 {
	if x.in.Method != http.MethodPost || !isInference(x.in.URL.Path) || !x.body.whole() {
		return 0
	}
	return float64(len(x.body.kept)) / 1024
}

// waitKB is how much of the prompt others wait for until the first byte of the answer
// shows that it is computed. That of an answer in one piece shows more than that.
func (x *exchange) waitKB() float64 {
	if !x.streams {
		return 0
	}
	return x.promptKB()
}

// recall adds to the query where its prompt was last.
func (x *exchange) recall() {
	if x.query.Sticky {
		x.query.Warm = x.handler.Live.Warm(x.query.Key, x.promptKB(), x.record.Started)
	}
}

// remember notes where the prompt is now.
func (a *attempt) remember() {
	x := a.exchange
	if kb := x.keptKB(); a.query.Sticky && kb > 0 {
		x.handler.Live.Sent(a.query.Key, a.Endpoint, kb, a.Started)
	}
}

// keptKB is how much of the prompt the next one with the same key begins with: all of
// it in a session, and what the key was made of otherwise.
func (x *exchange) keptKB() float64 {
	if !x.session {
		return prefixBytes / 1024.0
	}
	return x.promptKB()
}

var loads = sync.Pool{New: func() any { return new([]router.Load) }}

// decide asks the router with what is known now, so that a second attempt sees
// what the first one taught.
func (x *exchange) decide(now time.Time) (*router.Snapshot, router.Decision) {
	buf := loads.Get().(*[]router.Load)
	defer loads.Put(buf)
	x.query.Learned = x.handler.Live.Cells.Find(x.record.Client, x.record.From.Country)
	snapshot, decision := x.handler.decide(x.query, now, buf)
	x.record.Decide += time.Since(now)
	if x.isCompared() {
		x.handler.Compared(snapshot.Otherwise(x.query, *buf, decision))
	}
	return snapshot, decision
}

// decide leaves the loads that it decided with in buf.
func (h *Handler) decide(q router.Query, now time.Time, buf *[]router.Load) (*router.Snapshot, router.Decision) {
	snapshot := h.Live.Snapshot()
	*buf = snapshot.Measure(*buf, now)
	return snapshot, snapshot.Decide(q, *buf)
}

// comparedEvery is of how many requests one is decided twice, the second time as if
// steering.by were the other one.
const comparedEvery = 64

// isCompared draws the lot by the request's identity, for its first decision.
func (x *exchange) isCompared() bool {
	return x.handler.Compared != nil && len(x.record.Attempts) == 0 && router.Key(x.record.ID)%comparedEvery == 0
}

// end gives back what the request holds, however it ended.
func (x *exchange) end() {
	if x.flow != nil {
		x.flow.close()
	}
	if x.attempt != nil {
		x.attempt.end()
	}
	x.body.stop()
	x.handler.kept.give(x.body.taken)
	x.release()
}

// closeUnread says that this answer is the last on its connection when it goes out
// before the client's whole request came in. Otherwise net/http would read on,
// and take away what the endpoint is to get.
func (x *exchange) closeUnread(h http.Header) {
	if x.in.ProtoMajor == 1 && x.body.unread() {
		h.Set("Connection", "close")
	}
}

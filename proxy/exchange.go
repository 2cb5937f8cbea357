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
	in       *http.Request
	handler  *Handler
	settings *Settings
	peer     netip.Addr // who connected; the client or a proxy in front
	trusted  bool       // the peer's word about the client is believed
	attempts int        // how many may be made

	body     body         // what the client sent, kept for another attempt
	query    router.Query // what the decision is about
	protocol string       // what the client may switch to, "" for nothing
	record   router.Record

	attempt   *attempt // the last one
	committed bool     // the client has seen the beginning of an answer
	left      bool     // there is no client to answer
}

type exchangeKey struct{}

// outgoing is the request as endpoints shall see it, but for the address and the
// body, which each attempt sets. The exchange travels in its context. Trailer
// fields are not passed on: no model API has them.
func (x *exchange) outgoing() *http.Request {
	x.query.Key = router.Key(x.affinity())
	x.query.From = x.record.From
	x.query.Prefer = router.RegionID(x.in.Header.Get("X-Proxima-Prefer-Region"))
	x.protocol = x.upgradeAsked()
	ctx := context.WithValue(x.in.Context(), exchangeKey{}, x)
	out := x.in.WithContext(ctx)
	out.Header = x.forwardedHeader()
	out.Trailer = nil
	out.TransferEncoding = nil // each attempt says how long its body is
	out.Close = false
	out.RequestURI = ""
	if x.protocol != "" {
		out.Header.Set("Connection", "Upgrade")
		out.Header.Set("Upgrade", x.protocol)
	}
	if x.repeatable() {
		allowRepeat(out.Header)
	}
	return out
}

// allowRepeat tells net/http's transport that it may send a request again when a
// kept connection turns out to have been closed meanwhile, which is no fault of
// the endpoint. An empty list is not sent (documented at http.Transport).
func allowRepeat(h http.Header) {
	if _, given := h["X-Idempotency-Key"]; !given {
		h["X-Idempotency-Key"] = nil
	}
}

// affinity is what keeps requests together: the client's session if it names
// one; without one, requests spread.
func (x *exchange) affinity() string {
	if session := x.in.Header.Get("X-Proxima-Session"); session != "" {
		return session
	}
	return x.record.ID
}

var loads = sync.Pool{New: func() any { return new([]router.Load) }}

// decide asks the router with what is known now, so that a second attempt sees
// what the first one taught.
func (x *exchange) decide() (*router.Snapshot, router.Decision) {
	started := time.Now()
	snapshot, decision := x.handler.decide(x.query, started)
	x.record.Decide += time.Since(started)
	return snapshot, decision
}

func (h *Handler) decide(q router.Query, now time.Time) (*router.Snapshot, router.Decision) {
	buf := loads.Get().(*[]router.Load)
	defer loads.Put(buf)
	snapshot := h.Live.Snapshot()
	*buf = snapshot.Measure(*buf, now)
	return snapshot, snapshot.Decide(q, *buf)
}

// end gives back what the request holds, however it ended.
func (x *exchange) end() {
	if x.attempt != nil {
		x.attempt.end()
	}
	x.body.stop()
}

// closeUnread says that this answer is the last on its connection when it goes out
// before the client's whole request came in. Otherwise net/http would read on,
// and take away what the endpoint is to get.
func (x *exchange) closeUnread(h http.Header) {
	if x.in.ProtoMajor == 1 && x.body.unread() {
		h.Set("Connection", "close")
	}
}

package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"proxima/proxy/stream"
	"proxima/router"
)

// attempt is one try at one endpoint, from the choice to the last byte. Between
// enter and leave of waiting, others may look at it to abandon it.
type attempt struct {
	*router.Attempt // in the exchange's record
	*place          // where it goes

	failover *Failover
	exchange *exchange
	query    router.Query     // what was decided, and without whom
	endpoint *router.Endpoint // never changes, so that a connection which still comes may look at it
	answered bool             // it does not wait for its first token any more
	last     bool             // no more may be made for this request
	ctx      context.Context
	cancel   context.CancelCauseFunc
	trip     trip
	waits    bool         // for its first byte, in the waiting room
	beside   neighbours   // in the waiting room
	late     *timeout     // ends the wait; nil: no limit
	tries    int          // how often the transport found a connection for it
	dials    atomic.Int32 // connections that the transport began for it
	sent     atomic.Bool  // the endpoint may have seen the request
	dialect  stream.Dialect
	events   bool      // its answer comes in events
	informed bool      // no interim answer is passed on any more
	seen     time.Time // when it last proved that it lives
	ended    bool      // its slot was given back
}

// Causes with which an attempt is cancelled.
var (
	errAbandoned = errors.New("the endpoint was found down")
	errLate      = errors.New("no first byte in time")
	errStalled   = errors.New("silent for too long")
	errOver      = errors.New("the attempt is over")
	errLost      = errors.New("another endpoint answered sooner")
)

// statusOverloaded is what Anthropic's API, and others after it, answer when full.
const statusOverloaded = 529

func (f *Failover) start(x *exchange, p *place) *attempt {
	chosen := p.chosen()
	x.record.Decision = p.decision
	x.record.Attempts = append(x.record.Attempts, router.Attempt{
		Endpoint: chosen.Endpoint, Region: chosen.Region, Position: chosen.Position, Started: p.taken,
	})
	a := &attempt{
		Attempt:  x.record.Last(),
		place:    p,
		failover: f,
		exchange: x,
		query:    x.query,
		endpoint: &p.snapshot.Table.Endpoints[chosen.Position],
		last:     len(x.record.Attempts) == x.attempts,
	}
	a.query.Tried = slices.Clip(a.query.Tried)
	x.attempt = a
	a.ctx, a.cancel = context.WithCancelCause(x.out.Context())
	a.trip = trip{a.ctx, a}
	return a
}

// do sends the request and waits for the first byte of content. Its outcome is known
// when it returns; with an error, everything of it has ended. It uses of the exchange
// only what does not change meanwhile, because two attempts may be made at once.
func (a *attempt) do() (*http.Response, error) {
	a.wait()
	response, err := a.failover.Next.RoundTrip(a.request(a.exchange.out))
	a.endInforming()
	if err == nil {
		err = a.awaitContent(response)
	}
	if gone := a.waited(); gone != nil {
		err = gone
	}
	a.judge(response, err)
	if err != nil && response != nil {
		response.Body.Close()
	}
	if err != nil {
		a.end()
	}
	return response, err
}

// wait lets others end the attempt from here on: Abandon, or the clock. Abandon
// may have come between the decision and now; then its reason is still there.
func (a *attempt) wait() {
	a.waits = true
	a.failover.waiting.enter(a)
	if a.foundDown() {
		a.moveOn()
	}
	if limit := a.patience(); limit > 0 {
		a.late = newTimeout(limit, func() { a.cancel(errLate) })
	}
}

// waited ends what wait began. It returns why the attempt was ended, if it was:
// the first byte may have come in the same instant.
func (a *attempt) waited() error {
	a.failover.waiting.leave(a)
	a.waits = false
	a.stopWaiting()
	if a.late != nil {
		a.late.stop()
	}
	return context.Cause(a.ctx)
}

// stopWaiting takes the prompt out of those that the endpoint has yet to compute.
func (a *attempt) stopWaiting() {
	if !a.answered {
		a.answered = true
		a.meter.Answered(a.kb)
	}
}

// downWait bounds the wait for an endpoint that is believed down and is tried all
// the same: one that hangs may take the connection and never answer.
const downWait = 30 * time.Second

// patience is how long to wait for the first byte; 0: as long as the client does.
func (a *attempt) patience() time.Duration {
	limit := a.exchange.rules.FirstByteTimeout
	if a.decision.Chosen.Tier == router.TierDown && (limit <= 0 || limit > downWait) {
		return downWait
	}
	return limit
}

// request is the client's request, addressed to this attempt's endpoint.
func (a *attempt) request(r *http.Request) *http.Request {
	out := r.WithContext(&a.trip)
	out.URL = a.address(*r.URL)
	out.Host = out.URL.Host
	body := &a.exchange.body
	out.Body, out.GetBody = body.open(), nil
	out.ContentLength = body.length
	if body.whole() {
		out.GetBody = func() (io.ReadCloser, error) { return body.open(), nil }
	}
	return out
}

// address is the client's target at the endpoint, whose URL may have a path to put
// before. "*", the server as a whole (RFC 9112 §3.2.4), stays what it is.
func (a *attempt) address(to url.URL) *url.URL {
	at := a.endpoint.URL
	if prefix := strings.TrimSuffix(at.EscapedPath(), "/"); prefix != "" && to.Path != "*" {
		to.RawPath = prefix + to.EscapedPath()
		to.Path = strings.TrimSuffix(at.Path, "/") + to.Path
	}
	to.Scheme, to.Host, to.User, to.Fragment = at.Scheme, at.Host, nil, ""
	return &to
}

var errBadSwitch = errors.New("it switched to a protocol that nobody asked for")

// awaitContent reads the beginning of the answer's content and puts it back, so that
// an endpoint which dies between its header and its first token still costs the
// client nothing.
func (a *attempt) awaitContent(response *http.Response) error {
	switch code := response.StatusCode; {
	case code == http.StatusSwitchingProtocols:
		if !a.exchange.switched(response) {
			return errBadSwitch
		}
	case code < http.StatusOK || code > 999: // net/http takes any three digits
		return fmt.Errorf("it answered with status %03d", code)
	default:
		a.dialect = a.dialectOf(response)
		a.events = a.isEvents(response)
		content := &content{rest: response.Body, attempt: a, events: a.events, dialect: a.dialect}
		response.Body = content
		if err := content.peek(); err != nil {
			return err
		}
	}
	a.seen = time.Now()
	a.FirstByte = a.seen.Sub(a.Started)
	return nil
}

// dialectOf is what the answer speaks; Opaque when it is not understood.
func (a *attempt) dialectOf(response *http.Response) stream.Dialect {
	if response.StatusCode != http.StatusOK || !isPlain(response.Header) {
		return stream.Opaque
	}
	return stream.DialectOf(a.exchange.in.URL.Path, kindOf(response.Header))
}

// isEvents reports whether an answer comes in events whose borders can be seen.
func (a *attempt) isEvents(response *http.Response) bool {
	return a.dialect == stream.Lines || kindOf(response.Header) == events && isPlain(response.Header)
}

// What of an answer that another attempt replaces is still read, so that its
// connection can be kept, and for how long at the most.
const (
	discardBytes = 64 << 10
	discardWait  = 50 * time.Millisecond
)

// discard drops an answer that another attempt replaces.
func (a *attempt) discard(response *http.Response, err error) {
	if err != nil {
		return
	}
	slow := time.AfterFunc(discardWait, func() { a.cancel(errOver) })
	defer slow.Stop()
	_, _ = io.CopyN(io.Discard, response.Body, discardBytes)
	response.Body.Close()
}

// end gives the endpoint's place back, and lets one who waits for it look. It is safe to call twice, and after a panic.
func (a *attempt) end() {
	if a.ended {
		return
	}
	a.ended = true
	if a.waits {
		_ = a.waited()
	}
	a.stopWaiting()
	a.cancel(errOver)
	a.meter.End()
	a.failover.queue.freed()
}

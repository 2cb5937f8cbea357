package proxy

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"proxima/router"
)

// judge settles how the attempt ended, as far as it can be known before the answer is
// relayed, and lets the meter learn from it.
func (a *attempt) judge(response *http.Response, err error) {
	a.Err = err
	if err != nil {
		a.Outcome = a.blame()
		return
	}
	a.Status = response.StatusCode
	a.Outcome = a.outcomeOf(response)
	if a.Outcome == router.Served && a.Status < http.StatusBadRequest {
		a.teach(response)
	}
}

// settle tells those who learn from it how an attempt fared. What may be the request's
// own fault is kept back until another endpoint has served the request: a request that
// breaks every endpoint it meets must not take them out one after the other.
func (a *attempt) settle() {
	x := a.exchange
	switch {
	case a.doubtful():
		x.doubts = append(x.doubts, a.Attempt)
		return
	case a.Outcome == router.Served:
		x.tellDoubts()
	}
	a.failover.Attempted(a.Attempt)
}

// doubtful reports whether the attempt failed in a way that the request may be the
// reason for.
func (a *attempt) doubtful() bool {
	switch a.Outcome {
	case router.Failed, router.Broken, router.Late, router.Stalled:
		return true
	}
	return false
}

// tellDoubts tells of the failures that are the endpoints' own.
func (x *exchange) tellDoubts() {
	for _, doubt := range x.doubts {
		x.handler.Failover.Attempted(doubt)
	}
	x.doubts = nil
}

// endDoubts tells of a failure that no other endpoint was asked about. When others
// failed too, the request is to blame, and when the budget forbade to ask, nobody knows.
func (x *exchange) endDoubts() {
	if len(x.record.Attempts) == 1 && !x.frugal {
		x.tellDoubts()
	}
	x.doubts = nil
}

// teach lets the meter learn how soon the endpoint answers, from when it was connected.
// Only inference says something about that, and only when nobody waited for the client.
func (a *attempt) teach(response *http.Response) {
	r := a.exchange.in
	if r.Method != http.MethodPost || !isInference(r.URL.Path) {
		return
	}
	a.remember()
	if a.exchange.body.whole() {
		a.meter.Served(router.Sample{
			At: a.Started.Add(a.FirstByte), Elapsed: a.FirstByte - a.Connected,
			Load: a.decision.Chosen.Load, Queue: a.decision.Chosen.Queue, WaitKB: a.decision.Chosen.WaitKB,
			KB: a.kb, Streamed: isStream(response.Header),
		})
	}
}

// blame tells who ended an attempt that brought no answer.
func (a *attempt) blame() router.Outcome {
	switch context.Cause(a.ctx) {
	case nil:
	case errAbandoned:
		return router.Abandoned
	case errLate:
		return router.Late
	case errStalled:
		return router.Stalled
	case errLost:
		return router.Lost
	case errNotTaken:
		return router.Refused
	default:
		return router.Cancelled
	}
	switch {
	case a.exchange.body.broken() != nil:
		return router.Cancelled
	case !a.sent.Load():
		return router.Refused
	}
	return router.Broken
}

func (a *attempt) outcomeOf(response *http.Response) router.Outcome {
	if content, is := response.Body.(*content); is && content.failed {
		return router.Failed
	}
	switch code := response.StatusCode; code {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, statusOverloaded:
		now := time.Now()
		wait, asked := retryAfter(response.Header, now)
		if asked || code != http.StatusServiceUnavailable {
			a.meter.Cool(now, wait)
			return router.Busy
		}
		return router.Failed
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
		return router.Failed
	}
	return router.Served
}

// retryAfter reads how long an answer asks to be left alone, in seconds or as a
// date (RFC 9110 §10.2.3).
func retryAfter(h http.Header, now time.Time) (wait time.Duration, asked bool) {
	value := h.Get("Retry-After")
	if value == "" {
		return 0, false
	}
	if strings.Trim(value, "0123456789") == "" {
		seconds, _ := strconv.ParseUint(value, 10, 31) // out of range: the largest
		return time.Duration(seconds) * time.Second, true
	}
	if at, err := http.ParseTime(value); err == nil {
		return at.Sub(now), true
	}
	return 0, false
}

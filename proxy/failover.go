package proxy

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"proxima/router"
)

// Failover is a http.RoundTripper that answers a request from the best endpoint,
// and from the next one when that fails before the client has seen anything. It
// serves only requests of Handler, whose exchange it finds in their context.
type Failover struct {
	Next http.RoundTripper // carries one attempt, usually NewTransport

	// Attempted is told of each attempt once it is known how it fared up to the
	// first byte of content, about once a second while content comes, and again
	// when it is cut. The Attempt is good for the call only.
	Attempted func(*router.Attempt)

	budget  router.Budget
	waiting waiting
}

// Abandon moves every request that still waits for the first byte of an endpoint
// to a better one, if there is one. Call it when the endpoint is found down,
// after the status was published.
func (f *Failover) Abandon(id router.EndpointID) { f.waiting.abandon(id) }

// RetriesLeft is how many retries the budget allows at this instant.
func (f *Failover) RetriesLeft() float64 { return f.budget.Remaining(time.Now()) }

// RoundTrip tries one endpoint after the other. It returns an answer whose first
// byte of content is already there, or a *Problem to tell the client.
func (f *Failover) RoundTrip(r *http.Request) (*http.Response, error) {
	x, is := r.Context().Value(exchangeKey{}).(*exchange)
	if !is {
		return nil, errors.New("proxy: Failover carries requests of a Handler only")
	}
	snapshot, decision := x.decide()
	if !decision.Found() {
		x.record.Decision = decision
		return nil, unavailable(decision.Reason, x)
	}
	f.budget.Request(time.Now(), x.settings.RetryRatio, x.settings.RetryFloor)
	for {
		a := f.start(x, r, snapshot, decision)
		response, err := a.do(r)
		next, better := f.another(a)
		switch {
		case next != nil:
			a.discard(response, err)
			snapshot, decision = next, better
		case err != nil:
			return nil, a.problem()
		default:
			return response, nil
		}
	}
}

// another decides where a request goes that an attempt did not serve; nil when
// the attempt was the last. An answer in hand, even a bad one, tells the client
// more than a try at an endpoint that is down.
func (f *Failover) another(a *attempt) (*router.Snapshot, router.Decision) {
	if !a.mayMove() {
		return nil, router.Decision{}
	}
	x := a.exchange
	x.query.Tried = append(x.query.Tried, a.Endpoint)
	snapshot, decision := x.decide()
	switch {
	case !decision.Found(),
		decision.Chosen.Tier == router.TierDown && a.Status != 0,
		!f.allows(a),
		!x.body.recall():
		return nil, router.Decision{}
	}
	return snapshot, decision
}

// allows draws on the retry budget for an attempt that may have cost an endpoint
// work. A connection that was refused cost nothing, and a request is abandoned
// once for each outage, not again and again.
func (f *Failover) allows(a *attempt) bool {
	if !a.sent.Load() || a.Outcome == router.Abandoned {
		return true
	}
	return f.budget.Draw(time.Now())
}

// mayMove reports whether another endpoint may be asked: the client has seen
// nothing, the fault is the endpoint's, asking twice does no harm, and the body
// can be sent again.
func (a *attempt) mayMove() bool {
	if a.Outcome == router.Served || a.Outcome == router.Cancelled || a.last {
		return false
	}
	return a.harmless() && a.exchange.body.replayable()
}

// harmless reports whether the request may be sent to another endpoint without
// being carried out twice: this one never saw it, or refused it with an answer
// that says so, or twice is as good as once.
func (a *attempt) harmless() bool {
	switch a.Status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, statusOverloaded:
		return true
	}
	return !a.sent.Load() || a.exchange.repeatable()
}

// repeatable reports whether a request that an endpoint may have carried out may
// be sent to another: safe and idempotent methods (RFC 9110 §9.2.2), requests
// that say so, and, since model servers are behind this router, all that is not
// known to create something: inference changes nothing.
func (x *exchange) repeatable() bool {
	switch x.in.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return x.in.Header.Get("Idempotency-Key") != "" || !creates(x.in.URL.Path)
}

// creating begin the paths of model APIs where a POST makes something that stays,
// so that twice is not as good as once: OpenAI's, then Ollama's.
var creating = []string{
	"/v1/files", "/v1/uploads", "/v1/batches", "/v1/fine_tuning", "/v1/fine-tunes", "/v1/assistants", "/v1/threads",
	"/v1/vector_stores", "/v1/containers", "/v1/conversations", "/v1/evals",
	"/api/create", "/api/copy", "/api/pull", "/api/push", "/api/blobs",
}

func creates(path string) bool {
	for _, begin := range creating {
		if rest, is := strings.CutPrefix(path, begin); is && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}

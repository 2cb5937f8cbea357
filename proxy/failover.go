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
	Next http.RoundTripper // carries one attempt, usually a transport.Transport

	// Attempted is told of each attempt that says something about its endpoint once
	// it is known how it fared up to the first byte of content, five times a second
	// while content comes, and again when it is cut. The Attempt is good for the call
	// only.
	Attempted func(*router.Attempt)

	// Completed is told of each answer that went out to its end. nil: nobody asks.
	Completed func(router.EndpointID)

	budget  router.Budget
	waiting waiting
	queue   queue
	paces   paces
	poison  poison
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
	x.out = r
	if f.poison.is(x, time.Now()) {
		return nil, problemPoison
	}
	p, err := f.findPlace(x)
	if err != nil {
		return nil, err
	}
	f.budget.Request(time.Now(), x.settings.RetryRatio, x.settings.RetryFloor)
	for {
		a, response, err := f.try(x, p)
		next := f.another(a)
		switch {
		case next != nil:
			a.discard(response, err)
			p = next
		case err != nil && x.ctx.Err() != nil: // while it waited for a place, perhaps
			return nil, x.cancelled()
		case err != nil:
			x.endDoubts()
			return nil, a.problem()
		default:
			x.endDoubts()
			return response, nil
		}
	}
}

// try makes an attempt at an endpoint, and at a second one where the model is hedged
// and the first is slow. It returns the attempt that decides.
func (f *Failover) try(x *exchange, p *place) (*attempt, *http.Response, error) {
	a := f.start(x, p)
	if patience := f.hedgeAfter(a); patience > 0 {
		return f.race(a, patience)
	}
	alone := result{attempt: a}
	alone.response, alone.err = a.do()
	return alone.settled()
}

// another finds a place for a request that an attempt did not serve; nil when the
// attempt was the last. An answer in hand, even a bad one, tells the client more
// than a try at an endpoint that is down.
func (f *Failover) another(a *attempt) *place {
	x := a.exchange
	if f.poison.breaksAll(a) {
		f.poison.note(x, time.Now())
		return nil
	}
	if !a.mayMove() {
		return nil
	}
	x.query.Tried = append(x.query.Tried, a.Endpoint)
	p := f.claim(x)
	waits := p.decision.Reason == router.Full && a.ended // with no answer in hand a place is worth a wait
	switch {
	case !p.found() && !waits:
		return nil
	case p.chosen().Tier == router.TierDown && a.Status != 0, !f.allows(a), !x.body.recall():
		f.giveBack(p)
		return nil
	case waits:
		p, _ = f.findPlace(x) // nil: it was in vain
	}
	return p
}

// allows draws on the retry budget for an attempt that may have cost an endpoint
// work. A connection that was refused cost nothing, and a request is abandoned
// once for each outage, not again and again.
func (f *Failover) allows(a *attempt) bool {
	if !a.sent.Load() || a.Outcome == router.Abandoned {
		return true
	}
	drawn := f.budget.Draw(time.Now())
	a.exchange.frugal = !drawn
	return drawn
}

// mayMove reports whether another endpoint may be asked: the client has seen
// nothing, the fault is the endpoint's, asking twice does no harm, and the body
// can be sent again.
func (a *attempt) mayMove() bool {
	spent := len(a.exchange.record.Attempts) == a.exchange.attempts // by another one beside it, perhaps
	if a.Outcome == router.Served || a.Outcome == router.Cancelled || spent {
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

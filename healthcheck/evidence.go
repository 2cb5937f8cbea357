package healthcheck

import "proxima/router"

// Evidence is what a probe or a request says of the way to an endpoint. It is
// another question than health: an endpoint that answers 503 is reached.
type Evidence uint8

// What there is to say.
const (
	NoEvidence Evidence = iota // nothing
	Reached                    // something there has answered
	Unreached                  // silence, no way, or a way that broke off
)

// Evidence is what the result of a probe says of the way to the endpoint, in view
// of the requests that were served since it set out. Take it before Probed.
func (b *Belief) Evidence(r Result) Evidence {
	switch {
	case r.Cause == "" || r.Status != 0:
		return Reached
	case b.heard:
		return NoEvidence
	}
	return r.Kind.evidence()
}

// AttemptEvidence is what an attempt says of the way to its endpoint. It takes a
// failure that brought no answer by Attempt.Err; without one it says nothing.
// What happens once an answer has begun says nothing either, silence or a cut: it may
// be the model's, one text can bring it about at one endpoint after the other, and
// probes will tell. So does silence on a connection before it.
func AttemptEvidence(a router.Attempt) Evidence {
	switch a.Outcome {
	case router.Served, router.Busy, router.Failed:
		return Reached
	case router.Refused, router.Broken:
		if a.Err != nil {
			kind, _ := describe(a.Err)
			return kind.evidence()
		}
	}
	return NoEvidence
}

// evidence is what a failure says of the way. A refused connection is an answer,
// and so is a handshake that fails. A connection that breaks off may have been cut
// by the endpoint or by what lies between, such as a NAT that restarts: it counts
// as no way, because that errs on the side of calm, and the next probe corrects
// it. What this router has run out of is its own fault in any case.
func (k Kind) evidence() Evidence {
	switch k {
	case KindRefused, KindStatus, KindTLS:
		return Reached
	case KindTimeout, KindDNS, KindReset, KindUnreachable, KindExhausted:
		return Unreached
	}
	return NoEvidence
}

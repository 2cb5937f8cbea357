package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"proxima/router"
)

// mend lets a stream that broke go on from another endpoint. It returns nil when it
// does, or when nothing but its end was missing, and else what broke it.
func (f *flow) mend(err error) error {
	f.broke = f.blame(err)
	f.stop()
	if f.broke == router.Cancelled || f.tale == nil || f.gaps {
		return err
	}
	request, more, wrong := f.tale.Request()
	switch {
	case wrong != nil:
		return err
	case !more:
		f.note()
		return f.send(f.tale.End())
	}
	f.to.rest()
	response := f.handler.Failover.resume(f.exchange, request)
	f.to.resume()
	if response == nil {
		return err
	}
	f.tale.Resume()
	f.record.Resumed++
	f.from, f.report, f.fixed = response.Body.(*content), nil, false
	return nil
}

// ofOneBody are fields that say something of the request's body, which is another one
// when a stream goes on elsewhere.
var ofOneBody = []string{"Idempotency-Key", "Content-Digest", "Repr-Digest", "Digest", "Content-Md5"}

// resume gets the rest of a stream from another endpoint; nil when none has it. It
// draws on the retry budget like any other retry.
func (f *Failover) resume(x *exchange, request []byte) *http.Response {
	for _, name := range ofOneBody {
		x.out.Header.Del(name)
	}
	x.body = body{kept: request, length: int64(len(request)), taken: x.body.taken}
	dialect := x.attempt.dialect
	for len(x.record.Attempts) < x.attempts {
		x.query.Tried = append(x.query.Tried, x.attempt.Endpoint)
		p, err := f.findPlace(x)
		if err != nil {
			return nil
		}
		if !f.budget.Draw(time.Now()) {
			f.giveBack(p)
			return nil
		}
		a := f.start(x, p)
		response, err := a.do()
		a.settle()
		if err == nil && a.Outcome == router.Served && a.dialect == dialect {
			return response
		}
		a.discard(response, err)
		if x.ctx.Err() != nil {
			return nil
		}
	}
	return nil
}

// note tells whoever looks at the stream itself that it was resumed.
func (f *flow) note() {
	if f.record.Resumed == 0 {
		return
	}
	text := fmt.Sprintf("proxima: resumed in %s, %d endpoints in all", f.attempt.Region, f.record.Resumed+1)
	_ = f.send(f.dialect.Comment(text)) // what follows meets the same client
}

// blame settles how the attempt ended whose answer broke, and tells health of it.
func (f *flow) blame(err error) router.Outcome {
	a := f.attempt
	if a.Outcome == router.Failed {
		return a.Outcome // its first word was that it failed, and that was told
	}
	a.Err, a.Outcome = err, router.Cut
	switch {
	case errors.Is(err, errClientLeft), f.ctx.Err() != nil, f.body.broken() != nil:
		a.Outcome = router.Cancelled
		return a.Outcome
	case errors.Is(context.Cause(a.ctx), errStalled):
		a.Outcome = router.Stalled
	}
	if f.record.Resumed == 0 { // the second endpoint that breaks one stream may not be the reason
		f.handler.Failover.Attempted(a.Attempt)
	}
	return a.Outcome
}

// breakOff ends an answer that cannot be completed so that the client can tell: a
// stream of events gets an error event, and the connection is cut in any case.
func (f *flow) breakOff(err error) {
	p := f.problem()
	if p == nil {
		f.cut()
	}
	f.record.Problem = p.Code
	if f.events {
		f.sendFailure(p)
	}
	f.to.close()
	f.cut()
}

// sendFailure writes the endpoint's own word for what went wrong, or ours.
func (f *flow) sendFailure(p *Problem) {
	event := f.report
	if event == nil {
		event = f.dialect.Failure(p.Type, p.Code, p.Message)
	}
	if f.torn {
		event = append([]byte("\n\n"), event...)
	}
	_ = f.send(event) // the connection is cut in any case
}

// problem is what the client is told of the break; nil when there is nobody to tell.
func (f *flow) problem() *Problem {
	switch {
	case f.broke == router.Cancelled, f.ctx.Err() != nil:
		return endedBy(f.ctx)
	case f.broke == router.Stalled:
		return problemStalled
	}
	return problemCut
}

// Package load sends requests at a constant rate and reports what became of each.
//
// The load is open: a request starts when its time has come, whether or not
// earlier ones were answered, and its latency counts from that intended moment. A
// server that falls silent for a second so shows up in the latency of every
// request of that second, as its clients would feel it (Gil Tene calls the error
// of leaving this out coordinated omission).
//
// Nothing is sent twice and nothing is followed: a result is the fate of one
// request. Start at Run; send.go carries one request, mix.go makes the usual
// ones, report.go adds the results up.
package load

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Plan is what to send, where and how fast.
type Plan struct {
	URL         string              // scheme and host that the paths of requests are added to
	Rate        float64             // requests a second
	Duration    time.Duration       // requests start during this time; the last ones end later
	Request     func(i int) Request // the i-th request, counted from 0; see Mix
	Timeout     time.Duration       // for one request to its last byte; 0: a minute
	Outstanding int                 // requests under way at once; one that comes due beyond them is not sent; 0: 4096
	Transport   http.RoundTripper   // nil: plain HTTP/1.1 and connections that are kept
	Observe     func(Result)        // if set, hears each result as it comes, one at a time
}

// Request is one request to send.
type Request struct {
	Method string
	Path   string // with its query
	Header http.Header
	Body   []byte
	Stream bool // the answer is server-sent events and complete only with data: [DONE]
}

// Run sends the planned load and reports when the last request has ended. When
// ctx ends sooner no further request starts, and those under way still end by
// themselves. The error is about the plan; failed requests are results.
func Run(ctx context.Context, plan Plan) (Report, error) {
	plan, err := plan.complete()
	if err != nil {
		return Report{}, err
	}
	if plan.Transport == nil {
		transport := &http.Transport{MaxIdleConnsPerHost: plan.Outstanding, DisableCompression: true}
		defer transport.CloseIdleConnections()
		plan.Transport = transport
	}
	results := make(chan Result, plan.Outstanding)
	go plan.start(ctx, results)

	var all []Result
	for result := range results {
		all = append(all, result)
		if plan.Observe != nil {
			plan.Observe(result)
		}
	}
	slices.SortFunc(all, func(a, b Result) int { return cmp.Compare(a.Index, b.Index) })
	return report(plan, all), nil
}

// start starts every request at its time and closes results after the last one.
func (p Plan) start(ctx context.Context, results chan<- Result) {
	defer close(results)
	var underWay sync.WaitGroup
	defer underWay.Wait()
	places := make(chan struct{}, p.Outstanding)

	began := time.Now()
	for i := 0; p.due(i) < p.Duration; i++ {
		if !sleepUntil(ctx, began.Add(p.due(i))) {
			return
		}
		select {
		case places <- struct{}{}:
		default:
			results <- Result{Index: i, Due: p.due(i), Error: Unsent}
			continue
		}
		underWay.Go(func() {
			defer func() { <-places }()
			results <- p.send(context.WithoutCancel(ctx), i, began)
		})
	}
}

// due is when the i-th request starts, counted from the beginning.
func (p Plan) due(i int) time.Duration {
	return time.Duration(float64(i) / p.Rate * float64(time.Second))
}

// sleepUntil reports whether the time came before ctx ended.
func sleepUntil(ctx context.Context, at time.Time) bool {
	if ctx.Err() != nil {
		return false
	}
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// complete fills in what a plan leaves open and says what is wrong with it.
func (p Plan) complete() (Plan, error) {
	at, err := url.Parse(p.URL)
	switch {
	case err != nil, at.Scheme != "http" && at.Scheme != "https", at.Host == "":
		return p, errors.New("the URL needs a scheme and a host, such as http://127.0.0.1:8080")
	case !(p.Rate > 0):
		return p, errors.New("the rate must be above 0")
	case p.Duration <= 0:
		return p, errors.New("the duration must be above 0")
	case p.Outstanding < 0:
		return p, errors.New("the number of outstanding requests must be 1 or more")
	case p.Request == nil:
		return p, errors.New("no request is planned")
	}
	p.URL = strings.TrimSuffix(p.URL, "/")
	p.Timeout = cmp.Or(p.Timeout, time.Minute)
	p.Outstanding = cmp.Or(p.Outstanding, 4096)
	return p, nil
}

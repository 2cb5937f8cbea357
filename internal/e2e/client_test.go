package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"proxima/bench/load"
)

// answer is what a client got for one request.
type answer struct {
	Status int
	Header http.Header
	Body   string
	Code   string // of an error in OpenAI's shape
}

func (a answer) region() string   { return a.Header.Get("X-Proxima-Region") }
func (a answer) attempts() string { return a.Header.Get("X-Proxima-Attempts") }

// ask sends one request as a client at an address, and fails the test if no
// answer comes.
func (r *Router) ask(from, method, path, body string) answer {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, r.URL+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if from != "" {
		request.Header.Set("X-Forwarded-For", from)
	}
	response, err := single(20 * time.Second).Do(request)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	var problem struct{ Error struct{ Code string } }
	_ = json.Unmarshal(text, &problem) // not every answer is JSON
	return answer{Status: response.StatusCode, Header: response.Header, Body: string(text), Code: problem.Error.Code}
}

// chat asks a model for a few tokens.
func (r *Router) chat(from, model string) answer {
	r.t.Helper()
	return r.ask(from, http.MethodPost, "/v1/chat/completions", question(model, ""))
}

// question is the body of a chat, padded with some text.
func question(model, padding string) string {
	return fmt.Sprintf(`{"model":%q,"max_tokens":4,"messages":[{"role":"user","content":"hello %s"}]}`, model, padding)
}

// single is a HTTP client that uses each connection once, so that no request
// meets a connection that has died in the meantime.
func single(patience time.Duration) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
}

// Traffic is a load that runs while a test does something else.
type Traffic struct {
	t      *testing.T
	began  time.Time
	stop   context.CancelFunc
	ended  chan struct{} // closed when report is there
	report load.Report

	mu     sync.Mutex // guards region and inTurn
	region string     // that gave the last answers
	inTurn int        // how many in turn
}

// send starts a load on the router. It ends with Stop, or with the plan.
func (r *Router) send(plan load.Plan) *Traffic {
	ctx, stop := context.WithCancel(r.t.Context())
	f := &Traffic{t: r.t, began: time.Now(), stop: stop, ended: make(chan struct{})}
	plan.URL, plan.Observe = r.URL, f.observe
	if plan.Duration == 0 {
		plan.Duration = time.Hour
	}
	go func() {
		defer close(f.ended)
		var err error
		if f.report, err = load.Run(ctx, plan); err != nil {
			r.t.Errorf("load: %v", err)
		}
	}()
	r.t.Cleanup(func() { f.Stop() })
	return f
}

func (f *Traffic) observe(result load.Result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if result.Region != f.region {
		f.region, f.inTurn = result.Region, 0
	}
	f.inTurn++
}

// Now is the time since the load began.
func (f *Traffic) Now() time.Duration { return time.Since(f.began) }

// AwaitRegion waits until a region has given so many answers in turn.
func (f *Traffic) AwaitRegion(region string, answers int, patience time.Duration) {
	f.t.Helper()
	eventually(f.t, fmt.Sprintf("%d answers in turn come from %s", answers, region), patience, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.region == region && f.inTurn >= answers
	})
}

// Wait waits for the end of the plan.
func (f *Traffic) Wait() load.Report {
	<-f.ended
	return f.report
}

// Stop ends the load and waits for its last answers.
func (f *Traffic) Stop() load.Report {
	f.stop()
	return f.Wait()
}

// wantNoFailure fails the test for every request that a client saw fail.
func wantNoFailure(t *testing.T, what string, report load.Report) {
	t.Helper()
	if report.Failed > 0 {
		t.Errorf("%s: %d of %d requests failed: %v; the first: %+v", what, report.Failed, report.Requests, report.Errors, report.FirstFailures[0])
	}
	if report.Resent > 0 {
		t.Errorf("%s: %d requests were sent again by the client, which hides failures", what, report.Resent)
	}
}

// figures publishes what a test measured: in its log and as one line of JSON.
func figures(t *testing.T, measured map[string]any) {
	t.Helper()
	measured["test"] = t.Name()
	line, err := json.Marshal(measured)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("measured %s", line)
	fmt.Printf("%s\n", line)
}

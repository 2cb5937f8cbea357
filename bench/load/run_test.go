package load

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRequestsStartAtTheirTimeWhetherOrNotOthersWereAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := answering(func(*http.Request) (*http.Response, error) {
			time.Sleep(3 * time.Second)
			return respond(200, "ok"), nil
		})

		report := run(t, Plan{Rate: 10, Duration: time.Second, Request: get, Transport: slow})

		for i, result := range report.Results {
			if result.Due != time.Duration(i)*100*time.Millisecond || result.Lag != 0 || result.Total != 3*time.Second {
				t.Errorf("request %d: %+v", i, result)
			}
		}
		if report.Complete != 10 || report.Seconds != 3.9 {
			t.Errorf("%d complete after %v s", report.Complete, report.Seconds)
		}
	})
}

func TestLatencyCountsFromTheIntendedStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan := Plan{Rate: 1, Duration: 10 * time.Second, Request: get, Transport: answering(atOnce), Timeout: time.Minute}
		began := time.Now()
		time.Sleep(3 * time.Second) // the load generator was held up

		result := plan.send(t.Context(), 1, began)

		if result.Due != time.Second || result.Lag != 2*time.Second || result.Total != 2*time.Second {
			t.Errorf("held up by 2 s: %+v", result)
		}
	})
}

func TestARequestBeyondTheOutstandingOnesIsNotSentAndCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent atomic.Int32
		frozen := answering(func(r *http.Request) (*http.Response, error) {
			sent.Add(1)
			<-r.Context().Done()
			return nil, r.Context().Err()
		})

		report := run(t, Plan{
			Rate: 10, Duration: time.Second, Request: get, Transport: frozen, Outstanding: 4, Timeout: time.Minute,
		})

		if sent.Load() != 4 || report.Errors[Unsent] != 6 || report.Errors[TimedOut] != 4 || report.Failed != 10 {
			t.Errorf("sent %d, errors %v", sent.Load(), report.Errors)
		}
	})
}

func TestAStoppedLoadLetsItsRequestsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		slow := answering(func(r *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return respond(200, "ok"), r.Context().Err()
		})
		time.AfterFunc(450*time.Millisecond, stop)

		report, err := Run(ctx, Plan{
			URL: "http://router", Rate: 10, Duration: time.Hour, Request: get, Transport: slow,
		})

		if err != nil || report.Requests != 5 || report.Complete != 5 {
			t.Errorf("%d of %d complete, %v", report.Complete, report.Requests, err)
		}
	})
}

func TestAStreamIsCompleteOnlyWithDone(t *testing.T) {
	for name, c := range map[string]struct {
		body io.Reader
		want Class
	}{
		"done":           {strings.NewReader("data: {}\n\ndata: [DONE]\n\n"), ""},
		"ended silently": {strings.NewReader("data: {}\n\n"), Unfinished},
		"said it broke":  {strings.NewReader("data: {}\n\ndata: {\"error\":{}}\n\n"), ErrorEvent},
		"cut":            {io.MultiReader(strings.NewReader("data: {}\n\nda"), failing{io.ErrUnexpectedEOF}), Cut},
	} {
		t.Run(name, func(t *testing.T) {
			transport := answering(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(c.body)}, nil
			})

			report := run(t, Plan{Rate: 1000, Duration: time.Millisecond, Transport: transport, Request: func(int) Request {
				return Request{Method: "POST", Stream: true}
			}})

			result := report.Results[0]
			if result.Error != c.want || result.Complete != (c.want == "") || result.Bytes == 0 {
				t.Errorf("%+v", result)
			}
		})
	}
}

func TestTheFirstByteIsThatOfTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := answering(func(*http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			body := io.MultiReader(waiting{time.Second}, strings.NewReader("a"), waiting{time.Second}, strings.NewReader("b"))
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(body)}, nil
		})

		report := run(t, Plan{Rate: 1, Duration: time.Second, Request: get, Transport: transport})

		result := report.Results[0]
		if result.TTFB != 2*time.Second || result.Total != 3*time.Second || result.Bytes != 2 {
			t.Errorf("%+v", result)
		}
	})
}

func TestFailuresAreToldApart(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	abort := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	cut := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "only this")
	})
	busy := serve(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "busy", http.StatusServiceUnavailable) })
	for name, c := range map[string]struct {
		url  string
		want Class
	}{
		"nobody listens":        {gone.URL, Refused},
		"connection broken off": {abort, Closed},
		"answer broken off":     {cut, Cut},
		"status 503":            {busy, BadStatus},
	} {
		t.Run(name, func(t *testing.T) {
			report := run(t, Plan{URL: c.url, Rate: 1000, Duration: time.Millisecond, Request: get})

			if result := report.Results[0]; result.Error != c.want || result.Complete {
				t.Errorf("%+v", result)
			}
			if len(report.FirstFailures) != 1 || report.FirstFailures[0].Error != c.want {
				t.Errorf("first failures %+v", report.FirstFailures)
			}
		})
	}
}

func TestAResentRequestIsNoticed(t *testing.T) {
	var seen atomic.Int32
	url := serve(t, func(http.ResponseWriter, *http.Request) {
		if seen.Add(1) == 2 { // on a connection that is kept: net/http sends a GET again
			panic(http.ErrAbortHandler)
		}
	})

	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	plan := Plan{URL: url, Rate: 1, Request: get, Transport: transport, Timeout: time.Minute}
	var resent []bool

	for i := range 3 {
		resent = append(resent, plan.send(t.Context(), i, time.Now()).Resent)
	}

	if !slices.Equal(resent, []bool{false, true, false}) {
		t.Errorf("resent: %v", resent)
	}
}

func TestTheReportTellsRegionsSecondsAndPercentiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		numbered := func(i int) Request { return Request{Method: "GET", Path: "/?n=" + strconv.Itoa(i)} }
		failover := answering(func(r *http.Request) (*http.Response, error) {
			n, _ := strconv.Atoi(r.FormValue("n"))
			time.Sleep(time.Duration(n+1) * time.Millisecond)
			switch {
			case n < 60:
				return respond(200, "ok", "X-Proxima-Region", "texas", "X-Proxima-Attempts", "1"), nil
			case n == 60:
				return respond(502, "broken"), nil
			}
			return respond(200, "ok", "X-Simulated-Region", "tokyo"), nil
		})
		heard := 0

		report := run(t, Plan{
			Rate: 50, Duration: 2 * time.Second, Request: numbered, Transport: failover,
			Observe: func(Result) { heard++ },
		})

		if report.Complete != 99 || report.Failed != 1 || heard != 100 || report.Results[0].Attempts != 1 {
			t.Errorf("%d complete, %d failed, %d heard", report.Complete, report.Failed, heard)
		}
		if l := report.FirstByte; l.P50 != 50 || l.P90 != 90 || l.P95 != 95 || l.P99 != 99 || l.Max != 100 || l.Mean != 50.5 {
			t.Errorf("first byte %+v", l)
		}
		if r := report.Regions; len(r) != 2 || r[0] != (Region{"texas", 60, 0.001, 1.24}) || r[1].First != 1.282 {
			t.Errorf("regions %+v", r)
		}
		if s := report.EverySecond; len(s) != 2 || s[0].Regions["texas"] != 50 || s[1].Regions["tokyo"] != 39 || s[1].Failed != 1 {
			t.Errorf("seconds %+v", s)
		}
		if report.Statuses["200"] != 99 || report.Statuses["502"] != 1 {
			t.Errorf("statuses %v", report.Statuses)
		}
	})
}

func TestANonsensicalPlanIsRefused(t *testing.T) {
	good := Plan{URL: "http://router", Rate: 1, Duration: time.Second, Request: get}
	for name, spoil := range map[string]func(*Plan){
		"no scheme":            func(p *Plan) { p.URL = "router:80" },
		"no host":              func(p *Plan) { p.URL = "http://" },
		"no rate":              func(p *Plan) { p.Rate = 0 },
		"no time":              func(p *Plan) { p.Duration = 0 },
		"no request":           func(p *Plan) { p.Request = nil },
		"negative outstanding": func(p *Plan) { p.Outstanding = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			plan := good
			spoil(&plan)

			if _, err := Run(t.Context(), plan); err == nil {
				t.Error("it ran")
			}
		})
	}
}

func TestAMixKeepsItsShares(t *testing.T) {
	mix := Mix{
		Posts: 0.5, Streams: 0.25, Model: "llama-3-8b", Tokens: 7, BodyBytes: 1024,
		ForwardedFor: []string{"192.0.2.1", "198.51.100.1"},
	}
	posts, streams, froms := 0, 0, map[string]int{}
	for i := range 1000 {
		request := mix.Request(i)
		if request.Method == "GET" {
			continue
		}
		posts++
		froms[request.Header.Get("X-Forwarded-For")]++
		if request.Stream {
			streams++
		}
		var chat struct {
			Model     string
			MaxTokens int `json:"max_tokens"`
			Stream    bool
		}
		if err := json.Unmarshal(request.Body, &chat); err != nil {
			t.Fatal(err)
		}
		if len(request.Body) != 1024 || chat.Model != "llama-3-8b" || chat.MaxTokens != 7 || chat.Stream != request.Stream {
			t.Fatalf("request %d: %s", i, request.Body)
		}
	}
	if posts != 500 || streams != 125 {
		t.Errorf("%d chats, %d of them streamed", posts, streams)
	}
	if froms["192.0.2.1"] < 200 || froms["198.51.100.1"] < 200 {
		t.Errorf("the chats come from %v", froms)
	}
}

// run sends a plan that must be well formed.
func run(t *testing.T, plan Plan) Report {
	if plan.URL == "" {
		plan.URL = "http://router"
	}
	report, err := Run(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func get(int) Request { return Request{Method: "GET", Path: "/"} }

// answering is a network of one function.
type answering func(*http.Request) (*http.Response, error)

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) { return a(r) }

func atOnce(*http.Request) (*http.Response, error) { return respond(200, "ok"), nil }

func respond(status int, body string, headers ...string) *http.Response {
	response := httptest.NewRecorder()
	for i := 0; i < len(headers); i += 2 {
		response.Header().Set(headers[i], headers[i+1])
	}
	response.WriteHeader(status)
	io.WriteString(response, body)
	return response.Result()
}

func serve(t *testing.T, handler http.HandlerFunc) (url string) {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// failing is a body that breaks.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// waiting is a pause in a body.
type waiting struct{ d time.Duration }

func (w waiting) Read([]byte) (int, error) {
	time.Sleep(w.d)
	return 0, io.EOF
}

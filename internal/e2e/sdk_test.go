package e2e

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"proxima/internal/modelserver"
)

// These tests are about what applications see that use the official clients of OpenAI
// and Anthropic for Node. testdata/sdk is such an application. Its package.json names
// the newest openai that still runs on Node 18, which is what Debian 12 has.

// twoRegions is a world in which every request goes to europe-west1 first, whatever
// has gone wrong there before.
func twoRegions(t *testing.T) (world *World, europe, us *Region) {
	world = newWorld(t, modelserver.Settings{Models: []string{"llama-3-8b"}, FirstToken: 50 * time.Millisecond, PerToken: 5 * time.Millisecond},
		"europe-west1", "us-east1")
	europe, us = world.Region("europe-west1"), world.Region("us-east1")
	us.Bias = 5 * time.Second
	return world, europe, us
}

// goingOn has streams resumed. Nothing but the requests of a test finds out what is
// wrong, and all of them may be sent again.
const goingOn = `
health: {interval: 1h, passive: {trip_after: 0}}
failover: {resume: true, stall_timeout: 1s, retry_budget: {floor: 1000}}
`

// breakingOff is the same without resume.
var breakingOff = strings.Replace(goingOn, "resume: true", "resume: false", 1)

// chatStreamed asks for 64 tokens, streamed and with usage.
const chatStreamed = `{"model": "llama-3-8b", "stream": true, "stream_options": {"include_usage": true}, "min_tokens": 64, "max_tokens": 64,
	"messages": [{"role": "user", "content": "tell me a story"}]}`

// textStreamed is the same as a plain completion.
const textStreamed = `{"model": "llama-3-8b", "stream": true, "stream_options": {"include_usage": true}, "min_tokens": 64, "max_tokens": 64,
	"prompt": "it was a dark night"}`

// chatWhole asks for them at once.
const chatWhole = `{"model": "llama-3-8b", "min_tokens": 64, "max_tokens": 64, "messages": [{"role": "user", "content": "tell me a story"}]}`

func TestTheOpenAIClientNoticesNoFailover(t *testing.T) {
	world, europe, us := twoRegions(t)
	app := newApp(t)
	router := serve(t, world.Config(breakingOff))

	for _, asked := range []struct {
		name, request string
		faults        []string // of europe-west1
	}{
		{"stream", chatStreamed, []string{"none", killed, "reset", "status=503", "busy=429", "error-first", "cut-after=0"}},
		{"whole", chatWhole, []string{"none", killed, "reset", "status=503", "busy=429", "cut-after=0"}},
	} {
		want := app.ask(us.url(), "chat", asked.request)
		want.mustBeWhole(t)
		for _, fault := range asked.faults {
			t.Run(asked.name+" "+fault, func(t *testing.T) {
				before := us.Stats().Executions

				got := breakBefore(t, europe, fault, func() <-chan sight {
					return app.begin(router.URL, "chat", asked.request)
				})

				got.mustEqual(t, want)
				if moved := us.Stats().Executions > before; moved != (fault != "none") {
					t.Errorf("us-east1 served it: %t", moved)
				}
			})
		}
	}
}

// killed is not a fault of the model server's: its process is.
const killed = "killed"

// breakBefore asks while a fault in the region that takes the request keeps it from
// giving a token.
func breakBefore(t *testing.T, r *Region, fault string, begin func() <-chan sight) sight {
	if fault != killed {
		r.Break(fault)
		defer r.Revive()
		return <-begin()
	}
	r.Break("slow-first=1m")
	before := r.Stats().InFlight
	answer := begin()
	eventually(t, r.Name+" has the request", 20*time.Second, func() bool { return r.Stats().InFlight > before })
	r.Kill()
	defer r.Start()
	return <-answer
}

// midway are faults of a stream that has begun, with the code of the error that they
// end it with.
var midway = []struct{ fault, code string }{
	{killed, "stream_cut"},
	{"cut-after=7", "stream_cut"},
	{"reset-after=7", "stream_cut"},
	{"bad-chunk-after=7", "stream_cut"},
	{"eof-after=7", "stream_cut"},
	{"stall-after=7", "stream_stalled"},
	{"error-after=7", "simulated_fault"}, // the endpoint's own
}

// breakMidway asks while a fault happens in a region that takes the request.
func breakMidway(t *testing.T, r *Region, fault string, begin func() <-chan sight) sight {
	if fault != killed {
		r.Break(fault)
		defer r.Revive()
		return <-begin()
	}
	r.Break("slow-tokens=50ms") // so that it can be killed in time
	before := r.Stats().Tokens
	answer := begin()
	eventually(t, r.Name+" has sent 7 tokens", 20*time.Second, func() bool { return r.Stats().Tokens >= before+7 })
	r.Kill()
	defer r.Start()
	return <-answer
}

func TestTheOpenAIClientNoticesNoResume(t *testing.T) {
	world, europe, us := twoRegions(t)
	app := newApp(t)
	router := serve(t, world.Config(goingOn))

	for call, request := range map[string]string{"chat": chatStreamed, "completion": textStreamed} {
		want := app.ask(us.url(), call, request)
		want.mustBeWhole(t)
		for _, one := range midway {
			t.Run(call+" "+one.fault, func(t *testing.T) {
				before := us.Stats().Resumed

				got := breakMidway(t, europe, one.fault, func() <-chan sight {
					return app.begin(router.URL, call, request)
				})

				got.mustEqual(t, want)
				if resumed := us.Stats().Resumed - before; resumed != 1 {
					t.Errorf("us-east1 resumed %d streams", resumed)
				}
			})
		}
	}
}

func TestTheOpenAIClientThrowsWhenAStreamIsCut(t *testing.T) {
	world, europe, us := twoRegions(t)
	app := newApp(t)
	router := serve(t, world.Config(breakingOff))
	want := app.ask(us.url(), "chat", chatStreamed)
	want.mustBeWhole(t)

	for _, one := range midway {
		t.Run(one.fault, func(t *testing.T) {
			got := breakMidway(t, europe, one.fault, func() <-chan sight {
				return app.begin(router.URL, "chat", chatStreamed)
			})

			got.mustHaveThrown(t, "APIError", one.code, "server_error")
			if got.Text == "" || !strings.HasPrefix(want.Text, got.Text) || len(got.Finish) > 0 {
				t.Errorf("before that it got %+v, want part of %q", got, want.Text)
			}
		})
	}
}

// Of an answer that is no stream nothing is left to tell what went wrong in, so that
// the client meets the end of its connection.
func TestTheOpenAIClientThrowsWhenAWholeAnswerIsCut(t *testing.T) {
	world, europe, _ := twoRegions(t)
	app := newApp(t)
	router := serve(t, world.Config(breakingOff))

	europe.Break("cut-after=7")

	got := app.ask(router.URL, "chat", chatWhole)

	got.mustHaveThrown(t, "TypeError", "", "")
	if got.Text != "" || got.Error.Message != "terminated" {
		t.Errorf("it got %q and threw %+v", got.Text, got.Error)
	}
}

func TestTheOpenAIClientThrowsWhatTheRouterAnswers(t *testing.T) {
	everywhere := func(fault string) func(*testing.T, *World, *Router) {
		return func(_ *testing.T, w *World, _ *Router) {
			for _, r := range w.Regions {
				r.Break(fault)
			}
		}
	}
	for _, c := range []struct {
		name            string
		arrange         func(*testing.T, *World, *Router)
		patience, model string
		kind, code, typ string
	}{
		{"a header it cannot read", everywhere("none"), "soon", "llama-3-8b", "BadRequestError", "invalid_timeout", "invalid_request_error"},
		{"an unknown model", everywhere("none"), "20", "llama-3-9b", "NotFoundError", "model_not_found", "invalid_request_error"},
		{"full", fill, "20", "llama-3-8b", "RateLimitError", "full", "rate_limit_error"},
		{"busy", everywhere("busy=429,retry=2s"), "20", "llama-3-8b", "RateLimitError", "simulated_fault", "rate_limit_error"},
		{"down", everywhere("down"), "20", "llama-3-8b", "InternalServerError", "endpoint_broke", "server_error"},
		{"gone", goAway, "20", "llama-3-8b", "InternalServerError", "no_endpoint_available", "server_error"},
		{"too late", everywhere("slow-first=1m"), "0.3", "llama-3-8b", "InternalServerError", "deadline_exceeded", "server_error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			world, europe, us := twoRegions(t)
			europe.Models, us.Models = "llama-3-8b", "llama-3-8b"
			router := serve(t, strings.ReplaceAll(world.Config(breakingOff, "admission: {queue: 0}"), "capacity: 4096", "max_in_flight: 1"))
			app := newApp(t)
			app.headers["X-Request-Timeout"] = c.patience
			c.arrange(t, world, router)

			got := app.ask(router.URL, "chat", strings.Replace(chatStreamed, "llama-3-8b", c.model, 1))

			got.mustHaveThrown(t, c.kind, c.code, c.typ)
		})
	}
}

func goAway(_ *testing.T, w *World, _ *Router) {
	for _, r := range w.Regions {
		r.Kill()
	}
}

// fill has every region answer somebody else until the test ends.
func fill(t *testing.T, w *World, router *Router) {
	for _, r := range w.Regions {
		r.Break("slow-first=1m")
		go occupy(t.Context(), router.URL)
	}
	eventually(t, "every region is full", 10*time.Second, func() bool { return router.inFlight() == len(w.Regions) })
}

// occupy asks for a story, and waits for it until ctx ends.
func occupy(ctx context.Context, url string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/chat/completions", strings.NewReader(chatStreamed))
	if err != nil {
		return
	}
	if response, err := single(time.Minute).Do(request); err == nil {
		response.Body.Close()
	}
}

func TestTheOpenAIClientListsModels(t *testing.T) {
	world, europe, us := twoRegions(t)
	europe.Models, us.Models = "llama-3-8b", "qwen-2.5-7b"
	app := newApp(t)
	router := serve(t, world.Config(goingOn))

	got := app.ask(router.URL, "models", `{}`)

	if got.Error != nil || !slices.Equal(got.IDs, []string{"llama-3-8b", "qwen-2.5-7b"}) {
		t.Errorf("it got %+v", got)
	}
}

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

// resuming lets nothing but the requests of a test find out what is wrong, and lets
// all of them be sent again.
const goingOn = `
health: {interval: 1h, passive: {trip_after: 0}}
failover: {resume: true, stall_timeout: 500ms, retry_budget: {floor: 1000}}
`

// breaking is the same without resume.
var breakingOff = strings.Replace(goingOn, "resume: true", "resume: false", 1)

// story is a request for 64 tokens, streamed and with usage.
const chatStreamed = `{"model": "llama-3-8b", "stream": true, "stream_options": {"include_usage": true}, "min_tokens": 64, "max_tokens": 64,
	"messages": [{"role": "user", "content": "tell me a story"}]}`

// plot is the same as a plain completion.
const textStreamed = `{"model": "llama-3-8b", "stream": true, "stream_options": {"include_usage": true}, "min_tokens": 64, "max_tokens": 64,
	"prompt": "it was a dark night"}`

// whole is the same at once.
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

				got := app.breakBefore(europe, fault, router.URL, "chat", asked.request)

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
func (a *app) breakBefore(r *Region, fault, url, call, request string) sight {
	if fault != killed {
		r.Break(fault)
		defer r.Revive()
		return a.ask(url, call, request)
	}
	r.Break("slow-first=1m")
	before := r.Stats().InFlight
	answer := a.begin(url, call, request)
	eventually(a.t, r.Name+" has the request", 20*time.Second, func() bool { return r.Stats().InFlight > before })
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
func (a *app) breakMidway(r *Region, fault, url, call, request string) sight {
	if fault != killed {
		r.Break(fault)
		defer r.Revive()
		return a.ask(url, call, request)
	}
	before := r.Stats().Tokens
	answer := a.begin(url, call, request)
	eventually(a.t, r.Name+" has sent 7 tokens", 20*time.Second, func() bool { return r.Stats().Tokens >= before+7 })
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

				got := app.breakMidway(europe, one.fault, router.URL, call, request)

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
			got := app.breakMidway(europe, one.fault, router.URL, "chat", chatStreamed)

			got.mustHaveThrown(t, "APIError", one.code, "server_error")
			if got.Text == "" || !strings.HasPrefix(want.Text, got.Text) || len(got.Finish) > 0 {
				t.Errorf("before that it got %+v, want part of %q", got, want.Text)
			}
		})
	}
	t.Run("whole", func(t *testing.T) {
		got := app.breakMidway(europe, "cut-after=7", router.URL, "chat", chatWhole)
		t.Logf("%+v %+v", got, got.Error)
	})
}

func TestTheOpenAIClientThrowsWhatWentWrong(t *testing.T) {
	world, europe, us := twoRegions(t)
	europe.Models, us.Models = "llama-3-8b", "llama-3-8b"
	app := newApp(t)
	router := serve(t, strings.ReplaceAll(world.Config(breakingOff, "admission: {queue: 0}"), "capacity: 4096", "max_in_flight: 1"))
	late := app.with("X-Request-Timeout", "300ms")
	never := app.with("X-Request-Timeout", "soon")

	never.ask(router.URL, "chat", chatStreamed).mustHaveThrown(t, "BadRequestError", "invalid_timeout", "invalid_request_error")
	app.ask(router.URL, "chat", strings.Replace(chatStreamed, "llama", "lama", 1)).
		mustHaveThrown(t, "NotFoundError", "model_not_found", "invalid_request_error")

	for _, region := range world.Regions {
		region.Break("slow-first=1m")
	}
	late.ask(router.URL, "chat", chatStreamed).mustHaveThrown(t, "InternalServerError", "deadline_exceeded", "server_error")

	occupied, leave := context.WithCancel(t.Context())
	defer leave()
	for range world.Regions {
		go occupy(occupied, router.URL)
	}
	eventually(t, "every region is full", 10*time.Second, func() bool { return router.inFlight() == len(world.Regions) })
	app.ask(router.URL, "chat", chatStreamed).mustHaveThrown(t, "RateLimitError", "full", "rate_limit_error")
	leave()
	eventually(t, "every region is free", 10*time.Second, func() bool { return router.inFlight() == 0 })

	for _, region := range world.Regions {
		region.Break("busy=429,retry=2s")
	}
	app.ask(router.URL, "chat", chatStreamed).mustHaveThrown(t, "RateLimitError", "simulated_fault", "rate_limit_error")

	for _, region := range world.Regions {
		region.Kill()
	}
	app.ask(router.URL, "chat", chatStreamed).mustHaveThrown(t, "InternalServerError", "no_endpoint_available", "server_error")
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

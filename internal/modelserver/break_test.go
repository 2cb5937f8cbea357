package modelserver

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const streamed = `,"stream":true`

func TestAResetIsATCPReset(t *testing.T) {
	server := New(Settings{})
	client := startOnLoopback(t, server)
	server.Break(Fault{Mode: Reset})

	_, post := client.http.Post("http://region/v1/completions", "", strings.NewReader(`{"model":"m","prompt":"a"}`))
	_, probe := client.http.Get("http://region/health")

	if !errors.Is(post, syscall.ECONNRESET) || !errors.Is(probe, syscall.ECONNRESET) {
		t.Errorf("the request ended with %v, the probe with %v", post, probe)
	}
	server.Mend()
	if said := client.chat(hello, ""); said.text == "" {
		t.Errorf("mended, it says %+v", said)
	}
}

func TestAnAnswerIsResetAfterItsTokens(t *testing.T) {
	server := New(Settings{})
	client := startOnLoopback(t, server)
	alone := client.chat(hello, streamed)
	server.Break(Fault{Mode: ResetAfter, Tokens: 3})

	said := client.chat(hello, streamed)
	document := client.chat(hello, "")

	if !slices.Equal(said.tokens, alone.tokens[:3]) || !errors.Is(said.err, syscall.ECONNRESET) {
		t.Errorf("streamed %+v", said)
	}
	if !errors.Is(document.err, syscall.ECONNRESET) {
		t.Errorf("the document ended with %v", document.err)
	}
}

func TestABadChunkSizeComesAfterTheTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{})
		client := start(t, server)
		server.Break(Fault{Mode: BadChunkAfter, Tokens: 3})

		said := client.chat(hello, streamed)

		if len(said.tokens) != 3 || said.err == nil || !strings.Contains(said.err.Error(), "chunk") {
			t.Errorf("%+v", said)
		}
	})
}

func TestAStreamEndsAsIfThatWereAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{})
		client := start(t, server)
		server.Break(Fault{Mode: EOFAfter, Tokens: 3})

		said := client.chat(hello, streamed)

		if len(said.tokens) != 3 || said.err != nil || said.done || said.finish != "" {
			t.Errorf("%+v", said)
		}
	})
}

func TestAStreamIsAnErrorFromItsFirstEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{Region: "texas"})
		client := start(t, server)
		server.Break(Fault{Mode: ErrorFirst})

		response := client.post("/v1/chat/completions", ask(hello, streamed))
		said := client.hear(response)

		if response.StatusCode != 200 || said.events != 1 || said.failed == "" || !said.done || said.err != nil {
			t.Errorf("%s, %+v", response.Status, said)
		}
	})
}

func TestAStreamEndsWithAnErrorAfterItsTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{})
		client := start(t, server)
		server.Break(Fault{Mode: ErrorAfter, Tokens: 3})

		said := client.chat(hello, streamed)

		if len(said.tokens) != 3 || said.failed == "" || !said.done || said.err != nil || said.finish != "" {
			t.Errorf("%+v", said)
		}
	})
}

func TestFaultsOfStreamsSpareWholeAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{})
		client := start(t, server)

		for _, mode := range []Mode{BadChunkAfter, EOFAfter, ErrorFirst, ErrorAfter, Drip, HeadFirst} {
			server.Break(Fault{Mode: mode})
			if said := client.chat(hello, ""); said.err != nil || said.finish != "stop" {
				t.Errorf("%s: %+v", mode, said)
			}
		}
	})
}

func TestAWedgedServerIsWellButSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{PerToken: time.Second, Models: []string{"llama-3-8b"}})
		client := start(t, server)
		said := make(chan told, 3)
		go func() { said <- client.chat(hello, streamed) }()
		time.Sleep(3500 * time.Millisecond)
		server.Break(Fault{Mode: Wedged})
		go func() { said <- client.chat(hello, streamed) }()
		go func() { said <- client.chat(hello, "") }()
		time.Sleep(time.Hour)

		probe, models, stats := client.get("/health"), client.get("/v1/models"), server.Stats()

		probe.Body.Close()
		models.Body.Close()
		if probe.StatusCode != 200 || models.StatusCode != 200 {
			t.Errorf("probe %s, models %s", probe.Status, models.Status)
		}
		if stats.Tokens != 4 || stats.InFlight != 3 || len(said) != 0 {
			t.Errorf("after an hour: %+v", stats)
		}
		server.Mend()
		for range 3 {
			if s := <-said; s.finish != "stop" || s.err != nil {
				t.Errorf("mended: %+v", s)
			}
		}
	})
}

func TestFaultsOfPaceTakeTheirTime(t *testing.T) {
	for _, c := range []struct {
		fault             Fault
		head, end, health time.Duration
	}{
		{Fault{Mode: SlowFirst, Delay: time.Second}, time.Second, 1200 * time.Millisecond, 0},
		{Fault{Mode: HeadFirst, Delay: time.Second}, 0, 1200 * time.Millisecond, 0},
		{Fault{Mode: SlowTokens, Delay: time.Second}, 0, 2 * time.Second, 0},
		{Fault{Mode: Slow, Delay: time.Second}, time.Second, 1200 * time.Millisecond, time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			server := New(Settings{PerToken: 100 * time.Millisecond})
			client := start(t, server)
			server.Break(c.fault)
			began := time.Now()

			response := client.post("/v1/chat/completions", ask(hello, `,"max_tokens":3,"stream":true`))
			head := time.Since(began)
			client.hear(response)
			end := time.Since(began)
			client.get("/health").Body.Close()
			health := time.Since(began) - end

			if head != c.head || end != c.end || health != c.health {
				t.Errorf("%v: head after %v, end after %v; health took %v", c.fault, head, end, health)
			}
		})
	}
}

func TestADrippingStreamTakesItsTimeForEveryByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{})
		client := start(t, server)
		bytes := len(body(t, client.post("/v1/chat/completions", ask(hello, streamed))))
		server.Break(Fault{Mode: Drip, Delay: time.Millisecond})
		began := time.Now()

		said := client.chat(hello, streamed)

		if took := time.Since(began); took != time.Duration(bytes)*time.Millisecond || !said.done {
			t.Errorf("%d bytes took %v: %+v", bytes, took, said)
		}
	})
}

func TestABusyServerRefusesTextOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{})
		client := start(t, server)

		for text, want := range map[string]struct {
			status     int
			retryAfter string
		}{
			"busy=429": {429, ""}, "busy=429,retry=2s": {429, "2"}, "busy=529": {529, ""}, "busy=503,retry=1m0s": {503, "60"},
		} {
			fault, err := ParseFault(text)
			server.Break(fault)
			response, probe := client.post("/v1/chat/completions", ask(hello, "")), client.get("/health")
			response.Body.Close()
			probe.Body.Close()
			if err != nil || response.StatusCode != want.status || response.Header.Get("Retry-After") != want.retryAfter {
				t.Errorf("%s: %v %s %v", text, err, response.Status, response.Header)
			}
			if probe.StatusCode != 200 {
				t.Errorf("%s: the probe got %s", text, probe.Status)
			}
		}
	})
}

const poisoned = `[{"role":"user","content":"here is POISON for you"}]`

func TestPoisonMakesOnlyItsOwnRequestFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{})
		client := start(t, server)
		server.Break(Fault{Mode: Poison, Status: 503})

		bad := client.post("/v1/chat/completions", ask(poisoned, ""))
		prompt := client.post("/v1/completions", `{"model":"m","prompt":"POISON"}`)
		good := client.chat(hello, `,"user":"POISON"`)

		bad.Body.Close()
		prompt.Body.Close()
		if bad.StatusCode != 503 || prompt.StatusCode != 503 || good.finish != "stop" {
			t.Errorf("%s, %s, %+v", bad.Status, prompt.Status, good)
		}
	})
}

func TestPoisonCrashesTheServerAndItRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{PerToken: time.Second})
		client := start(t, server)
		other := make(chan told, 1)
		go func() { other <- client.chat(hello, streamed) }()
		time.Sleep(2500 * time.Millisecond)
		server.Break(Fault{Mode: Poison})
		if said := client.chat(hello, `,"max_tokens":1`); said.finish == "" {
			t.Errorf("before the poison: %+v", said)
		}

		_, err := client.http.Do(client.request(t.Context(), "POST", "/v1/chat/completions", ask(poisoned, "")))

		if err == nil {
			t.Error("the poisoned request was answered")
		}
		if said := <-other; said.err == nil || len(said.tokens) != 3 {
			t.Errorf("the stream under way: %+v", said)
		}
		time.Sleep(restart - time.Nanosecond)
		if _, err := client.http.Get("http://region/health"); err == nil {
			t.Error("a probe was answered before the restart")
		}
		time.Sleep(time.Nanosecond)
		if text := body(t, client.get("/health")); text != "ok\n" {
			t.Errorf("restarted, it says %q", text)
		}
		if fault := server.Fault(); fault.Mode != Poison {
			t.Errorf("the crash left the fault %v", fault)
		}
	})
}

// startOnLoopback serves on a real network until the test ends.
func startOnLoopback(t *testing.T, server *Server) client {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, server, listener)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", listener.Addr().String())
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return client{t, &http.Client{Transport: transport}}
}

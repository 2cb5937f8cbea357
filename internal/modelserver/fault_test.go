package modelserver

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestDownBreaksEveryConnectionRunningAndWaitingOnesToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{PerToken: time.Second, Slots: 1})
		client := start(t, server)
		streamed, waited := make(chan told, 1), make(chan error, 1)
		go func() { streamed <- client.chat(hello, `,"stream":true`) }()
		time.Sleep(3500 * time.Millisecond)
		go func() {
			_, err := client.http.Do(client.request(t.Context(), "POST", "/v1/chat/completions", ask(hello, "")))
			waited <- err
		}()
		synctest.Wait()

		server.Break(Fault{Mode: Down})

		if said := <-streamed; said.err == nil || said.done {
			t.Errorf("the stream ended as if complete: %+v", said)
		}
		if err := <-waited; err == nil {
			t.Error("the request that waited for a slot was answered")
		}
		if _, err := client.http.Get("http://region/health"); err == nil {
			t.Error("a probe was answered")
		}
		server.Mend()
		if text := body(t, client.get("/health")); text != "ok\n" {
			t.Errorf("mended, it says %q", text)
		}
	})
}

func TestAFrozenRegionAnswersOnlyAfterItThaws(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{})
		client := start(t, server)
		server.Break(Fault{Mode: Freeze})
		said := make(chan told, 1)
		began := time.Now()
		go func() { said <- client.chat(hello, "") }()
		time.Sleep(time.Minute)

		server.Mend()

		if s := <-said; s.text == "" || time.Since(began) != time.Minute {
			t.Errorf("after %v: %+v", time.Since(began), s)
		}
	})
}

func TestALeavingClientIsNoticedByAFrozenRegion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{})
		client := start(t, server)
		server.Break(Fault{Mode: Freeze})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()

		_, err := client.http.Do(client.request(ctx, "POST", "/v1/completions", `{"model":"m","prompt":"a"}`))
		synctest.Wait()

		if stats := server.Stats(); err == nil || stats.Cancelled != 1 || stats.InFlight != 0 {
			t.Errorf("error %v, stats %+v", err, stats)
		}
	})
}

func TestAStatusIsAnsweredOnEveryPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{})
		client := start(t, server)
		server.Break(Fault{Mode: Status, Status: 503})

		for _, path := range []string{"/", "/health", "/v1/models", "/elsewhere"} {
			if response := client.get(path); response.StatusCode != 503 {
				t.Errorf("GET %s answered %s", path, response.Status)
			}
		}
	})
}

func TestAHealthFaultLeavesTheOtherPathsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{})
		client := start(t, server)
		server.Break(Fault{Mode: Status, Status: 503, HealthOnly: true})

		probe, said := client.get("/health"), client.chat(hello, "")

		if probe.StatusCode != 503 || said.text == "" {
			t.Errorf("probe %s, answer %+v", probe.Status, said)
		}
	})
}

func TestSlowDelaysEveryAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{FirstToken: time.Second})
		client := start(t, server)
		server.Break(Fault{Mode: Slow, Delay: 300 * time.Millisecond})
		began := time.Now()

		client.chat(hello, "")
		client.get("/health").Body.Close()

		if took := time.Since(began); took != 1600*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestACutAnswerEndsAfterItsTokensAndNeverCleanly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{})
		client := start(t, server)
		whole := client.chat(hello, `,"max_tokens":5`)
		server.Break(Fault{Mode: CutAfter, Tokens: 5})

		streamed := client.chat(hello, `,"stream":true`)
		document := client.chat(hello, "")

		if streamed.text != whole.text || streamed.done || streamed.err == nil {
			t.Errorf("streamed %+v, want 5 tokens and an error", streamed)
		}
		if document.err == nil {
			t.Error("the document came whole")
		}
	})
}

func TestAStalledAnswerGoesOnWhenMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{})
		client := start(t, server)
		server.Break(Fault{Mode: StallAfter, Tokens: 2})
		streamed, document := make(chan told, 1), make(chan told, 1)
		began := time.Now()
		go func() { streamed <- client.chat(hello, `,"stream":true`) }()
		go func() { document <- client.chat(hello, "") }()
		time.Sleep(time.Hour)

		server.Mend()

		one, two := <-streamed, <-document
		if one.text == "" || one.text != two.text || !one.done || time.Since(began) != time.Hour {
			t.Errorf("after %v: %+v and %+v", time.Since(began), one, two)
		}
	})
}

func TestAnErrorRateFailsThatShareOfTheRequestsAndNoProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{})
		client := start(t, server)
		server.Break(Fault{Mode: ErrorRate, Rate: 0.3})
		failed := map[string]int{}

		for range 1000 {
			for _, path := range []string{"/", "/health"} {
				response := client.get(path)
				response.Body.Close()
				if response.StatusCode == 500 {
					failed[path]++
				}
			}
		}

		if failed["/"] < 270 || failed["/"] > 330 || failed["/health"] != 0 {
			t.Errorf("of 1000 each failed %v", failed)
		}
	})
}

func TestFaultsAreSwitchedOverHTTPOnlyWhenAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := New(Settings{Faults: true})
		client, closed := start(t, open), start(t, New(Settings{}))
		var stats Stats

		decode(t, client.post("/sim/fault?mode=down", ""), &stats)
		refused := closed.post("/sim/fault?mode=down", "")
		wrong := client.post("/sim/fault?mode=tired", "")

		if stats.Fault != "down" || open.Fault().Mode != Down {
			t.Errorf("switched to %q", stats.Fault)
		}
		if refused.StatusCode != 404 || wrong.StatusCode != 400 {
			t.Errorf("not allowed: %s; no such fault: %s", refused.Status, wrong.Status)
		}
		decode(t, client.get("/sim/stats"), &stats)
		if stats.Received != 0 {
			t.Errorf("switching counts as requests: %+v", stats)
		}
	})
}

func TestAFaultReadsAsItIsWritten(t *testing.T) {
	for _, text := range []string{
		"none", "down", "freeze", "status=503", "slow=300ms", "cut-after=3", "stall-after=0", "error-rate=0.3",
		"health=503", "health=freeze", "reset", "reset-after=3", "bad-chunk-after=3", "eof-after=3", "error-first",
		"error-after=3", "wedged", "slow-first=2s", "head-first=2s", "slow-tokens=50ms", "drip=5ms", "busy=429",
		"busy=529,retry=2s", "poison=503", "poison=crash",
	} {
		fault, err := ParseFault(text)
		if err != nil || fault.String() != text {
			t.Errorf("%q reads as %q, %v", text, fault, err)
		}
	}
}

func TestAFaultThatThereIsNotIsAnsweredWithAllThatThereAre(t *testing.T) {
	_, err := ParseFault("tired")

	for _, mode := range []Mode{
		None, Down, Reset, Freeze, Wedged, Status, Busy, Poison, ErrorRate, Slow, SlowFirst, HeadFirst, SlowTokens, Drip,
		CutAfter, ResetAfter, StallAfter, BadChunkAfter, EOFAfter, ErrorFirst, ErrorAfter,
	} {
		if !strings.Contains(err.Error(), string(mode)) {
			t.Errorf("%s is not told of in %v", mode, err)
		}
	}
}

func FuzzAFaultThatReadsIsWrittenSo(f *testing.F) {
	for _, text := range []string{"none", "busy=429,retry=2s", "poison=crash", "health=freeze", "error-rate=0.3", "drip=1h2m3s"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		fault, err := ParseFault(text)
		if err != nil {
			t.Skip()
		}

		again, err := ParseFault(fault.String())

		if err != nil || again != fault {
			t.Errorf("%q reads as %+v, which is written %q and reads as %+v, %v", text, fault, fault, again, err)
		}
	})
}

func TestANonsensicalFaultIsRefused(t *testing.T) {
	for _, text := range []string{
		"", "tired", "down=1", "status", "status=99", "slow=300", "slow=-1s", "cut-after=-1", "stall-after=x",
		"error-rate=2", "error-rate=NaN", "health", "health=down", "reset=1",
		"reset-after", "busy", "busy=99", "busy=429,retry=0s", "busy=429,retry=1500ms", "busy=429,2s", "busy=429,",
		"poison", "poison=x", "drip", "slow-tokens=5",
	} {
		if fault, err := ParseFault(text); err == nil {
			t.Errorf("%q reads as %v", text, fault)
		}
	}
}

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"proxima/configs"
	"proxima/geo"
	"proxima/router"
)

// sheets is where a log goes: each write is one.
type sheets struct {
	mu      sync.Mutex
	written []string
	broken  error
}

func (s *sheets) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return 0, s.broken
	}
	s.written = append(s.written, string(p))
	return len(p), nil
}

// take returns what was written since it was last called.
func (s *sheets) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.written
	s.written = nil
	return taken
}

// bothWays is a log in plain words and its way in for requests.
func bothWays(to *sheets) (*zap.Logger, *accessLog) {
	log, _ := newLog(to, configs.Log{Level: "info", Format: "json"})
	return log, newAccessLog(log)
}

func words(line string) string {
	_, rest, _ := strings.Cut(line, `"msg":"`)
	word, rest, _ := strings.Cut(rest, `"`)
	if _, id, has := strings.Cut(rest, `"id":"`); has {
		id, _, _ = strings.Cut(id, `"`)
		return word + " " + id
	}
	return word
}

func sheetInWords(sheet string) string {
	var all []string
	for line := range strings.Lines(sheet) {
		all = append(all, words(line))
	}
	return strings.Join(all, ", ")
}

func TestAThousandLinesCostFewSystemCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out sheets
		log, access := bothWays(&out)
		for i := range 1000 {
			r := madeRecord(fmt.Sprint(i))
			access.tell(&r)
		}
		if err := log.Sync(); err != nil {
			t.Fatal(err)
		}
		next, written := 0, out.take()
		for _, sheet := range written {
			if len(sheet) > batchBytes || !strings.HasSuffix(sheet, "\n") {
				t.Errorf("a write of %d bytes ends with %q", len(sheet), sheet[len(sheet)-10:])
			}
			for line := range strings.Lines(sheet) {
				if want := fmt.Sprint("request ", next); words(line) != want {
					t.Fatalf("line %q, want %q", words(line), want)
				}
				next++
			}
		}
		if next != 1000 || len(written) > 25 {
			t.Errorf("%d lines in %d writes", next, len(written))
		}
	})
}

func TestALineWaitsForAMomentAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out sheets
		_, access := bothWays(&out)
		for _, id := range []string{"first", "second"} { // the second waits as the first did
			r := madeRecord(id)
			access.tell(&r)
			time.Sleep(batchWait - time.Nanosecond)
			synctest.Wait()
			if early := out.take(); len(early) > 0 {
				t.Errorf("%s was written at once: %q", id, early)
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if got := out.take(); len(got) != 1 || sheetInWords(got[0]) != "request "+id {
				t.Errorf("after %v there is %q", batchWait, got)
			}
		}
	})
}

func TestAnEventGoesOutAtOnceBehindTheLinesBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out sheets
		log, access := bothWays(&out)
		one, two := madeRecord("1"), madeRecord("2")
		log.Info("listening")
		access.tell(&one)
		access.tell(&two)
		log.Warn("endpoint ejected")
		log.With(zap.String("hash", "abc")).Info("reloaded")
		want := []string{"listening", "request 1, request 2, endpoint ejected", "reloaded"}
		var got []string
		for _, sheet := range out.take() {
			got = append(got, sheetInWords(sheet))
		}
		if !slices.Equal(got, want) {
			t.Errorf("written is %q, want %q", got, want)
		}
	})
}

func TestWhatIsAddedToALogIsInTheLinesOfRequestsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out sheets
		log, _ := bothWays(&out)
		router := log.With(zap.String("router", "r-1"))
		r := madeRecord("1")
		newAccessLog(router).tell(&r)
		if early := out.take(); len(early) > 0 {
			t.Errorf("a line was written at once: %q", early)
		}
		_ = router.Sync()
		if got := out.take(); len(got) != 1 || !strings.Contains(got[0], `"router":"r-1"`) {
			t.Errorf("written is %q", got)
		}
	})
}

func TestALogThatCannotBeWrittenToKeepsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := sheets{broken: errors.New("no space left on device")}
		log, access := bothWays(&out)
		for i := range 50 {
			r := madeRecord(fmt.Sprint(i))
			access.tell(&r)
		}
		if err := log.Sync(); !errors.Is(err, out.broken) {
			t.Errorf("Sync says %v", err)
		}
		out.broken = nil
		log.Info("there is space again")
		if got := strings.Join(out.take(), ""); sheetInWords(got) != "there is space again" {
			t.Errorf("written is %q", got)
		}
	})
}

func TestLinesOfManyAreWhole(t *testing.T) {
	var out sheets
	log, access := bothWays(&out)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 300 {
				r := madeRecord(fmt.Sprint(i))
				access.tell(&r)
				if i%100 == 0 {
					log.Info("event")
				}
			}
		})
	}
	all.Wait()
	_ = log.Sync()
	lines := strings.Split(strings.TrimSuffix(strings.Join(out.take(), ""), "\n"), "\n")
	for _, line := range lines {
		if !strings.HasPrefix(line, "{") || !strings.HasSuffix(line, "}") {
			t.Fatalf("a torn line: %q", line)
		}
	}
	if len(lines) != 4*303 {
		t.Errorf("%d lines", len(lines))
	}
}

func TestTheLineOfARequestTellsWhatDecided(t *testing.T) {
	for format, want := range map[string]string{
		"json": `{"level":"info","time":"2000-01-01T00:00:00Z","msg":"request","id":"1","client":"203.0.113.7","country":"FR",` +
			`"method":"POST","path":"/v1/chat/completions","model":"llama","status":200,"bytes":4096,"complete":true,"elapsed_ms":2000.5,` +
			`"attempts":2,"region":"us-east1","endpoint":"us-1","outcome":"served","ttfb_ms":80,"cost_ms":168.284,"net_ms":13.279,` +
			`"serve_ms":150,"load":0.031,"wait_ms":0,"warm_ms":0,"tier":0}` + "\n",
		"console": "00:00:00.000\tINFO\trequest\t" +
			`{"id": "1", "client": "203.0.113.7", "country": "FR", "method": "POST", "path": "/v1/chat/completions", "model": "llama", ` +
			`"status": 200, "bytes": 4096, "complete": true, "elapsed_ms": 2000.5, "attempts": 2, "region": "us-east1", ` +
			`"endpoint": "us-1", "outcome": "served", "ttfb_ms": 80, "cost_ms": 168.284, "net_ms": 13.279, "serve_ms": 150, ` +
			`"load": 0.031, "wait_ms": 0, "warm_ms": 0, "tier": 0}` + "\n",
	} {
		if got := lineOf(t, format, madeRecord("1")); got != want {
			t.Errorf("%s:\ngot  %swant %s", format, got, want)
		}
	}
}

func TestARequestThatWasTurnedAwayHasAShortLine(t *testing.T) {
	got := lineOf(t, "json", router.Record{ID: "1", Method: strings.Repeat("M", 300), Status: 503, Problem: "overloaded", Complete: true})
	want := `{"level":"info","time":"2000-01-01T00:00:00Z","msg":"request","id":"1","client":"","country":"","method":"` +
		strings.Repeat("M", 256) + `","path":"","model":"","status":503,"bytes":0,"complete":true,"elapsed_ms":0,"attempts":0,"problem":"overloaded"}` + "\n"
	if got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestALineTellsOfWaitsHedgesAndResumedStreams(t *testing.T) {
	r := madeRecord("1")
	r.Resumed, r.Hedged, r.Queued = 1, true, 1500*time.Microsecond
	if got := lineOf(t, "json", r); !strings.Contains(got, `"attempts":2,"resumed":1,"hedged":true,"queued_ms":1.5,"region"`) {
		t.Error(got)
	}
}

// lineOf is a record's line, written at the beginning of synctest's time.
func lineOf(t *testing.T, format string, r router.Record) (line string) {
	synctest.Test(t, func(*testing.T) {
		var out bytes.Buffer
		log, _ := newLog(&out, configs.Log{Level: "info", Format: format})
		newAccessLog(log).tell(&r)
		_ = log.Sync()
		line = strings.ReplaceAll(out.String(), time.Now().Format("Z0700"), "Z")
	})
	return line
}

func TestNoLineIsLostWhenTheRouterStops(t *testing.T) {
	r := serve(t, oneRegion(simulated(t, "us-east1")))
	for range 3 {
		response, err := http.Get(r.address + "/v1/anything")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
	r.stop()
	if got := strings.Count(r.log.String(), `"msg":"request"`); got != 3 {
		t.Errorf("%d of 3 requests are in the log:\n%s", got, r.log)
	}
}

// madeRecord is a request that the second endpoint served.
func madeRecord(id string) router.Record {
	started := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	return router.Record{
		ID: id, Started: started, Client: netip.MustParseAddr("203.0.113.7"), From: geo.Location{Country: "FR"},
		Method: "POST", Path: "/v1/chat/completions", Model: "llama",
		Decision: router.Decision{Chosen: router.Candidate{Endpoint: "us-1", NetMs: 13.27941, ServeMs: 150, Load: 1.0 / 32, CostMs: 168.2839}},
		Attempts: []router.Attempt{
			{Endpoint: "eu-1", Region: "europe-west1", Started: started, Outcome: router.Broken},
			{Endpoint: "us-1", Region: "us-east1", Started: started.Add(time.Second), FirstByte: 80 * time.Millisecond, Status: 200},
		},
		Status: 200, Bytes: 4096, Complete: true, Elapsed: 2000*time.Millisecond + 500*time.Microsecond,
	}
}

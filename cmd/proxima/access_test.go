package main

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"go.uber.org/zap"

	"proxima/configs"
	"proxima/geo"
	"proxima/router"
)

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

func TestALineBeginsAsEveryEvent(t *testing.T) {
	for _, format := range []string{"json", "console"} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			log, _ := newLog(&out, configs.Log{Level: "info", Format: format})
			time.Sleep(time.Hour + 1234567*time.Microsecond)
			r := madeRecord("1")
			newAccessLog(log).tell(&r)
			log.Info("request", zap.String("id", "1"))
			line, event, _ := strings.Cut(out.String(), "\n")
			if event = strings.TrimSuffix(event, "}\n"); !strings.HasPrefix(line, event) {
				t.Errorf("%s: the line begins with %q, an event is %q", format, line[:len(event)], event)
			}
		})
	}
}

func TestALogOfAnotherKindHasNoLines(t *testing.T) {
	r := madeRecord("1")
	newAccessLog(zap.NewNop()).tell(&r)
}

func TestNumbersHaveThreeDecimalsAtMost(t *testing.T) {
	for x, want := range map[float64]string{
		0: "0", 0.0004: "0", 0.0005: "0.001", 0.1: "0.1", 0.12: "0.12", 1.005: "1.005", -0.25: "-0.25", -3: "-3", 123456.789: "123456.789",
		math.Inf(1): "null", math.NaN(): "null", 1e300: "null",
	} {
		if got := string(appendThousandths(nil, x)); got != want {
			t.Errorf("%v became %s", x, got)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		x := (random.Float64() - 0.3) * math.Pow(10, random.Float64()*9)
		want := strconv.FormatFloat(math.Round(x*1000)/1000, 'f', -1, 64)
		if got := string(appendThousandths(nil, x)); got != want {
			t.Errorf("%v became %s, not %s", x, got, want)
		}
	}
}

// What a stranger wrote is what a reader of JSON reads, and nothing on the way there
// moves a terminal's cursor.
func FuzzQuoted(f *testing.F) {
	for _, text := range []string{
		"", "/v1/chat/completions", `a "quoted" \ path`, "two\r\nlines", "\x1b[31mred\x00", "\u202ebackwards\u2028\u00a0", "日本 🗼", "\xff\xfe half a rune \xe2\x82",
		"\U000e0001 a tag", "\ufffd",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		quoted := appendQuoted(nil, text)
		for _, r := range string(quoted) {
			if !unicode.IsPrint(r) {
				t.Errorf("%q has %U as it is", quoted, r)
			}
		}
		var read string
		if err := json.Unmarshal(quoted, &read); err != nil {
			t.Fatalf("%q: %v", quoted, err)
		}
		if want := string([]rune(text)); read != want {
			t.Errorf("%q is read as %q", text, read)
		}
	})
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

package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"proxima/configs"
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

func TestALogWithMoreFieldsHasTheSameWayInForRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out sheets
		log, _ := bothWays(&out)
		more := log.With(zap.String("router", "r-1"))
		r := madeRecord("1")
		newAccessLog(more).tell(&r)
		more.Info("an event")
		if got := out.take(); len(got) != 1 || sheetInWords(got[0]) != "request 1, an event" || !strings.Contains(got[0], `"router":"r-1"`) {
			t.Errorf("written is %q", got)
		}
	})
}

func TestALogThatCannotBeWrittenToKeepsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := sheets{broken: errors.New("no space left on device")}
		log, access := bothWays(&out)
		for i := range 1000 {
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

package admin

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"proxima/geo"
	"proxima/router"
)

func TestRequestsTellsTheLastOnesFirst(t *testing.T) {
	s := newServer(t)
	for _, r := range []router.Record{servedRecord("one"), failedRecord("two"), servedRecord("three")} {
		s.Recent.Add(&r)
	}
	golden(t, "requests.json", s.get("/v1/requests"))

	var failures Requests
	s.decode(s.get("/v1/requests?failed=true"), &failures)
	if got := ids(failures.Requests); got != "two" {
		t.Errorf("failed are %s", got)
	}
	var last Requests
	s.decode(s.get("/v1/requests?limit=2"), &last)
	if got := ids(last.Requests); got != "three two" {
		t.Errorf("the last two are %s", got)
	}
	for _, query := range []string{"limit=0", "limit=-1", "limit=1025", "limit=many", "failed=sometimes"} {
		if w := s.do("GET", "/v1/requests?"+query); w.Code != 400 || isProblem(t, w).Hint == "" {
			t.Errorf("%s was answered %d: %s", query, w.Code, w.Body)
		}
	}
}

func TestFailuresAreKeptLongerThanSuccesses(t *testing.T) {
	var last Recent
	bad := failedRecord("bad")
	last.Add(&bad)
	for i := range 100_000 {
		good := servedRecord(fmt.Sprint("good-", i))
		last.Add(&good)
	}
	all := last.List(5000, false)
	if len(all) != recentEach+1 {
		t.Fatalf("%d are kept, want %d", len(all), recentEach+1)
	}
	if all[0].ID != "good-99999" || all[recentEach-1].ID != fmt.Sprint("good-", 100_000-recentEach) || all[recentEach].ID != "bad" {
		t.Errorf("kept are %s … %s %s", all[0].ID, all[recentEach-1].ID, all[recentEach].ID)
	}
}

func TestWhatCountsAsFailed(t *testing.T) {
	for name, world := range map[string]struct {
		record router.Record
		want   bool
	}{
		"served":            {router.Record{Status: 200, Complete: true}, false},
		"redirected":        {router.Record{Status: 307, Complete: true}, false},
		"no such model":     {router.Record{Status: 404, Complete: true}, true},
		"no endpoint":       {router.Record{Status: 503, Complete: true}, true},
		"cut":               {router.Record{Status: 200, Attempts: []router.Attempt{{Outcome: router.Cut}}}, true},
		"the client left":   {router.Record{Status: 200, Attempts: []router.Attempt{{Outcome: router.Cancelled}}}, false},
		"nothing was told":  {router.Record{}, true},
		"it moved and went": {router.Record{Status: 200, Complete: true, Attempts: []router.Attempt{{Outcome: router.Broken}, {}}}, false},
	} {
		if got := failed(&world.record); got != world.want {
			t.Errorf("%s: failed is %v", name, got)
		}
	}
}

func TestWhatStrangersWriteIsCleanAndShort(t *testing.T) {
	nasty := "a\r\nHTTP/1.1 200\x1b[31m\x00\u202e\u2028\u200b\xff" + strings.Repeat("ä", 5000)
	var last Recent
	r := servedRecord(nasty)
	r.Model, r.Path, r.Method, r.Problem = router.Model(nasty), nasty, nasty, nasty
	r.From.Country = nasty
	r.Attempts[0].Err = errors.New(nasty)
	last.Add(&r)
	got := last.List(1, false)[0]
	for name, field := range map[string]struct {
		text string
		most int
	}{
		"id": {got.ID, idBytes}, "model": {got.Model, modelBytes}, "path": {got.Path, pathBytes},
		"method": {got.Method, methodBytes}, "problem": {got.Problem, problemBytes},
		"country": {got.Country, methodBytes}, "error": {got.Attempts[0].Error, errorBytes},
	} {
		isClean(t, field.text)
		if len(field.text) > field.most || !strings.HasSuffix(field.text, "…") {
			t.Errorf("%s has %d bytes, at most %d and a sign of the cut: %q", name, len(field.text), field.most, field.text)
		}
	}
	if kept := cleaned("Ünïcode, spaces and <b>marks</b> stay", 64); kept != "Ünïcode, spaces and <b>marks</b> stay" {
		t.Errorf("clean text became %q", kept)
	}
}

func TestRecentPinsNothing(t *testing.T) {
	var look func(reflect.Type, string)
	look = func(kind reflect.Type, path string) {
		switch kind.Kind() {
		case reflect.Struct:
			if kind == reflect.TypeFor[time.Time]() {
				return // points at most to its location
			}
			for i := range kind.NumField() {
				look(kind.Field(i).Type, path+"."+kind.Field(i).Name)
			}
		case reflect.Slice, reflect.Array:
			look(kind.Elem(), path+"[]")
		case reflect.Pointer, reflect.Interface, reflect.Func, reflect.Map, reflect.Chan, reflect.UnsafePointer:
			t.Errorf("%s is a %v: it could keep a snapshot or a body alive", path, kind)
		case reflect.String:
			if kind != reflect.TypeFor[router.EndpointID]() && kind != reflect.TypeFor[router.RegionID]() {
				t.Errorf("%s is a string: it could be a part of a request body", path)
			}
		}
	}
	look(reflect.TypeFor[kept](), "kept")
}

func TestASlotForgetsWhoWasThereBefore(t *testing.T) {
	var last Recent
	for range recentEach {
		full := servedRecord("before")
		full.Attempts = append(full.Attempts, full.Attempts...)
		full.Attempts[0].Err = errors.New("connection reset")
		last.Add(&full)
	}
	empty := router.Record{Complete: true}
	last.Add(&empty)
	got := last.List(1, false)[0]
	want := Request{Attempts: []Attempt{}, Complete: true}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestRecentIsSafeForManyAtOnce(t *testing.T) {
	var last Recent
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 1000 {
				good, bad := servedRecord(fmt.Sprint(i)), failedRecord(fmt.Sprint(i))
				last.Add(&good)
				last.Add(&bad)
			}
		})
	}
	for range 20 {
		last.List(100, false)
	}
	all.Wait()
	if got := len(last.List(5000, false)); got != 2*recentEach {
		t.Errorf("%d are kept", got)
	}
}

func TestAFullRingTakesARequestWithoutAllocating(t *testing.T) {
	var last Recent
	r := servedRecord("01JD3W9Y6VQ8R2T4X6Z8B0C1D2")
	for range recentEach {
		last.Add(&r)
	}
	if allocs := testing.AllocsPerRun(100, func() { last.Add(&r) }); allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkRecentAdd(b *testing.B) {
	var last Recent
	r := servedRecord("01JD3W9Y6VQ8R2T4X6Z8B0C1D2")
	b.ReportAllocs()
	for b.Loop() {
		last.Add(&r)
	}
}

func BenchmarkRecentListOfFifty(b *testing.B) {
	var last Recent
	for range recentEach {
		good, bad := servedRecord("good"), failedRecord("bad")
		last.Add(&good)
		last.Add(&bad)
	}
	b.ReportAllocs()
	for b.Loop() {
		last.List(50, false)
	}
}

// servedRecord is a request that went well at the first attempt.
func servedRecord(id string) router.Record {
	return router.Record{
		ID: id, Started: noon, Client: addr("203.0.113.7"), From: geo.Location{Country: "FR"},
		Method: "POST", Path: "/v1/chat/completions", Model: "llama",
		Decision: router.Decision{Eligible: 2, Chosen: router.Candidate{
			Position: 2, Endpoint: "eu-1", Region: "europe-west1", NetMs: 13.27941, ServeMs: 150, Load: 1.0 / 32, BiasMs: 5, CostMs: 168.2839,
		}},
		Attempts: []router.Attempt{{
			Endpoint: "eu-1", Region: "europe-west1", Started: noon.Add(time.Millisecond), FirstByte: 80 * time.Millisecond, Status: 200,
		}},
		Status: 200, Bytes: 4096, Complete: true, Elapsed: 2 * time.Second,
	}
}

// failedRecord is a request that two endpoints failed.
func failedRecord(id string) router.Record {
	r := servedRecord(id)
	r.Attempts = []router.Attempt{
		{Endpoint: "eu-1", Region: "europe-west1", Started: noon, Outcome: router.Broken, Err: errors.New("connection reset by peer")},
		{Endpoint: "us-2", Region: "us-east1", Started: noon.Add(30 * time.Millisecond), Outcome: router.Failed, Status: 500},
	}
	r.Status, r.Problem, r.Bytes, r.Elapsed = 502, "endpoint_failed", 120, 150*time.Millisecond
	return r
}

func ids(requests []Request) string {
	var all []string
	for _, r := range requests {
		all = append(all, r.ID)
	}
	return strings.Join(all, " ")
}

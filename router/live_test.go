package router

import (
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func at(host string) *url.URL { return &url.URL{Scheme: "http", Host: host} }

// twoRegions is a table of us-1 and eu-1, each alone in its region.
func twoRegions(t *testing.T, euHost string) *Table {
	t.Helper()
	table, err := NewTable(
		[]Region{{ID: "us"}, {ID: "eu"}},
		[]Endpoint{{ID: "us-1", Region: "us", URL: at("us:1")}, {ID: "eu-1", Region: "eu", URL: at(euHost)}},
		Steering{SlowStart: 10 * time.Second},
	)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestAReloadKeepsWhatIsBelievedAndMeasured(t *testing.T) {
	live := NewLive(twoRegions(t, "eu:1"))
	live.SetStatus("eu-1", Status{Health: Down, Cause: "connection refused"})
	live.Snapshot().Meter(1).Begin(noon)
	if err := live.DrainRegion("us", true); err != nil {
		t.Fatal(err)
	}

	live.SetTable(twoRegions(t, "eu:1"))

	s := live.Snapshot()
	if s.Status[1].Cause != "connection refused" || s.Meter(1).InFlight() != 1 || !s.IsDrained(0) {
		t.Errorf("status %+v, %d in flight, drained %v", s.Status[1], s.Meter(1).InFlight(), s.IsDrained(0))
	}
}

func TestAnEndpointThatMovedStartsAnew(t *testing.T) {
	live := NewLive(twoRegions(t, "eu:1"))
	live.SetStatus("eu-1", Status{Health: Up})
	live.Snapshot().Meter(1).Begin(noon)

	live.SetTable(twoRegions(t, "eu:2"))

	s := live.Snapshot()
	if s.Status[1].Health != Untested || s.Meter(1).InFlight() != 0 {
		t.Errorf("health %v, %d in flight", s.Status[1].Health, s.Meter(1).InFlight())
	}
}

func TestADrainIsUndoneAndForgottenWithItsEndpoint(t *testing.T) {
	live := NewLive(twoRegions(t, "eu:1"))
	if err := live.DrainEndpoint("eu-1", true); err != nil {
		t.Fatal(err)
	}
	if !live.Snapshot().IsDrained(1) {
		t.Error("the endpoint is not drained")
	}
	if err := live.DrainEndpoint("eu-1", false); err != nil || live.Snapshot().IsDrained(1) {
		t.Errorf("the drain stays: %v", err)
	}
	for _, err := range []error{live.DrainEndpoint("nobody", true), live.DrainRegion("nowhere", true)} {
		if err == nil {
			t.Error("what does not exist was drained")
		}
	}
	_ = live.DrainRegion("eu", true)
	only, _ := NewTable([]Region{{ID: "us"}}, []Endpoint{{ID: "us-1", Region: "us", URL: at("us:1")}}, Steering{})
	live.SetTable(only)
	live.SetTable(twoRegions(t, "eu:1"))
	if live.Snapshot().IsDrained(1) {
		t.Error("a region that left and came back is still drained")
	}
}

func TestAStatusForWhoLeftIsIgnored(t *testing.T) {
	live := NewLive(twoRegions(t, "eu:1"))
	if live.SetStatus("nobody", Status{Health: Up}) {
		t.Error("a status was taken for an endpoint that is not there")
	}
}

func TestReadersSeeWholeSnapshotsWhileWritersWrite(t *testing.T) {
	live := NewLive(twoRegions(t, "eu:0"))
	var all sync.WaitGroup
	for writer := range 4 {
		all.Go(func() {
			for i := range 200 {
				live.SetTable(twoRegions(t, fmt.Sprint("eu:", i%2)))
				live.SetStatus("us-1", Status{Health: Health(i % 5)})
				_ = live.DrainRegion("eu", (i+writer)%2 == 0)
				live.Settle(noon.Add(time.Duration(i) * time.Second))
			}
		})
	}
	for range 4 {
		all.Go(func() {
			var load []Load
			for i := range 2000 {
				s := live.Snapshot()
				load = s.Measure(load, noon)
				d := s.Decide(Query{Key: uint64(i)}, load)
				if d.Found() {
					m := s.Meter(d.Chosen.Position)
					m.Begin(noon)
					m.Served(20*time.Millisecond, d.Chosen.Load, i%2 == 0)
					m.End()
				}
			}
		})
	}
	all.Wait()
	for position := range 2 {
		if n := live.Snapshot().Meter(position).InFlight(); n != 0 {
			t.Errorf("%d in flight at the end", n)
		}
	}
}

func TestATableRefusesWhatContradictsItself(t *testing.T) {
	regions := []Region{{ID: "us"}}
	for name, build := range map[string]func() (*Table, error){
		"a region twice":    func() (*Table, error) { return NewTable(append(regions, regions...), nil, Steering{}) },
		"an unknown region": func() (*Table, error) { return NewTable(regions, []Endpoint{{ID: "a", Region: "eu"}}, Steering{}) },
		"an endpoint twice": func() (*Table, error) {
			e := Endpoint{ID: "a", Region: "us"}
			return NewTable(regions, []Endpoint{e, e}, Steering{})
		},
		"a rule for no place": func() (*Table, error) {
			return NewTable(regions, nil, Steering{Residency: []Residency{{"r", []string{"DE"}, []RegionID{"eu"}}}})
		},
	} {
		if _, err := build(); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

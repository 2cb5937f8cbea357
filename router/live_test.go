package router

import (
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"proxima/geo"
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
	live.Snapshot().Meter(1).Begin(noon, 0)
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
	live.Snapshot().Meter(1).Begin(noon, 0)

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
					m.Begin(noon, 0)
					m.Served(Sample{Elapsed: 20 * time.Millisecond, Load: d.Chosen.Load, Streamed: i%2 == 0})
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

func TestAClientsRoundTripTeachesHowFarItsNeighboursAre(t *testing.T) {
	live := NewLive(twoRegions(t, "eu:1"))
	s := live.Snapshot()
	s.Meter(1).Probed(40 * time.Millisecond)
	client := netip.MustParseAddr("192.0.2.7")

	live.Met(client, berlin, time.Millisecond)

	// The regions have no place, so the distance says 10 ms. A client 1 ms away is
	// not closer to Europe than 40 − 1 ms: it misses 29. One sample counts for a
	// fifth in the country, and again in the street.
	learned := live.Cells.Find(netip.MustParseAddr("192.0.2.99"), "DE")
	if got := learned.CorrectionMs(1); math.Abs(got-(29*0.2+29*0.2*0.8)) > 0.01 {
		t.Errorf("Europe is corrected by %v ms, want 29/5 and four fifths of 29/5", got)
	}
	if got := learned.CorrectionMs(0); got != 0 {
		t.Errorf("a region to which no way was measured is corrected by %v ms", got)
	}
}

func TestTheShortestWayToARegionTeaches(t *testing.T) {
	table, err := NewTable([]Region{{ID: "us"}}, []Endpoint{
		{ID: "a", Region: "us", URL: at("us:1")}, {ID: "b", Region: "us", URL: at("us:2")}, {ID: "c", Region: "us", URL: at("us:3")},
	}, Steering{})
	if err != nil {
		t.Fatal(err)
	}
	live := NewLive(table)
	for position, latency := range []time.Duration{90, 30} {
		live.Snapshot().Meter(position).Probed(latency * time.Millisecond)
	}
	live.Met(street(1), geo.Location{Placed: true}, 5*time.Millisecond)
	if got := live.Cells.Find(street(1), "").CorrectionMs(0); math.Abs(got-(25-10)*0.2) > 0.01 {
		t.Errorf("corrected by %v ms, want a fifth of (30 − 5) − 10", got)
	}
}

func TestAClientWithoutAPlaceTeachesNothing(t *testing.T) {
	live := NewLive(twoRegions(t, "eu:1"))
	live.Snapshot().Meter(1).Probed(40 * time.Millisecond)
	live.Met(street(1), geo.Location{Country: "DE"}, time.Millisecond)
	if got := live.Cells.Find(street(1), "DE").CorrectionMs(1); got != 0 {
		t.Errorf("corrected by %v ms", got)
	}
}

func TestASessionIsWarmWhereItWasSent(t *testing.T) {
	live := NewLive(twoRegions(t, "eu:1"))
	if got := live.Warm(7, 4, noon); got != (Warm{}) {
		t.Errorf("a session that nobody saw is warm: %+v", got)
	}
	live.Sent(7, "eu-1", 10, noon)
	for asked, want := range map[float64]float64{4: 4, 25: 10} {
		if got := live.Warm(7, asked, noon); got.KB != want {
			t.Errorf("of %v KB %v are warm, want %v: no more than was sent, or is asked", asked, got.KB, want)
		}
	}
	s := live.Snapshot()
	s.Meter(1).prefill.typical.set(20)
	x := s.Explain(Query{Warm: live.Warm(7, 4, noon)}, s.Measure(nil, noon))
	for _, c := range x.Candidates {
		if want := map[EndpointID]float64{"eu-1": 80}[c.Endpoint]; c.WarmMs != want {
			t.Errorf("%s saves %v ms, want %v", c.Endpoint, c.WarmMs, want)
		}
	}
}

func TestAReloadKeepsWhatWasLearnedOfClientsWithItsRegion(t *testing.T) {
	us, eu := Region{ID: "us"}, Region{ID: "eu", Place: berlin}
	table := func(regions ...Region) *Table {
		built, err := NewTable(regions, nil, Steering{})
		if err != nil {
			t.Fatal(err)
		}
		return built
	}
	live := NewLive(table(us, eu))
	live.Cells.Learn(street(1), "", 0, 25)
	live.Cells.Learn(street(1), "", 1, 50)
	corrections := func() (got [2]float64) {
		learned := live.Cells.Find(street(1), "")
		return [2]float64{learned.CorrectionMs(0), learned.CorrectionMs(1)}
	}

	live.SetTable(table(eu, us))
	if got := corrections(); got != [2]float64{10, 5} {
		t.Errorf("with the regions in another order %v ms, want 10 and 5", got)
	}
	eu.Place.Lat++
	live.SetTable(table(eu, us))
	if got := corrections(); got != [2]float64{0, 5} {
		t.Errorf("after one region moved %v ms, want 0 and 5", got)
	}
}

func TestDrainsOfARegionComeAndGo(t *testing.T) {
	live := NewLive(twoRegions(t, "eu:1"))
	if err := live.DrainRegion("eu", true); err != nil {
		t.Fatal(err)
	}
	live.SetTable(twoRegions(t, "eu:1"))
	if s := live.Snapshot(); !s.IsDrained(1) || s.IsDrained(0) {
		t.Error("a reload changed who is drained")
	}
	if err := live.DrainRegion("eu", false); err != nil || live.Snapshot().IsDrained(1) {
		t.Errorf("the drain stays: %v", err)
	}
}

package router

import (
	"fmt"
	"net/netip"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"proxima/geo"
)

// fleet is a world of n healthy endpoints, four to a region, some of them busy.
func fleet(tb testing.TB, n int) (*Snapshot, []Load) {
	var regions []Region
	var endpoints []Endpoint
	var status []Status
	var load []Load
	for i := range n {
		region := RegionID(fmt.Sprint("region-", i/4))
		if i%4 == 0 {
			place := geo.Location{Placed: true, Lat: float64(i*37%160 - 80), Lon: float64(i*61%350 - 175)}
			regions = append(regions, Region{ID: region, Place: place})
		}
		endpoints = append(endpoints, Endpoint{
			ID: EndpointID(fmt.Sprint("endpoint-", i)), Region: region, URL: &url.URL{}, Models: []Model{"llama"}, Capacity: 32,
		})
		status = append(status, Status{Health: Up})
		load = append(load, Load{InFlight: i * 7 % 32, ServeMs: float64(80 + i*13%100), PathMs: 20})
	}
	residency := []Residency{{"eu", []string{"FR"}, []RegionID{"region-0"}}}
	table, err := NewTable(regions, endpoints, Steering{Slack: 10 * time.Millisecond, Residency: residency})
	if err != nil {
		tb.Fatal(err)
	}
	return NewSnapshot(table, status, Drains{}), load
}

var berlin = geo.Location{Placed: true, Lat: 52.5, Lon: 13.4, Country: "DE"}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{3, 64, 256, 1024} {
		b.Run(fmt.Sprint("endpoints=", n), func(b *testing.B) {
			snapshot, load := fleet(b, n)
			q := Query{From: berlin, Model: "llama"}
			b.ReportAllocs()
			for b.Loop() {
				q.Key++
				if d := snapshot.Decide(q, load); !d.Found() {
					b.Fatal(d.Reason)
				}
			}
		})
	}
}

// With a session that is warm somewhere, a neighbourhood that is known, learned
// capacities, prompts in line and reports of other routers.
func BenchmarkDecideWithEverythingOn(b *testing.B) {
	for _, n := range []int{64, 1024} {
		b.Run(fmt.Sprint("endpoints=", n), func(b *testing.B) {
			snapshot, load := fleet(b, n)
			for i := range load {
				l := &load[i]
				l.Capacity, l.Queue = float64(20+i%16), float64(l.InFlight+2)
				l.WaitKB, l.PrefillMs = float64(i%7), 30
			}
			live := NewLive(snapshot.Table)
			client := netip.MustParseAddr("203.0.113.7")
			for region := range snapshot.Table.Regions {
				live.Cells.Learn(client, "DE", region, float64(region%20))
			}
			live.Sent(1, "endpoint-3", 10, noon)
			q := Query{From: berlin, Model: "llama", Sticky: true, Learned: live.Cells.Find(client, "DE"), Warm: live.Warm(1, 20, noon)}
			b.ReportAllocs()
			for b.Loop() {
				q.Key++
				if d := snapshot.Decide(q, load); !d.Found() {
					b.Fatal(d.Reason)
				}
			}
		})
	}
}

// BenchmarkLearn is all that a request teaches: it comes, it is answered, it ends.
func BenchmarkLearn(b *testing.B) {
	live := NewLive(func() *Table { s, _ := fleet(b, 4); return s.Table }())
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		m := live.Snapshot().Meter(int(turn.Add(1)) % 4)
		for pb.Next() {
			m.Begin(noon, 4)
			m.Answered(4)
			m.Served(Sample{At: noon, Elapsed: 200 * time.Millisecond, Load: 0.5, Queue: 9, WaitKB: 8, KB: 4, Streamed: true})
			m.End()
		}
	})
}

var turn atomic.Int64

func BenchmarkMeasure(b *testing.B) {
	for _, n := range []int{3, 64, 256} {
		b.Run(fmt.Sprint("endpoints=", n), func(b *testing.B) {
			s, _ := fleet(b, n)
			snapshot := NewLive(s.Table).Snapshot()
			var buf []Load
			b.ReportAllocs()
			for b.Loop() {
				buf = snapshot.Measure(buf, noon)
			}
		})
	}
}

func TestDecideDoesNotAllocate(t *testing.T) {
	snapshot, load := fleet(t, 256)
	q := Query{From: berlin, Model: "llama", Tried: []EndpointID{"endpoint-7"}}
	if n := testing.AllocsPerRun(100, func() { q.Key++; snapshot.Decide(q, load) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

package router

import (
	"container/heap"
	"fmt"
	"math"
	"net/url"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"proxima/geo"
)

// loop is a router and its endpoints in a closed loop, in simulated time: what is
// decided changes the load, which changes what is measured, which changes what is
// decided. Requests come at an even pace, each with its own key.
type loop struct {
	live    *Live
	servers []server // by endpoint position
	now     time.Time
	ahead   happenings
	sent    []sending
	key     uint64
}

// server takes its time to the first token, the longer the more requests are there,
// and then streams for a while.
type server struct {
	firstToken time.Duration // when idle
	stream     time.Duration
	slots      float64 // requests that it serves well
}

// happening is something that is due.
type happening struct {
	at time.Time
	do func()
}

// sending is a request that went to an endpoint.
type sending struct {
	at       time.Time
	position int
}

// Invariant 6. The busiest endpoint turns slow, or quick. Within ten seconds the shares
// are where they then stay. (One that nobody uses may turn quick unnoticed, until its
// bad name is forgotten.)
func TestAfterAStepTheSharesSettleAndStay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLoop(t)
		pace := drawPace(t, l.servers)
		l.run(30*time.Second, pace)
		busiest := &l.servers[largest(l.shares(l.now.Add(-20*time.Second), l.now))]
		factor := rapid.SampledFrom([]float64{0.4, 0.7, 1.5, 3, 6}).Draw(t, "times as slow")
		busiest.firstToken = time.Duration(float64(busiest.firstToken) * factor)
		step := l.now

		l.run(30*time.Second, pace)

		const window = 4 * time.Second
		var after [][]float64
		for at := step.Add(10 * time.Second); !at.Add(window).After(l.now); at = at.Add(window) {
			after = append(after, l.shares(at, at.Add(window)))
		}
		usual := l.shares(step.Add(10*time.Second), l.now)
		strayed := 0 // in one world of some thousand an endpoint is tried again for a window
		for i, shares := range after {
			if moved := distance(shares, usual); moved > 0.3 {
				strayed++
			}
			if strayed > 1 {
				t.Fatalf("%v after the step the shares are %.2f, on the whole %.2f, not for the first time", 10*time.Second+time.Duration(i)*window, shares, usual)
			}
		}
		oscillation := 0.0
		for i := range after[1:] {
			oscillation += distance(after[i], after[i+1]) / float64(len(after)-1)
		}
		if oscillation > 0.2 {
			t.Fatalf("the shares move by %.2f in four seconds", oscillation)
		}
	})
}

// drawLoop draws two to five endpoints, each in its own region, some 1,400 km apart at
// the most.
func drawLoop(t *rapid.T) *loop {
	l := &loop{now: noon}
	var regions []Region
	var endpoints []Endpoint
	for i := range rapid.IntRange(2, 5).Draw(t, "endpoints") {
		id := RegionID(fmt.Sprint("r", i))
		slots := rapid.IntRange(4, 16).Draw(t, "slots")
		regions = append(regions, Region{ID: id, Place: geo.Location{Placed: true, Lat: 50, Lon: rapid.Float64Range(0, 20).Draw(t, "lon")}})
		endpoints = append(endpoints, Endpoint{ID: EndpointID(fmt.Sprint("e", i)), Region: id, URL: &url.URL{}, Capacity: slots})
		l.servers = append(l.servers, server{
			firstToken: time.Duration(rapid.IntRange(50, 300).Draw(t, "ms to the first token")) * time.Millisecond,
			stream:     time.Duration(rapid.IntRange(100, 2000).Draw(t, "ms of stream")) * time.Millisecond,
			slots:      float64(slots),
		})
	}
	table, err := NewTable(regions, endpoints, Steering{Slack: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	l.live = NewLive(table)
	for _, e := range endpoints {
		l.live.SetStatus(e.ID, Status{Health: Up})
	}
	return l
}

// drawPace draws a load of 40 to 80 % of what all endpoints serve together.
func drawPace(t *rapid.T, servers []server) time.Duration {
	perSecond := 0.0
	for _, s := range servers {
		perSecond += s.slots / (2*s.firstToken + s.stream).Seconds()
	}
	load := rapid.Float64Range(0.4, 0.8).Draw(t, "load")
	return time.Duration(float64(time.Second) / (perSecond * load))
}

// run lets requests come at a pace for so long.
func (l *loop) run(length, pace time.Duration) {
	end := l.now.Add(length)
	for at := l.now; at.Before(end); at = at.Add(pace) {
		l.due(at, l.request)
	}
	for at := l.now; at.Before(end); at = at.Add(time.Second) {
		l.due(at, func() { l.live.Settle(l.now) })
	}
	for len(l.ahead) > 0 && l.ahead[0].at.Before(end) {
		next := heap.Pop(&l.ahead).(happening)
		l.now = next.at
		next.do()
	}
	l.now = end
}

func (l *loop) due(at time.Time, do func()) { heap.Push(&l.ahead, happening{at, do}) }

// request is decided, answered and over.
func (l *loop) request() {
	l.key++
	s := l.live.Snapshot()
	chosen := s.Decide(Query{From: berlin, Key: mix(l.key)}, s.Measure(nil, l.now)).Chosen
	l.sent = append(l.sent, sending{l.now, chosen.Position})
	meter, server := s.Meter(chosen.Position), &l.servers[chosen.Position]
	u := float64(meter.Begin(l.now, 0)) / server.slots
	firstToken := time.Duration(float64(server.firstToken) * (1 + u*u*u))
	l.due(l.now.Add(firstToken), func() {
		meter.Answered(0)
		meter.Served(Sample{At: l.now, Elapsed: firstToken, Load: chosen.Load, Queue: chosen.Queue, Streamed: true})
	})
	l.due(l.now.Add(firstToken+server.stream), meter.End)
}

// shares are what each endpoint got of the requests in a time.
func (l *loop) shares(from, to time.Time) []float64 {
	shares := make([]float64, len(l.servers))
	all := 0.0
	for _, s := range l.sent {
		if !s.at.Before(from) && s.at.Before(to) {
			shares[s.position]++
			all++
		}
	}
	for i := range shares {
		shares[i] /= max(all, 1)
	}
	return shares
}

func largest(shares []float64) int { return slices.Index(shares, slices.Max(shares)) }

// distance is how much of the traffic is elsewhere: half of the sum of differences.
func distance(a, b []float64) (moved float64) {
	for i := range a {
		moved += math.Abs(a[i]-b[i]) / 2
	}
	return moved
}

// happenings is a heap of what is due, the earliest first.
type happenings []happening

func (h happenings) Len() int           { return len(h) }
func (h happenings) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h happenings) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *happenings) Push(x any)        { *h = append(*h, x.(happening)) }
func (h *happenings) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

package router

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"proxima/geo"
)

// Live holds the current Snapshot. Readers load it with one atomic read; writers
// build the next one under a mutex and publish it with one store.
type Live struct {
	Cells    *Cells    // what was learned about clients' neighbourhoods
	Affinity *Affinity // where sessions and prompts were last

	current atomic.Pointer[Snapshot]

	mu      sync.Mutex // held by writers
	meters  map[EndpointID]*metered
	settled time.Time
}

// metered remembers whose meter it is: an endpoint that moved is another one.
type metered struct {
	url   string
	meter *Meter
}

// How much is remembered of clients and of prompts, however many there are.
const (
	mostCells      = 1 << 16 // of 8 bytes a region
	mostAffinities = 1 << 17 // of 16 bytes
)

// NewLive starts with a table of which nothing is known yet.
func NewLive(t *Table) *Live {
	l := &Live{
		meters: map[EndpointID]*metered{},
		Cells:  NewCells(mostCells, len(t.Regions)), Affinity: NewAffinity(mostAffinities),
	}
	l.SetTable(t)
	return l
}

// Snapshot returns the current one. It never changes; ask again for the next.
func (l *Live) Snapshot() *Snapshot { return l.current.Load() }

// SetTable publishes a new table. Endpoints whose ID and URL stay keep their
// status and meter; drains stay for what is still there.
func (l *Live) SetTable(t *Table) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.current.Load()
	status := make([]Status, len(t.Endpoints))
	meters := make(map[EndpointID]*metered, len(t.Endpoints))
	for at, e := range t.Endpoints {
		kept, same := l.meters[e.ID]
		if !same || kept.url != e.URL.String() {
			meters[e.ID] = &metered{e.URL.String(), &Meter{}}
			continue
		}
		meters[e.ID] = kept
		before, _ := old.Table.Position(e.ID)
		status[at] = old.Status[before]
	}
	l.meters = meters
	var drains Drains
	if old != nil {
		drains = old.Drained.within(t)
	}
	l.publish(t, status, drains)
	if old != nil {
		l.Cells.Remap(moved(old.Table, t))
	}
}

// moved says for each region of the new table where it was in the old one; −1: nowhere.
func moved(old, next *Table) []int {
	from := make([]int, len(next.Regions))
	for at, region := range next.Regions {
		from[at] = -1
		before, there := old.RegionPosition(region.ID)
		if there && old.Regions[before].Place == region.Place {
			from[at] = before
		}
	}
	return from
}

// Met takes in that a client's own round trip to this router was measured: for each
// region it bounds how far the client can be, where the router's path is known.
func (l *Live) Met(client netip.Addr, from geo.Location, trip time.Duration) {
	if !from.Placed {
		return
	}
	s, here := l.Snapshot(), from.Point()
	for region, pathMs := range s.paths() {
		if pathMs > 0 {
			prior := DistanceMs(here, s.Table.points[region])
			l.Cells.Learn(client, from.Country, region, Approach(prior, ms(trip), pathMs)-prior)
		}
	}
}

// paths are the router's shortest measured round trips to each region; 0: none.
func (s *Snapshot) paths() []float64 {
	paths := make([]float64, len(s.Table.Regions))
	for at, m := range s.meters {
		shortest := &paths[s.slots[at].region]
		if path := m.path.value(); path > 0 && (*shortest == 0 || path < *shortest) {
			*shortest = path
		}
	}
	return paths
}

// Sent notes to which endpoint a session or a prompt goes, and how long it is.
func (l *Live) Sent(key uint64, id EndpointID, kb float64, now time.Time) {
	l.Affinity.Sent(key, uint32(Key(string(id))>>32), kb, now)
}

// Warm returns where a session or a prompt was last, and how much of it that
// endpoint may still have.
func (l *Live) Warm(key uint64, kb float64, now time.Time) Warm {
	warm, known := l.Affinity.Find(key, now)
	if !known {
		return Warm{}
	}
	warm.KB = min(warm.KB, kb)
	return warm
}

// SetStatus publishes what is now believed of an endpoint. It reports false for
// an endpoint that is no longer in the table.
func (l *Live) SetStatus(id EndpointID, believed Status) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.current.Load()
	at, there := now.Table.Position(id)
	if !there {
		return false
	}
	status := slices.Clone(now.Status)
	status[at] = believed
	l.publish(now.Table, status, now.Drained)
	return true
}

// DrainEndpoint takes an endpoint out for new requests, or gives it back.
func (l *Live) DrainEndpoint(id EndpointID, drain bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.current.Load()
	if _, there := now.Table.Position(id); !there {
		return fmt.Errorf("no endpoint %q", id)
	}
	l.publish(now.Table, now.Status, Drains{mark(now.Drained.Endpoints, id, drain), now.Drained.Regions})
	return nil
}

// DrainRegion takes a region out for new requests, or gives it back.
func (l *Live) DrainRegion(id RegionID, drain bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.current.Load()
	if _, there := now.Table.RegionPosition(id); !there {
		return fmt.Errorf("no region %q", id)
	}
	l.publish(now.Table, now.Status, Drains{now.Drained.Endpoints, mark(now.Drained.Regions, id, drain)})
	return nil
}

// Settle lets the meters of unused endpoints forget, and tells each endpoint
// without an answer of its own what is typical for the models it serves. Call it
// about once a second.
func (l *Live) Settle(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	passed := now.Sub(l.settled)
	l.settled = now
	if passed <= 0 || passed > time.Hour {
		return
	}
	s := l.current.Load()
	known := map[Model]typical{}
	for at, m := range s.meters {
		model := s.Table.Endpoints[at].firstModel()
		if _, done := known[model]; !done {
			known[model] = s.typical(model)
		}
		m.settle(known[model], now, passed)
	}
}

// typical is what the endpoints that serve a model have in common: the medians
// of their own times, 0 when none has any.
type typical struct{ serveMs, wholeMs, prefillMs float64 }

func (s *Snapshot) typical(m Model) typical {
	var serve, whole, prefill []float64
	pool, _ := s.Table.Serving(m)
	for _, at := range pool {
		serve = append(serve, s.meters[at].serve.own.value())
		whole = append(whole, s.meters[at].whole.own.value())
		prefill = append(prefill, s.meters[at].prefill.trusted())
	}
	return typical{median(serve), median(whole), median(prefill)}
}

// median sorts the times and returns the middle one of those that are known; of
// two, the lower. 0: none is known.
func median(times []float64) float64 {
	slices.Sort(times)
	unknown, _ := slices.BinarySearch(times, math.SmallestNonzeroFloat64)
	if known := times[unknown:]; len(known) > 0 {
		return known[(len(known)-1)/2]
	}
	return 0
}

// firstModel stands for all the models of an endpoint; "" when it serves every one.
func (e *Endpoint) firstModel() Model {
	if len(e.Models) == 0 {
		return ""
	}
	return e.Models[0]
}

func (l *Live) publish(t *Table, status []Status, drains Drains) {
	next := NewSnapshot(t, status, drains)
	next.meters = make([]*Meter, len(t.Endpoints))
	for at, e := range t.Endpoints {
		next.meters[at] = l.meters[e.ID].meter
	}
	l.current.Store(next)
}

// within keeps the drains of what a table has.
func (d Drains) within(t *Table) Drains {
	kept := Drains{map[EndpointID]bool{}, map[RegionID]bool{}}
	for id := range d.Endpoints {
		if _, there := t.Position(id); there {
			kept.Endpoints[id] = true
		}
	}
	for id := range d.Regions {
		if _, there := t.RegionPosition(id); there {
			kept.Regions[id] = true
		}
	}
	return kept
}

// mark returns a copy of a set with one member added or removed.
func mark[ID comparable](set map[ID]bool, id ID, in bool) map[ID]bool {
	next := maps.Clone(set)
	if next == nil {
		next = map[ID]bool{}
	}
	if in {
		next[id] = true
	} else {
		delete(next, id)
	}
	return next
}

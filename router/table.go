package router

import (
	"fmt"
	"math"
	"net/url"
	"slices"
	"time"

	"proxima/geo"
)

// Region is a place that has endpoints.
type Region struct {
	ID    RegionID
	Place geo.Location
	Bias  time.Duration // the operator's toll on every endpoint here; may be negative
}

// Endpoint is one model server that can answer requests.
type Endpoint struct {
	ID          EndpointID
	Region      RegionID
	URL         *url.URL // scheme, host and an optional path prefix
	Models      []Model  // empty: every model
	Capacity    int      // requests it serves at once; 0: not declared, learned alone
	MaxInFlight int      // requests of this router that are ever sent to it at once; 0: no cap
}

// By says whose distance to a region counts.
type By uint8

const (
	ByClient By = iota // the client's place decides
	ByPath             // the router's own measured round trip decides
)

func (b By) String() string {
	if b == ByPath {
		return "path"
	}
	return "client"
}

// Residency keeps the clients of some countries within some regions.
type Residency struct {
	Name      string
	Countries []string // ISO 3166-1 alpha-2, upper case
	Regions   []RegionID
}

// Steering holds the operator's parameters of the choice.
type Steering struct {
	By        By
	Slack     time.Duration // candidates this close to the best cost share the traffic
	MaxDetour time.Duration // most network time beyond the nearest endpoint's; 0: no limit
	SlowStart time.Duration // how long a recovered endpoint takes to its full share; 0: at once
	Residency []Residency

	// Shed is the load, of the least loaded endpoint, at which requests of a
	// priority are turned away when every eligible endpoint is full; 0: never.
	Shed [priorities]float64
}

// Table is the operator's intent: which endpoints exist, where, and what the
// rules are. It is immutable. Endpoints stand in the order of their regions, so
// that neighbours share a place; a position in Endpoints names an endpoint on
// the hot path.
type Table struct {
	Regions   []Region
	Endpoints []Endpoint
	Steering  Steering

	slots    []slot             // by endpoint position
	points   []geo.Point        // by region position: where it is
	placed   bool               // every region is somewhere
	even     bool               // every endpoint weighs the same
	models   map[Model][]int    // named model → positions that serve it
	any      []int              // positions that serve every model
	all      []int              // every position
	allowed  map[string]Regions // country under a residency rule → where it may go
	position map[EndpointID]int
	region   map[RegionID]int
}

// slot is what a decision reads of an endpoint, close together in memory. A
// snapshot has its own copy, with what follows the hash filled in.
type slot struct {
	region    int     // its position
	most      float64 // capacity; +Inf: not declared
	weight    float64 // capacity, or what is assumed of it
	share     float64 // of it that one request takes
	biasMs    float64 // its region's toll
	hash      uint64  // of its ID, for the rendezvous
	succeeded int64   // when it last did, in unix ns; 0: never
	standing  Tier    // what health alone makes of it
	trial     bool    // half-open: one request at a time may try it
	drained   bool    // itself or its region
	gated     bool    // drained, or with a cap: it may be closed
	cap       int32   // requests of this router that may be there; 0: no cap
}

// NewTable indexes regions and endpoints. An identity that stands twice, or a
// region that is named but not given, is an error: configs reports those with
// lines and hints long before.
func NewTable(regions []Region, endpoints []Endpoint, steering Steering) (*Table, error) {
	t := &Table{
		Regions:  slices.Clone(regions),
		Steering: steering,
		placed:   true,
		models:   map[Model][]int{},
		allowed:  map[string]Regions{},
		position: make(map[EndpointID]int, len(endpoints)),
		region:   make(map[RegionID]int, len(regions)),
	}
	for at, region := range t.Regions {
		if _, twice := t.region[region.ID]; twice {
			return nil, fmt.Errorf("region %q stands twice", region.ID)
		}
		t.region[region.ID] = at
		t.points = append(t.points, region.Place.Point())
		t.placed = t.placed && region.Place.Placed
	}
	for _, e := range endpoints {
		if _, given := t.region[e.Region]; !given {
			return nil, fmt.Errorf("endpoint %q is in region %q, which is not given", e.ID, e.Region)
		}
	}
	t.Endpoints = slices.Clone(endpoints)
	slices.SortStableFunc(t.Endpoints, func(a, b Endpoint) int { return t.region[a.Region] - t.region[b.Region] })
	if err := t.indexEndpoints(); err != nil {
		return nil, err
	}
	return t, t.indexResidency()
}

func (t *Table) indexEndpoints() error {
	t.even = true
	for at, e := range t.Endpoints {
		if _, twice := t.position[e.ID]; twice {
			return fmt.Errorf("endpoint %q stands twice", e.ID)
		}
		t.position[e.ID] = at
		region := t.region[e.Region]
		t.slots = append(t.slots, slot{
			region: region, most: most(e.Capacity), weight: weight(e.Capacity), share: 1 / weight(e.Capacity),
			biasMs: ms(t.Regions[region].Bias), hash: Key(string(e.ID)),
		})
		t.even = t.even && t.slots[at].weight == t.slots[0].weight
		t.all = append(t.all, at)
		for _, m := range e.Models {
			t.models[m] = nil
		}
	}
	for at, e := range t.Endpoints {
		t.indexModels(at, e.Models)
	}
	return nil
}

func most(capacity int) float64 {
	if capacity > 0 {
		return float64(capacity)
	}
	return math.Inf(1)
}

func weight(capacity int) float64 {
	if capacity > 0 {
		return float64(capacity)
	}
	return assumedCapacity
}

// indexModels adds the endpoint at a position to the pools of the models that it
// serves; positions come in order.
func (t *Table) indexModels(at int, serves []Model) {
	if len(serves) == 0 {
		t.any = append(t.any, at)
		for m := range t.models {
			t.models[m] = append(t.models[m], at)
		}
		return
	}
	for _, m := range serves {
		if pool := t.models[m]; len(pool) == 0 || pool[len(pool)-1] != at {
			t.models[m] = append(pool, at)
		}
	}
}

func (t *Table) indexResidency() error {
	for _, rule := range t.Steering.Residency {
		var in Regions
		for _, id := range rule.Regions {
			at, given := t.region[id]
			if !given {
				return fmt.Errorf("residency %q names region %q, which is not given", rule.Name, id)
			}
			in = in.with(at)
		}
		for _, country := range rule.Countries {
			if other, twice := t.allowed[country]; twice {
				t.allowed[country] = other.and(in)
			} else {
				t.allowed[country] = in
			}
		}
	}
	return nil
}

// Serving returns the positions of the endpoints that serve a model, and whether
// any does. A request that names no model may go to every endpoint. The caller
// does not change the slice.
func (t *Table) Serving(m Model) (pool []int, known bool) {
	if m == "" {
		return t.all, true
	}
	if pool, named := t.models[m]; named {
		return pool, true
	}
	return t.any, len(t.any) > 0
}

// Names reports whether an endpoint declares this model: only then may the name
// become a label or a key that stays.
func (t *Table) Names(m Model) bool { _, named := t.models[m]; return named }

// ModelsMatter reports whether some endpoint serves only some models, so that a
// request's model decides where it may go.
func (t *Table) ModelsMatter() bool { return len(t.any) < len(t.all) }

// Models returns every declared model in order.
func (t *Table) Models() []Model {
	names := make([]Model, 0, len(t.models))
	for m := range t.models {
		names = append(names, m)
	}
	slices.Sort(names)
	return names
}

// Position returns where an endpoint stands in Endpoints.
func (t *Table) Position(id EndpointID) (int, bool) { at, ok := t.position[id]; return at, ok }

// RegionPosition returns where a region stands in Regions.
func (t *Table) RegionPosition(id RegionID) (int, bool) { at, ok := t.region[id]; return at, ok }

// residency returns where a client of a country may be served; ok is false when
// no rule speaks of the country.
func (t *Table) residency(country string) (in Regions, ok bool) {
	if len(t.allowed) == 0 || country == "" {
		return Regions{}, false
	}
	in, ok = t.allowed[country]
	return in, ok
}

// rules names the residency rules that speak of a country.
func (t *Table) rules(country string) []string {
	var names []string
	for _, rule := range t.Steering.Residency {
		if slices.Contains(rule.Countries, country) {
			names = append(names, rule.Name)
		}
	}
	return names
}

// Regions is a set of region positions of one table.
type Regions struct{ bits []uint64 }

// Has reports whether a position is in the set.
func (r Regions) Has(at int) bool { return at>>6 < len(r.bits) && r.bits[at>>6]>>(at&63)&1 == 1 }

func (r Regions) with(at int) Regions {
	bits := slices.Clone(r.bits)
	for at>>6 >= len(bits) {
		bits = append(bits, 0)
	}
	bits[at>>6] |= 1 << (at & 63)
	return Regions{bits}
}

func (r Regions) and(o Regions) Regions {
	both := make([]uint64, min(len(r.bits), len(o.bits)))
	for i := range both {
		both[i] = r.bits[i] & o.bits[i]
	}
	return Regions{both}
}

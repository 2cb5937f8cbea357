package router

import (
	"math"
	"net/url"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"proxima/geo"
)

// scene is a random world: anything a configuration, an operator, a probe and a
// meter could bring about.
type scene struct {
	snapshot *Snapshot
	load     []Load
	query    Query
}

var (
	someModels    = []Model{"", "llama", "qwen", "none"}
	someCountries = []string{"", "DE", "US", "JP"}
)

func drawPlace(t *rapid.T) geo.Location {
	return geo.Location{
		Placed:  rapid.Bool().Draw(t, "placed"),
		Lat:     rapid.Float64Range(-90, 90).Draw(t, "lat"),
		Lon:     rapid.Float64Range(-180, 180).Draw(t, "lon"),
		Country: rapid.SampledFrom(someCountries).Draw(t, "country"),
	}
}

func drawScene(t *rapid.T) scene {
	regions := rapid.IntRange(1, 5).Draw(t, "regions")
	var table struct {
		regions   []Region
		endpoints []Endpoint
	}
	drains := Drains{map[EndpointID]bool{}, map[RegionID]bool{}}
	for i := range regions {
		id := RegionID(rune('a' + i))
		bias := time.Duration(rapid.IntRange(-50, 50).Draw(t, "bias")) * time.Millisecond
		table.regions = append(table.regions, Region{id, drawPlace(t), bias})
		drains.Regions[id] = rapid.IntRange(0, 9).Draw(t, "region drained") == 0
	}
	for i := range rapid.IntRange(0, 12).Draw(t, "endpoints") {
		e := Endpoint{
			ID:       EndpointID(rune('A' + i)),
			Region:   table.regions[rapid.IntRange(0, regions-1).Draw(t, "in")].ID,
			URL:      &url.URL{Scheme: "http", Host: "h"},
			Models:   rapid.SampledFrom([][]Model{nil, {"llama"}, {"qwen"}, {"qwen", "llama"}}).Draw(t, "models"),
			Capacity: rapid.SampledFrom([]int{0, 1, 4, 32}).Draw(t, "capacity"),
		}
		table.endpoints = append(table.endpoints, e)
		drains.Endpoints[e.ID] = rapid.IntRange(0, 9).Draw(t, "endpoint drained") == 0
	}
	built, err := NewTable(table.regions, table.endpoints, drawSteering(t, table.regions))
	if err != nil {
		t.Fatal(err)
	}
	s := scene{query: drawQuery(t, built)}
	var status []Status
	for range built.Endpoints {
		status = append(status, drawStatus(t))
		s.load = append(s.load, drawLoad(t))
	}
	s.snapshot = NewSnapshot(built, status, drains)
	return s
}

func drawSteering(t *rapid.T, regions []Region) Steering {
	s := Steering{
		By:        By(rapid.IntRange(0, 1).Draw(t, "by")),
		Slack:     time.Duration(rapid.SampledFrom([]int{0, 10, 50}).Draw(t, "slack")) * time.Millisecond,
		MaxDetour: time.Duration(rapid.SampledFrom([]int{0, 0, 30}).Draw(t, "detour")) * time.Millisecond,
	}
	for range rapid.IntRange(0, 2).Draw(t, "rules") {
		rule := Residency{Name: "rule", Countries: rapid.SampledFrom([][]string{{"DE"}, {"US", "DE"}}).Draw(t, "for")}
		for _, r := range regions {
			if rapid.Bool().Draw(t, "allowed") {
				rule.Regions = append(rule.Regions, r.ID)
			}
		}
		s.Residency = append(s.Residency, rule)
	}
	return s
}

func drawStatus(t *rapid.T) Status {
	return Status{
		Health:    rapid.SampledFrom([]Health{Up, Up, Up, Untested, Suspect, Ejected, Down}).Draw(t, "health"),
		Succeeded: noon.Add(-time.Duration(rapid.IntRange(0, 40).Draw(t, "succeeded")) * time.Second),
	}
}

func drawLoad(t *rapid.T) Load {
	wild := []float64{0, -1, 20, 150, 900, math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64}
	return Load{
		InFlight: rapid.IntRange(0, 40).Draw(t, "in flight"),
		ServeMs:  rapid.SampledFrom(wild).Draw(t, "serve"),
		PathMs:   rapid.SampledFrom(wild).Draw(t, "path"),
		CoolMs:   rapid.SampledFrom([]float64{0, 0, 0, 2000}).Draw(t, "cool"),
		Withheld: rapid.SampledFrom([]float64{0, 0, 0.5, 0.9}).Draw(t, "withheld"),
	}
}

func drawQuery(t *rapid.T, table *Table) Query {
	q := Query{
		From:   drawPlace(t),
		Model:  rapid.SampledFrom(someModels).Draw(t, "model"),
		Key:    rapid.Uint64().Draw(t, "key"),
		Prefer: RegionID(rapid.SampledFrom([]string{"", "", "a", "z"}).Draw(t, "prefer")),
	}
	for _, e := range table.Endpoints {
		if rapid.IntRange(0, 9).Draw(t, "tried") == 0 {
			q.Tried = append(q.Tried, e.ID)
		}
	}
	return q
}

// eligible says slowly and straight from the rules which endpoints may serve.
func (s scene) eligible() []int {
	var may []int
	nearest := math.Inf(1)
	for at, e := range s.snapshot.Table.Endpoints {
		if s.serves(e) && s.allowed(e) && !s.drained(e) {
			nearest = min(nearest, s.net(at))
		}
	}
	limit := s.snapshot.Table.Steering.MaxDetour
	for at, e := range s.snapshot.Table.Endpoints {
		if !s.serves(e) || !s.allowed(e) || s.drained(e) || slices.Contains(s.query.Tried, e.ID) {
			continue
		}
		if limit > 0 && s.net(at) > nearest+ms(limit) {
			continue
		}
		may = append(may, at)
	}
	return may
}

func (s scene) serves(e Endpoint) bool {
	return s.query.Model == "" || len(e.Models) == 0 || slices.Contains(e.Models, s.query.Model)
}

func (s scene) allowed(e Endpoint) bool {
	for _, rule := range s.snapshot.Table.Steering.Residency {
		if slices.Contains(rule.Countries, s.query.From.Country) && !slices.Contains(rule.Regions, e.Region) {
			return false
		}
	}
	return true
}

func (s scene) drained(e Endpoint) bool {
	return s.snapshot.Drained.Endpoints[e.ID] || s.snapshot.Drained.Regions[e.Region]
}

func (s scene) region(at int) Region {
	t := s.snapshot.Table
	position, _ := t.RegionPosition(t.Endpoints[at].Region)
	return t.Regions[position]
}

func (s scene) net(at int) float64 {
	path := s.load[at].PathMs
	measured := path > 0 && path <= math.MaxFloat32
	byPath := s.snapshot.Table.Steering.By == ByPath
	if measured && (byPath || !s.query.From.Placed) {
		return path
	}
	if !s.query.From.Placed {
		return 0
	}
	return 10 + 15.7*s.query.From.Point().Km(s.region(at).Place.Point())/1000
}

func (s scene) cost(at int) float64 {
	e, load := s.snapshot.Table.Endpoints[at], s.load[at]
	serve := load.ServeMs
	if !usable(serve) {
		serve = s.typicalServe()
	}
	serve = max(serve, load.CoolMs)
	slots := 64.0
	if e.Capacity > 0 {
		slots = float64(e.Capacity)
	}
	u := float64(load.InFlight+1) / slots
	if e.Capacity == 0 {
		u = min(u, 1)
	}
	return s.net(at) + serve*(1+u*u*u) + ms(s.region(at).Bias)
}

func usable(x float64) bool { return x > 0 && x <= math.MaxFloat32 }

// typicalServe is the lower median of the pool's known times, else 150 ms.
func (s scene) typicalServe() float64 {
	var known []float64
	for at, e := range s.snapshot.Table.Endpoints {
		if s.serves(e) && usable(s.load[at].ServeMs) {
			known = append(known, s.load[at].ServeMs)
		}
	}
	if len(known) == 0 {
		return 150
	}
	slices.Sort(known)
	return known[(len(known)-1)/2]
}

func (s scene) tier(at int) Tier {
	e, load := s.snapshot.Table.Endpoints[at], s.load[at]
	switch s.snapshot.Status[at].Health {
	case Down:
		return TierDown
	case Untested, Suspect, Ejected:
		return TierDoubt
	}
	full := e.Capacity > 0 && load.InFlight >= e.Capacity
	if full || load.CoolMs > 0 || !admits(s.query.Key, Key(string(e.ID)), load.Withheld) {
		return TierFull
	}
	return TierReady
}

func TestDecisionsFollowTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		may := s.eligible()
		d := s.snapshot.Decide(s.query, s.load)
		if d.Found() != (len(may) > 0) {
			t.Fatalf("found %v with %d eligible (%s)", d.Found(), len(may), d.Reason)
		}
		if !d.Found() {
			return
		}
		if d.Eligible != len(may) || !slices.Contains(may, d.Chosen.Position) {
			t.Fatalf("chose %d of %d, eligible are %v", d.Chosen.Position, d.Eligible, may)
		}
		s.checkTierAndBand(t, may, d)
	})
}

func (s scene) checkTierAndBand(t *rapid.T, may []int, d Decision) {
	lowest := tiers
	for _, at := range may {
		lowest = min(lowest, s.tier(at))
	}
	if d.Chosen.Tier != lowest || s.tier(d.Chosen.Position) != lowest {
		t.Fatalf("tier %d was chosen while %d has an endpoint", d.Chosen.Tier, lowest)
	}
	if d.FailOpen() != (lowest >= TierDoubt) {
		t.Fatalf("fail open is %v in tier %d", d.FailOpen(), lowest)
	}
	rivals := s.rivals(may, lowest)
	if !slices.Contains(rivals, d.Chosen.Position) {
		t.Fatalf("%d was chosen, but %v come first", d.Chosen.Position, rivals)
	}
	best := math.Inf(1)
	for _, at := range rivals {
		best = min(best, s.cost(at))
	}
	cost := s.cost(d.Chosen.Position)
	if math.IsNaN(d.Chosen.CostMs) || math.Abs(cost-d.Chosen.CostMs) > 1e-6*(1+math.Abs(cost)) {
		t.Fatalf("cost %v, by hand %v", d.Chosen.CostMs, cost)
	}
	if cost > best+ms(s.snapshot.Table.Steering.Slack)+1e-6*(1+math.Abs(cost)) {
		t.Fatalf("cost %v is over the band of best %v", cost, best)
	}
}

// rivals are those of the tier that recency and the client's wish leave.
func (s scene) rivals(may []int, tier Tier) []int {
	may = slices.DeleteFunc(slices.Clone(may), func(at int) bool { return s.tier(at) != tier })
	if tier >= TierDoubt {
		last := s.snapshot.Status[may[0]].Succeeded
		for _, at := range may {
			if s.snapshot.Status[at].Succeeded.After(last) {
				last = s.snapshot.Status[at].Succeeded
			}
		}
		may = slices.DeleteFunc(may, func(at int) bool {
			return last.Sub(s.snapshot.Status[at].Succeeded) >= 10*time.Second
		})
	}
	wished := slices.DeleteFunc(slices.Clone(may), func(at int) bool {
		return s.snapshot.Table.Endpoints[at].Region != s.query.Prefer
	})
	if len(wished) > 0 {
		return wished
	}
	return may
}

func TestExplainSaysWhatDecideDid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		d, x := s.snapshot.Decide(s.query, s.load), s.snapshot.Explain(s.query, s.load)
		if d != x.Decision {
			t.Fatalf("decided %+v, explained %+v", d, x.Decision)
		}
		if got, want := len(x.Candidates)+len(x.Rejected), len(s.snapshot.Table.Endpoints); got != want {
			t.Fatalf("%d endpoints named of %d", got, want)
		}
		if d.Found() && !slices.Contains(x.Candidates, d.Chosen) {
			t.Fatalf("the chosen %+v is not among the candidates", d.Chosen)
		}
		for _, r := range x.Rejected {
			if r.Reason == "" || r.Detail == "" {
				t.Fatalf("%s was rejected without a reason", r.Endpoint)
			}
		}
	})
}

func TestWorseNeverWins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		before := s.snapshot.Decide(s.query, s.load)
		if len(s.load) == 0 {
			return
		}
		at := rapid.IntRange(0, len(s.load)-1).Draw(t, "worse")
		worse := slices.Clone(s.load)
		worse[at].InFlight += rapid.IntRange(1, 50).Draw(t, "more")
		// Slower only where all are measured: the others are taken for typical, and
		// what is typical would change with it.
		unknown := func(l Load) bool { return !usable(l.ServeMs) }
		if !slices.ContainsFunc(s.load, unknown) && worse[at].ServeMs < 1e6 {
			worse[at].ServeMs *= 1 + rapid.Float64Range(0, 5).Draw(t, "slower")
		}
		after := s.snapshot.Decide(s.query, worse)
		if !before.Found() || before.Chosen.Position == at || after.Chosen.Position != at {
			return
		}
		t.Fatalf("endpoint %d got worse and won at %v", at, after.Chosen.CostMs)
	})
}

func TestAKeyStaysWhileItsEndpointIsInTheBand(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		d := s.snapshot.Decide(s.query, s.load)
		if again := s.snapshot.Decide(s.query, s.load); d != again {
			t.Fatalf("decided %+v, then %+v", d, again)
		}
		x := s.snapshot.Explain(s.query, s.load)
		if !d.Found() || len(x.Candidates) < 2 {
			return
		}
		// Take out a candidate that lost and is not the cheapest: nothing moves.
		loser := x.Candidates[len(x.Candidates)-1]
		if loser.Position == d.Chosen.Position || s.snapshot.Table.Steering.MaxDetour > 0 {
			return
		}
		s.query.Tried = append(s.query.Tried, loser.Endpoint)
		after := s.snapshot.Decide(s.query, s.load)
		latest := s.snapshot.Status[loser.Position].Succeeded
		if after.Chosen.Position != d.Chosen.Position && d.Chosen.Tier < TierDoubt {
			t.Fatalf("losing %v (last success %v) moved the key from %v to %v", loser, latest, d.Chosen, after.Chosen)
		}
	})
}

func TestKeysSpreadByWeight(t *testing.T) {
	endpoints := []Endpoint{
		{ID: "small", Region: "r", URL: &url.URL{}, Capacity: 10},
		{ID: "large", Region: "r", URL: &url.URL{}, Capacity: 30},
	}
	table, err := NewTable([]Region{{ID: "r"}}, endpoints, Steering{Slack: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	s := NewSnapshot(table, []Status{{Health: Up}, {Health: Up}}, Drains{})
	won := map[EndpointID]int{}
	for key := range uint64(20_000) {
		d := s.Decide(Query{Key: mix(key)}, make([]Load, 2))
		won[d.Chosen.Endpoint]++
	}
	if share := float64(won["large"]) / 20_000; math.Abs(share-0.75) > 0.02 {
		t.Errorf("the endpoint with 3/4 of the capacity won %.3f of the keys", share)
	}
}

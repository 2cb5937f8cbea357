package router

import (
	"fmt"
	"hash/fnv"
	"math"
	"net/url"
	"slices"
	"time"

	"pgregory.net/rapid"

	"proxima/geo"
)

// scene is a random world and one request: anything that a configuration, an
// operator, a probe, a meter, a peer and a client could bring about. Its methods
// say what is to be decided there, slowly and straight from the rules, with
// nothing of what Decide does to be quick; even the hash is computed by hand.
type scene struct {
	snapshot *Snapshot
	load     []Load
	calm     bool     // nothing keeps endpoints out, so that cost decides between many
	lessons  []lesson // what clients taught
	cells    *Cells   // and what is known of it
	query    Query
	street   int // the client's, among the lessons
}

var (
	someModels    = []Model{"", "", "llama", "qwen", "none"}
	someCountries = []string{"", "DE", "US", "JP"}
	wild          = []float64{0, -1, 0.5, 20, 150, 900, math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64}
)

func drawScene(t *rapid.T) scene {
	regions := drawRegions(t)
	table, err := NewTable(regions, drawEndpoints(t, regions), drawSteering(t, regions))
	if err != nil {
		t.Fatal(err)
	}
	n := len(table.Endpoints)
	s := scene{load: drawLoads(t, n), calm: rapid.Bool().Draw(t, "calm")}
	status, drains := drawStatuses(t, n), drawDrains(t, table)
	if s.calm {
		status, drains = slices.Repeat([]Status{{Health: Up}}, n), Drains{}
		for at := range s.load {
			s.load[at].CoolMs, s.load[at].Withheld = 0, 0
			s.load[at].InFlight /= 8
		}
	}
	s.snapshot = NewSnapshot(table, status, drains)
	s.learn(t)
	s.ask(t)
	return s
}

func drawPlace(t *rapid.T) geo.Location {
	return geo.Location{
		Placed:  rapid.IntRange(0, 3).Draw(t, "placed") > 0,
		Lat:     rapid.Float64Range(-90, 90).Draw(t, "lat"),
		Lon:     rapid.Float64Range(-180, 180).Draw(t, "lon"),
		Country: rapid.SampledFrom(someCountries).Draw(t, "country"),
	}
}

func drawRegions(t *rapid.T) (regions []Region) {
	for i := range rapid.IntRange(1, 5).Draw(t, "regions") {
		bias := time.Duration(rapid.IntRange(-50, 50).Draw(t, "bias")) * time.Millisecond
		regions = append(regions, Region{RegionID(rune('a' + i)), drawPlace(t), bias})
	}
	return regions
}

// drawEndpoints draws a few endpoints, or more than a band remembers.
func drawEndpoints(t *rapid.T, regions []Region) (endpoints []Endpoint) {
	few, many := rapid.IntRange(0, 12), rapid.IntRange(bandRoom, 2*bandRoom)
	caps := rapid.SampledFrom([][]int{{0}, {0, 0, 1, 9, 40, math.MaxInt}, {1, 3}}).Draw(t, "caps")
	for i := range rapid.OneOf(few, few, few, many).Draw(t, "endpoints") {
		endpoints = append(endpoints, Endpoint{
			ID:          EndpointID(fmt.Sprint("e", i)),
			Region:      regions[rapid.IntRange(0, len(regions)-1).Draw(t, "in")].ID,
			URL:         &url.URL{Scheme: "http", Host: "h"},
			Models:      rapid.SampledFrom([][]Model{nil, {"llama"}, {"qwen"}, {"qwen", "llama"}}).Draw(t, "models"),
			Capacity:    rapid.SampledFrom([]int{0, 1, 4, 32}).Draw(t, "capacity"),
			MaxInFlight: rapid.SampledFrom(caps).Draw(t, "max in flight"),
		})
	}
	return endpoints
}

func drawSteering(t *rapid.T, regions []Region) Steering {
	s := Steering{
		By:        By(rapid.IntRange(0, 1).Draw(t, "by")),
		Slack:     time.Duration(rapid.SampledFrom([]int{0, 10, 50, 2000}).Draw(t, "slack")) * time.Millisecond,
		MaxDetour: time.Duration(rapid.SampledFrom([]int{0, 0, 30}).Draw(t, "detour")) * time.Millisecond,
		Shed:      rapid.SampledFrom([][priorities]float64{{}, {Batch: 1}, {Standard: 1.5, Critical: 3, Batch: 1}}).Draw(t, "shed"),
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

// drawStatuses draws what is believed of each endpoint.
func drawStatuses(t *rapid.T, n int) (statuses []Status) {
	healths := []Health{Up, Up, Up, Untested, Suspect, Ejected, Ejected, Down}
	for range n {
		statuses = append(statuses, Status{
			Health:    rapid.SampledFrom(healths).Draw(t, "health"),
			Trial:     rapid.IntRange(0, 3).Draw(t, "trial") == 0,
			Succeeded: noon.Add(-time.Duration(rapid.IntRange(0, 40).Draw(t, "succeeded")) * time.Second),
		})
	}
	return statuses
}

func drawDrains(t *rapid.T, table *Table) Drains {
	drains := Drains{map[EndpointID]bool{}, map[RegionID]bool{}}
	for _, region := range table.Regions {
		drains.Regions[region.ID] = rapid.IntRange(0, 9).Draw(t, "region drained") == 0
	}
	for _, e := range table.Endpoints {
		drains.Endpoints[e.ID] = rapid.IntRange(0, 9).Draw(t, "endpoint drained") == 0
	}
	return drains
}

// drawLoads draws what was measured of each endpoint, sometimes much alike, so that
// many are in the band.
func drawLoads(t *rapid.T, n int) (loads []Load) {
	load := rapid.Custom(drawLoad)
	if rapid.Bool().Draw(t, "alike") {
		load = rapid.SampledFrom([]Load{load.Draw(t, "one"), load.Draw(t, "other")})
	}
	for range n {
		loads = append(loads, load.Draw(t, "load"))
	}
	return loads
}

func drawLoad(t *rapid.T) Load {
	return Load{
		InFlight:  rapid.SampledFrom([]int{0, 0, 1, 3, 8, 31, 40}).Draw(t, "in flight"),
		Queue:     rapid.SampledFrom([]float64{0, 0, 3, 20, 100, math.NaN(), math.Inf(1)}).Draw(t, "queue"),
		Capacity:  rapid.SampledFrom([]float64{0, 0, 2, 8.5, 30, math.NaN(), -1}).Draw(t, "learned capacity"),
		ServeMs:   rapid.SampledFrom(wild).Draw(t, "serve"),
		WaitKB:    rapid.SampledFrom([]float64{0, 0, 4, 90, math.NaN(), -3}).Draw(t, "pending"),
		PrefillMs: rapid.SampledFrom([]float64{0, 2, 10, 50, math.NaN()}).Draw(t, "prefill"),
		PathMs:    rapid.SampledFrom(wild).Draw(t, "path"),
		CoolMs:    rapid.SampledFrom([]float64{0, 0, 0, 0, 0, 2000}).Draw(t, "cool"),
		Withheld:  rapid.SampledFrom([]float64{0, 0, 0, 0.5, 0.9}).Draw(t, "withheld"),
	}
}

// learn lets some clients teach how far the regions are.
func (s *scene) learn(t *rapid.T) {
	s.lessons = rapid.SliceOfN(lessons, 0, 12).Draw(t, "lessons")
	s.cells = NewCells(64, len(s.snapshot.Table.Regions))
	for _, l := range s.lessons {
		s.cells.Learn(street(l.street), l.country, l.region, l.missMs)
	}
}

// ask draws the request.
func (s *scene) ask(t *rapid.T) {
	endpoints := s.snapshot.Table.Endpoints
	s.street = rapid.IntRange(0, 3).Draw(t, "street")
	s.query = Query{
		From:     drawPlace(t),
		Model:    rapid.SampledFrom(someModels).Draw(t, "model"),
		Key:      rapid.Uint64().Draw(t, "key"),
		Sticky:   rapid.Bool().Draw(t, "sticky"),
		Priority: Priority(rapid.IntRange(0, int(priorities)-1).Draw(t, "priority")),
	}
	s.query.Learned = s.cells.Find(street(s.street), s.query.From.Country)
	if len(endpoints) > 0 && rapid.Bool().Draw(t, "seen before") {
		was := rapid.SampledFrom(endpoints).Draw(t, "warm at").ID
		kb := rapid.SampledFrom([]float64{0, 0.5, 10, 40}).Draw(t, "warm KB")
		s.query.Warm = Warm{Endpoint: uint32(hashByHand(string(was)) >> 32), KB: kb}
	}
	if s.calm {
		return
	}
	s.query.Prefer = RegionID(rapid.SampledFrom([]string{"", "", "a", "z"}).Draw(t, "prefer"))
	for _, e := range endpoints {
		if rapid.IntRange(0, 9).Draw(t, "tried") == 0 {
			s.query.Tried = append(s.query.Tried, e.ID)
		}
	}
}

// correction is what the lessons say about the way to a region: the mean of the
// street's, as far as four samples of the country's do not outweigh it, and that
// against four of nothing. Each street's first lesson, within 50 ms, is its country's.
func (s scene) correction(region int) float64 {
	var country, own []float64
	heard := map[int]bool{}
	for _, l := range s.lessons {
		if l.region == region && !heard[l.street] && l.country != "" && l.country == s.query.From.Country {
			country = append(country, min(max(l.missMs, -50), 50))
		}
		heard[l.street] = heard[l.street] || l.region == region
		if l.region == region && l.street == s.street {
			own = append(own, l.missMs)
		}
	}
	nearby := slowMean(country) * weightOf(country)
	return slowMean(own)*weightOf(own) + nearby*(1-weightOf(own))
}

func weightOf(samples []float64) float64 { n := float64(len(samples)); return n / (n + 4) }

// verdict is what the rules say about a scene.
type verdict struct {
	eligible []int  // whom no hard rule refuses
	full     []int  // whom a hard rule refuses only for being full
	reason   Reason // why nobody is chosen; "": somebody is
	tier     Tier   // the lowest of the eligible
	rivals   []int  // of that tier, those that come first for other reasons than cost
	bestMs   float64
	bandMs   float64 // the most that the chosen one may cost
}

// nearlyMs is how far two ways to compute the same cost may be apart: a metre, and
// float32 where lessons are kept.
const nearlyMs = 1e-3

func (s scene) judge() verdict {
	v := verdict{tier: tiers}
	v.eligible, v.full = s.eligible()
	for _, at := range v.eligible {
		v.tier = min(v.tier, s.tier(at))
	}
	switch {
	case !s.known():
		v.reason = NoSuchModel
	case len(v.eligible) == 0 && len(v.full) > 0, v.tier == TierDown && s.anyAlive(v.full):
		v.reason = Full
	case len(v.eligible) == 0:
		v.reason = s.nobody()
	case s.sheds(v):
		v.reason = Shed
	default:
		v.rivals = s.rivals(v)
		v.bestMs = math.Inf(1)
		for _, at := range v.rivals {
			v.bestMs = min(v.bestMs, s.cost(at))
		}
		v.bandMs = v.bestMs
		if s.query.Sticky {
			v.bandMs += ms(s.snapshot.Table.Steering.Slack)
		}
	}
	return v
}

// inBand reports whether a rival is in the band beyond doubt: well below its edge,
// or all that it costs is what the cheapest costs.
func (s scene) inBand(v verdict, at int) bool {
	if !slices.Contains(v.rivals, at) {
		return false
	}
	if s.cost(at) < v.bandMs-nearlyMs {
		return true
	}
	e, load := s.snapshot.Table.Endpoints[at], s.load[at]
	return slices.ContainsFunc(v.rivals, func(best int) bool {
		b := s.snapshot.Table.Endpoints[best]
		return s.cost(best) == v.bestMs && load == s.load[best] && !s.warm(e) && !s.warm(b) &&
			e.Region == b.Region && e.Capacity == b.Capacity
	})
}

// known: somebody serves the model, or none was named.
func (s scene) known() bool {
	return s.query.Model == "" || slices.ContainsFunc(s.snapshot.Table.Endpoints, s.serves)
}

// nobody says why nobody is eligible.
func (s scene) nobody() Reason {
	allowed := slices.ContainsFunc(s.snapshot.Table.Endpoints, func(e Endpoint) bool {
		return s.serves(e) && s.allowed(e)
	})
	ruled := slices.ContainsFunc(s.snapshot.Table.Steering.Residency, func(rule Residency) bool {
		return slices.Contains(rule.Countries, s.query.From.Country)
	})
	switch {
	case ruled && !allowed:
		return NoRegion
	case len(s.query.Tried) > 0:
		return NoneLeft
	}
	return NoneAvailable
}

// eligible are the endpoints that may serve, and those that might if they were not full.
func (s scene) eligible() (may, full []int) {
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
		if e.MaxInFlight > 0 && s.load[at].InFlight >= e.MaxInFlight {
			full = append(full, at)
			continue
		}
		may = append(may, at)
	}
	return may, full
}

// sum is that of the hashes of some endpoints.
func (s scene) sum(of []int) (sum uint64) {
	for _, at := range of {
		sum += hashByHand(string(s.snapshot.Table.Endpoints[at].ID))
	}
	return sum
}

func (s scene) anyAlive(of []int) bool {
	return slices.ContainsFunc(of, func(at int) bool { return s.snapshot.Status[at].Health != Down })
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

func (s scene) warm(e Endpoint) bool {
	return s.query.Warm.KB > 0 && s.query.Warm.Endpoint == uint32(hashByHand(string(e.ID))>>32)
}

func (s scene) net(at int) float64 {
	path := s.load[at].PathMs
	byPath := s.snapshot.Table.Steering.By == ByPath
	if usable(path) && (byPath || !s.query.From.Placed) {
		return path
	}
	if !s.query.From.Placed {
		return 0
	}
	id := s.snapshot.Table.Endpoints[at].Region
	region := slices.IndexFunc(s.snapshot.Table.Regions, func(r Region) bool { return r.ID == id })
	km := geo.Km(s.query.From, s.snapshot.Table.Regions[region].Place)
	return max(10+15.7*km/1000+s.correction(region), 0)
}

func (s scene) bias(at int) float64 {
	id := s.snapshot.Table.Endpoints[at].Region
	for _, region := range s.snapshot.Table.Regions {
		if region.ID == id {
			return float64(region.Bias) / 1e6
		}
	}
	return math.NaN()
}

// capacity is the smaller of what is declared and what was learned; 0: neither.
func (s scene) capacity(at int) float64 {
	declared, learned := float64(s.snapshot.Table.Endpoints[at].Capacity), s.load[at].Capacity
	if learned > 0 && (declared == 0 || learned < declared) {
		return learned
	}
	return declared
}

// utilisation is u: how full it is with one more request. By what others report it is
// full at the most, by this router's own requests it may be more.
func (s scene) utilisation(at int) float64 {
	own, reported := float64(s.load[at].InFlight)+1, 0.0
	if queue := s.load[at].Queue; usable(queue) {
		reported = queue + 1
	}
	if capacity := s.capacity(at); capacity > 0 {
		return max(own/capacity, min(reported/capacity, 1))
	}
	return min(max(own, reported)/64, 1)
}

func (s scene) cost(at int) float64 {
	load := s.load[at]
	serve := load.ServeMs
	if !usable(serve) {
		serve = s.typicalServe()
	}
	serve = max(serve, load.CoolMs)
	wait, warm := 0.0, 0.0
	if usable(load.PrefillMs) && usable(load.WaitKB) {
		wait = load.PrefillMs * load.WaitKB
	}
	if usable(load.PrefillMs) && s.warm(s.snapshot.Table.Endpoints[at]) {
		warm = min(load.PrefillMs*s.query.Warm.KB, serve)
	}
	u := s.utilisation(at)
	return s.net(at) + serve*(1+u*u*u) + wait - warm + s.bias(at)
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
	e, load, status := s.snapshot.Table.Endpoints[at], s.load[at], s.snapshot.Status[at]
	trial := status.Health == Ejected && status.Trial
	switch {
	case status.Health == Down:
		return TierDown
	case trial && load.InFlight == 0 && load.CoolMs <= 0:
		return TierReady
	case status.Health != Up:
		return TierDoubt
	}
	if s.tripped(e.Region) || s.full(at) || load.CoolMs > 0 || !s.admitted(at) {
		return TierFull
	}
	return TierReady
}

// full: one more of this router's would be more than it carries.
func (s scene) full(at int) bool {
	capacity := s.capacity(at)
	return capacity > 0 && float64(s.load[at].InFlight)+1 > capacity
}

// admitted: the key is of the share that the endpoint was given back.
func (s scene) admitted(at int) bool {
	id := s.snapshot.Table.Endpoints[at].ID
	return chance(s.query.Key^hashByHand(string(id))^0x9e3779b97f4a7c15) >= s.load[at].Withheld
}

// tripped: half or more of a region's endpoints, and two at least, were ejected.
func (s scene) tripped(id RegionID) bool {
	all, ejected := 0, 0
	for at, e := range s.snapshot.Table.Endpoints {
		if e.Region == id {
			all++
			if status := s.snapshot.Status[at]; status.Health == Ejected && !status.Trial {
				ejected++
			}
		}
	}
	return ejected >= 2 && 2*ejected >= all
}

// sheds: every one of them is full, and so full that the operator's limit for the
// priority is reached.
func (s scene) sheds(v verdict) bool {
	limit := s.snapshot.Table.Steering.Shed[s.query.Priority]
	if limit == 0 || v.tier != TierFull {
		return false
	}
	return !slices.ContainsFunc(v.eligible, func(at int) bool {
		return s.tier(at) == TierFull && s.load[at].CoolMs <= 0 && s.utilisation(at) < limit
	})
}

// rivals are those of the lowest tier that succeeded a short time ago, are where the
// request was not yet, and are where the client wishes, each if there are any.
func (s scene) rivals(v verdict) []int {
	may := slices.DeleteFunc(slices.Clone(v.eligible), func(at int) bool { return s.tier(at) != v.tier })
	if v.tier >= TierDoubt {
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
	if len(s.query.Tried) > 1 {
		may = preferred(may, func(at int) bool { return !s.beenIn(s.snapshot.Table.Endpoints[at].Region) })
	}
	return preferred(may, func(at int) bool { return s.snapshot.Table.Endpoints[at].Region == s.query.Prefer })
}

// preferred are those that are as one would like; all, when none is.
func preferred(all []int, like func(int) bool) []int {
	if some := slices.DeleteFunc(slices.Clone(all), func(at int) bool { return !like(at) }); len(some) > 0 {
		return some
	}
	return all
}

// beenIn: the request was at an endpoint of the region.
func (s scene) beenIn(id RegionID) bool {
	return slices.ContainsFunc(s.snapshot.Table.Endpoints, func(e Endpoint) bool {
		return e.Region == id && slices.Contains(s.query.Tried, e.ID)
	})
}

// claim is an endpoint's on the scene's key, by the text of the paper: −weight/ln u.
func (s scene) claim(at int) float64 {
	e := s.snapshot.Table.Endpoints[at]
	weight := float64(e.Capacity)
	if weight == 0 {
		weight = 64
	}
	return -weight / math.Log(chance(s.query.Key^hashByHand(string(e.ID))))
}

// chance takes a hash for a number between 0 and 1.
func chance(h uint64) float64 { return (float64(finalised(h)>>11) + 0.5) / (1 << 53) }

// hashByHand is FNV-1a, from the standard library, and finalised.
func hashByHand(name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return finalised(h.Sum64())
}

// finalised is the end of SplitMix64.
func finalised(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

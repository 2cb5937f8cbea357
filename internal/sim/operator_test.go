package sim

import (
	"math"
	"net/url"
	"slices"
	"strings"
	"testing"

	"proxima/geo"
	"proxima/internal/sim/network"
	"proxima/internal/sim/workload"
	"proxima/router"
)

// fleet is a big region, two small ones, and one without endpoints.
func fleet(t *testing.T, steering router.Steering) Operator {
	t.Helper()
	var regions []router.Region
	for _, name := range []string{"us-east-1", "europe-west1", "ap-northeast-1", "empty-1"} {
		known, _ := geo.KnownRegion(name)
		regions = append(regions, router.Region{ID: router.RegionID(name), Place: known.Place})
	}
	endpoint := func(id, region, model string, capacity int) router.Endpoint {
		return router.Endpoint{
			ID: router.EndpointID(id), Region: router.RegionID(region), Models: []router.Model{router.Model(model)},
			Capacity: capacity, URL: &url.URL{Scheme: "http", Host: id},
		}
	}
	table, err := router.NewTable(regions, []router.Endpoint{
		endpoint("us-1", "us-east-1", "llama", 64), endpoint("us-2", "us-east-1", "qwen", 0),
		endpoint("eu-1", "europe-west1", "llama", 16), endpoint("ap-1", "ap-northeast-1", "llama", 16),
	}, steering)
	if err != nil {
		t.Fatal(err)
	}
	return Operator{Table: table, Network: network.AWS(), Traffic: workload.Process{Trace: workload.Conversation()}, Load: 0.5}
}

func scenarios(t *testing.T, o Operator) []Scenario {
	t.Helper()
	all, err := o.Scenarios()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func play(t *testing.T, sc Scenario, policy string) Result {
	t.Helper()
	plan := Plan{Scenarios: []Scenario{sc}, Policies: []string{policy}, Seeds: []uint64{1}, Impact: true}
	results, err := plan.Play(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return results[0]
}

func TestEachRegionWithEndpointsDiesOnce(t *testing.T) {
	var names []string
	for _, sc := range scenarios(t, fleet(t, router.Steering{})) {
		names = append(names, sc.Name)
	}
	if got := strings.Join(names, " "); got != "steady down/us-east-1 down/europe-west1 down/ap-northeast-1" {
		t.Errorf("the scenarios are %s", got)
	}
}

func TestEndpointsHaveTheCapacitiesOfTheirConfiguration(t *testing.T) {
	steady := scenarios(t, fleet(t, router.Steering{}))[0]
	us := steady.Regions[0]
	if us.Endpoints != 2 || us.Each[0].Slots != 64 || us.Each[1].Slots != AssumedSlots {
		t.Errorf("the big region is %+v, want 64 slots and as many as are assumed", us.Each)
	}
	r, err := newRun(&steady, "proxima-learned", 1)
	if err != nil {
		t.Fatal(err)
	}
	if id := r.id(1); id != "us-2" || r.routers[0].live.Snapshot().Table.Endpoints[1].Capacity != 0 {
		t.Errorf("the second endpoint is %s, want us-2 with no capacity declared", id)
	}
}

// TestTwiceTheCapacityIsTwiceTheServer holds what an operator assumes who writes 64
// where 32 stood.
func TestTwiceTheCapacityIsTwiceTheServer(t *testing.T) {
	context, generate := workload.Conversation().Mean()
	one, two := accelerated(32).Capacity(context, generate), accelerated(64).Capacity(context, generate)
	if math.Abs(two/one-2) > 0.1 {
		t.Errorf("32 slots sustain %.2f requests a second, 64 %.2f", one, two)
	}
	if few := accelerated(4); few.PrefillPerMs != smallGPU.PrefillPerMs || few.Slots != 4 {
		t.Errorf("four slots are %+v: less than one accelerator there is not", few)
	}
}

func TestAModelLeavesOutWhoDoesNotServeIt(t *testing.T) {
	o := fleet(t, router.Steering{Residency: []router.Residency{{Name: "eu", Countries: []string{"DE"}, Regions: []router.RegionID{"europe-west1", "empty-1"}}}})
	o.Model = "qwen"
	steady := scenarios(t, o)[0]
	if len(steady.Regions) != 1 || len(steady.Table.Endpoints) != 1 || len(steady.Steering.Residency[0].Regions) != 0 {
		t.Errorf("left are %+v under %+v", steady.Regions, steady.Steering.Residency)
	}
	o.Model = "gpt"
	if _, err := o.Scenarios(); err == nil || err.Error() != `no endpoint serves model "gpt"` {
		t.Errorf("the error is %v", err)
	}
}

func TestADeadRegionsTrafficGoesToTheOthers(t *testing.T) {
	died := play(t, scenarios(t, fleet(t, router.Steering{}))[2], "proxima-learned")
	before, after := died.Impact.Before, died.Impact.After
	if before.Regions[1].Share == 0 || after.Regions[1].Share > 0.02 {
		t.Errorf("Europe's share went from %.2f to %.2f", before.Regions[1].Share, after.Regions[1].Share)
	}
	for _, part := range []*Part{&before, after} {
		sum := 0.0
		for _, region := range part.Regions {
			sum += region.Share
		}
		if math.Abs(sum-1) > 1e-9 || part.Answered == 0 {
			t.Errorf("the shares of %d answered requests add up to %v", part.Answered, sum)
		}
	}
	if died.Errors != 0 || after.Load <= before.Load || after.Load > 0.65 {
		t.Errorf("at %.2f the others had %d errors", after.Load, died.Errors)
	}
}

func TestWhatIsLeftMayNotCarryIt(t *testing.T) {
	died := play(t, scenarios(t, fleet(t, router.Steering{}))[1], "proxima-learned")
	if after := died.Impact.After; after.Load < 1.3 || after.P99 < 5*died.Impact.Before.P99 {
		t.Errorf("without three quarters of the capacity the load is %.2f and p99 %.0f ms, after %.0f", after.Load, after.P99, died.Impact.Before.P99)
	}
}

func TestResidencyHoldsWhenItsOnlyRegionIsDead(t *testing.T) {
	rule := router.Residency{Name: "eu", Countries: []string{"DE", "FR"}, Regions: []router.RegionID{"europe-west1"}}
	died := play(t, scenarios(t, fleet(t, router.Steering{Residency: []router.Residency{rule}}))[2], "proxima-learned")
	if died.Residency != 0 || died.Impact.After.Errors == 0 || died.Impact.Before.Errors != 0 {
		t.Errorf("%d requests broke the rule, and errors went from %d to %d", died.Residency, died.Impact.Before.Errors, died.Impact.After.Errors)
	}
}

func TestByPathEachRegionHasARouter(t *testing.T) {
	steady := scenarios(t, fleet(t, router.Steering{By: router.ByPath}))[0]
	if steady.Routers != 3 {
		t.Errorf("there are %d routers", steady.Routers)
	}
	if answered := play(t, steady, "proxima-learned"); answered.Impact.After != nil || answered.Errors != 0 {
		t.Errorf("with nothing broken there were %d errors, and something after: %+v", answered.Errors, answered.Impact.After)
	}
}

func TestEvenDemandIsEven(t *testing.T) {
	o := fleet(t, router.Steering{})
	shares := func() []float64 {
		var all []float64
		for _, region := range scenarios(t, o)[0].Regions {
			all = append(all, region.Share)
		}
		return all
	}
	if by := shares(); slices.Max(by) < 1.2*slices.Min(by) {
		t.Errorf("by addresses the shares are %v", by)
	}
	o.Even = true
	if even := shares(); !slices.Equal(even, []float64{1, 1, 1}) {
		t.Errorf("the even shares are %v", even)
	}
}

func TestARegionNextToAnotherHasNoClientsOfItsOwn(t *testing.T) {
	place, _ := geo.KnownRegion("us-east-1")
	table, err := router.NewTable(
		[]router.Region{{ID: "us-east-1", Place: place.Place}, {ID: "the-same-house", Place: place.Place}},
		[]router.Endpoint{
			{ID: "a", Region: "us-east-1", URL: &url.URL{Scheme: "http", Host: "a"}},
			{ID: "b", Region: "the-same-house", URL: &url.URL{Scheme: "http", Host: "b"}},
		}, router.Steering{})
	if err != nil {
		t.Fatal(err)
	}
	o := fleet(t, router.Steering{})
	o.Table = table
	if steady := scenarios(t, o)[0]; steady.Regions[0].Share*steady.Regions[1].Share != 0 || play(t, steady, "nearest").Requests == 0 {
		t.Errorf("of two regions in one place the shares are %v and %v", steady.Regions[0].Share, steady.Regions[1].Share)
	}
	o.Even = true
	if _, err := o.Scenarios(); err == nil || !strings.Contains(err.Error(), "next to nobody lives nearest to region") {
		t.Errorf("the error is %v", err)
	}
}

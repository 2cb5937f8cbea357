package router

// The invariants of steering and the tests that hold them, on random scenes
// (scene_test.go) unless another package is named:
//
//	 1 residency is absolute          TestResidencyHoldsInEveryAttempt, proxy.TestResidencyHoldsInFailoverToo
//	 2 never a worse tier             TestNoWorseTierWhileABetterOneHasSomebody
//	 3 monotone, within the slack     TestWorseNeverWins, TestDearerNeverWins, TestTheChosenCostsNoMoreThanTheBestAndTheSlack
//	 4 no more in flight than fits    TestNobodyIsOverfilledWhileAnotherHasRoom
//	 5 deterministic, keys stay       TestTheSameQuestionHasTheSameAnswer, TestAKeyMovesOnlyWhenItsEndpointLeavesOrANewOneWins,
//	                                  TestAKeyIsAskedOfAllWhoAreInTheBand, TestKeysSpreadByWeight,
//	                                  TestKeysSpreadAtAnyDistance
//	 6 bounded oscillation            TestAfterAStepTheSharesSettleAndStay
//	 7 trips, trials and ramps        TestAnEjectedEndpointGetsNothingWhileAnotherIsUp, TestATrialIsOneRequestAtATime,
//	                                  TestARegionThatTrippedGetsNothingWhileAnotherIsUp, TestARecoveredEndpointGetsNoMoreThanTheRamp,
//	                                  healthcheck.TestAfterATripNothingIsSentUntilTheTrial, healthcheck.TestFlappingNeedsEverMoreAnswers
//	 8 fail open                      TestItFailsOpenIfAndOnlyIfNobodyHealthyIsEligible
//	 9 reports change no tier         TestNoReportChangesATier, TestALyingReportAddsNoMoreThanOneCapacityToAQueue,
//	                                  TestALyingPeerAddsNoMoreThanOneEndpointsCapacity
//	10 attempts and budget            TestTheBudgetAgreesWithALedgerOfEverything, TestManyWhoDrawAtOnceNeverOverdraw,
//	                                  proxy.TestAttemptsAreLimited, proxy.TestRetriesStayWithinTheBudget
//	11 no retry after content         proxy.TestACutStreamIsNeverAGoodOne, proxy.TestAStalledStreamEndsWithAnErrorEvent
//	12 clients and errors             TestAskingToBeLeftAloneNeverAttracts, TestWhoIsBlamed, healthcheck.TestClientsNeverTripAnEndpoint,
//	                                  proxy.TestLoadIsLearnedFromGoodAnswersOnly
//	13 in flight returns to 0         TestWhatIsInFlightReturnsToNothing, proxy.TestInFlightReturnsToZeroAfterABug
//	14 no NaN, no Inf, no panic       TestNothingThatAMeterIsToldMakesItAbsurd, TestNoLoadMakesACostAbsurd
//	15 what is lost does no harm      TestWithoutAPlaceTheRoutersOwnWayDecides, TestWithoutReportsOnesOwnRequestsCount,
//	                                  TestWithoutSettlingDecisionsAreDefined
//	16 drains                         TestADrainedEndpointGetsNothing, proxy.TestOutcomesAreToldInTheContractsShape (nobody left),
//	                                  e2e.TestTwoHundredReloadsCutNothing (its streams finish)
//	17 no allocation                  TestDecidingWithEverythingOnDoesNotAllocate
//	18 caps                           TestNoEndpointBeyondItsCapIsEverChosen, TestACapIsNeverExceeded,
//	                                  TestTheSameWaitIsForTheSamePlaces
//
// TestDecideAgreesWithTheRulesDoneByHand holds the decision as a whole to the slow
// reference, down to who wins. FuzzDecide and FuzzMeter draw the same from bytes.

import (
	"fmt"
	"math"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"proxima/geo"
)

func TestDecideAgreesWithTheRulesDoneByHand(t *testing.T) { rapid.Check(t, decidesByTheRules) }

func FuzzDecide(f *testing.F) { f.Fuzz(rapid.MakeFuzz(decidesByTheRules)) }

// decidesByTheRules asks a few questions in one world.
func decidesByTheRules(t *rapid.T) {
	s := drawScene(t)
	for range 4 {
		s.checkDecision(t)
		s.ask(t)
	}
}

func (s scene) checkDecision(t *rapid.T) {
	v, d := s.judge(), s.snapshot.Decide(s.query, s.load)
	if d.Reason != v.reason {
		t.Fatalf("the reason is %q, by hand %q", d.Reason, v.reason)
	}
	if d.Reason != NoSuchModel && d.Eligible != len(v.eligible) {
		t.Fatalf("%d are eligible, by hand %v", d.Eligible, v.eligible)
	}
	if waits := s.sum(v.full); d.Waits != 0 && (d.Reason != Full || d.Waits != waits) || d.Reason == Full && d.Waits == 0 {
		t.Fatalf("with reason %q it waits for %x, by hand %x", d.Reason, d.Waits, waits)
	}
	if !d.Found() {
		if d.Chosen != (Candidate{}) {
			t.Fatalf("nobody is chosen, but %+v", d.Chosen)
		}
		return
	}
	if d.Chosen.Tier != v.tier || !slices.Contains(v.rivals, d.Chosen.Position) {
		t.Fatalf("chose %+v, by hand one of %v in tier %d", d.Chosen, v.rivals, v.tier)
	}
	s.checkTerms(t, d.Chosen)
	s.checkWinner(t, v, d.Chosen)
}

// checkTerms holds each term to the one by hand, and the sum to its terms.
func (s scene) checkTerms(t *rapid.T, c Candidate) {
	for _, term := range []struct {
		name      string
		got, want float64
	}{
		{"network", c.NetMs, s.net(c.Position)},
		{"queue", c.Queue, max(float64(s.load[c.Position].InFlight), finite(s.load[c.Position].Queue, 0))},
		{"load", c.Load, s.utilisation(c.Position)},
		{"bias", c.BiasMs, s.bias(c.Position)},
		{"cost", c.CostMs, s.cost(c.Position)},
		{"sum", c.CostMs, c.NetMs + c.ServeMs*(1+math.Pow(c.Load, 3)) + c.WaitMs - c.WarmMs + c.BiasMs},
	} {
		if !(math.Abs(term.got-term.want) <= nearlyMs+1e-6*math.Abs(term.want)) {
			t.Fatalf("the %s of %s is %v, by hand %v", term.name, c.Endpoint, term.got, term.want)
		}
	}
}

// checkWinner: within the band, the largest claim on the key wins.
func (s scene) checkWinner(t rapid.TB, v verdict, c Candidate) {
	if cost := s.cost(c.Position); cost > v.bandMs+nearlyMs+1e-6*math.Abs(cost) {
		t.Fatalf("%s costs %v, over the band of %v", c.Endpoint, cost, v.bandMs)
	}
	for _, at := range v.rivals {
		if s.inBand(v, at) && s.claim(at) > s.claim(c.Position) {
			t.Fatalf("position %d is in the band and outbids %d on this key", at, c.Position)
		}
	}
}

// Invariant 1. Whoever failed already, an attempt never leaves the regions of the
// client's country, and at the end of them is an explicit reason.
func TestResidencyHoldsInEveryAttempt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		for {
			d := s.snapshot.Decide(s.query, s.load)
			if !d.Found() {
				if d.Reason == "" || d.Reason == NoRegion && slices.ContainsFunc(s.snapshot.Table.Endpoints, func(e Endpoint) bool { return s.serves(e) && s.allowed(e) }) {
					t.Fatalf("the reason at the end is %q", d.Reason)
				}
				return
			}
			if !s.allowed(s.snapshot.Table.Endpoints[d.Chosen.Position]) {
				t.Fatalf("a client from %q was sent to %s in tier %d", s.query.From.Country, d.Chosen.Region, d.Chosen.Tier)
			}
			s.query.Tried = append(s.query.Tried, d.Chosen.Endpoint)
		}
	})
}

// Invariant 2.
func TestNoWorseTierWhileABetterOneHasSomebody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		d := s.snapshot.Decide(s.query, s.load)
		for _, at := range s.judge().eligible {
			if d.Found() && s.tier(at) < d.Chosen.Tier {
				t.Fatalf("tier %d was chosen while position %d is in tier %d", d.Chosen.Tier, at, s.tier(at))
			}
		}
	})
}

// Invariant 3. An endpoint that is slower, fuller or has more to compute wins no
// request that it did not win before.
func TestWorseNeverWins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		if len(s.load) == 0 {
			return
		}
		before := s.snapshot.Decide(s.query, s.load)
		at := rapid.IntRange(0, len(s.load)-1).Draw(t, "worse")
		worse := s.worse(t, at)

		after := s.snapshot.Decide(s.query, worse)

		if after.Found() && after.Chosen.Position == at && before.Chosen.Endpoint != after.Chosen.Endpoint {
			t.Fatalf("%s got worse and won, from %+v to %+v", after.Chosen.Endpoint, s.load[at], worse[at])
		}
	})
}

// worse makes one endpoint worse in one way.
func (s scene) worse(t *rapid.T, at int) []Load {
	loads := slices.Clone(s.load)
	load := &loads[at]
	more := rapid.Float64Range(0.1, 100).Draw(t, "more")
	switch way := rapid.SampledFrom([]string{"fuller", "reported fuller", "slower", "prompts wait", "prefill", "capacity", "cool"}).Draw(t, "way"); way {
	case "fuller":
		load.InFlight += 1 + int(more)
	case "reported fuller":
		load.Queue = max(finite(load.Queue, 0), float64(load.InFlight)) + more
	case "slower":
		// Only where all are measured: the others are taken for typical, and what is
		// typical would change with it.
		if !slices.ContainsFunc(s.load, func(l Load) bool { return !usable(l.ServeMs) }) {
			load.ServeMs += more
		}
	case "prompts wait":
		load.WaitKB = finite(load.WaitKB, 0) + more
	case "prefill":
		if s.query.Warm.KB == 0 { // a server that is slow at it saves more, too
			load.PrefillMs = finite(load.PrefillMs, 0) + more
		}
	case "capacity":
		if load.Capacity >= 2 {
			load.Capacity /= 1 + more
		}
	case "cool":
		load.CoolMs += 1000
	}
	return loads
}

// Invariant 3. A toll on a region wins it no request.
func TestDearerNeverWins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		before := s.snapshot.Decide(s.query, s.load)
		region := rapid.IntRange(0, len(s.snapshot.Table.Regions)-1).Draw(t, "dearer")
		table := *s.snapshot.Table
		regions := slices.Clone(table.Regions)
		regions[region].Bias += time.Duration(rapid.IntRange(1, 1000).Draw(t, "toll")) * time.Millisecond
		dearer, err := NewTable(regions, table.Endpoints, table.Steering)
		if err != nil {
			t.Fatal(err)
		}

		after := NewSnapshot(dearer, s.snapshot.Status, s.snapshot.Drained).Decide(s.query, s.load)

		if in := regions[region].ID; after.Chosen.Region == in && before.Chosen.Region != in {
			t.Fatalf("region %s got dearer and won", in)
		}
	})
}

// Invariant 3.
func TestTheChosenCostsNoMoreThanTheBestAndTheSlack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		s.query.Prefer, s.query.Tried = "", nil
		x := s.snapshot.Explain(s.query, s.load)
		slack := 0.0
		if s.query.Sticky {
			slack = ms(s.snapshot.Table.Steering.Slack)
		}
		if !x.Decision.Found() || x.Decision.FailOpen() {
			return
		}
		if best := x.Candidates[0].CostMs; x.Decision.Chosen.CostMs > best+slack {
			t.Fatalf("%v ms was chosen, the best is %v and the slack %v", x.Decision.Chosen.CostMs, best, slack)
		}
	})
}

// Invariant 4. Requests come and go on endpoints with little room. One goes over
// the capacity only when nobody has room, declared or learned.
func TestNobodyIsOverfilledWhileAnotherHasRoom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		live, capacity := drawNarrow(t)
		s := live.Snapshot()
		var there []int // the position of each request
		for range rapid.IntRange(1, 80).Draw(t, "events") {
			if len(there) > 0 && rapid.IntRange(0, 2).Draw(t, "one leaves") == 0 {
				s.Meter(there[0]).End()
				there = there[1:]
				continue
			}
			loads := s.Measure(nil, noon)
			d := s.Decide(Query{Key: rapid.Uint64().Draw(t, "key"), Sticky: true, From: berlin}, loads)
			at := d.Chosen.Position
			room := func(at int) bool { return float64(loads[at].InFlight)+1 <= capacity[at] }
			for other, load := range loads {
				if !room(at) && room(other) {
					t.Fatalf("position %d has %d of %v in flight and got one more, while %d has %d of %v",
						at, loads[at].InFlight, capacity[at], other, load.InFlight, capacity[other])
				}
			}
			s.Meter(at).Begin(noon, 0)
			there = append(there, at)
		}
	})
}

// drawNarrow draws a few endpoints that are up, and what each of them carries.
func drawNarrow(t *rapid.T) (live *Live, capacity []float64) {
	regions := []Region{{ID: "near", Place: berlin}, {ID: "far"}}
	var endpoints []Endpoint
	for i := range rapid.IntRange(1, 5).Draw(t, "endpoints") {
		endpoints = append(endpoints, Endpoint{
			ID: EndpointID(fmt.Sprint("e", i)), Region: regions[i%2].ID, URL: &url.URL{},
			Capacity: rapid.IntRange(1, 6).Draw(t, "declared"),
		})
	}
	table, err := NewTable(regions, endpoints, Steering{Slack: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	live = NewLive(table)
	for at, e := range table.Endpoints {
		live.SetStatus(e.ID, Status{Health: Up})
		learned := rapid.SampledFrom([]float64{0, 2, 3.5}).Draw(t, "learned")
		live.Snapshot().Meter(at).capacity.bits.set(learned)
		if learned == 0 {
			learned = math.Inf(1)
		}
		capacity = append(capacity, min(float64(e.Capacity), learned))
	}
	return live, capacity
}

// Invariant 5.
func TestTheSameQuestionHasTheSameAnswer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		first := s.snapshot.Decide(s.query, s.load)
		again := NewSnapshot(s.snapshot.Table, s.snapshot.Status, s.snapshot.Drained)
		if second := again.Decide(s.query, slices.Clone(s.load)); first != second {
			t.Fatalf("decided %+v, then %+v", first, second)
		}
	})
}

// Invariant 5. Something happens to one endpoint. Unless the key's own leaves the
// band, the key stays, or goes to one that was not in the band before.
func TestAKeyMovesOnlyWhenItsEndpointLeavesOrANewOneWins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		if len(s.load) == 0 {
			return
		}
		then, before := s, s.snapshot.Decide(s.query, s.load)
		changed := rapid.IntRange(0, len(s.load)-1).Draw(t, "changed")
		s.load = slices.Clone(s.load)
		s.load[changed] = drawLoad(t)
		if rapid.Bool().Draw(t, "health too") {
			status := slices.Clone(s.snapshot.Status)
			status[changed].Health = Health(rapid.IntRange(0, int(Down)).Draw(t, "health"))
			s.snapshot = NewSnapshot(s.snapshot.Table, status, s.snapshot.Drained)
		}

		after := s.snapshot.Decide(s.query, s.load)

		if !before.Found() || !after.Found() || after.Chosen.Position == before.Chosen.Position {
			return
		}
		old, now := before.Chosen.Position, after.Chosen.Position
		newWins := s.claim(now) > s.claim(old) && !then.inBand(then.judge(), now)
		if s.inBand(s.judge(), old) && !newWins {
			t.Fatalf("the key moved from %s, which is still in the band, to %s", before.Chosen.Endpoint, after.Chosen.Endpoint)
		}
	})
}

// Invariant 5.
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
		d := s.Decide(Query{Key: mix(key), Sticky: true}, make([]Load, 2))
		won[d.Chosen.Endpoint]++
	}
	if share := float64(won["large"]) / 20_000; math.Abs(share-0.75) > 0.02 {
		t.Errorf("the endpoint with 3/4 of the capacity won %.3f of the keys", share)
	}
}

// Invariant 5. Also when more are in the band than are remembered at once.
func TestAKeyIsAskedOfAllWhoAreInTheBand(t *testing.T) {
	snapshot, _ := fleet(t, 4*bandRoom)
	snapshot.Table.Steering.Slack = time.Minute
	s := scene{snapshot: snapshot, load: make([]Load, 4*bandRoom)}
	for key := range uint64(200) {
		s.query = Query{Model: "llama", Key: mix(key), Sticky: true}
		s.checkWinner(t, s.judge(), s.snapshot.Decide(s.query, s.load).Chosen)
	}
}

// Invariant 5. A quarter of the Earth away, the bound of a distance and the distance
// are the same but for rounding.
func TestKeysSpreadAtAnyDistance(t *testing.T) {
	pole := Region{ID: "pole", Place: geo.Location{Placed: true, Lat: 90}}
	endpoints := []Endpoint{{ID: "a", Region: "pole"}, {ID: "b", Region: "pole"}}
	table, err := NewTable([]Region{pole}, endpoints, Steering{})
	if err != nil {
		t.Fatal(err)
	}
	s := NewSnapshot(table, nil, Drains{})
	for lat := -0.5; lat < 0.5; lat += 0.01 {
		won := map[EndpointID]int{}
		for key := range uint64(40) {
			d := s.Decide(Query{From: geo.Location{Placed: true, Lat: lat}, Key: mix(key)}, make([]Load, 2))
			won[d.Chosen.Endpoint]++
		}
		if len(won) < 2 {
			t.Errorf("clients at latitude %.2f all go to %v", lat, won)
		}
	}
}

// Invariant 7.
func TestAnEjectedEndpointGetsNothingWhileAnotherIsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		d := s.snapshot.Decide(s.query, s.load)
		up := slices.ContainsFunc(s.judge().eligible, func(at int) bool {
			return s.snapshot.Status[at].Health == Up && !s.tripped(s.snapshot.Table.Endpoints[at].Region)
		})
		if !d.Found() || !up {
			return
		}
		if status := s.snapshot.Status[d.Chosen.Position]; status.Health == Ejected && !status.Trial {
			t.Fatalf("%s is ejected and was chosen while another is up", d.Chosen.Endpoint)
		}
	})
}

// Invariant 7. An endpoint on trial takes a request when none is there, and no
// second one however attractive it is, as long as somebody else is up.
func TestATrialIsOneRequestAtATime(t *testing.T) {
	live := NewLive(twoRegions(t, "eu:1"))
	live.SetStatus("us-1", Status{Health: Up})
	live.SetStatus("eu-1", Status{Health: Ejected, Trial: true})
	s := live.Snapshot()
	s.Meter(0).serve.own.set(900)
	s.Meter(1).serve.own.set(10)
	rapid.Check(t, func(t *rapid.T) {
		onTrial := 0
		defer func() {
			for range onTrial {
				s.Meter(1).End()
			}
		}()
		for range rapid.IntRange(1, 30).Draw(t, "events") {
			if onTrial > 0 && rapid.Bool().Draw(t, "it ends") {
				s.Meter(1).End()
				onTrial--
			}
			d := s.Decide(Query{Key: rapid.Uint64().Draw(t, "key")}, s.Measure(nil, noon))
			if tried := d.Chosen.Endpoint == "eu-1"; tried != (onTrial == 0) {
				t.Fatalf("with %d on trial, %s was chosen", onTrial, d.Chosen.Endpoint)
			} else if tried {
				s.Meter(1).Begin(noon, 0)
				onTrial++
			}
		}
	})
}

// Invariant 7. Two ejected endpoints, and half of a region or more, take the rest
// of it with them. Those on trial are on their way back.
func TestARegionThatTrippedGetsNothingWhileAnotherIsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ejected, onTrial := rapid.IntRange(0, 4).Draw(t, "ejected"), rapid.IntRange(0, 2).Draw(t, "on trial")
		up := rapid.IntRange(1, 4).Draw(t, "up")
		status := slices.Concat(
			[]Status{{Health: Up}}, slices.Repeat([]Status{{Health: Ejected}}, ejected),
			slices.Repeat([]Status{{Health: Ejected, Trial: true}}, onTrial), slices.Repeat([]Status{{Health: Up}}, up),
		)
		endpoints := []Endpoint{{ID: "elsewhere", Region: "far", URL: &url.URL{}}}
		for i := range status[1:] {
			endpoints = append(endpoints, Endpoint{ID: EndpointID(fmt.Sprint("e", i)), Region: "near", URL: &url.URL{}})
		}
		table, err := NewTable([]Region{{ID: "far", Bias: time.Second}, {ID: "near"}}, endpoints, Steering{})
		if err != nil {
			t.Fatal(err)
		}
		loads := slices.Repeat([]Load{{InFlight: 1}}, len(status)) // each trial has its request

		d := NewSnapshot(table, status, Drains{}).Decide(Query{Key: rapid.Uint64().Draw(t, "key")}, loads)

		if tripped := ejected >= 2 && 2*ejected >= ejected+onTrial+up; tripped != (d.Chosen.Region == "far") {
			t.Fatalf("with %d ejected, %d on trial and %d up, %s was chosen", ejected, onTrial, up, d.Chosen.Endpoint)
		}
	})
}

// Invariant 7. Of all keys, an endpoint that is back gets no more than the ramp
// gives back, and what it was given it keeps.
func TestARecoveredEndpointGetsNoMoreThanTheRamp(t *testing.T) {
	live := NewLive(twoRegions(t, "eu:1"))
	live.SetStatus("us-1", Status{Health: Up})
	live.SetStatus("eu-1", Status{Health: Up, Recovered: noon})
	s := live.Snapshot()
	s.Meter(0).serve.own.set(900)
	s.Meter(1).serve.own.set(10)
	const keys = 2000
	given := map[uint64]bool{}
	for _, second := range []int{0, 1, 3, 5, 8, 9, 10} {
		loads := s.Measure(nil, noon.Add(time.Duration(second)*time.Second))
		got := 0
		for key := range uint64(keys) {
			d := s.Decide(Query{Key: mix(key)}, loads)
			switch back := d.Chosen.Endpoint == "eu-1"; {
			case back:
				got++
				given[key] = true
			case given[key]:
				t.Errorf("after %d s key %d was taken away again", second, key)
			}
		}
		ramp := 0.1 + 0.9*float64(second)/10
		if share := float64(got) / keys; math.Abs(share-ramp) > 0.03 {
			t.Errorf("after %d s it gets %.3f of the keys, want %.3f", second, share, ramp)
		}
	}
}

// Invariant 8.
func TestItFailsOpenIfAndOnlyIfNobodyHealthyIsEligible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		d := s.snapshot.Decide(s.query, s.load)
		healthy := slices.ContainsFunc(s.judge().eligible, func(at int) bool { return s.tier(at) < TierDoubt })
		if d.Found() && d.FailOpen() == healthy {
			t.Fatalf("fail open is %v, and somebody healthy is eligible: %v", d.FailOpen(), healthy)
		}
	})
}

// Invariant 9. What others say they have at an endpoint makes it dearer. Nobody is
// full by it, or out of the question. (Shedding goes by the load of the whole fleet,
// reports included, once this router's own requests fill every endpoint.)
func TestNoReportChangesATier(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		table := *s.snapshot.Table
		table.Steering.Shed = [priorities]float64{}
		s.snapshot.Table = &table
		before := s.snapshot.Decide(s.query, s.load)
		reported := slices.Clone(s.load)
		for at := range reported {
			reported[at].Queue = anyNumber.Draw(t, "said")
		}

		after := s.snapshot.Decide(s.query, reported)

		if before.Reason != after.Reason || before.Eligible != after.Eligible || before.Chosen.Tier != after.Chosen.Tier {
			t.Fatalf("reports changed %+v into %+v", before, after)
		}
	})
}

// Invariant 9. One router of a fleet lies to another about one endpoint.
func TestALyingReportAddsNoMoreThanOneCapacityToAQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const capacity = 32
		own := rapid.IntRange(0, 40).Draw(t, "own")
		honest := rapid.SliceOfN(rapid.Float64Range(0, capacity), 0, 8).Draw(t, "honest")
		queue := func(peers []float64) float64 {
			var m Meter
			m.inFlight.Store(int64(own))
			m.Reported(float64(own)+Fold(peers, capacity), float64(own), len(peers)+1)
			return m.now(noon).Queue
		}

		added := queue(append(slices.Clone(honest), anyNumber.Draw(t, "lie"))) - queue(honest)

		if !(added >= -1e-3 && added <= capacity+1e-3) {
			t.Fatalf("the lie adds %v requests", added)
		}
	})
}

// Invariant 12. An endpoint that answers "busy" at once is not a quick one.
func TestAskingToBeLeftAloneNeverAttracts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		if len(s.load) == 0 {
			return
		}
		at := rapid.IntRange(0, len(s.load)-1).Draw(t, "busy")
		before := s.snapshot.Decide(s.query, s.load)
		busy := slices.Clone(s.load)
		busy[at].CoolMs = max(busy[at].CoolMs, rapid.Float64Range(1, 300_000).Draw(t, "ms"))

		after := s.snapshot.Decide(s.query, busy)

		if after.Found() && after.Chosen.Position == at && before.Chosen.Endpoint != after.Chosen.Endpoint {
			t.Fatalf("%s asked to be left alone and won", after.Chosen.Endpoint)
		}
	})
}

// Invariant 12.
func TestWhoIsBlamed(t *testing.T) {
	blamed := map[Outcome]bool{Refused: true, Broken: true, Late: true, Failed: true, Cut: true, Stalled: true}
	for outcome := Served; outcome <= Stalled; outcome++ {
		if outcome.Blames() != blamed[outcome] {
			t.Errorf("%s blames the endpoint: %v", outcome, outcome.Blames())
		}
	}
}

// Invariant 13. However requests interleave, and whatever they say of their length.
func TestWhatIsInFlightReturnsToNothing(t *testing.T) {
	lengths := []float64{0, 0.3, 7, 1e4, -5, math.NaN(), math.Inf(1), 1e30}
	var m Meter
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 1000 {
				kb := lengths[(i*7+worker)%len(lengths)]
				m.Begin(noon, kb)
				if i%3 == 0 {
					m.now(noon)
				}
				m.Answered(kb)
				m.End()
			}
		})
	}
	all.Wait()
	if m.InFlight() != 0 || m.pending.Load() != 0 {
		t.Errorf("%d requests and %d bytes are left", m.InFlight(), m.pending.Load())
	}
}

// Invariant 13. Any order of what happens to several requests, on one goroutine: at
// each step the counts are those of a list of who is there.
func TestTheCountsAreThoseOfAListOfWhoIsThere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type request struct {
			kb      float64
			waiting bool
		}
		var m Meter
		var there []request
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			one := rapid.IntRange(0, len(there)).Draw(t, "request")
			switch {
			case one == len(there):
				kb := float64(rapid.IntRange(0, 64).Draw(t, "KB"))
				there = append(there, request{kb, true})
				if got := m.Begin(noon, kb); got != len(there) {
					t.Fatalf("%d are in flight, want %d", got, len(there))
				}
			case there[one].waiting:
				m.Answered(there[one].kb)
				there[one].waiting = false
			default:
				m.End()
				there = slices.Delete(there, one, one+1)
			}
			waitKB := 0.0
			for _, r := range there {
				if r.waiting {
					waitKB += r.kb
				}
			}
			if load := m.now(noon); load.InFlight != len(there) || load.WaitKB != waitKB {
				t.Fatalf("%d in flight and %v KB wait, want %d and %v", load.InFlight, load.WaitKB, len(there), waitKB)
			}
		}
	})
}

var (
	wildDurations = rapid.OneOf(
		rapid.Custom(func(t *rapid.T) time.Duration { return time.Duration(rapid.Int64().Draw(t, "ns")) }),
		rapid.SampledFrom([]time.Duration{0, -1, time.Millisecond, -time.Hour, time.Second, math.MaxInt64, math.MinInt64}),
	)
	wildTimes = rapid.Custom(func(t *rapid.T) time.Time {
		return rapid.SampledFrom([]time.Time{noon, {}, noon.Add(-20 * 365 * 24 * time.Hour)}).Draw(t, "from").
			Add(time.Duration(rapid.IntRange(-100_000, 100_000).Draw(t, "ms")) * time.Millisecond)
	})
)

// Invariant 14. Durations that are negative or without end, clocks that step, and
// numbers that are none.
func TestNothingThatAMeterIsToldMakesItAbsurd(t *testing.T) { rapid.Check(t, staysSane) }

func FuzzMeter(f *testing.F) { f.Fuzz(rapid.MakeFuzz(staysSane)) }

func staysSane(t *rapid.T) {
	var m Meter
	for range rapid.IntRange(1, 40).Draw(t, "events") {
		tellWild(t, &m)
		load := m.now(wildTimes.Draw(t, "measured"))
		for name, x := range map[string]float64{
			"queue": load.Queue, "capacity": load.Capacity, "waiting KB": load.WaitKB, "serve": load.ServeMs,
			"prefill": load.PrefillMs, "path": load.PathMs, "cool": load.CoolMs,
		} {
			if !(x >= 0 && x <= math.MaxFloat64) {
				t.Fatalf("%s is %v", name, x)
			}
		}
	}
}

// tellWild calls one of the meter's methods with anything.
func tellWild(t *rapid.T, m *Meter) {
	switch rapid.SampledFrom([]string{"begin", "serve", "probe", "cool", "report", "settle"}).Draw(t, "event") {
	case "begin":
		kb := anyNumber.Draw(t, "KB")
		m.Begin(wildTimes.Draw(t, "begun"), kb)
		m.Answered(kb)
		m.End()
	case "serve":
		m.Served(Sample{
			At: wildTimes.Draw(t, "at"), Elapsed: wildDurations.Draw(t, "elapsed"), Load: anyNumber.Draw(t, "load"),
			Queue: anyNumber.Draw(t, "queue"), WaitKB: anyNumber.Draw(t, "wait"), KB: anyNumber.Draw(t, "KB"),
			Streamed: rapid.Bool().Draw(t, "streamed"),
		})
	case "probe":
		m.Probed(wildDurations.Draw(t, "latency"))
	case "cool":
		m.Cool(wildTimes.Draw(t, "cooled"), wildDurations.Draw(t, "ask"))
	case "report":
		m.Reported(anyNumber.Draw(t, "all"), anyNumber.Draw(t, "own"), rapid.IntRange(-1, 100).Draw(t, "routers"))
	case "settle":
		passed := time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "passed"))
		m.settle(typical{100, 900, 3}, wildTimes.Draw(t, "now"), passed)
	}
}

// Invariant 14. Whatever is measured, the chosen cost is a number. A capacity that was
// learned is 2 at the least, and a cool-down at most 300 s.
func TestNoLoadMakesACostAbsurd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		for at := range s.load {
			s.load[at] = Load{
				InFlight: rapid.IntRange(0, math.MaxInt32).Draw(t, "in flight"),
				Queue:    anyNumber.Draw(t, "queue"), Capacity: rapid.SampledFrom([]float64{0, -1, 2, 7.5, 1e6, math.NaN()}).Draw(t, "capacity"), WaitKB: anyNumber.Draw(t, "wait"),
				ServeMs: anyNumber.Draw(t, "serve"), PrefillMs: anyNumber.Draw(t, "prefill"), PathMs: anyNumber.Draw(t, "path"),
				CoolMs: rapid.Float64Range(0, 300_000).Draw(t, "cool"), Withheld: anyNumber.Draw(t, "withheld"),
			}
		}
		d := s.snapshot.Decide(s.query, s.load)
		if cost := d.Chosen.CostMs; math.IsNaN(cost) || math.IsInf(cost, 0) {
			t.Fatalf("it costs %v: %+v", cost, d.Chosen)
		}
	})
}

// Invariant 15. A client that cannot be placed is sent where the router's own way
// is short, whatever the operator prefers for the others.
func TestWithoutAPlaceTheRoutersOwnWayDecides(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		s.query.From.Placed = false
		decided := func(by By) Decision {
			table := *s.snapshot.Table
			table.Steering.By = by
			return NewSnapshot(&table, s.snapshot.Status, s.snapshot.Drained).Decide(s.query, s.load)
		}
		client, path := decided(ByClient), decided(ByPath)
		if client != path {
			t.Fatalf("by client %+v, by path %+v", client, path)
		}
		if v := s.judge(); v.reason != client.Reason {
			t.Fatalf("the reason is %q, by hand %q", client.Reason, v.reason)
		}
	})
}

// Invariant 15. A fleet that falls silent leaves each router with its own requests.
func TestWithoutReportsOnesOwnRequestsCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		silent, alone := slices.Clone(s.load), slices.Clone(s.load)
		for at := range s.load {
			silent[at].Queue = float64(rapid.IntRange(0, alone[at].InFlight).Draw(t, "reported of one's own"))
			alone[at].Queue = float64(alone[at].InFlight)
		}
		if a, b := s.snapshot.Decide(s.query, silent), s.snapshot.Decide(s.query, alone); a != b {
			t.Fatalf("without reports %+v, alone %+v", a, b)
		}
	})
}

// Invariant 15. Nobody calls Settle: what was measured counts all the same.
func TestWithoutSettlingDecisionsAreDefined(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := NewLive(twoRegionsOf(t)).Snapshot()
		for range rapid.IntRange(0, 40).Draw(t, "events") {
			tellWild(t, s.Meter(rapid.IntRange(0, 1).Draw(t, "of")))
		}
		d := s.Decide(Query{From: drawPlace(t), Key: rapid.Uint64().Draw(t, "key")}, s.Measure(nil, noon))
		if cost := d.Chosen.CostMs; !d.Found() || math.IsNaN(cost) || math.IsInf(cost, 0) {
			t.Fatalf("decided %+v", d)
		}
	})
}

func twoRegionsOf(t *rapid.T) *Table {
	table, err := NewTable(
		[]Region{{ID: "us"}, {ID: "eu"}},
		[]Endpoint{{ID: "us-1", Region: "us", URL: at("us:1")}, {ID: "eu-1", Region: "eu", URL: at("eu:1")}},
		Steering{},
	)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// Invariant 16.
func TestADrainedEndpointGetsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		d := s.snapshot.Decide(s.query, s.load)
		if d.Found() && s.drained(s.snapshot.Table.Endpoints[d.Chosen.Position]) {
			t.Fatalf("%s is drained and was chosen in tier %d", d.Chosen.Endpoint, d.Chosen.Tier)
		}
	})
}

// Invariant 17. The whole question, with all that a request may bring and all that
// may be known, while everything is well and while nothing is.
func TestDecidingWithEverythingOnDoesNotAllocate(t *testing.T) {
	for _, n := range []int{64, 1024} {
		for name, health := range map[string]Health{"well": Up, "down": Down} {
			t.Run(fmt.Sprint(n, " endpoints ", name), func(t *testing.T) {
				live := busy(t, n, health)
				client := street(1)
				var loads []Load
				loads = live.Snapshot().Measure(loads, noon)
				key := uint64(0)
				allocated := testing.AllocsPerRun(100, func() {
					s := live.Snapshot()
					loads = s.Measure(loads, noon)
					key++
					s.Decide(Query{
						From: geo.Location{Placed: true, Lat: 48.9, Lon: 2.4, Country: "FR"}, Model: "llama", Key: key, Sticky: true, Prefer: "region-1", Tried: []EndpointID{"endpoint-7"},
						Learned: live.Cells.Find(client, "FR"), Warm: live.Warm(key, 20, noon), Priority: Batch,
					}, loads)
				})
				if allocated != 0 {
					t.Errorf("%v allocations", allocated)
				}
			})
		}
	}
}

// busy is a world in which everything is known of all endpoints but the last, which
// is new.
func busy(t *testing.T, n int, health Health) *Live {
	t.Helper()
	snapshot, loads := fleet(t, n)
	table := snapshot.Table
	steering := Steering{
		Slack: 20 * time.Millisecond, MaxDetour: 200 * time.Millisecond, SlowStart: 10 * time.Second,
		Shed:      [priorities]float64{Standard: 2, Batch: 1},
		Residency: []Residency{{"eu", []string{"FR"}, regionIDs(table)}},
	}
	table, err := NewTable(table.Regions, table.Endpoints, steering)
	if err != nil {
		t.Fatal(err)
	}
	live := NewLive(table)
	status := Status{Health: health, Recovered: noon.Add(-5 * time.Second), Succeeded: noon}
	live.publish(table, slices.Repeat([]Status{status}, n), Drains{})
	for at, load := range loads[:n-1] {
		m := live.Snapshot().Meter(at)
		for range load.InFlight {
			m.Begin(noon, 4)
		}
		m.Probed(20 * time.Millisecond)
		m.Reported(float64(at%40), float64(at%9), 3)
		m.capacity.bits.set(8)
		m.Served(Sample{At: noon, Elapsed: 200 * time.Millisecond, KB: 4, Streamed: true})
		m.Served(Sample{At: noon, Elapsed: 300 * time.Millisecond, KB: 9, Streamed: true})
	}
	live.Cells.Learn(street(1), "FR", 0, 30)
	for key := range uint64(200) {
		live.Sent(key, "endpoint-3", 10, noon)
	}
	return live
}

func regionIDs(table *Table) (ids []RegionID) {
	for _, region := range table.Regions {
		ids = append(ids, region.ID)
	}
	return ids
}

// Invariant 18. In no tier, and whoever failed already.
func TestNoEndpointBeyondItsCapIsEverChosen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		for {
			d := s.snapshot.Decide(s.query, s.load)
			if !d.Found() {
				return
			}
			most := s.snapshot.Table.Endpoints[d.Chosen.Position].MaxInFlight
			if there := s.load[d.Chosen.Position].InFlight; most > 0 && there >= most {
				t.Fatalf("%s has %d of %d in flight and was chosen in tier %d", d.Chosen.Endpoint, there, most, d.Chosen.Tier)
			}
			s.query.Tried = append(s.query.Tried, d.Chosen.Endpoint)
		}
	})
}

// Invariant 18. A thousand requests decide at once, with what was true a moment ago.
func TestACapIsNeverExceeded(t *testing.T) {
	const most = 7
	var m Meter
	var all sync.WaitGroup
	var admitted atomic.Int64
	for range 1000 {
		all.Go(func() {
			if !m.Admit(noon, 2, most) {
				return
			}
			admitted.Add(1)
			if there := m.InFlight(); there > most {
				t.Errorf("%d are in flight, of %d", there, most)
			}
			m.Answered(2)
			m.End()
		})
	}
	all.Wait()
	if admitted.Load() < most || m.InFlight() != 0 || m.pending.Load() != 0 {
		t.Errorf("%d were admitted, %d and %d bytes are left", admitted.Load(), m.InFlight(), m.pending.Load())
	}
}

// Invariant 18. Two requests say that they wait for the same: when an endpoint has room
// again, both wait on or neither does.
func TestTheSameWaitIsForTheSamePlaces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		first, before := s.query, s.snapshot.Decide(s.query, s.load)
		if before.Reason != Full {
			return
		}
		loads := slices.Clone(s.load)
		loads[rapid.IntRange(0, len(loads)-1).Draw(t, "room at")].InFlight = 0
		after := s.snapshot.Decide(first, loads)
		for range 8 {
			s.ask(t)
			if s.snapshot.Decide(s.query, s.load).Waits != before.Waits {
				continue
			}
			if other := s.snapshot.Decide(s.query, loads); other.Waits != after.Waits {
				t.Fatalf("%+v gets %+v, and %+v gets %+v", first, after, s.query, other)
			}
		}
	})
}

func TestAdmitDoesWhatBeginDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var begun, admitted Meter
		for range rapid.IntRange(1, 20).Draw(t, "requests") {
			kb, at := anyNumber.Draw(t, "KB"), wildTimes.Draw(t, "at")
			there := begun.Begin(at, kb)
			limit := rapid.SampledFrom([]int{0, -1, there, there + 1, math.MaxInt}).Draw(t, "limit")
			if !admitted.Admit(at, kb, limit) {
				t.Fatalf("request %d does not fit into %d", there, limit)
			}
			if there > 1 && admitted.Admit(at, kb, there) {
				t.Fatalf("one more fits into %d", there)
			}
		}
		if a, b := begun.now(noon), admitted.now(noon); a != b {
			t.Fatalf("begun %+v, admitted %+v", a, b)
		}
	})
}

// The limit of a detour is that of the first attempt, however many of the nearest were
// tried since.
func TestADetourDoesNotGrowWithRetries(t *testing.T) {
	endpoints := []Endpoint{{ID: "near", Region: "r"}, {ID: "middle", Region: "r"}, {ID: "far", Region: "r"}}
	table, err := NewTable([]Region{{ID: "r"}}, endpoints, Steering{By: ByPath, MaxDetour: 30 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	s := NewSnapshot(table, nil, Drains{})
	loads := []Load{{PathMs: 10}, {PathMs: 35}, {PathMs: 60}}
	d := s.Decide(Query{Tried: []EndpointID{"near", "middle"}}, loads)
	if d.Reason != NoneLeft {
		t.Errorf("decided %+v, want nobody: the far one is 50 ms beyond the nearest", d)
	}
}

// Who a request is decides whether it is turned away, never where it goes.
func TestPriorityDecidesOnlyWhoIsTurnedAway(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		var first Decision
		for p := range priorities {
			s.query.Priority = p
			d := s.snapshot.Decide(s.query, s.load)
			switch {
			case d.Reason == Shed:
			case first == Decision{}:
				first = d
			case d != first:
				t.Fatalf("a %s request gets %+v, another %+v", p, d, first)
			}
		}
	})
}

// Neighbours have taught that a region is near which the distance says is far.
func TestWhatNeighboursTaughtBringsAFarRegionNear(t *testing.T) {
	sydney := geo.Location{Placed: true, Lat: -33.9, Lon: 151.2}
	regions := []Region{{ID: "berlin", Place: berlin, Bias: 40 * time.Millisecond}, {ID: "sydney", Place: sydney}}
	table, err := NewTable(regions, []Endpoint{{ID: "b", Region: "berlin"}, {ID: "s", Region: "sydney"}}, Steering{})
	if err != nil {
		t.Fatal(err)
	}
	cells := NewCells(4, 2)
	for range 100 {
		cells.Learn(street(1), "", 1, -240)
	}
	q := Query{From: berlin, Learned: cells.Find(street(1), "")}
	if d := NewSnapshot(table, nil, Drains{}).Decide(q, make([]Load, 2)); d.Chosen.Endpoint != "s" {
		t.Errorf("%+v was chosen", d.Chosen)
	}
}

// A prompt goes back to where its beginning is, also to a slower server, unless others
// wait there for longer than that saves.
func TestAPromptGoesBackWhereItsBeginningIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := NewSnapshot(twoRegionsOf(t), []Status{{Health: Up}, {Health: Up}}, Drains{})
		warm := Warm{Endpoint: uint32(hashByHand("eu-1") >> 32), KB: rapid.Float64Range(1, 40).Draw(t, "KB")}
		waitKB := rapid.Float64Range(0, 40).Draw(t, "KB that wait there")
		loads := []Load{{ServeMs: 1000, PrefillMs: 20}, {ServeMs: 1100, PrefillMs: 20, WaitKB: waitKB}}

		d := s.Decide(Query{Key: rapid.Uint64().Draw(t, "key"), Warm: warm}, loads)

		saved := 20*(warm.KB-waitKB) - 100
		if back := d.Chosen.Endpoint == "eu-1"; back != (saved > 0) && math.Abs(saved) > 0.01 {
			t.Fatalf("%v KB are there, %v KB wait there, and %s was chosen", warm.KB, waitKB, d.Chosen.Endpoint)
		}
	})
}

// A prompt whose beginning is somewhere is never dearer there for it, and saves no
// more than all of the server's time.
func TestWarmSavesAtMostTheServersTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		warm := s.snapshot.Explain(s.query, s.load).Candidates
		s.query.Warm = Warm{}
		cold := map[int]Candidate{}
		for _, c := range s.snapshot.Explain(s.query, s.load).Candidates {
			cold[c.Position] = c
		}
		for _, c := range warm {
			if saved := cold[c.Position].CostMs - c.CostMs; saved < -1e-6 || saved > c.ServeMs*(1+1e-9)+1e-6 {
				t.Fatalf("%s saves %v of %v ms", c.Endpoint, saved, c.ServeMs)
			}
		}
	})
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
		for _, c := range x.Candidates {
			s.checkTerms(t, c)
		}
		for _, r := range x.Rejected {
			if r.Reason == "" || r.Detail == "" {
				t.Fatalf("%s was rejected without a reason", r.Endpoint)
			}
		}
	})
}

// The runner-up is who would be chosen if the chosen one were gone, and Otherwise
// who would be under the other setting.
func TestExplainSaysWhoElseWouldBeChosen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		x := s.snapshot.Explain(s.query, s.load)
		if !x.Decision.Found() {
			return
		}
		table := *s.snapshot.Table
		table.Steering.By = 1 - table.Steering.By
		other := NewSnapshot(&table, s.snapshot.Status, s.snapshot.Drained).Decide(s.query, s.load)
		if x.Otherwise.Found != other.Found() || x.Otherwise.Chosen != other.Chosen || x.Otherwise.By != table.Steering.By {
			t.Fatalf("by %s it would be %+v, explained %+v", table.Steering.By, other, x.Otherwise)
		}
		s.query.Tried = append(s.query.Tried, x.Decision.Chosen.Endpoint)
		second := s.snapshot.Decide(s.query, s.load)
		if x.RunnerUp.Found != second.Found() || x.RunnerUp.Candidate != second.Chosen || second.Found() && x.RunnerUp.Detail == "" {
			t.Fatalf("without the chosen it would be %+v, explained %+v", second, x.RunnerUp)
		}
	})
}

package sim

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
)

// scenario is one of the named ones, on the base that the parameters were chosen on.
func scenario(t *testing.T, name string) Scenario {
	t.Helper()
	all := Developed().Scenarios()
	at := slices.IndexFunc(all, func(sc Scenario) bool { return sc.Name == name })
	if at < 0 {
		t.Fatalf("no scenario %s", name)
	}
	return all[at]
}

// meet runs a scenario once under a policy each. A run that does not end with nothing
// in flight is an error of Run.
func meet(t *testing.T, name string, policies ...string) map[string]Result {
	t.Helper()
	plan := Plan{Scenarios: []Scenario{scenario(t, name)}, Policies: policies, Seeds: []uint64{7}}
	results, err := plan.Play(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]Result{}
	for _, r := range results {
		by[r.Policy] = r
	}
	return by
}

const ours = "proxima-learned"

// others are the policies that ours is held against.
var others = []string{"nearest", "envoy", "peak-ewma", "waterfall", "rtt-queue"}

func TestNoOtherPolicyIsSoonerOnSkewedDemand(t *testing.T) {
	for _, name := range []string{"e1/skewed-50", "e1/skewed-85"} {
		got := meet(t, name, append(others, ours, "oracle")...)
		mine, oracle := got[ours], got["oracle"]
		for _, other := range others {
			if theirs := got[other]; mine.P50 > 1.03*theirs.P50 || mine.P99 > 1.03*theirs.P99 || mine.Mean > 1.03*theirs.Mean {
				t.Errorf("%s: %+v is beaten by %+v", name, mine, theirs)
			}
		}
		if mine.P99 > 1.1*oracle.P99+60 || mine.Regret > 0.25*oracle.Mean {
			t.Errorf("%s: %+v is far from the oracle's %+v", name, mine, oracle)
		}
	}
}

func TestOnBalancedLowLoadNobodyIsMuchSooner(t *testing.T) {
	got := meet(t, "e1/balanced-30", append(others, ours)...)
	for _, other := range others {
		if mine, theirs := got[ours], got[other]; mine.P50 > 1.03*theirs.P50 || mine.P99 > 1.03*theirs.P99 {
			t.Errorf("%+v is beaten by more than 3 %% by %+v", mine, theirs)
		}
	}
}

func TestARegionDiesAndNobodyIsToldSo(t *testing.T) {
	for _, name := range []string{"e2/refused", "e2/black-hole", "e2/503", "e2/slow"} {
		if got := meet(t, name, ours)[ours]; got.Errors != 0 {
			t.Errorf("%s: %d requests failed before their first byte", name, got.Errors)
		}
	}
}

func TestStreamsGoOnElsewhereWhenTheyMay(t *testing.T) {
	cut, resumed := meet(t, "e3/cut", ours)[ours], meet(t, "e3/cut-resume", ours)[ours]
	if cut.Lost == 0 || resumed.Lost > cut.Lost/10 || resumed.Resumed == 0 {
		t.Errorf("%d streams lost; %d with resuming, %d resumed", cut.Lost, resumed.Lost, resumed.Resumed)
	}
}

func TestASickEndpointLosesItsTraffic(t *testing.T) {
	for _, name := range []string{"e4/slow", "e4/errors"} {
		got := meet(t, name, ours)[ours]
		if share := 1.0 / 24; got.Faulty > 0.75*share {
			t.Errorf("%s: %.1f %% of the attempts went to one sick endpoint of 24", name, 100*got.Faulty)
		}
	}
}

func TestResidencyHoldsUnderOverload(t *testing.T) {
	for policy, r := range meet(t, "e11/overload", append(others, ours)...) {
		if r.Residency != 0 {
			t.Errorf("%s broke residency %d times", policy, r.Residency)
		}
	}
}

func TestARouterWhoseOwnNetworkFailsBlamesNobody(t *testing.T) {
	if got := meet(t, "e12/own-network", ours)[ours]; got.Wrong != 0 {
		t.Errorf("%d endpoints were taken out that were well", got.Wrong)
	}
}

func TestALyingRouterTakesNobodyOut(t *testing.T) {
	if got := meet(t, "e12/liar", ours)[ours]; got.Wrong != 0 || got.Errors != 0 {
		t.Errorf("%d endpoints taken out, %d errors", got.Wrong, got.Errors)
	}
}

// Run fails when something is still in flight at the end; JSON has no NaN.
func TestThreeHoursOfFaultsEndAtRest(t *testing.T) {
	sc := scenario(t, "day/faults")
	sc.Seconds = 3*3600 - 60
	sc.Faults = hourly(Developed().Places[:3], 3)
	for _, policy := range []string{ours, "envoy"} {
		result, err := Run(&sc, policy, 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := json.Marshal(result); err != nil || math.IsNaN(result.Mean) {
			t.Errorf("%+v: %v", result, err)
		}
	}
}

func TestEveryPolicyMeetsTheSameArrivals(t *testing.T) {
	first := 0
	for policy, r := range meet(t, "e1/skewed-30", append(others, ours, "oracle")...) {
		if first == 0 {
			first = r.Requests
		}
		if r.Requests != first {
			t.Errorf("%s met %d requests, another %d", policy, r.Requests, first)
		}
	}
}

func TestAFaultThatNamesNothingIsAnError(t *testing.T) {
	sc := scenario(t, "e2/refused")
	for fault, want := range map[Fault]string{
		{Region: "atlantis", From: 1, To: 2}:                      `"atlantis"`,
		{Region: sc.Regions[0].Name, Endpoint: 9, From: 1, To: 2}: "endpoint 9",
		{Router: 3, From: 1, To: 2}:                               "router 3 of 1",
	} {
		sc.Faults = []Fault{fault}
		if _, err := Run(&sc, ours, 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", fault, err)
		}
	}
}

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

// meet runs a scenario once under each policy, shortened to a minute after half of
// one when there is much traffic and nothing breaks in it. A run that does not end with nothing in flight is an
// error of Run.
func meet(t *testing.T, name string, policies ...string) map[string]Result {
	t.Helper()
	sc := scenario(t, name)
	if len(sc.Faults) == 0 && sc.Load > 0.5 {
		sc.Warm, sc.Seconds = 30, 60
	}
	by := map[string]Result{}
	for _, policy := range policies {
		r, err := Run(&sc, policy, 7)
		if err != nil {
			t.Fatal(err)
		}
		by[policy] = *r
	}
	return by
}

const ours = "proxima-learned"

// others are the policies that come nearest to ours.
var others = []string{"waterfall", "rtt-queue"}

func TestNoOtherPolicyIsSoonerOnSkewedDemand(t *testing.T) {
	got := meet(t, "e1/skewed-85", append(others, ours, "oracle")...)
	mine, oracle := got[ours], got["oracle"]
	for _, other := range others {
		if theirs := got[other]; mine.P50 > 1.03*theirs.P50 || mine.P99 > 1.03*theirs.P99 || mine.Mean > 1.03*theirs.Mean {
			t.Errorf("%+v is beaten by %+v", mine, theirs)
		}
	}
	if mine.P99 > 1.1*oracle.P99+60 || mine.Mean > 1.25*oracle.Mean {
		t.Errorf("%+v is far from the oracle's %+v", mine, oracle)
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
	for _, name := range []string{"e2/refused", "e2/black-hole", "e2/503"} {
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
	if got := meet(t, "e11/overload", ours)[ours]; got.Residency != 0 || got.Shed == 0 || got.Errors != 0 {
		t.Errorf("residency broken %d times, %d shed, %d errors", got.Residency, got.Shed, got.Errors)
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
func TestAnHourAndAHalfOfFaultsEndsAtRest(t *testing.T) {
	sc := scenario(t, "day/faults")
	sc.Seconds = 5400 - 60
	sc.Faults = hourly(Developed().Places[:3], 9)
	for i := range sc.Faults { // ten minutes apart, eight minutes long
		sc.Faults[i].From = float64(i) * 600
		sc.Faults[i].To = sc.Faults[i].From + 480
	}
	result, err := Run(&sc, ours, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := json.Marshal(result); err != nil || math.IsNaN(result.Mean) {
		t.Errorf("%+v: %v", result, err)
	}
}

func TestEveryPolicyMeetsTheSameArrivals(t *testing.T) {
	sc := scenario(t, "e9/sessions-slack-10ms")
	first, err := newRun(&sc, ours, 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range policies() {
		r, err := newRun(&sc, p.name, 3)
		if err != nil {
			t.Fatal(err)
		}
		same := func(a, b request) bool { return a.Request == b.Request }
		if !slices.EqualFunc(r.requests, first.requests, same) {
			t.Errorf("%s meets other requests", p.name)
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

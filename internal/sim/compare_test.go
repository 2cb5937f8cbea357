package sim

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// small is a scenario of some hundred requests.
func small(t *testing.T) Scenario {
	t.Helper()
	for _, sc := range Developed().Scenarios() {
		if sc.Name == "e2/refused" {
			sc.Load = 0.02
			return sc
		}
	}
	t.Fatal("there is no e2/refused")
	return Scenario{}
}

func TestAPlanPlaysTheSameTwice(t *testing.T) {
	plan := Plan{Scenarios: []Scenario{small(t)}, Policies: []string{"nearest", "proxima-learned"}, Seeds: []uint64{1, 2}, Impact: true}
	first, err := plan.Play(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := plan.Play(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(first, second) {
		t.Error("the same plan had other results")
	}
	if len(first) != 4 || first[1].Policy != "proxima-learned" || first[2].Seed != 2 {
		t.Errorf("results are not those of the plan in its order, without the oracle: %+v", first)
	}
	if first[0].Regret == 0 || first[0].Requests == 0 {
		t.Errorf("nearest has %d requests and a regret of exactly %v", first[0].Requests, first[0].Regret)
	}
}

func TestRunAndPlanSayTheSame(t *testing.T) {
	sc := small(t)
	alone, err := Run(&sc, "oracle", 3)
	if err != nil {
		t.Fatal(err)
	}
	plan := Plan{Scenarios: []Scenario{sc}, Policies: []string{"oracle"}, Seeds: []uint64{3}}
	planned, err := plan.Play(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(*alone, planned[0]) {
		t.Errorf("alone it is %+v, in a plan %+v", *alone, planned[0])
	}
}

func TestAPlanStopsWhenNobodyWantsItAnyMore(t *testing.T) {
	ctx, lose := context.WithCancel(t.Context())
	plan := Plan{Scenarios: []Scenario{small(t)}, Policies: []string{"nearest"}, Seeds: []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}
	done := 0
	plan.Progress = func(int, int) { done++; lose() }
	if _, err := plan.Play(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	if done == 0 || done == plan.Runs() {
		t.Errorf("%d of %d runs were done", done, plan.Runs())
	}
}

func TestAPlanSaysWhatIsWrongAndWhere(t *testing.T) {
	none, lost, endless := small(t), small(t), small(t)
	lost.Regions = append([]Region{}, lost.Regions...)
	lost.Regions[0].Name = "atlantis"
	endless.Seconds = 1e9
	for want, plan := range map[string]Plan{
		`scenario e2/refused: no policy "best"; there are nearest, `:                {Scenarios: []Scenario{none}, Policies: []string{"best"}},
		`scenario e2/refused: region "atlantis" is not in the table of round trips`: {Scenarios: []Scenario{lost}, Policies: []string{"nearest"}},
		`requests, and the most is 5000000: take a lower load, or fewer endpoints`:  {Scenarios: []Scenario{endless}, Policies: []string{"nearest"}},
	} {
		plan.Seeds = []uint64{1}
		if _, err := plan.Play(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want %s", err, want)
		}
	}
}

func TestAnIntervalIsThatOfStudent(t *testing.T) {
	results := []Result{{Mean: 10}, {Mean: 12}, {Mean: 14}} // deviation 2, t for two degrees of freedom 4.303
	got := Over(results, func(r *Result) float64 { return r.Mean })
	if want := 4.303 * 2 / 1.7320508; got.Mean != 12 || got.Half < want-1e-3 || got.Half > want+1e-3 {
		t.Errorf("the interval is %v ± %v, want 12 ± %v", got.Mean, got.Half, want)
	}
	if got := Over(results[:1], func(r *Result) float64 { return r.Mean }); got != (Interval{Mean: 10}) {
		t.Errorf("one result has the interval %v ± %v", got.Mean, got.Half)
	}
}

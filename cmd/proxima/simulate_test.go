package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"proxima/internal/sim"
	"proxima/internal/sim/workload"
)

// fared is a result with the figures that a test is about.
func fared(policy string, seed uint64, mean, regret float64, errors int) sim.Result {
	return sim.Result{Scenario: "e4/slow", Policy: policy, Seed: seed, Mean: mean, P50: mean, P95: mean, P99: mean, Regret: regret, Errors: errors}
}

func TestTheBestOfAColumnIsMarkedButForTheOracle(t *testing.T) {
	results := []sim.Result{
		fared("nearest", 1, 400, 200, 3), fared("nearest", 2, 420, 220, 5),
		fared("proxima", 1, 205, 5, 0), fared("proxima", 2, 195, -5, 0),
		fared("oracle", 1, 200, 0, 0), fared("oracle", 2, 200, 0, 0),
	}
	results[0].Faulty, results[1].Faulty = 0.2, 0.2
	var printed strings.Builder
	printComparison(&printed, &sim.Scenario{Name: "e4/slow", About: "one endpoint is slow"}, []string{"nearest", "proxima", "oracle"}, results)
	want := `e4/slow: one endpoint is slow
policy   mean ms      p50      p95      p99  regret ms  of oracle's  errors  lost  cross  oscillation  to the sick one
nearest  410±127  410±127  410±127  410±127    210±127     105±64 %    4±13   0±0  0±0 %    0.00±0.00           20±0 %
proxima  *200±64  *200±64  *200±64  *200±64      *0±64       0±32 %    *0±0   0±0  0±0 %    0.00±0.00           *0±0 %
oracle     200±0    200±0    200±0    200±0        0±0        0±0 %     0±0   0±0  0±0 %    0.00±0.00            0±0 %

`
	if got := printed.String(); got != want {
		t.Errorf("printed\n%s\nwant\n%s", got, want)
	}
}

func TestWithOneSeedThereIsNoInterval(t *testing.T) {
	cells := (&column{"p99", func(r *sim.Result) float64 { return r.P99 }, whole, -1}).cells(
		[]string{"nearest", "envoy", "proxima"}, []sim.Result{fared("nearest", 1, 300, 0, 0), fared("envoy", 1, 200.2, 0, 0), fared("proxima", 1, 199.9, 0, 0)})
	if got := strings.Join(cells, " "); got != "300 *200 *200" {
		t.Errorf("cells are %q: what reads the same is as good", got)
	}
}

func TestARegionsDeathIsPrintedAsBeforeAndAfter(t *testing.T) {
	sc := sim.Scenario{
		Name: "down/a", About: "a dies",
		Regions: []sim.Region{{Name: "a", Endpoints: 2, Share: 3}, {Name: "b", Endpoints: 1, Share: 1}},
	}
	results := []sim.Result{{Policy: "proxima-learned", Lost: 4, SteerS: 0.26, Impact: &sim.Impact{
		Before: sim.Part{P50: 200, P95: 400, P99: 600, Load: 0.6, Regions: []sim.Traffic{{Region: "a", Share: 0.7, Load: 0.63}, {Region: "b", Share: 0.3, Load: 0.54}}},
		After:  &sim.Part{P50: 9000, P95: 30000, P99: 30000, Errors: 7, Load: 1.8, Regions: []sim.Traffic{{Region: "a"}, {Region: "b", Share: 1, Load: 1.81}}},
	}}}
	var printed strings.Builder
	printImpact(&printed, &sc, []string{"proxima-learned"}, results)
	want := `down/a: a dies
region  endpoints  of demand  of traffic before  of traffic after  load before  load after
a               2       75 %               70 %               0 %         63 %         0 %
b               1       25 %               30 %             100 %         54 %       181 %

policy           p50 ms before  p50 ms after  p95 before  p95 after  p99 before  p99 after  errors before  errors after  streams lost  steered away s
proxima-learned            200          9000         400      30000         600      30000              0             7             4             0.3
The other regions would be at 180 % of what they sustain: requests wait, and some in vain.

`
	if got := printed.String(); got != want {
		t.Errorf("printed\n%s\nwant\n%s", got, want)
	}
}

func TestTheVerdictSaysWhetherTheOthersCarryIt(t *testing.T) {
	for load, want := range map[float64]string{
		0:    "There is no other region: nobody is answered.",
		0.7:  "The other regions carry it, at 70 % of what they sustain.",
		0.9:  "The other regions would be at 90 % of what they sustain: they carry it, and requests wait.",
		1.31: "The other regions would be at 131 % of what they sustain: requests wait, and some in vain.",
	} {
		if got := verdict(load); got != want {
			t.Errorf("at %v the verdict is %q, want %q", load, got, want)
		}
	}
}

// TestRowsBeginWithTheNamesOfTheContract holds the order, which scripts cut columns by.
func TestRowsBeginWithTheNamesOfTheContract(t *testing.T) {
	row, err := json.Marshal(sim.Result{})
	if err != nil {
		t.Fatal(err)
	}
	names := json.NewDecoder(bytes.NewReader(row))
	for _, want := range []string{
		"scenario", "policy", "seed", "requests", "ttft_mean_ms", "ttft_p50_ms", "ttft_p95_ms", "ttft_p99_ms", "errors", "streams_lost",
		"cross_region_ratio", "oscillation", "regret_ms", "seconds_to_steer_away",
	} {
		if got := nextName(t, names); got != want {
			t.Errorf("a name is %q where %q belongs", got, want)
		}
	}
}

// nextName reads on to the next name of an object of scalars.
func nextName(t *testing.T, names *json.Decoder) string {
	t.Helper()
	for {
		token, err := names.Token()
		if err != nil {
			t.Fatal(err)
		}
		if _, opens := token.(json.Delim); opens {
			continue
		}
		if _, err := names.Token(); err != nil {
			t.Fatal(err)
		}
		return token.(string)
	}
}

func TestProgressSaysHowLongItTakes(t *testing.T) {
	for _, c := range []struct {
		done, of int
		after    time.Duration
		want     string
	}{
		{1, 1, time.Hour, "1 of 1 run"},
		{12, 40, 13 * time.Second, "12 of 40 runs, about 30 s left"},
		{1, 11, time.Minute, "1 of 11 runs, about 10 min left"},
	} {
		if got := (&counter{done: c.done, of: c.of}).far(c.after); got != c.want {
			t.Errorf("after %v it says %q, want %q", c.after, got, c.want)
		}
	}
}

func TestEveryNamedTraceIsOffered(t *testing.T) {
	var names []string
	for _, process := range workload.Processes() {
		names = append(names, process.Name)
	}
	if got, want := strings.Join(traces(), " "), strings.Join(names, " "); got != want {
		t.Errorf("offered are %s, and there are %s", got, want)
	}
}

func TestEveryExperimentHasAQuestion(t *testing.T) {
	for _, sc := range sim.Developed().Scenarios() {
		if asked(group(sc.Name)) == "" {
			t.Errorf("nothing says what %s asks", sc.Name)
		}
	}
}

package workload

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestProcessesAreFoundByName(t *testing.T) {
	for _, name := range []string{"conversation", "poisson", "bursty", "code", "diurnal"} {
		p, known := Named(name)
		if !known || p.Name != name || p.About == "" || len(p.Trace.Rows) < 10_000 {
			t.Errorf("%s: %v, %q with %d rows", name, known, p.Name, len(p.Trace.Rows))
		}
	}
	if _, known := Named("nonsense"); known {
		t.Error("nonsense is a process")
	}
}

// Three hours of one request a second by each process, measured.
func TestProcessesAreWhatTheySay(t *testing.T) {
	for _, test := range []struct {
		name              string
		context, generate float64 // means
		variation         float64 // coefficient, of intervals
	}{
		{"conversation", 1154.7, 211.1, 1.094},
		{"poisson", 1154.7, 211.1, 1},
		{"bursty", 1154.7, 211.1, 3},
		{"code", 2754, 24.7, 1}, // a lognormal's mean is exp(σ²/2) medians: 2000·e^0.32, 15·e^0.5
	} {
		p, _ := Named(test.name)
		requests := Generate(Settings{
			Trace: p.Trace, Arrivals: p.Arrivals, DurationMs: 100_000_000, Areas: []Area{steadily(1)},
		}, rand.New(rand.NewPCG(1, 2)))
		context, generate := Mean(requests)
		if math.Abs(context/test.context-1) > 0.03 || math.Abs(generate/test.generate-1) > 0.03 {
			t.Errorf("%s: means %v and %v, want %v and %v", test.name, context, generate, test.context, test.generate)
		}
		if got := variation(requests); math.Abs(got/test.variation-1) > 0.03 {
			t.Errorf("%s: coefficient of variation %v, want %v", test.name, got, test.variation)
		}
		if rate := float64(len(requests)) / 100_000; math.Abs(rate-1) > 0.03 {
			t.Errorf("%s: %v requests a second, want 1", test.name, rate)
		}
	}
}

func variation(requests []Request) float64 {
	sum, squares, n := 0.0, 0.0, float64(len(requests)-1)
	for i := range requests[1:] {
		gap := requests[i+1].AtMs - requests[i].AtMs
		sum, squares = sum+gap, squares+gap*gap
	}
	return math.Sqrt(squares*n/(sum*sum) - 1)
}

func TestCodeHasLongPromptsAndShortAnswers(t *testing.T) {
	p, _ := Named("code")
	context, generate := make([]int, len(p.Trace.Rows)), make([]int, len(p.Trace.Rows))
	for i, row := range p.Trace.Rows {
		context[i], generate[i] = row.Context, row.Generate
	}
	slices.Sort(context)
	slices.Sort(generate)
	if c, g := context[len(context)/2], generate[len(generate)/2]; c < 1940 || c > 2060 || g != 15 {
		t.Errorf("medians %d and %d, want 2000 and 15", c, g)
	}
}

func TestADayHasItsHours(t *testing.T) {
	const hour = 3_600_000
	for _, test := range []struct {
		where string
		lon   float64
		hour  float64 // in Greenwich
		want  float64
	}{
		{"Greenwich at five in the morning", 0, 5, 0.5},
		{"Greenwich at five in the afternoon", 0, 17, 1.5},
		{"Tokyo at five in the morning", 135, 20, 0.5},
		{"Chicago at eleven", -90, 17, 1},
		{"the day after", 0, 29, 0.5},
	} {
		if got := Day(test.lon)(test.hour * hour); math.Abs(got-test.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", test.where, got, test.want)
		}
	}
}

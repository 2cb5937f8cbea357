package workload

import (
	"math"
	"math/rand/v2"
)

// Process is a kind of traffic: how large requests are, and how they follow each other.
type Process struct {
	Name     string
	About    string // one line
	Trace    *Trace // where token counts are drawn from
	Arrivals Arrivals
	Diurnal  bool // rates follow Day
}

// Processes are the named ones: the recorded trace, and four that are made up.
func Processes() []Process {
	context, generate := likeConversation()
	return []Process{
		{
			Name: "conversation", About: "a recorded conversation service: its sizes and its intervals",
			Trace: Conversation(), Arrivals: Recorded,
		},
		{
			Name: "poisson", About: "independent arrivals, lognormal sizes with the conversation's mean and deviation",
			Trace: madeUp("poisson", Poisson, context, generate),
		},
		{
			Name: "bursty", About: "the same sizes, in bursts: gamma intervals with a coefficient of variation of 3",
			Trace: madeUp("bursty", Bursty, context, generate), Arrivals: Bursty,
		},
		{
			Name: "code", About: "a coding assistant: long prompts (median 2,000 tokens), short answers (median 15)",
			Trace: madeUp("code", Poisson, lognormal{math.Log(2000), 0.8}, lognormal{math.Log(15), 1}),
		},
		{
			Name: "diurnal", About: "as poisson, at rates that follow the hours of a day",
			Trace: madeUp("diurnal", Poisson, context, generate), Diurnal: true,
		},
	}
}

// Named finds a process by its name.
func Named(name string) (Process, bool) {
	for _, p := range Processes() {
		if p.Name == name {
			return p, true
		}
	}
	return Process{}, false
}

// Day is the course of a day at a longitude in degrees: what to multiply a rate with at
// a time, which begins at midnight in Greenwich. It is least, a half, at five in the
// morning by the sun, most, three halves, at five in the afternoon, and 1 on average.
func Day(lon float64) func(atMs float64) float64 {
	return func(atMs float64) float64 {
		hour := atMs/3_600_000 + lon/15
		return 1 - 0.5*math.Cos((hour-5)/24*2*math.Pi)
	}
}

// likeConversation is lognormal sizes with the mean and the deviation of the recorded
// ones.
func likeConversation() (context, generate lognormal) {
	rows := Conversation().Rows
	contexts, generates := make([]float64, len(rows)), make([]float64, len(rows))
	for i, row := range rows {
		contexts[i], generates[i] = float64(row.Context), float64(row.Generate)
	}
	return fitted(contexts), fitted(generates)
}

// fitted is the lognormal with the moments of a sample: the variance of the logarithm
// is ln(1 + variance/mean²), its mean ln(mean) less half of that.
func fitted(sample []float64) lognormal {
	sum, squares := 0.0, 0.0
	for _, x := range sample {
		sum, squares = sum+x, squares+x*x
	}
	mean := sum / float64(len(sample))
	variance := math.Log(squares / float64(len(sample)) / (mean * mean))
	return lognormal{math.Log(mean) - variance/2, math.Sqrt(variance)}
}

// A made-up trace has the size and the rate of the recorded one, and no request larger
// than models take.
const (
	madeUpRows     = 20_000
	madeUpGapMs    = 180.0
	mostMadeUp     = 16_000
	mostMadeUpText = 2_000 // of an answer
)

// madeUp is a trace of lognormal sizes, the same each time.
func madeUp(name string, arrivals Arrivals, context, generate lognormal) *Trace {
	rng := rand.New(rand.NewPCG(2023, uint64(arrivals)))
	gap := (&Settings{Arrivals: arrivals}).gaps(rng)
	t, at := &Trace{Name: name, Rows: make([]Row, madeUpRows)}, 0.0
	for i := range t.Rows {
		t.Rows[i] = Row{
			AtMs:     at,
			Context:  rounded(context.draw(rng), mostMadeUp),
			Generate: rounded(generate.draw(rng), mostMadeUpText),
		}
		at += gap() * madeUpGapMs
	}
	return t
}

func rounded(x float64, most int) int { return int(min(max(math.Round(x), 1), float64(most))) }

package sim

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// About is something that can be chosen by its name, and one line on what it is.
type About struct{ Name, About string }

// Policies are all that can be compared, in the order of the tables.
func Policies() []About {
	var all []About
	for _, p := range policies() {
		all = append(all, About{p.name, p.about})
	}
	return all
}

// PolicyNames lists the policies in the order of the tables.
func PolicyNames() string {
	var names []string
	for _, p := range policies() {
		names = append(names, p.name)
	}
	return strings.Join(names, ", ")
}

// Plan is a set of runs: each scenario with each seed under each policy.
type Plan struct {
	Scenarios []Scenario
	Policies  []string
	Seeds     []uint64
	Impact    bool               // results say where the traffic went
	Progress  func(done, of int) // called from one goroutine at a time; nil: nobody looks
}

// mostRequests bounds a run's memory, which is some hundred bytes for each.
const mostRequests = 5_000_000

// job is one run of a plan.
type job struct {
	scenario *Scenario
	policy   string
	seed     uint64
}

// Play runs a plan, as many runs at a time as there are processors, and returns
// the results in the order of the plan. The oracle plays along even when it is not
// asked for: without it there is no regret. When ctx is done it stops within the
// second, with the context's error.
func (p *Plan) Play(ctx context.Context) ([]Result, error) {
	jobs := p.jobs()
	for i := range p.Scenarios {
		if n := p.Scenarios[i].expects(); n > mostRequests {
			return nil, fmt.Errorf("scenario %s: about %.0f requests, and the most is %d: take a lower load, or fewer endpoints", p.Scenarios[i].Name, n, mostRequests)
		}
	}
	results := make([]Result, len(jobs))
	err := inParallel(ctx, len(jobs), p.Progress, func(ctx context.Context, i int) error {
		res, err := p.run(ctx, jobs[i])
		if err != nil {
			return err
		}
		results[i] = *res
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p.regretted(results), nil
}

// Runs is how many runs the plan has.
func (p *Plan) Runs() int { return len(p.jobs()) }

func (p *Plan) jobs() []job {
	names := p.Policies
	if !slices.Contains(names, "oracle") {
		names = append(slices.Clone(names), "oracle")
	}
	var jobs []job
	for i := range p.Scenarios {
		for _, seed := range p.Seeds {
			for _, name := range names {
				jobs = append(jobs, job{&p.Scenarios[i], name, seed})
			}
		}
	}
	return jobs
}

// expects is about how many requests a run of the scenario has, but for floods.
func (sc *Scenario) expects() float64 {
	return (&run{Scenario: sc}).sustains() * sc.Load * (sc.Warm + sc.Seconds)
}

// run is one run of the plan.
func (p *Plan) run(ctx context.Context, j job) (*Result, error) {
	r, err := newRun(j.scenario, j.policy, j.seed)
	if err != nil {
		return nil, fmt.Errorf("scenario %s: %w", j.scenario.Name, err)
	}
	w := newWitness(r)
	if err := r.watched(ctx, w.look); err != nil {
		return nil, err
	}
	var impact *Impact
	if p.Impact {
		impact = w.impact()
	}
	res := r.tally.result(r, j.seed)
	res.Impact = impact
	return res, nil
}

// watched is a run for somebody who looks at each event before it happens, and who
// may lose interest. That anything is still in flight at the end is an error.
func (r *run) watched(ctx context.Context, look func(event)) error {
	r.begin()
	for n := 0; !r.agenda.empty(); n++ {
		e := r.agenda.next()
		if e.at > r.endMs && r.open == 0 {
			break
		}
		if e.at > r.endMs+endlessMs {
			return fmt.Errorf("%d requests never end: a bug of the simulator", r.open)
		}
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		r.now = e.at
		look(e)
		r.happen(e)
	}
	return r.check()
}

// inParallel calls do for 0 … n−1, as many at a time as there are processors. The
// first error ends it; progress hears of each one done, one after the other.
func inParallel(ctx context.Context, n int, progress func(done, of int), do func(ctx context.Context, i int) error) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var next atomic.Int64
	var mu sync.Mutex
	done := 0
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), n) {
		workers.Go(func() {
			for i := next.Add(1) - 1; int(i) < n && ctx.Err() == nil; i = next.Add(1) - 1 {
				if err := do(ctx, int(i)); err != nil {
					fail(err)
					return
				}
				mu.Lock()
				if done++; progress != nil {
					progress(done, n)
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

// regretted fills in each result's regret, and leaves out an oracle that nobody
// asked for.
func (p *Plan) regretted(results []Result) []Result {
	type world struct {
		scenario string
		seed     uint64
	}
	best := map[world]float64{}
	for _, r := range results {
		if r.Policy == "oracle" {
			best[world{r.Scenario, r.Seed}] = r.Mean
		}
	}
	for i := range results {
		results[i].Regret = results[i].Mean - best[world{results[i].Scenario, results[i].Seed}]
	}
	return slices.DeleteFunc(results, func(r Result) bool { return !slices.Contains(p.Policies, r.Policy) })
}

// Interval is a mean over seeds and the half width of its 95 % confidence interval.
type Interval struct{ Mean, Half float64 }

func (i Interval) String() string { return fmt.Sprintf("%.0f±%.0f", i.Mean, i.Half) }

// Over takes the mean of something over results and its interval by Student's t.
func Over(results []Result, what func(*Result) float64) Interval {
	n := float64(len(results))
	if n == 0 {
		return Interval{}
	}
	sum, squares := 0.0, 0.0
	for i := range results {
		sum += what(&results[i])
	}
	for i := range results {
		d := what(&results[i]) - sum/n
		squares += d * d
	}
	if n == 1 {
		return Interval{Mean: sum}
	}
	return Interval{sum / n, student(len(results)-1) * math.Sqrt(squares/(n-1)/n)}
}

// student is the 97.5 % quantile of Student's t with so many degrees of freedom
// (any table of it; 1.96 in the limit).
func student(freedom int) float64 {
	table := []float64{12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228}
	if freedom <= len(table) {
		return table[freedom-1]
	}
	return 1.96 + 2.7/float64(freedom)
}

package sim

import (
	"math"
	"slices"

	"proxima/router"
)

// Result is how a policy fared in a scenario with one seed. Times to first token
// are what clients waited, in milliseconds; who left or was refused after waiting
// counts with what they waited, thirty seconds at the most.
type Result struct {
	Scenario string  `json:"scenario"`
	Policy   string  `json:"policy"`
	Seed     uint64  `json:"seed"`
	Requests int     `json:"requests"`
	Mean     float64 `json:"ttft_mean_ms"`
	P50      float64 `json:"ttft_p50_ms"`
	P95      float64 `json:"ttft_p95_ms"`
	P99      float64 `json:"ttft_p99_ms"`
	Errors   int     `json:"errors"`       // before the first byte
	Lost     int     `json:"streams_lost"` // after it
	Cross    float64 `json:"cross_region_ratio"`
	Swing    float64 `json:"oscillation"`
	Regret   float64 `json:"regret_ms"`             // mean beyond the oracle's
	SteerS   float64 `json:"seconds_to_steer_away"` // from the first fault until the last request went there; 0: no fault

	Residency int     `json:"residency_violations"`
	Wrong     int     `json:"wrong_evictions"` // an endpoint that was well was taken out
	Shed      int     `json:"shed"`            // refused for others that come first
	Critical  float64 `json:"critical_p99_ms"` // 0: no critical requests
	Resumed   int     `json:"streams_resumed"`
	Tries     float64 `json:"attempts_per_request"`
	Faulty    float64 `json:"faulty_share"` // of attempts during faults that went to what was broken
	Hits      float64 `json:"warm_ratio"`   // of requests with a session or prefix, that went where it was last
	Settled   int     `json:"requests_until_steady"`
	Impact    *Impact `json:"impact,omitempty"`
}

// tally counts.
type tally struct {
	ttft      []float32
	critical  []float32
	errors    int
	lostN     int
	shed      int
	cross     int
	attempts  int
	resumed   int
	residency int
	wrong     int
	faulty    [2]int // attempts during faults: all, and to what was broken
	warm      [2]int // requests with an affinity: all, and to where it was last
	lastBad   float64
	swing     float64
	swings    int
	order     []float32 // mean of each hundred requests from the very beginning
	hundred   []float32
}

func (t *tally) counts(r *run, q *request) bool {
	return q.AtMs >= r.Scenario.Warm*1000 && q.AtMs < r.endMs
}

// sent is an attempt that sets out.
func (t *tally) sent(r *run, q *request, m *mind, at int) {
	m.recent[at]++
	h := &r.hosts[at]
	if !r.resident(&question{request: q}, h.region) {
		t.residency++
	}
	if during, broken := r.faultsNow(at); during {
		t.faulty[0]++
		if broken {
			t.faulty[1]++
			if q.tries == 1 {
				t.lastBad = r.now
			}
		}
	}
	if !t.counts(r, q) {
		return
	}
	t.attempts++
	if q.tries == 1 && h.region != r.homes[q.Client] {
		t.cross++
	}
}

// followed is a request of a session or with a shared prompt, that goes to an endpoint.
func (t *tally) followed(r *run, q *request, k *question, at int) {
	if k.warmAt < 0 || !t.counts(r, q) {
		return
	}
	t.warm[0]++
	if at == k.warmAt {
		t.warm[1]++
	}
}

func (r *run) faultsNow(at int) (during, broken bool) {
	for i := range r.faults {
		f := &r.faults[i]
		if f.begun > 0 && r.now >= f.begun && r.now < f.To*1000 {
			during = true
			broken = broken || slices.Contains(f.hosts, at)
		}
	}
	return during, broken
}

func (t *tally) waited(r *run, q *request, ms float64) {
	t.hundred = append(t.hundred, float32(ms))
	if len(t.hundred) == 100 {
		t.order = append(t.order, mean(t.hundred))
		t.hundred = t.hundred[:0]
	}
	if !t.counts(r, q) {
		return
	}
	t.ttft = append(t.ttft, float32(ms))
	if q.class == router.Critical {
		t.critical = append(t.critical, float32(ms))
	}
}

func (t *tally) first(r *run, q *request, _ *attempt) { t.waited(r, q, r.now-q.arrived+q.lastMile) }

func (t *tally) refused(r *run, q *request, reason router.Reason) {
	if reason == router.Shed {
		if t.counts(r, q) {
			t.shed++
		}
		return
	}
	if t.counts(r, q) {
		t.errors++
	}
	t.waited(r, q, patienceMs)
}

func (t *tally) left(r *run, q *request) {
	if t.counts(r, q) {
		t.errors++
	}
	t.waited(r, q, patienceMs)
}

func (t *tally) lost(r *run, q *request) {
	if t.counts(r, q) {
		t.lostN++
	}
}

// second takes each second's shares of the traffic: how far they moved within four
// seconds is the oscillation.
func (t *tally) second(r *run) {
	for _, m := range r.routers {
		total := 0.0
		for _, n := range m.recent {
			total += n
		}
		share := make([]float64, len(m.recent))
		for at, n := range m.recent {
			if total > 0 {
				share[at] = n / total
			}
			m.recent[at] = 0
		}
		m.shares = append(m.shares, share)
		if len(m.shares) <= 4 || r.now < r.Scenario.Warm*1000 || r.now > r.endMs || total == 0 {
			continue
		}
		before := m.shares[len(m.shares)-5]
		m.shares = m.shares[len(m.shares)-5:]
		moved := 0.0
		for at := range share {
			moved += math.Abs(share[at]-before[at]) / 2
		}
		t.swing, t.swings = t.swing+moved, t.swings+1
	}
}

func (t *tally) result(r *run, seed uint64) *Result {
	slices.Sort(t.ttft)
	slices.Sort(t.critical)
	res := &Result{
		Scenario: r.Name, Policy: r.policy.name, Seed: seed, Requests: len(t.ttft) + t.shed,
		Mean: float64(mean(t.ttft)), P50: quantile(t.ttft, 0.5), P95: quantile(t.ttft, 0.95), P99: quantile(t.ttft, 0.99),
		Errors: t.errors, Lost: t.lostN, Shed: t.shed, Resumed: t.resumed, Residency: t.residency, Wrong: t.wrong,
		Critical: quantile(t.critical, 0.99),
		Cross:    ratio(t.cross, len(t.ttft)), Tries: ratio(t.attempts, len(t.ttft)),
		Faulty: ratio(t.faulty[1], t.faulty[0]), Hits: ratio(t.warm[1], t.warm[0]),
		Settled: t.settled(),
	}
	if t.swings > 0 {
		res.Swing = t.swing / float64(t.swings)
	}
	if len(r.faults) > 0 && t.lastBad > 0 {
		res.SteerS = max(0, t.lastBad-r.faults[0].begun) / 1000
	}
	return res
}

// settled is after how many requests the mean of a hundred stays within 10 % of
// what the second half has, for three hundreds on end.
func (t *tally) settled() int {
	half := t.order[len(t.order)/2:]
	if len(half) < 3 {
		return 0
	}
	steady, run := mean(half), 0
	for i, x := range t.order {
		if run++; float64(x) > 1.1*float64(steady) {
			run = 0
		}
		if run == 3 {
			return (i - 2) * 100
		}
	}
	return len(t.order) * 100
}

func ratio(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

func mean(of []float32) float32 {
	if len(of) == 0 {
		return 0
	}
	sum := 0.0
	for _, x := range of {
		sum += float64(x)
	}
	return float32(sum / float64(len(of)))
}

// quantile is the nearest-rank quantile of sorted values; 0 when there are none.
func quantile(sorted []float32, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[max(int(math.Ceil(q*float64(len(sorted))))-1, 0)])
}

package load

import (
	"math"
	"slices"
	"strconv"
	"time"
)

// Report is what became of a load. Times in its JSON are milliseconds or seconds,
// as their names say.
type Report struct {
	URL           string         `json:"url"`
	Rate          float64        `json:"rate"`
	Seconds       float64        `json:"seconds"` // from the beginning to the end of the last request
	Requests      int            `json:"requests"`
	Complete      int            `json:"complete"`
	Failed        int            `json:"failed"`
	Resent        int            `json:"resent"` // by the HTTP client on this side, which hides failures
	FirstByte     Latency        `json:"first_byte_ms"`
	Total         Latency        `json:"total_ms"` // of the complete ones
	Lag           Latency        `json:"lag_ms"`   // how late requests started: large figures make this report worthless
	Statuses      map[string]int `json:"statuses"`
	Errors        map[Class]int  `json:"errors"`
	Regions       []Region       `json:"regions"` // in the order of their first answers
	EverySecond   []Second       `json:"every_second"`
	FirstFailures []Failure      `json:"first_failures"` // ten at most
	Results       []Result       `json:"-"`              // every request in the order in which they were due
}

// Latency is a distribution in milliseconds; percentiles are nearest ranks.
type Latency struct {
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P95  float64 `json:"p95"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

// Region is a region's part in a load. First and Last are when its first and its
// last answer began, in seconds from the beginning.
type Region struct {
	Region  string  `json:"region"`
	Answers int     `json:"answers"`
	First   float64 `json:"first_s"`
	Last    float64 `json:"last_s"`
}

// Second is what became of the requests that were due in one second.
type Second struct {
	Second  int            `json:"second"`
	Regions map[string]int `json:"regions"`
	Failed  int            `json:"failed"`
}

// Failure is one request that failed.
type Failure struct {
	Due    float64 `json:"due_s"`
	Method string  `json:"method"`
	Status int     `json:"status"`
	Error  Class   `json:"error"`
	Text   string  `json:"text"`
}

func report(plan Plan, results []Result) Report {
	r := Report{
		URL: plan.URL, Rate: plan.Rate, Requests: len(results), Results: results,
		Statuses: map[string]int{}, Errors: map[Class]int{},
		Regions: []Region{}, EverySecond: []Second{}, FirstFailures: []Failure{},
	}
	var firstByte, total, lag []time.Duration
	for _, result := range results {
		r.add(result)
		lag = append(lag, result.Lag)
		if result.TTFB > 0 {
			firstByte = append(firstByte, result.TTFB)
		}
		if result.Complete {
			total = append(total, result.Total)
		}
	}
	r.FirstByte, r.Total, r.Lag = LatencyOf(firstByte), LatencyOf(total), LatencyOf(lag)
	slices.SortStableFunc(r.Regions, func(a, b Region) int {
		return int(math.Copysign(1, a.First-b.First))
	})
	return r
}

func (r *Report) add(result Result) {
	r.Seconds = max(r.Seconds, (result.Due + result.Total).Seconds())
	second := r.second(int(result.Due / time.Second))
	if result.Resent {
		r.Resent++
	}
	if result.Status > 0 {
		r.Statuses[strconv.Itoa(result.Status)]++
	}
	if result.Region != "" {
		second.Regions[result.Region]++
		r.answered(result.Region, (result.Due + result.TTFB).Seconds())
	}
	if result.Complete {
		r.Complete++
		return
	}
	r.Failed++
	second.Failed++
	r.Errors[result.Error]++
	if len(r.FirstFailures) < 10 {
		r.FirstFailures = append(r.FirstFailures, Failure{
			Due: result.Due.Seconds(), Method: result.Method,
			Status: result.Status, Error: result.Error, Text: result.ErrorText,
		})
	}
}

// second returns the bucket of a second; results come in the order of time.
func (r *Report) second(n int) *Second {
	for len(r.EverySecond) <= n {
		r.EverySecond = append(r.EverySecond, Second{Second: len(r.EverySecond), Regions: map[string]int{}})
	}
	return &r.EverySecond[n]
}

func (r *Report) answered(region string, at float64) {
	known := slices.IndexFunc(r.Regions, func(known Region) bool { return known.Region == region })
	if known < 0 {
		r.Regions = append(r.Regions, Region{Region: region, Answers: 1, First: at, Last: at})
		return
	}
	seen := &r.Regions[known]
	seen.Answers++
	seen.First, seen.Last = min(seen.First, at), max(seen.Last, at)
}

// LatencyOf is the distribution of a sample, which it sorts; of an empty one it is zero.
func LatencyOf(sample []time.Duration) Latency {
	if len(sample) == 0 {
		return Latency{}
	}
	slices.Sort(sample)
	var sum time.Duration
	for _, one := range sample {
		sum += one
	}
	at := func(share float64) float64 {
		return milliseconds(sample[int(math.Ceil(share*float64(len(sample))))-1])
	}
	return Latency{
		Mean: milliseconds(sum) / float64(len(sample)),
		P50:  at(0.50), P90: at(0.90), P95: at(0.95), P99: at(0.99), P999: at(0.999),
		Max: milliseconds(sample[len(sample)-1]),
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"text/tabwriter"
)

// reference is the peer that all others are compared to.
const reference = "haproxy"

// sample is one figure of one round.
type sample struct {
	metric string
	unit   string
	value  float64
}

// row is one figure of one peer over all rounds, as -o json prints it.
type row struct {
	Suite  string   `json:"suite"`
	Peer   string   `json:"peer"`
	Metric string   `json:"metric"`
	Unit   string   `json:"unit"`
	Median float64  `json:"median"`
	Min    float64  `json:"min"`
	Max    float64  `json:"max"`
	Ratio  *float64 `json:"ratio_to_haproxy"` // of the medians; null without haproxy, or when its median is not above 0
}

// turn is what one peer showed in one round.
type turn struct {
	peer    string
	samples []sample
}

// rows sums turns up, one metric after the other and within it one peer after the
// other, in the order in which they first came.
func rows(suite string, turns []turn) []row {
	type series struct{ metric, peer string }
	var all []row
	values := map[series][]float64{}
	for _, t := range turns {
		for _, s := range t.samples {
			of := series{s.metric, t.peer}
			if len(values[of]) == 0 {
				all = append(all, row{Suite: suite, Peer: t.peer, Metric: s.metric, Unit: s.unit})
			}
			values[of] = append(values[of], s.value)
		}
	}
	for i := range all {
		all[i].sumUp(values[series{all[i].Metric, all[i].Peer}])
	}
	byMetric := order(all)
	slices.SortStableFunc(all, func(a, b row) int { return cmp.Compare(byMetric[a.Metric], byMetric[b.Metric]) })
	relate(all)
	return all
}

// order numbers the metrics as they come.
func order(all []row) map[string]int {
	numbers := map[string]int{}
	for _, r := range all {
		if _, known := numbers[r.Metric]; !known {
			numbers[r.Metric] = len(numbers)
		}
	}
	return numbers
}

func (r *row) sumUp(values []float64) {
	values = slices.Sorted(slices.Values(values))
	last := len(values) - 1
	r.Median = hundredth((values[last/2] + values[(last+1)/2]) / 2)
	r.Min, r.Max = hundredth(values[0]), hundredth(values[last])
}

// relate compares every row to the reference's row of the same metric.
func relate(all []row) {
	references := map[string]float64{}
	for _, r := range all {
		if r.Peer == reference {
			references[r.Metric] = r.Median
		}
	}
	for i := range all {
		if of := references[all[i].Metric]; of > 0 {
			ratio := hundredth(all[i].Median / of)
			all[i].Ratio = &ratio
		}
	}
}

func hundredth(x float64) float64 { return math.Round(x*100) / 100 }

func writeRowsJSON(w io.Writer, all []row) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(all)
}

func writeRowsTable(w io.Writer, all []row) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "metric\tunit\tpeer\tmedian\tmin\tmax\tto %s\t\n", reference)
	for _, r := range all {
		ratio := "-"
		if r.Ratio != nil {
			ratio = strconv.FormatFloat(*r.Ratio, 'f', 2, 64)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%.2f\t%.2f\t%.2f\t%s\t\n", r.Metric, r.Unit, r.Peer, r.Median, r.Min, r.Max, ratio)
	}
	return table.Flush()
}

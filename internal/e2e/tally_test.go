package e2e

import (
	"bufio"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// tally is every series of the router's own metrics, by its name without proxima_.
type tally map[string]float64

// tally returns the metrics as they are now.
func (r *Router) tally() tally {
	response, err := r.Admin.HTTP.Get(r.Admin.Base.String() + "/metrics")
	if err != nil {
		r.t.Fatalf("metrics: %v", err)
	}
	defer response.Body.Close()
	found := tally{}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		name, number, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "proxima_"), " ")
		if value, err := strconv.ParseFloat(number, 64); err == nil {
			found[name] = value
		}
	}
	return found
}

// since says what became of requests after an earlier look: how attempts ended, which
// of them made a request move, and how many streams broke and were resumed.
//
//	europe-west1 late, us-east1 served; europe-west1 to us-east1: late
//	europe-west1 cut, us-east1 served; broken; resumed
func (now tally) since(before tally) string {
	var told []string
	for _, said := range []string{
		now.list(before, "attempts_total", "%[2]s %[1]s"), // labels stand in the order of their names
		now.list(before, "failovers_total", "%[1]s to %[3]s: %[2]s"),
		now.list(before, "streams_broken_total", "broken"),
		now.list(before, "streams_resumed_total", "resumed"),
	} {
		if said != "" {
			told = append(told, said)
		}
	}
	return strings.Join(told, "; ")
}

// ejected names the endpoints that were ejected after an earlier look.
func (now tally) ejected(before tally) string { return now.list(before, "ejections_total", "%s") }

var labels = regexp.MustCompile(`="([^"]*)"`)

// list writes down each series of a metric that has grown: the values of its labels in
// a form, and by how much, if that is not 1.
func (now tally) list(before tally, metric, form string) string {
	var grown []string
	for _, series := range slices.Sorted(maps.Keys(now)) {
		name, rest, _ := strings.Cut(series, "{")
		n := now[series] - before[series]
		if name != metric || n <= 0 {
			continue
		}
		var values []any
		for _, label := range labels.FindAllStringSubmatch(rest, -1) {
			values = append(values, label[1])
		}
		text := fmt.Sprintf(form, values...)
		if n > 1 {
			text += fmt.Sprintf(" ×%v", n)
		}
		grown = append(grown, text)
	}
	slices.Sort(grown)
	return strings.Join(grown, ", ")
}

// grown is by how much a metric has grown, all its series together that have a label.
func (now tally) grown(before tally, metric, label string) (n float64) {
	for series, value := range now {
		name, rest, _ := strings.Cut(series, "{")
		if name == metric && strings.Contains(rest, label) {
			n += value - before[series]
		}
	}
	return n
}

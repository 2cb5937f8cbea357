package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"proxima/internal/sim"
)

// column is a figure of every policy.
type column struct {
	head string
	of   func(*sim.Result) float64
	show func(float64) string
	best int // 1: more is better, −1: less, 0: neither
}

// columnsOf are those of every experiment, and what one's question is about.
func columnsOf(experiment string) []column {
	return slices.Concat([]column{
		{"mean ms", func(r *sim.Result) float64 { return r.Mean }, whole, -1},
		{"p50", func(r *sim.Result) float64 { return r.P50 }, whole, -1},
		{"p95", func(r *sim.Result) float64 { return r.P95 }, whole, -1},
		{"p99", func(r *sim.Result) float64 { return r.P99 }, whole, -1},
		{"regret ms", func(r *sim.Result) float64 { return r.Regret }, whole, -1},
		{"of oracle's", ofOracles, percent, 0},
		{"errors", func(r *sim.Result) float64 { return float64(r.Errors) }, whole, -1},
		{"lost", func(r *sim.Result) float64 { return float64(r.Lost) }, whole, -1},
		{"cross", func(r *sim.Result) float64 { return r.Cross }, percent, 0},
		{"oscillation", func(r *sim.Result) float64 { return r.Swing }, hundredths, -1},
	}, watched(experiment))
}

// watched are the figures that only one experiment asks about.
func watched(experiment string) []column {
	switch experiment {
	case "e2":
		return []column{{"steered away s", func(r *sim.Result) float64 { return r.SteerS }, number, -1}}
	case "e3":
		return []column{{"resumed", func(r *sim.Result) float64 { return float64(r.Resumed) }, whole, 0}}
	case "e4":
		return []column{{"to the sick one", func(r *sim.Result) float64 { return r.Faulty }, percent, -1}}
	case "e9":
		return []column{{"warm", func(r *sim.Result) float64 { return r.Hits }, percent, 1}}
	case "e10":
		return []column{{"requests to steady", func(r *sim.Result) float64 { return float64(r.Settled) }, whole, -1}}
	case "e11":
		return []column{
			{"critical p99", func(r *sim.Result) float64 { return r.Critical }, whole, -1},
			{"shed", func(r *sim.Result) float64 { return float64(r.Shed) }, whole, 0},
			{"residency broken", func(r *sim.Result) float64 { return float64(r.Residency) }, whole, -1},
		}
	case "e12":
		return []column{{"wrong evictions", func(r *sim.Result) float64 { return float64(r.Wrong) }, whole, -1}}
	}
	return nil
}

// ofOracles is the regret over the oracle's mean.
func ofOracles(r *sim.Result) float64 {
	if r.Mean == r.Regret {
		return 0
	}
	return r.Regret / (r.Mean - r.Regret)
}

func whole(x float64) string      { return fmt.Sprintf("%.0f", math.Round(x)+0) } // + 0 makes −0 0
func hundredths(x float64) string { return fmt.Sprintf("%.2f", x) }
func percent(x float64) string    { return whole(100*x) + " %" }

// printComparison prints a scenario's policies below each other.
func printComparison(w io.Writer, sc *sim.Scenario, policies []string, results []sim.Result) {
	fmt.Fprintf(w, "%s: %s\n", sc.Name, sc.About)
	fmt.Fprintln(w, numbers(compared(columnsOf(group(sc.Name)), policies, results)).Render())
	fmt.Fprintln(w)
}

// compared is a table of policies.
func compared(columns []column, policies []string, results []sim.Result) (heads []string, rows [][]string) {
	heads, rows = []string{"policy"}, make([][]string, len(policies))
	for i, policy := range policies {
		rows[i] = []string{policy}
	}
	for _, c := range columns {
		heads = append(heads, c.head)
		for i, cell := range c.cells(policies, results) {
			rows[i] = append(rows[i], cell)
		}
	}
	return heads, rows
}

// cells are a column's, with a star at the best but for the oracle, unless all of these
// are as good.
func (c *column) cells(policies []string, results []sim.Result) []string {
	cells, means := make([]string, len(policies)), make([]string, len(policies))
	most, least := math.Inf(-1), math.Inf(1)
	for i, policy := range policies {
		over := sim.Over(of(policy, results), c.of)
		cells[i], means[i] = c.cell(over, len(results) > len(policies)), c.show(over.Mean)
		if policy != oracle {
			most, least = max(most, over.Mean), min(least, over.Mean)
		}
	}
	best := c.show(least)
	if c.best > 0 {
		best = c.show(most)
	}
	if c.best == 0 || c.show(most) == c.show(least) {
		return cells
	}
	for i := range cells {
		if policies[i] != oracle && means[i] == best {
			cells[i] = "*" + cells[i]
		}
	}
	return cells
}

// oracle is the policy that nothing is as good as, and that nobody can have.
const oracle = "oracle"

func of(policy string, results []sim.Result) []sim.Result {
	return slices.DeleteFunc(slices.Clone(results), func(r sim.Result) bool { return r.Policy != policy })
}

// cell is a mean, and the half width of its interval when there is one.
func (c *column) cell(over sim.Interval, several bool) string {
	if !several {
		return c.show(over.Mean)
	}
	mean, unit, _ := strings.Cut(c.show(over.Mean), " ")
	half, _, _ := strings.Cut(c.show(over.Half), " ")
	return strings.TrimSpace(mean + "±" + half + " " + unit)
}

// numbers is a table whose columns stand to the right, but for the first.
func numbers(heads []string, rows [][]string) table.Writer {
	t := newTable(cellsOf(heads)...)
	var configs []table.ColumnConfig
	for i := range heads[1:] {
		configs = append(configs, table.ColumnConfig{Number: i + 2, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(configs)
	for _, row := range rows {
		t.AppendRow(cellsOf(row))
	}
	return t
}

func cellsOf(row []string) []any {
	cells := make([]any, len(row))
	for i, text := range row {
		cells[i] = text
	}
	return cells
}

// printLegend says what to know of all that was printed.
func (a *app) printLegend(s *simulation, in *setting) {
	for _, sentence := range in.assumed {
		fmt.Fprintln(a.stdout, sentence)
	}
	said := "Who was not answered counts with 30 s."
	if !in.operator {
		said += " Regret is the mean beyond the oracle's. * is the best of its column, but for the oracle."
	}
	fmt.Fprintln(a.stdout, said)
	fmt.Fprintf(a.stdout, "Simulated, not measured: %s, %s.\n", in.about, s.chance())
}

// chance says which seeds were played.
func (s *simulation) chance() string {
	switch {
	case s.seeds == 0:
		return fmt.Sprintf("seed %d", s.seed)
	case s.seeds == 1:
		return "seed 1"
	}
	return fmt.Sprintf("seeds 1 to %d, mean ± half of the 95 %% interval", s.seeds)
}

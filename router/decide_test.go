package router

import (
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"proxima/geo"
)

var update = flag.Bool("update", false, "rewrite testdata/decide")

// TestDecisionsReadAsWritten runs the worlds in testdata/decide: regions,
// endpoints and a query in the field's words, and the whole explanation.
func TestDecisionsReadAsWritten(t *testing.T) {
	files, _ := filepath.Glob("testdata/decide/*.txtar")
	if len(files) == 0 {
		t.Fatal("no worlds in testdata/decide")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := decideWorld(t, string(archive.Files[0].Data))
			want := string(archive.Files[1].Data)
			if *update {
				archive.Files[1].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("decision:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// world is read from lines of words: a kind, a name, then key=value pairs.
type world struct {
	regions   []Region
	endpoints []Endpoint
	steering  Steering
	status    map[EndpointID]Status
	load      map[EndpointID]Load
	drains    Drains
	query     Query
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func decideWorld(t *testing.T, text string) string {
	t.Helper()
	w := &world{
		status: map[EndpointID]Status{}, load: map[EndpointID]Load{},
		drains: Drains{map[EndpointID]bool{}, map[RegionID]bool{}},
	}
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 0 {
			w.read(t, words)
		}
	}
	snapshot, loads := w.snapshot(t)
	return render(snapshot.Explain(w.query, loads))
}

func (w *world) read(t *testing.T, words []string) {
	kind, pairs := words[0], map[string]string{}
	name := ""
	for _, word := range words[1:] {
		if key, value, is := strings.Cut(word, "="); is {
			pairs[key] = value
		} else {
			name = word
		}
	}
	number := func(key string) float64 { x, _ := strconv.ParseFloat(pairs[key], 64); return x }
	length := func(key string) time.Duration { d, _ := time.ParseDuration(pairs[key]); return d }
	names := func(key string) []string {
		return strings.FieldsFunc(pairs[key], func(r rune) bool { return r == ',' })
	}
	switch kind {
	case "region":
		place := geo.Location{Placed: true, Lat: number("lat"), Lon: number("lon")}
		w.regions = append(w.regions, Region{RegionID(name), place, length("bias")})
		w.drains.Regions[RegionID(name)] = pairs["drained"] != ""
	case "endpoint":
		e := Endpoint{ID: EndpointID(name), Region: RegionID(pairs["region"])}
		e.Capacity, e.MaxInFlight = int(number("capacity")), int(number("cap"))
		e.URL = &url.URL{Scheme: "http", Host: "127.0.0.1:1"}
		for _, m := range names("models") {
			e.Models = append(e.Models, Model(m))
		}
		w.endpoints = append(w.endpoints, e)
		w.drains.Endpoints[e.ID] = pairs["drained"] != ""
		w.status[e.ID] = readStatus(pairs, length("succeeded"))
		w.load[e.ID] = Load{
			InFlight: int(number("inflight")), ServeMs: number("serve"), PathMs: number("path"),
			CoolMs: number("cool"), Withheld: number("withheld"),
		}
	case "residency":
		r := Residency{Name: name, Countries: names("countries")}
		for _, id := range names("regions") {
			r.Regions = append(r.Regions, RegionID(id))
		}
		w.steering.Residency = append(w.steering.Residency, r)
	case "steering":
		w.steering.Slack, w.steering.MaxDetour = length("slack"), length("detour")
		if pairs["by"] == "path" {
			w.steering.By = ByPath
		}
	case "query":
		w.query = Query{Model: Model(pairs["model"]), Key: Key(pairs["session"]), Prefer: RegionID(pairs["prefer"]), Sticky: pairs["session"] != ""}
		w.query.From = geo.Location{Placed: pairs["lat"] != "", Lat: number("lat"), Lon: number("lon"), Country: pairs["country"]}
		for _, id := range names("tried") {
			w.query.Tried = append(w.query.Tried, EndpointID(id))
		}
	default:
		t.Fatalf("unknown kind %q", kind)
	}
}

func readStatus(pairs map[string]string, succeeded time.Duration) Status {
	s := Status{Health: Up, Cause: strings.ReplaceAll(pairs["cause"], "_", " ")}
	for h, name := range healthNames {
		if pairs["health"] == name {
			s.Health = Health(h)
		}
	}
	if succeeded > 0 {
		s.Succeeded = noon.Add(-succeeded)
	}
	return s
}

func (w *world) snapshot(t *testing.T) (*Snapshot, []Load) {
	t.Helper()
	table, err := NewTable(w.regions, w.endpoints, w.steering)
	if err != nil {
		t.Fatal(err)
	}
	var status []Status
	var loads []Load
	for _, e := range table.Endpoints {
		status = append(status, w.status[e.ID])
		loads = append(loads, w.load[e.ID])
	}
	return NewSnapshot(table, status, w.drains), loads
}

func render(x Explanation) string {
	var b strings.Builder
	if d := x.Decision; d.Found() {
		fmt.Fprintf(&b, "chosen %s in %s, %d eligible, fail open %v\n", d.Chosen.Endpoint, d.Chosen.Region, d.Eligible, d.FailOpen())
	} else {
		fmt.Fprintf(&b, "none: %s\n", d.Reason)
	}
	for _, c := range x.Candidates {
		fmt.Fprintf(&b, "candidate %s tier=%d net=%.3f serve=%.3f load=%.3f warm=%.3f bias=%.3f cost=%.3f\n",
			c.Endpoint, c.Tier, c.NetMs, c.ServeMs, c.Load, c.WarmMs, c.BiasMs, c.CostMs)
	}
	for _, r := range x.Rejected {
		fmt.Fprintf(&b, "rejected %s %s: %s\n", r.Endpoint, r.Reason, r.Detail)
	}
	return b.String()
}

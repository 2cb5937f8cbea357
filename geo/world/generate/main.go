// Command generate makes the database of package world, and SOURCE, which says how. Run it with
//
//	go generate ./geo/world
//
// which fetches 64 MB with npm, or, with the two files of the npm package in a directory already,
//
//	cd geo/world && go run ./generate -from DIR
//
// The same source makes the same bytes. A newer source is a new version and its two sums in source.go.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
)

func main() {
	from := flag.String("from", "", "`directory` with the source files; fetch them when empty")
	out := flag.String("out", ".", "`directory` to write world.mmdb and SOURCE to")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := generate(ctx, *from, *out); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func generate(ctx context.Context, from, out string) error {
	source, err := load(ctx, from)
	if err != nil {
		return err
	}
	tree, err := newTree(source.built)
	if err != nil {
		return err
	}
	report := reportOn(source)
	for _, family := range source.families {
		folded, err := fold(family)
		if err != nil {
			return fmt.Errorf("%s: %w", family.file, err)
		}
		if report.Networks[family.name], err = insert(tree, folded); err != nil {
			return fmt.Errorf("%s: %w", family.file, err)
		}
	}
	content, err := bytesOf(tree)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	report.Bytes, report.SHA256 = len(content), hex.EncodeToString(sum[:])
	if report.Error, err = measure(content, source); err != nil {
		return err
	}
	return write(out, content, report)
}

func write(out string, content []byte, report report) error {
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	fmt.Printf("%s\n", text)
	if err := os.WriteFile(filepath.Join(out, "world.mmdb"), content, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "SOURCE"), append(text, '\n'), 0o644)
}

// report is what SOURCE says.
type report struct {
	Source      string               `json:"source"`
	Package     string               `json:"package"`
	Licence     string               `json:"licence"`
	Attribution string               `json:"attribution"`
	Built       string               `json:"built"` // the source, not this file
	Files       map[string]string    `json:"files_sha256"`
	Settings    map[string]limit     `json:"settings"`
	GridDegrees float64              `json:"grid_degrees"`
	Networks    map[string]int       `json:"networks"`
	Bytes       int                  `json:"bytes"`
	SHA256      string               `json:"sha256"`
	Error       map[string]deviation `json:"error_against_source"`
}

func reportOn(source source) report {
	r := report{
		Source: "DB-IP City Lite", Package: "npm " + npmPackage,
		Licence:     "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/",
		Attribution: "IP Geolocation by DB-IP, https://db-ip.com",
		Built:       source.built.Format("2006-01-02"),
		Files:       map[string]string{}, Settings: map[string]limit{},
		GridDegrees: grid, Networks: map[string]int{},
	}
	for _, family := range source.families {
		r.Files[family.file], r.Settings[family.name] = family.sum, family.limit
	}
	return r
}

// Command mutate asks whether the tests would notice if a rule of steering were
// wrong. It breaks the code in one place after the other, as mutations.txt says,
// each time in a copy of what the tests need, and runs the tests of the package:
// they have to fail. A mutation that survives is a rule that nothing holds.
//
//	go run ./internal/mutate                 all of them, some minutes
//	go run ./internal/mutate -only trial     those with this in their name or file
//	go run ./internal/mutate -o json
//
// The table goes to stdout, progress to stderr. The exit code is 1 when a mutation
// survives, does not compile, or is for text that the code does not have any more.
//
// Start at run below; mutations.go reads the list, trial.go tries one.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"text/tabwriter"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	fmt.Fprintln(os.Stderr, "mutate:", err)
	os.Exit(1)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("mutate", flag.ContinueOnError)
	flags.SetOutput(stderr)
	only := flags.String("only", "", "try only mutations with this `text` in their name or file")
	format := flags.String("o", "table", "print a `table` or json")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *format != "table" && *format != "json" {
		return fmt.Errorf("-o %q: must be table or json", *format)
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	all, err := readMutations(filepath.Join(root, "internal", "mutate", "mutations.txt"))
	if err != nil {
		return err
	}
	if all = matching(all, *only); len(all) == 0 {
		return fmt.Errorf("-only %q: no mutation is called so", *only)
	}
	results, err := tryAll(ctx, root, all, stderr)
	if err != nil {
		return err
	}
	if err := report(stdout, *format, results); err != nil {
		return err
	}
	return verdict(results)
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

func matching(all []mutation, text string) (some []mutation) {
	for _, m := range all {
		if strings.Contains(m.Name, text) || strings.Contains(m.File, text) {
			some = append(some, m)
		}
	}
	return some
}

// tryAll tries each mutation alone, after a look at whether the tests pass without.
func tryAll(ctx context.Context, root string, all []mutation, progress io.Writer) ([]result, error) {
	lab, err := newLaboratory(ctx, root, packages(all))
	if err != nil {
		return nil, err
	}
	defer lab.close()
	for _, pkg := range packages(all) {
		fmt.Fprintln(progress, "without a mutation:", pkg)
		by, err := lab.test(ctx, pkg)
		if err != nil {
			return nil, fmt.Errorf("test %s as it is: %w", pkg, err)
		}
		if by != "" {
			return nil, fmt.Errorf("test %s as it is: %s fails without any mutation", pkg, by)
		}
	}
	var results []result
	for i, m := range all {
		r := lab.try(ctx, m)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		fmt.Fprintf(progress, "%3d/%d %s: %s (%.1f s)\n", i+1, len(all), m.Name, r.words(), r.Seconds)
		results = append(results, r)
	}
	return results, nil
}

func report(w io.Writer, format string, results []result) error {
	if format == "json" {
		out := json.NewEncoder(w)
		out.SetIndent("", "  ")
		return out.Encode(results)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "MUTATION\tFILE\tRESULT")
	for _, r := range results {
		fmt.Fprintf(table, "%s\t%s\t%s\n", r.Name, r.File, r.words())
	}
	return table.Flush()
}

// verdict is an error when not all were killed.
func verdict(results []result) error {
	killed := 0
	for _, r := range results {
		if r.KilledBy != "" {
			killed++
		}
	}
	if killed < len(results) {
		return fmt.Errorf("%d of %d mutations were killed", killed, len(results))
	}
	return nil
}

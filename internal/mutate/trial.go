package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// laboratory is a copy of what some packages need to be tested. The code there may
// be broken, one file at a time.
type laboratory struct {
	dir   string
	flags map[string][]string // of each package's tests
}

// result is what became of a mutation.
type result struct {
	Name     string  `json:"name"`
	File     string  `json:"file"`
	KilledBy string  `json:"killed_by"`         // the test that failed first; "": none did
	Problem  string  `json:"problem,omitempty"` // why it could not be tried
	Seconds  float64 `json:"seconds"`
}

func (r *result) words() string {
	switch {
	case r.Problem != "":
		return "NOT TRIED: " + r.Problem
	case r.KilledBy == "":
		return "SURVIVED"
	}
	return "killed by " + r.KilledBy
}

// newLaboratory copies the packages with all of the module that they import. The
// caller closes it.
func newLaboratory(ctx context.Context, root string, packages []string) (*laboratory, error) {
	dir, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return nil, err
	}
	lab := &laboratory{dir: dir, flags: map[string][]string{}}
	if err := lab.furnish(ctx, root, packages); err != nil {
		lab.close()
		return nil, err
	}
	return lab, nil
}

func (lab *laboratory) close() { _ = os.RemoveAll(lab.dir) }

func (lab *laboratory) furnish(ctx context.Context, root string, packages []string) error {
	for _, file := range []string{"go.mod", "go.sum"} {
		if err := copyFile(filepath.Join(root, file), filepath.Join(lab.dir, file)); err != nil {
			return err
		}
	}
	ours := "{{if .Module}}{{if .Module.Main}}{{.Dir}}{{end}}{{end}}"
	dirs, err := list(ctx, root, append([]string{"-deps", "-test", "-f", ours}, packages...)...)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := lab.copyPackage(root, dir); err != nil {
			return err
		}
	}
	for _, pkg := range packages {
		imports, err := list(ctx, root, "-f", `{{join .TestImports "\n"}}`, pkg)
		if err != nil {
			return err
		}
		if slices.Contains(imports, "pgregory.net/rapid") {
			// The same chance in every run, and no time for smaller examples.
			lab.flags[pkg] = []string{"-rapid.seed=1", "-rapid.shrinktime=0s", "-rapid.nofailfile"}
		}
	}
	return nil
}

// list returns the lines of go list, each once.
func list(ctx context.Context, dir string, args ...string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list"}, args...)...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w: %s", err, stderr.String())
	}
	lines := strings.Fields(string(out))
	slices.Sort(lines)
	return slices.Compact(lines), nil
}

// copyPackage copies the files of a package, and its testdata.
func (lab *laboratory) copyPackage(root, dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if entry.IsDir() && below != "." && !strings.HasPrefix(below, "testdata") {
			return filepath.SkipDir
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		to, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return copyFile(path, filepath.Join(lab.dir, to))
	})
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o644)
}

// try breaks the code, runs the tests, and mends it.
func (lab *laboratory) try(ctx context.Context, m mutation) result {
	r := result{Name: m.Name, File: m.File}
	began := time.Now()
	by, err := lab.killer(ctx, m)
	r.Seconds = time.Since(began).Seconds()
	if err != nil {
		r.Problem = err.Error()
	}
	r.KilledBy = by
	return r
}

// killer is the first test that fails with the mutation; "": none does.
func (lab *laboratory) killer(ctx context.Context, m mutation) (by string, err error) {
	file := filepath.Join(lab.dir, filepath.FromSlash(m.File))
	whole, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	broken, err := m.apply(string(whole))
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(file, []byte(broken), 0o644); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.WriteFile(file, whole, 0o644)) }()
	for _, pkg := range m.Packages {
		if by, err := lab.test(ctx, pkg); by != "" || err != nil {
			return by, err
		}
	}
	return "", nil
}

// failed finds the name of a test that failed, or was running when time was up.
var failed = regexp.MustCompile(`(?m)^\s*(?:--- FAIL: |running tests:\s+)(\S+)`)

// test runs a package's tests and returns the first that fails; "": none does.
func (lab *laboratory) test(ctx context.Context, pkg string) (by string, err error) {
	args := append([]string{"test", "-count=1", "-failfast", "-vet=off", "-timeout=2m", pkg}, lab.flags[pkg]...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = lab.dir
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "", nil
	case !errors.As(err, &exit):
		return "", err
	case bytes.Contains(out, []byte("[build failed]")), bytes.Contains(out, []byte("[setup failed]")):
		return "", fmt.Errorf("it does not compile: %s", firstLines(out, 3))
	}
	if found := failed.FindSubmatch(out); found != nil {
		return string(found[1]), nil
	}
	return "a crash: " + firstLines(out, 1), nil
}

func firstLines(out []byte, n int) string {
	lines := strings.SplitN(strings.TrimSpace(string(out)), "\n", n+1)
	return strings.Join(lines[:min(n, len(lines))], " ")
}

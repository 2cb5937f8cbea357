// Package proxima_test holds the rule of who may import whom. The table is the
// one in docs/ARCHITECTURE.md; a new edge there needs a reason in docs/adr/.
package proxima_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mayImport says, for each package of ours, which others of ours it may import.
var mayImport = map[string][]string{
	"geo":                   {},
	"geo/mmdb":              {"geo"},
	"geo/world":             {"geo/mmdb"},
	"geo/world/generate":    {"geo", "geo/mmdb", "geo/world"},
	"router":                {"geo"},
	"healthcheck":           {"router"},
	"proxy":                 {"router", "geo", "http1", "proxy/stream", "proxy/transport"},
	"proxy/stream":          {},
	"proxy/transport":       {"http1", "poll"},
	"edge":                  {"http1", "poll"},
	"dial":                  {},
	"poll":                  {},
	"http1":                 {},
	"configs":               {"router", "geo", "healthcheck"},
	"metrics":               {"router", "geo"},
	"admin":                 {"router", "geo", "configs"},
	"internal/modelserver":  {},
	"internal/mutate":       {},
	"internal/sim":          {"router", "geo", "healthcheck", "internal/sim/network", "internal/sim/server", "internal/sim/workload"},
	"internal/sim/network":  {"geo"},
	"internal/sim/server":   {},
	"internal/sim/workload": {"geo", "internal/sim/network"},
	"bench":                 {"bench/load", "bench/peers", "bench/raw", "geo", "internal/modelserver"},
	"bench/peers":           {"bench/raw", "geo", "internal/modelserver"},
	"bench/raw":             {},
	"bench/load":            {"internal/modelserver"},
	"cmd/proxima":           {"*"},
}

// pure lists what the pure packages must not touch: the world, and time.
var pure = map[string][]string{
	"http1":        {"net", "log", "log/slog", "os", "context", "time", "sync", "math/rand", "math/rand/v2"},
	"proxy/stream": {"net/http", "net", "log", "log/slog", "os", "context", "time", "sync", "math/rand", "math/rand/v2"},

	"geo":    {"net/http", "net", "log", "log/slog", "os", "time", "math/rand", "math/rand/v2"},
	"router": {"net/http", "net", "log", "log/slog", "os", "context", "math/rand", "math/rand/v2", "crypto/rand"},
}

// owners are the only importers of a library.
var owners = map[string][]string{
	"go.yaml.in/yaml/v4":                   {"configs"},
	"github.com/prometheus/client_golang":  {"metrics"},
	"github.com/oschwald/geoip2-golang":    {"geo/mmdb"},
	"github.com/oschwald/maxminddb-golang": {"geo/mmdb", "geo/world/generate"},
	"github.com/hashicorp/golang-lru":      {"geo/mmdb"},
	"github.com/spf13/cobra":               {"cmd/proxima"},
	"go.uber.org/zap":                      {"cmd/proxima"},
}

func TestPackagesImportOnlyWhatTheTableAllows(t *testing.T) {
	for pkg, imports := range importsByPackage(t) {
		allowed, listed := mayImport[pkg]
		if !listed {
			t.Errorf("package %s is not in the import table", pkg)
			continue
		}
		for _, path := range imports {
			ours, is := strings.CutPrefix(path, "proxima/")
			if is && !slices.Contains(allowed, ours) && !slices.Contains(allowed, "*") {
				t.Errorf("%s imports %s, which the table does not allow", pkg, ours)
			}
			if slices.Contains(pure[pkg], path) {
				t.Errorf("%s imports %s, but it is pure", pkg, path)
			}
			for library, only := range owners {
				if strings.HasPrefix(path, library) && !slices.Contains(only, pkg) {
					t.Errorf("%s imports %s, which belongs to %v", pkg, path, only)
				}
			}
		}
	}
}

func TestRouterNeverReadsTheClock(t *testing.T) {
	for file, text := range sources(t, "router") {
		for _, call := range []string{"time.Now", "time.Since", "time.After", "time.Sleep", "rand."} {
			if strings.Contains(text, call+"(") {
				t.Errorf("%s calls %s: time and chance come in as values", file, call)
			}
		}
	}
}

// importsByPackage reads the imports of every file that is not a test.
func importsByPackage(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "testdata" || strings.HasPrefix(entry.Name(), ".") && path != "."):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(filepath.Dir(path))
		found[pkg] = append(found[pkg], []string{}...)
		for _, imported := range file.Imports {
			name, err := strconv.Unquote(imported.Path.Value)
			if err != nil {
				return err
			}
			found[pkg] = append(found[pkg], name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 8 {
		t.Fatalf("only %d packages found", len(found))
	}
	return found
}

func sources(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no sources in %s: %v", dir, err)
	}
	texts := map[string]string{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[file] = string(text)
	}
	return texts
}

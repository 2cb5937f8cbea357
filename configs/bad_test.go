package configs

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files anew")

// env is the environment of every test in this package.
func env(name string) (string, bool) {
	value, given := map[string]string{
		"SECRET": "hunter2-hunter2",
		"NUMBER": "20061",
		"EMPTY":  "",
		"PORT":   "9101",
		"BINARY": "\xff\x00",
	}[name]
	return value, given
}

// golden compares with a file, or writes it when -update is given.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is different (go test -update writes it anew); got:\n%s\nwant:\n%s", path, got, want)
	}
}

// mustBeProblems says what every mistake is told: the file, where, and why.
func mustBeProblems(t rapid.TB, name string, err error) Problems {
	t.Helper()
	var problems Problems
	if !errors.As(err, &problems) || len(problems) == 0 {
		t.Fatalf("%s: got %v, want problems", name, err)
	}
	inOrder := func(a, b Problem) int { return max(-1, min(1, (a.Line-b.Line)*100_000+a.Column-b.Column)) }
	if !slices.IsSortedFunc(problems, inOrder) {
		t.Fatalf("%s: the problems are not in the order of the file:\n%v", name, err)
	}
	for _, p := range problems {
		if p.File != name || p.Line < 1 || p.Column < 1 || p.What == "" {
			t.Fatalf("%s: a problem lacks its file, line, column or reason: %+v", name, p)
		}
		if strings.ContainsFunc(p.String(), unicode.IsControl) {
			t.Fatalf("%s: a problem has control characters: %q", name, p.String())
		}
	}
	return problems
}

func TestEveryMistakeIsToldExactly(t *testing.T) {
	files, err := filepath.Glob("testdata/bad-*.yaml")
	if err != nil || len(files) < 120 {
		t.Fatalf("%d bad files, want 120 or more (%v)", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			_, err := Load(file, env)
			mustBeProblems(t, file, err)
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", err.Error()+"\n")
			for secret := range strings.FieldsSeq("hunter2 20061 tooshort") {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the message shows the secret %s", secret)
				}
			}
		})
	}
}

const head = "version: 1\nregions: {us-east1: {}}\n"

const tail = "endpoints: [{url: \"http://127.0.0.1:9101\", region: us-east1}]\n"

// repeated writes a line for each number from 0.
func repeated(n int, line string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, line, i)
	}
	return b.String()
}

func TestOneMoreThanTheLimitIsRefusedAndTheLimitNamed(t *testing.T) {
	prefixes := repeated(16385, "    - {cidr: 2001:db8:%x::/48, region: us-east1}\n")
	lists := func(endpoints, models int) string {
		var b strings.Builder
		for i := range endpoints {
			fmt.Fprintf(&b, "  - {url: \"http://127.0.0.1:9101\", id: e%d, region: us-east1, models: [%s]}\n",
				i, strings.TrimSuffix(repeated(models, fmt.Sprintf("m%d-%%d,", i)), ","))
		}
		return b.String()
	}
	for _, test := range []struct{ name, file, want string }{
		{
			"regions", "version: 1\nregions:\n  us-east1: {}\n" + repeated(1024, "  r%d: {lat: 1, lon: 2}\n") + tail,
			`2:1: regions: has 1,025 entries, the limit is 1,024`,
		},
		{
			"endpoints", head + "endpoints:\n" + repeated(4097, "  - {id: e%d, url: \"http://127.0.0.1:9101\", region: us-east1}\n"),
			`3:1: endpoints: has 4,097 entries, the limit is 4,096`,
		},
		{
			"models of an endpoint", head + "endpoints:\n" + lists(1, 1025),
			`4:62: endpoints[0].models: has 1,025 entries, the limit is 1,024`,
		},
		{
			"different models", head + "endpoints:\n" + lists(5, 820),
			`8:62: endpoints[4].models: brings the number of different models over the limit of 4,096`,
		},
		{
			"overrides", head + tail + "geo:\n  overrides:\n" + prefixes,
			`5:3: geo.overrides: has 16,385 entries, the limit is 16,384`,
		},
		{
			"residency", head + tail + "steering:\n  residency:\n" + repeated(257, "    - {name: r%d, countries: [DE], regions: [us-east1]}\n"),
			`5:3: steering.residency: has 257 entries, the limit is 256`,
		},
		{
			"trusted proxies", head + tail + "client:\n  trusted_proxies:\n" + repeated(1025, "    - 2001:db8:%x::/48\n"),
			`5:3: client.trusted_proxies: has 1,025 entries, the limit is 1,024`,
		},
		{
			"certificates", head + tail + "tls:\n  certificates:\n" + repeated(1025, "    - {certificate: c%d, key: k}\n"),
			`5:3: tls.certificates: has 1,025 entries, the limit is 1,024`,
		},
		{
			"keys", head + tail + "admission:\n  keys:\n" + repeated(10001, "    - {key: key-%05d, priority: batch}\n"),
			`5:3: admission.keys: has 10,001 entries, the limit is 10,000`,
		},
		{
			"models with rules", head + tail + "failover:\n  models:\n" + repeated(4097, "    m%d: {resume: true}\n"),
			`5:3: failover.models: has 4,097 entries, the limit is 4,096`,
		},
		{
			"bytes", head + tail + "#" + strings.Repeat(" ", MaxBytes),
			`1:1: the file is larger than the limit of 4 MiB`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse("proxima.yaml", []byte(test.file), env)
			if err == nil || err.Error() != "proxima.yaml:"+test.want {
				t.Errorf("got %.300v\nwant proxima.yaml:%s", err, test.want)
			}
		})
	}
}

func TestAsMuchAsTheLimitsAllowIsAccepted(t *testing.T) {
	file := "version: 1\nregions:\n  us-east1: {}\n" + repeated(1023, "  r%d: {lat: 1, lon: 2}\n") +
		"endpoints:\n" + repeated(4096, "  - {id: e%[1]d, url: \"http://127.0.0.1:9101\", region: us-east1, models: [m%[1]d]}\n") +
		"geo:\n  overrides:\n" + repeated(16384, "    - {cidr: 2001:db8:%x::/48, region: us-east1}\n") +
		"admission:\n  keys:\n" + repeated(10000, "    - {key: key-%05d, priority: batch}\n") +
		"failover:\n  models:\n" + repeated(4096, "    m%d: {resume: true}\n")
	c, err := Parse("proxima.yaml", []byte(file), env)
	if err != nil {
		t.Fatalf("%.300v", err)
	}
	if table, err := c.Table(); err != nil || len(table.Models()) != 4096 {
		t.Errorf("table: %v", err)
	}
}

func TestAFileOf100MBIsRefusedWithoutReadingIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "huge.yaml")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(100 << 20); err != nil {
		t.Fatal(err)
	}
	_, err = Load(path, env)
	if want := path + ":1:1: the file is larger than the limit of 4 MiB"; err == nil || err.Error() != want {
		t.Errorf("got %.300v, want %s", err, want)
	}
}

func TestAMillionBracketsAreRefused(t *testing.T) {
	for _, file := range []string{
		strings.Repeat("[", 1<<20), strings.Repeat("{a: ", 1<<18), strings.Repeat("- ", 1<<20), strings.Repeat("? ", 1<<20),
	} {
		_, err := Parse("deep.yaml", []byte(file), env)
		if problems := mustBeProblems(t, "deep.yaml", err); problems[0].What != "not YAML: nested deeper than the limit of 32" {
			t.Errorf("%.8s…: %v", file, err)
		}
	}
}

func TestNoMoreThanAThousandProblemsAreListed(t *testing.T) {
	_, err := Parse("proxima.yaml", []byte(repeated(5000, "unknown%d: 1\n")), env)
	problems := mustBeProblems(t, "proxima.yaml", err)
	if last := problems[len(problems)-1]; len(problems) != 1001 || last.What != "there may be more problems: only 1,000 are listed" {
		t.Errorf("%d problems, the last: %v", len(problems), last)
	}
}

func TestHintsForThousandsOfLongNamesAreBounded(t *testing.T) {
	long := strings.Repeat("m", 120)
	file := "version: 1\nregions: {us-east1: {}}\nendpoints:\n" +
		repeated(4096, "  - {id: e%[1]d, url: \"http://127.0.0.1:9101\", region: us-east1, models: ["+long+"%[1]d]}\n") +
		"failover:\n  models:\n" + repeated(4096, "    "+long+"x%d: {}\n")
	_, err := Parse("proxima.yaml", []byte(file), env)
	problems := mustBeProblems(t, "proxima.yaml", err)
	hints := slices.DeleteFunc(slices.Clone(problems), func(p Problem) bool { return p.Hint == "" })
	if len(problems) != 1001 || len(hints) == 0 || len(hints) > maxCompared/4096 {
		t.Errorf("%d problems, %d of them with a hint", len(problems), len(hints))
	}
}

func TestAMissingFileIsAnotherErrorThanAWrongOne(t *testing.T) {
	_, err := Load("testdata/no-such.yaml", env)
	var problems Problems
	if !errors.Is(err, os.ErrNotExist) || errors.As(err, &problems) {
		t.Errorf("got %v", err)
	}
}

func TestAFileThatASubstitutionNamesIsBounded(t *testing.T) {
	folder := t.TempDir()
	large := strings.Repeat("x", maxResolved+1)
	if err := os.WriteFile(filepath.Join(folder, "large"), []byte(large), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "proxima.yaml")
	for text, want := range map[string]string{
		"${file:large}":     `file "large" is too large: the limit is 64 KiB`,
		"${file:/dev/zero}": `file "/dev/zero" is not a regular file`,
		"${LARGE}":          `${LARGE} stands for more than 64 KiB`,
	} {
		file := head + tail + "health: {path: \"" + text + "\"}\n"
		_, err := Parse(path, []byte(file), func(string) (string, bool) { return large, true })
		if problems := mustBeProblems(t, path, err); len(problems) != 1 || problems[0].What != want {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

func TestAllSubstitutionsTogetherAreBounded(t *testing.T) {
	file := head + "endpoints:\n" + repeated(100, "  - {id: e%d, url: \"http://127.0.0.1:9101\", region: us-east1, models: [\"${X}\"]}\n")
	_, err := Parse("proxima.yaml", []byte(file), func(string) (string, bool) { return strings.Repeat("x", maxResolved), true })
	if problems := mustBeProblems(t, "proxima.yaml", err); problems[len(problems)-1].What != "the ${…} of this file stand for more than 4 MiB together" {
		t.Errorf("got %v", problems[len(problems)-1])
	}
}

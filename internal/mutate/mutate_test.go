package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The list stays current: who changes a line that a mutation breaks changes the
// mutation too.
func TestEveryMutationFindsItsLinesOnce(t *testing.T) {
	all, err := readMutations("mutations.txt")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 40 {
		t.Fatalf("only %d mutations", len(all))
	}
	for _, m := range all {
		text, err := os.ReadFile(filepath.Join("..", "..", m.File))
		if err != nil {
			t.Error(err)
			continue
		}
		if broken, err := m.apply(string(text)); err != nil {
			t.Errorf("mutations.txt:%d: %s: %v", m.line, m.Name, err)
		} else if broken == string(text) {
			t.Errorf("mutations.txt:%d: %s changes nothing", m.line, m.Name)
		}
	}
}

func TestAMutationReplacesWholeLinesHoweverTheyAreSpaced(t *testing.T) {
	m, err := parseMutation("# why\nname: n\nfile: a/b.go\n- if a {\n- b = 1\n+ if !a {\n+ b = 1", 1)
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.apply("x\n\tif a {\n\t\tb   = 1 // why\n\t}\n")
	if want := "x\nif !a {\nb = 1\n\t}\n"; err != nil || got != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	if len(m.Packages) != 1 || m.Packages[0] != "./a" {
		t.Errorf("its tests are %v, want those of ./a", m.Packages)
	}
}

func TestLinesThatAreMissingOrStandTwiceAreNotReplaced(t *testing.T) {
	m := mutation{File: "b.go", Old: []string{"b()"}, New: []string{"c()"}}
	for text, want := range map[string]string{
		"a()\n":        `b.go does not have the old lines any more, the first of which is "b()"`,
		"b()\n\tb()\n": "the old lines stand in b.go twice, at 1 and 2: give more of them",
	} {
		if _, err := m.apply(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestAListThatIsWrongSaysWhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mutations.txt")
	text := "name: a\nfile: f.go\n- x\n+ y\n\nname: b\nflie: f.go\n\nname: c\n- x\n\nname: a\nfile: f.go\n- x\n+ y\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := readMutations(file)
	want := strings.Join([]string{
		`mutations.txt:7: "flie: f.go": must begin with name:, file:, tests:, -, + or #`,
		"mutations.txt:9: a mutation needs a name, a file, and lines with - and with +",
		`mutations.txt:12: "a" stands at line 1 already`,
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("%v, want\n%s", err, want)
	}
}

func TestTheFirstTestThatFailsIsNamed(t *testing.T) {
	for out, want := range map[string]string{
		"--- FAIL: TestOne (0.00s)\n--- FAIL: TestTwo (0.00s)\n":             "TestOne",
		"    --- FAIL: TestOne/a_world (0.00s)\n":                            "TestOne/a_world",
		"panic: test timed out after 1s\n\trunning tests:\n\t\tTestOne (1s)": "TestOne",
	} {
		if got := failed.FindStringSubmatch(out); got == nil || got[1] != want {
			t.Errorf("%q: %v, want %s", out, got, want)
		}
	}
}

package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
)

// mutation is one way to break the code: lines of a file, and what stands there
// instead. How a line is spaced does not count, nor a comment at its end.
type mutation struct {
	Name     string   // what the code then does wrong
	File     string   // below the module's root
	Packages []string // whose tests have to notice; the file's own when none is given
	Old, New []string

	line int // in mutations.txt
}

// readMutations reads a list of blocks with an empty line between them:
//
//	name: the load counts by its square
//	file: router/cost.go
//	tests: ./router ./proxy
//	- return serve*(1+u*u*u)
//	+ return serve*(1+u*u)
//
// "tests" may be missing. Lines that begin with # say something to the reader. All
// that is wrong is reported, each with its line.
func readMutations(file string) ([]mutation, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read mutations: %w", err)
	}
	var all []mutation
	var wrong []error
	at := 1
	for block := range strings.SplitSeq(string(text), "\n\n") {
		m, err := parseMutation(block, at)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s:%w", path.Base(file), err))
		} else if m.Name != "" {
			all = append(all, m)
		}
		at += strings.Count(block, "\n") + 2
	}
	return all, errors.Join(append(wrong, twice(all)...)...)
}

// parseMutation reads one block that begins at a line; of comments alone it is the
// zero mutation.
func parseMutation(block string, at int) (mutation, error) {
	var m mutation
	for i, line := range strings.Split(block, "\n") {
		key, value, _ := strings.Cut(line, " ")
		switch key {
		case "", "#":
		case "name:":
			m.Name, m.line = value, at+i
		case "file:":
			m.File = value
		case "tests:":
			m.Packages = strings.Fields(value)
		case "-":
			m.Old = append(m.Old, plain(value))
		case "+":
			m.New = append(m.New, value)
		default:
			return m, fmt.Errorf("%d: %q: must begin with name:, file:, tests:, -, + or #", at+i, line)
		}
	}
	given := m.Name != "" || m.File != "" || m.Old != nil || m.New != nil
	if given && (m.Name == "" || m.File == "" || m.Old == nil || m.New == nil) {
		return m, fmt.Errorf("%d: a mutation needs a name, a file, and lines with - and with +", at)
	}
	if given && m.Packages == nil {
		m.Packages = []string{"./" + path.Dir(m.File)}
	}
	return m, nil
}

// twice reports names that stand twice.
func twice(all []mutation) (wrong []error) {
	first := map[string]int{}
	for _, m := range all {
		if before, there := first[m.Name]; there {
			wrong = append(wrong, fmt.Errorf("mutations.txt:%d: %q stands at line %d already", m.line, m.Name, before))
		}
		first[m.Name] = m.line
	}
	return wrong
}

// packages are those whose tests are needed, each once.
func packages(all []mutation) (names []string) {
	for _, m := range all {
		names = append(names, m.Packages...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// apply puts the new lines in the place of the old ones, which have to be there
// exactly once.
func (m *mutation) apply(text string) (string, error) {
	lines := strings.Split(text, "\n")
	found := -1
	for at := 0; at+len(m.Old) <= len(lines); at++ {
		if !m.standsAt(lines[at:]) {
			continue
		}
		if found >= 0 {
			return "", fmt.Errorf("the old lines stand in %s twice, at %d and %d: give more of them", m.File, found+1, at+1)
		}
		found = at
	}
	if found < 0 {
		return "", fmt.Errorf("%s does not have the old lines any more, the first of which is %q", m.File, m.Old[0])
	}
	return strings.Join(slices.Replace(lines, found, found+len(m.Old), m.New...), "\n"), nil
}

func (m *mutation) standsAt(lines []string) bool {
	for i, old := range m.Old {
		if plain(lines[i]) != old {
			return false
		}
	}
	return true
}

// plain is a line without what does not count.
func plain(line string) string {
	code, _, _ := strings.Cut(line, " // ")
	return strings.Join(strings.Fields(code), " ")
}

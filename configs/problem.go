package configs

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with a configuration file: where, what, and
// what to write instead. It never shows what a ${…} stands for.
type Problem struct {
	File   string `json:"file"`
	Line   int    `json:"line"`   // from 1
	Column int    `json:"column"` // from 1, in characters
	Where  string `json:"where"`  // such as endpoints[0].url; "" for the file itself
	Text   string `json:"text"`   // what the file says there; "" when that is no help
	What   string `json:"what"`
	Hint   string `json:"hint"` // may be ""
}

func (p Problem) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: ", p.File, p.Line, p.Column)
	if p.Where != "" {
		b.WriteString(p.Where)
		if p.Text != "" {
			b.WriteString(" " + strconv.Quote(p.Text))
		}
		b.WriteString(": ")
	}
	b.WriteString(p.What)
	if p.Hint != "" {
		fmt.Fprintf(&b, " (hint: %s)", p.Hint)
	}
	return b.String()
}

// Problems is everything that is wrong with a configuration file, in the order of
// the file. As an error it has a line for each.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}

// maxProblems are more than anyone reads.
const maxProblems = 1000

// report collects problems while a file is read and checked.
type report struct {
	file   string
	found  Problems
	blamed map[string]bool // paths that have a problem

	compared int // names that were held against one that is not known
}

func newReport(file string) *report { return &report{file: file, blamed: map[string]bool{}} }

// add notes a problem. What must not quote the value that stands at the spot,
// because it may be a secret; a hint may, and is dropped when it could be one.
func (r *report) add(s spot, what, hint string) {
	switch {
	case s.substituted():
		hint = "look at what the ${…} stands for"
	case s.secret() && s.node != nil:
		hint = ""
	}
	r.note(s, what, hint)
}

// note notes a problem whose words have nothing of the value in them.
func (r *report) note(s spot, what, hint string) {
	r.blamed[s.path] = true
	if !r.full() {
		r.found = append(r.found, Problem{r.file, s.line, s.column, s.path, s.text(), what, hint})
	}
}

func (r *report) full() bool { return len(r.found) == maxProblems }

// maxCompared bounds how long hints for names may take.
const maxCompared = 10_000

// didYouMean is the hint for a name that is not among the known ones. It thinks no
// longer about a hint that nobody will read.
func (r *report) didYouMean(name string, known []string) string {
	if r.compared += len(known); r.full() || r.compared > maxCompared {
		return ""
	}
	return didYouMean(name, known)
}

// err returns what was found in the order of the file, nil when nothing was.
func (r *report) err() error {
	if len(r.found) == 0 {
		return nil
	}
	full := r.full()
	slices.SortStableFunc(r.found, func(a, b Problem) int {
		return cmp.Or(a.Line-b.Line, a.Column-b.Column)
	})
	if last := r.found[len(r.found)-1]; full {
		last.Where, last.Text, last.Hint = "", "", ""
		last.What = fmt.Sprintf("there may be more problems: only %s are listed", count(maxProblems))
		r.found = append(r.found, last)
	}
	return r.found
}

// secretParts are where a URL may carry a secret.
var secretParts = regexp.MustCompile(`//[^/?#\s]*@|\?.*`)

// shown makes the text of a file fit to be printed.
func shown(text string) string {
	text = secretParts.ReplaceAllStringFunc(text, func(part string) string {
		if part[0] == '?' {
			return "?***"
		}
		return "//***@"
	})
	return clip(text, 80)
}

func clip(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}

// inline makes text fit to stand in a message without quotes around it.
func inline(text string, most int) string {
	quoted := strconv.Quote(clip(text, most))
	return quoted[1 : len(quoted)-1]
}

// count writes a number as people read it: 16,384.
func count(n int) string {
	digits := strconv.Itoa(n)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

package configs

import "strings"

// didYouMean is the hint for a name that is not among the known ones: the known
// name that is nearest to it, or else all of them when they are few, or nothing.
func didYouMean(name string, known []string) string {
	if near, found := nearest(name, known); found {
		return "did you mean " + near + "?"
	}
	if len(known) == 0 || len(known) > 12 {
		return ""
	}
	return "known here: " + strings.Join(known, ", ")
}

// nearest finds the known name that a typist most likely meant: at most a third of
// its letters, and at most three, are wrong, or its end is missing or too long.
func nearest(name string, known []string) (string, bool) {
	best, fewest := "", 4
	if len(name) > 256 {
		return "", false
	}
	for _, candidate := range known {
		typos := distance(strings.ToLower(name), strings.ToLower(candidate))
		if len(name) > 2 && (strings.HasPrefix(candidate, name) || strings.HasPrefix(name, candidate)) {
			typos = min(typos, 1)
		}
		if typos < fewest && typos <= max(1, len(candidate)/3) {
			best, fewest = candidate, typos
		}
	}
	return best, best != ""
}

// distance counts the letters to insert, remove, replace or swap with a neighbour
// to make b of a (optimal string alignment: Boytsov, "Indexing methods for
// approximate dictionary searching", 2011, section 2.1).
func distance(a, b string) int {
	from, to := []rune(a), []rune(b)
	before, above, row := make([]int, len(to)+1), make([]int, len(to)+1), make([]int, len(to)+1)
	for j := range above {
		above[j] = j
	}
	for i := range from {
		row[0] = i + 1
		for j := range to {
			replace := above[j]
			if from[i] != to[j] {
				replace++
			}
			row[j+1] = min(replace, above[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && from[i] == to[j-1] && from[i-1] == to[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(to)]
}

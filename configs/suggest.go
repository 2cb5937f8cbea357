package configs

import "strings"

// maxTypos is how many letters of a name may be wrong for it to be recognised.
const maxTypos = 3

const far = maxTypos + 1 // no number of typos that matters

// didYouMean is the hint for a name that is not among the known ones: the known
// name that is nearest to it, or else all of them when they are few, or nothing.
func didYouMean(name string, known []string) string {
	if near, found := nearest(name, known); found {
		return "did you mean " + near + "?"
	}
	if len(known) == 0 || len(known) > 16 {
		return ""
	}
	return "known here: " + strings.Join(known, ", ")
}

// nearest finds the known name that a typist most likely meant: at most a third of
// its letters, and at most three, are wrong, or its end is missing or too long.
func nearest(name string, known []string) (string, bool) {
	best, fewest := "", far
	if len(name) > 128 {
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
// approximate dictionary searching", 2011, section 2.1). Beyond maxTypos it returns
// some larger number: it looks only at where that few letters can lead to (Ukkonen,
// "Algorithms for approximate string matching", 1985).
func distance(a, b string) int {
	from, to := []rune(a), []rune(b)
	if len(from) > len(to)+maxTypos || len(to) > len(from)+maxTypos {
		return far
	}
	before, above, row := make([]int, len(to)+1), make([]int, len(to)+1), make([]int, len(to)+1)
	for j := range above {
		before[j], above[j], row[j] = far, j, far
	}
	for i := range from {
		first := max(0, i-maxTypos)
		row[first] = far
		if first == 0 {
			row[0] = i + 1
		}
		for j := first; j < min(len(to), i+maxTypos+1); j++ {
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

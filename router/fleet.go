package router

import "math"

// Queue estimates how many requests are at an endpoint from all routers of a fleet,
// from a report that is some seconds old: rep were there when ownAtRep of them were
// this router's. What changed of its own since then is taken for a sample of what
// changed with the others: a rise counts as often as this router's share is small,
// so that a fleet which sees one idle endpoint does not run there as one.
//
//	max(own, rep + w·(own − ownAtRep)⁺ − (ownAtRep − own)⁺),  w = clamp((rep + 1)/(ownAtRep + 1), 1, routers)
//
// It is finite and at least own, whatever was reported.
func Queue(own int, rep, ownAtRep float64, routers int) float64 {
	mine, rep, ownAtRep := float64(own), finite(rep, 0), finite(ownAtRep, 0)
	w := min(max((rep+1)/(ownAtRep+1), 1), max(float64(routers), 1))
	return max(mine, rep+w*max(mine-ownAtRep, 0)-max(ownAtRep-mine, 0))
}

// Fold adds up what the other routers of a fleet say they have at an endpoint: most,
// what fills it, at the most, so that one that lies or is mistaken makes it look full
// and not more.
func Fold(peers []float64, most float64) float64 {
	sum := 0.0
	for _, said := range peers {
		if !math.IsNaN(said) {
			sum += min(max(said, 0), finite(most, 0))
		}
	}
	return min(sum, finite(most, 0))
}

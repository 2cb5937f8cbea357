package sim

import (
	"fmt"
	"math"
	"slices"

	"proxima/internal/sim/network"
)

// fewestPlaces is how many the experiments need: where demand is highest, where a
// crowd comes up, and one that carries for both.
const fewestPlaces = 3

// On puts the base on another network. Where that lacks one of the base's places, all
// of them are replaced: by those that are farthest from each other, as many as the
// base has or all there are. It is an error when there are fewer than three.
func (b Base) On(net *network.Table) (Base, error) {
	b.Network = net
	if !slices.ContainsFunc(b.Places, func(name string) bool { return net.Index(name) < 0 }) {
		return b, nil
	}
	b.Places = apart(net, len(b.Places))
	if len(b.Places) < fewestPlaces {
		return b, fmt.Errorf("a table of %d places is too small: the experiments need %d", len(b.Places), fewestPlaces)
	}
	b.Share = b.Share[:len(b.Places)]
	return b, nil
}

// apart picks places one after the other, each as far as there is one from all that
// were picked before it. The first is the first by name.
func apart(net *network.Table, n int) []string {
	picked := []int{0}
	nearest := func(at int) float64 {
		least := math.Inf(1)
		for _, p := range picked {
			least = min(least, net.RTT(p, at))
		}
		return least
	}
	for len(picked) < min(n, len(net.Places)) {
		best := -1
		for at := range net.Places {
			if !slices.Contains(picked, at) && (best < 0 || nearest(at) > nearest(best)) {
				best = at
			}
		}
		picked = append(picked, best)
	}
	names := make([]string, len(picked))
	for i, at := range picked {
		names[i] = net.Places[at]
	}
	return names
}

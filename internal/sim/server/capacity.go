package server

// Capacity returns how many requests of a mean size the server can answer in a second,
// for as long as there are always more, when its cache never helps.
//
// It follows from the server's own formulas, with means in place of what varies. Let b
// sequences decode, and λ requests a millisecond pass. The prefill computes λ·context
// tokens of the prefill(b) that it could, so it is busy for a share ρ = λ·context /
// prefill(b) of the time. While it is busy a step takes 1.5 times as long, so that a
// share ρ/3 of the tokens is lost: λ·generate = b/step(b)·(1 − ρ/3). Put together,
//
//	λ(b) = 1 / (generate·step(b)/b + context/(3·prefill(b)))
//
// More requests make b grow until there are no more places, because b and the ρ that
// are in the prefill hold them all (the decode bound), or until the prefill never rests
// (ρ = 1, the prefill bound). Both ρ and b + ρ grow with b, so the largest b that
// exceeds neither is found by halving. The simulation sustains the same within 6 %; with
// very few slots it is faster, as prefill and decoding then meet less often than ρ says.
func (s Spec) Capacity(meanContext, meanGenerate float64) float64 {
	context, generate := max(meanContext, 1), max(meanGenerate, 1)
	places := float64(s.Slots)
	if s.KVTokens > 0 {
		places = min(places, max(float64(s.KVTokens)/(context+generate), 1))
	}
	rate := func(b float64) float64 {
		lost := prefillAdds / (1 + prefillAdds)
		return 1 / (generate*s.step(b)/b + lost*context/s.prefill(b))
	}
	possible, most := 0.0, places
	for range 50 {
		b := (possible + most) / 2
		busy := rate(b) * context / s.prefill(b)
		if busy <= 1 && b+busy <= places {
			possible = b
		} else {
			most = b
		}
	}
	return 1000 * rate(possible)
}

package modelserver

import (
	"math"
	"math/rand/v2"
	"time"
)

// Where a question does not limit its answer, it has this many tokens.
const shortest, longest = 24, 64

const mostTokens = 4096 // an answer is never longer, whatever is asked for

// Every token begins with a space or is a single mark, so text falls into tokens
// in one way only; continue.go relies on it.
var vocabulary = [...]string{
	" the", " a", " this", " every", " no", " some", " river", " harbour", " lantern", " cable", " mountain", " train",
	" letter", " signal", " garden", " bridge", " winter", " morning", " city", " island", " carries", " follows",
	" remembers", " answers", " crosses", " leaves", " finds", " keeps", " turns", " waits", " near", " far", " slow",
	" bright", " quiet", " early", " late", " and", " but", " while", " before", " after", " under", " over", " because",
	" of", " to", " from", ",", ".",
}

// tell makes up the tokens that are still to come of an answer, at least and at
// most as many as the limits say, and says why it ends: "stop", or "length" when
// the limit cut it short. The same seed tells the same text whatever the limits.
func tell(from beginning, least, most int) (tokens []string, finish string) {
	said := speak(from.seed)
	most = min(from.told+min(most, mostTokens), mostTokens)
	least = min(from.told+min(least, mostTokens), most)
	length, finish := max(from.told, least, said.length), "stop"
	if length > most {
		length, finish = most, "length"
	}
	for i := range length {
		if token := said.next(); i >= from.told {
			tokens = append(tokens, token)
		}
	}
	if len(tokens) > 0 {
		tokens[0] = tokens[0][from.half:]
	}
	return tokens, finish
}

// speech is an answer as it is made up, token by token; it has no end of its own.
type speech struct {
	random *rand.Rand
	length int // tokens after which it ends if nothing else is asked for
}

func speak(seed uint64) speech {
	random := rand.New(rand.NewPCG(seed, 1))
	return speech{random, shortest + random.IntN(longest-shortest+1)}
}

func (s speech) next() string { return vocabulary[s.random.IntN(len(vocabulary))] }

// seedOf is the number from which everything about an answer follows: FNV-1a of
// the model and of what was asked.
func seedOf(model string, input []byte) uint64 {
	const basis = 14695981039346656037
	return mix(mix(mix(basis, model), "\x00"), string(input))
}

// mix takes more text into an FNV-1a hash of 64 bits.
func mix(hash uint64, text string) uint64 {
	const prime = 1099511628211
	for i := range len(text) {
		hash = (hash ^ uint64(text[i])) * prime
	}
	return hash
}

// jitter is a share of most, early or late.
func jitter(seed uint64, most time.Duration) time.Duration {
	random := rand.New(rand.NewPCG(seed, 2))
	return time.Duration((2*random.Float64() - 1) * float64(most))
}

// place makes up an embedding: a vector of length 1.
func place(seed uint64) []float64 {
	random := rand.New(rand.NewPCG(seed, 3))
	vector, square := make([]float64, 8), 0.0
	for i := range vector {
		vector[i] = random.NormFloat64()
		square += vector[i] * vector[i]
	}
	for i := range vector {
		vector[i] /= math.Sqrt(square)
	}
	return vector
}

package modelserver

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"time"
)

// Where a question does not limit its answer, it has this many tokens.
const shortest, longest = 24, 64

var vocabulary = [...]string{
	" the", " a", " this", " every", " no", " some", " river", " harbour", " lantern", " cable", " mountain", " train",
	" letter", " signal", " garden", " bridge", " winter", " morning", " city", " island", " carries", " follows",
	" remembers", " answers", " crosses", " leaves", " finds", " keeps", " turns", " waits", " near", " far", " slow",
	" bright", " quiet", " early", " late", " and", " but", " while", " before", " after", " under", " over", " because",
	" of", " to", " from", ",", ".",
}

// seedOf is the number from which everything about an answer follows: FNV-1a of
// the model and of what was asked.
func seedOf(model string, input []byte) uint64 {
	hash := fnv.New64a()
	hash.Write([]byte(model))
	hash.Write([]byte{0})
	hash.Write(input)
	return hash.Sum64()
}

// tell makes up the tokens of an answer and says why it ends: "stop", or
// "length" when the limit cut it short. The same seed begins the same way
// whatever the limits.
func tell(seed uint64, least, limit int) (tokens []string, finish string) {
	random := rand.New(rand.NewPCG(seed, 1))
	length, finish := max(least, shortest+random.IntN(longest-shortest+1)), "stop"
	if length > limit {
		length, finish = limit, "length"
	}
	for range length {
		tokens = append(tokens, vocabulary[random.IntN(len(vocabulary))])
	}
	return tokens, finish
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

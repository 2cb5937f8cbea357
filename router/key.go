package router

import "math"

// Key hashes what should stay together, a session or a request's identity, to a
// Query.Key (FNV-1a, then a finaliser so that near names land far apart).
func Key[Text string | []byte](s Text) uint64 {
	h := uint64(14695981039346656037)
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return mix(h)
}

// SessionKey is the Query.Key of a session with a model, or of all requests with it
// whose prompts begin alike.
func SessionKey[Text string | []byte](m Model, session Text) uint64 {
	return mix(Key(string(m)) ^ Key(session))
}

// mix is the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): every bit
// of the input moves about half of the output's bits.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// fraction maps a hash to (0, 1).
func fraction(h uint64) float64 { return (float64(h>>11) + 0.5) / (1 << 53) }

// rendezvous is an endpoint's claim on a key: the largest claim wins, each
// endpoint wins in proportion to its weight, and a key moves only when its winner
// leaves or a new one outbids it (weighted rendezvous hashing, Schindelhauer and
// Schomaker, SPAA 2005). With even weights the hash itself orders the claims.
func rendezvous(key, endpoint uint64, weight float64, even bool) float64 {
	u := fraction(mix(key ^ endpoint))
	if even {
		return u
	}
	return -weight / math.Log(u)
}

// admits reports whether a recovering endpoint already takes this key, when a
// share of all keys is still withheld from it. A key once admitted stays so
// while the share shrinks.
func admits(key, endpoint uint64, withheld float64) bool {
	return fraction(mix(key^endpoint^0x9e3779b97f4a7c15)) >= withheld
}

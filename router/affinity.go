package router

import (
	"sync/atomic"
	"time"
)

// Warm is where the beginning of a prompt was last, as far as it is remembered. The
// zero Warm is nowhere.
type Warm struct {
	Endpoint uint32  // what the hash of its ID begins with
	KB       float64 // of prompt that it was sent
}

// Affinity remembers where sessions and prompts were last: as many as it was made
// for and no more, each for ten minutes, for by then a model server has given its
// cache to others. All methods are safe for concurrent use and take no lock. What it
// says is a guess that costs milliseconds when it is wrong, so an entry may be lost
// to another, or to a writer at the same instant.
type Affinity struct {
	sets []affinitySet // a power of two of them
}

// affinitySet holds the keys that fall together.
type affinitySet [4]struct {
	key   atomic.Uint64 // xored with the value: half of one entry and half of another match no key
	value atomic.Uint64 // 32 bits of the endpoint, 12 of the length, 20 of the time
}

// affinityMemory is how long a key is remembered, in seconds.
const affinityMemory = 600

// The length is kept in steps of a sixteenth of a KB up to 16 KB, and in steps of
// 4 KB from there to 16 MB.
const (
	fineSteps = 256
	fineStep  = 1.0 / 16
	wideStep  = 4.0
	mostSteps = 1<<12 - 1
)

// NewAffinity remembers up to so many keys, a power of two, in 16 bytes each.
func NewAffinity(most int) *Affinity {
	sets := 1
	for sets*2*len(affinitySet{}) <= most {
		sets *= 2
	}
	return &Affinity{sets: make([]affinitySet, sets)}
}

// Find returns where a key was last; false when that is not known any more.
func (a *Affinity) Find(key uint64, now time.Time) (Warm, bool) {
	set := a.set(key)
	for i := range set {
		value := set[i].value.Load()
		if value != 0 && set[i].key.Load()^value == key && age(value, now) < affinityMemory {
			return Warm{Endpoint: uint32(value >> 32), KB: length(value >> 20 & mostSteps)}, true
		}
	}
	return Warm{}, false
}

// Sent notes that a prompt of so many KB goes to an endpoint, given by its hash.
func (a *Affinity) Sent(key uint64, endpoint uint32, kb float64, now time.Time) {
	next := uint64(endpoint)<<32 | steps(kb)<<20 | uint64(now.Unix())&seconds
	set, oldest, most := a.set(key), 0, int64(-1)
	for i := range set {
		value := set[i].value.Load()
		if set[i].key.Load()^value == key {
			oldest = i
			break
		}
		old := age(value, now)
		if value == 0 {
			old = seconds + 1
		}
		if old > most {
			oldest, most = i, old
		}
	}
	set[oldest].value.Store(next)
	set[oldest].key.Store(key ^ next)
}

func (a *Affinity) set(key uint64) *affinitySet { return &a.sets[mix(key)&uint64(len(a.sets)-1)] }

// seconds masks what is kept of the time: twelve days, after which an old entry
// could be taken for a new one, if nothing had overwritten it.
const seconds = 1<<20 - 1

// age is how long ago a value was written, in seconds. A request may carry a time a
// little before that of one which came later; what it finds is new, not very old.
func age(value uint64, now time.Time) int64 {
	passed := (now.Unix() - int64(value&seconds)) & seconds
	if passed > seconds-affinityMemory {
		return 0
	}
	return passed
}

func steps(kb float64) uint64 {
	kb = finite(kb, 0)
	if kb < fineSteps*fineStep {
		return uint64(kb / fineStep)
	}
	return uint64(min(fineSteps+(kb-fineSteps*fineStep)/wideStep, mostSteps))
}

func length(steps uint64) float64 {
	if steps < fineSteps {
		return float64(steps) * fineStep
	}
	return fineSteps*fineStep + float64(steps-fineSteps)*wideStep
}

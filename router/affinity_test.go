package router

import (
	"math"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestASessionIsFoundWhereItWasSentLast(t *testing.T) {
	affinity := NewAffinity(64)
	affinity.Sent(1, 7, 3, noon)
	affinity.Sent(1, 9, 5, noon)

	warm, known := affinity.Find(1, noon.Add(time.Minute))

	if want := (Warm{Endpoint: 9, KB: 5}); !known || warm != want {
		t.Errorf("found %+v, %v; want %+v", warm, known, want)
	}
}

func TestASessionIsForgottenAfterTenMinutes(t *testing.T) {
	affinity := NewAffinity(64)
	affinity.Sent(1, 7, 3, noon)
	if _, known := affinity.Find(1, noon.Add(10*time.Minute-time.Second)); !known {
		t.Error("forgotten a second too early")
	}
	if warm, known := affinity.Find(1, noon.Add(10*time.Minute)); known {
		t.Errorf("still found: %+v", warm)
	}
}

func TestAnUnknownSessionIsNowhere(t *testing.T) {
	for _, key := range []uint64{0, 1, math.MaxUint64} {
		if warm, known := NewAffinity(64).Find(key, noon); known || warm != (Warm{}) {
			t.Errorf("key %d: found %+v, %v", key, warm, known)
		}
	}
}

func TestALengthIsKeptToASixteenthOrToFourKB(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kb := rapid.OneOf(rapid.Float64Range(0, 64), rapid.Float64Range(0, 15_000)).Draw(t, "kb")
		affinity := NewAffinity(4)
		affinity.Sent(1, 7, kb, noon)

		warm, _ := affinity.Find(1, noon)

		step := 1.0 / 16
		if kb >= 16 {
			step = 4
		}
		if short := kb - warm.KB; short < 0 || short >= step {
			t.Fatalf("%v KB is kept as %v", kb, warm.KB)
		}
	})
}

func TestAnAbsurdLengthIsBounded(t *testing.T) {
	for _, kb := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, 1e6, math.MaxFloat64} {
		affinity := NewAffinity(4)
		affinity.Sent(1, 7, kb, noon)
		warm, known := affinity.Find(1, noon)
		if !known || warm.Endpoint != 7 || !(warm.KB >= 0 && warm.KB < 16*1024) {
			t.Errorf("%v KB is kept as %+v, %v", kb, warm, known)
		}
	}
}

// What is found may be missing, for others took its place, but it is never another
// key's and never an older one.
func TestWhatIsFoundIsWhatWasSentLast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		affinity, now := NewAffinity(16), noon
		type note struct {
			endpoint uint32
			at       time.Time
		}
		last := map[uint64]note{}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "passed")) * time.Second)
			key := uint64(rapid.IntRange(0, 40).Draw(t, "key"))
			if rapid.Bool().Draw(t, "send") {
				endpoint := rapid.Uint32().Draw(t, "endpoint")
				affinity.Sent(key, endpoint, 1, now)
				last[key] = note{endpoint, now}
				if _, known := affinity.Find(key, now); !known {
					t.Fatal("not found at once")
				}
				continue
			}
			warm, known := affinity.Find(key, now)
			was, sent := last[key]
			if known && (!sent || warm.Endpoint != was.endpoint || now.Sub(was.at) >= 10*time.Minute) {
				t.Fatalf("key %d found at %d, sent to %d at %v, now %v", key, warm.Endpoint, was.endpoint, was.at, now)
			}
		}
	})
}

// Four keys fight for one place of each set with every writer at once. Each key
// goes to the endpoint of its own number only, so a mixture would show.
func TestManyWritersNeverMixTheEntriesOfTwoKeys(t *testing.T) {
	affinity := NewAffinity(4)
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 20_000 {
				key := uint64((i + worker) % 9)
				affinity.Sent(key, uint32(key)+100, float64(i%16), noon)
				asked := uint64(i % 9)
				if warm, known := affinity.Find(asked, noon); known && warm.Endpoint != uint32(asked)+100 {
					t.Errorf("key %d found at endpoint %d", asked, warm.Endpoint)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestRememberingDoesNotAllocate(t *testing.T) {
	affinity := NewAffinity(64)
	allocated := testing.AllocsPerRun(100, func() {
		affinity.Sent(1, 7, 3, noon)
		affinity.Find(1, noon)
	})
	if allocated != 0 {
		t.Errorf("%v allocations", allocated)
	}
}

func TestARequestThatBeganASecondEarlierFindsWhatWasJustSent(t *testing.T) {
	affinity := NewAffinity(4)
	for key := range uint64(3) {
		affinity.Sent(key+1, 7, 1, noon.Add(-time.Minute))
	}
	affinity.Sent(4, 7, 1, noon)
	before := noon.Add(-time.Second)
	if _, known := affinity.Find(4, before); !known {
		t.Error("not found")
	}
	affinity.Sent(5, 8, 1, before)
	if _, known := affinity.Find(4, noon); !known {
		t.Error("the newest of four made room for another")
	}
}

func BenchmarkAffinitySentAndFind(b *testing.B) {
	affinity := NewAffinity(1 << 17)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for n := uint64(0); pb.Next(); n++ {
			affinity.Sent(mix(n&4095), 7, 3, noon)
			affinity.Find(mix(n&4095), noon)
		}
	})
}

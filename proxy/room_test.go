package proxy

import (
	"math"
	"sync"
	"testing"
)

func TestNoMoreIsTakenThanThereIsRoom(t *testing.T) {
	var r room
	if !r.take(60, 100) || r.take(41, 100) || !r.take(40, 100) || r.take(1, 100) || r.bytes() != 100 {
		t.Errorf("%d of 100 are taken", r.bytes())
	}
	if r.take(math.MaxInt64, 200) {
		t.Error("more fits than can be counted")
	}
	if r.give(100); !r.take(100, 100) {
		t.Error("what was given back is not there")
	}
	if !r.take(1000, 0) || r.bytes() != 1100 {
		t.Errorf("without a limit %d are taken, want 1100", r.bytes())
	}
	if r.take(1, 100) {
		t.Error("a limit that was lowered below what is taken lets one more in")
	}
}

func TestManyWhoTakeAtOnceNeverTakeMoreThanThereIs(t *testing.T) {
	var r room
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for range 200 {
				if !r.take(7, 50) {
					continue
				}
				if taken := r.bytes(); taken > 50 {
					t.Errorf("%d of 50 are taken", taken)
				}
				r.give(7)
			}
		})
	}
	all.Wait()
	if r.bytes() != 0 {
		t.Errorf("%d are left", r.bytes())
	}
}

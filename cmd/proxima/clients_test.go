package main

import (
	"math"
	"runtime/debug"
	"testing"

	"proxima/configs"
)

func TestRequestsAreAsManyAsFitIntoMemory(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	for _, c := range []struct {
		memory       int64
		option, want int
	}{
		{math.MaxInt64, 0, requestsUnbound},
		{256 << 20, 0, 2048},
		{1, 0, 1},
		{256 << 20, 7, 7},
	} {
		debug.SetMemoryLimit(c.memory)
		if got := requestsAtMost(&configs.Config{Limits: configs.Limits{Requests: c.option}}); got != c.want {
			t.Errorf("limits.requests %d, GOMEMLIMIT %d: %d requests, want %d", c.option, c.memory, got, c.want)
		}
	}
}

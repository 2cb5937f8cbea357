//go:build !race

package main

import (
	"io"
	"testing"

	"proxima/configs"
)

// The race detector takes things out of pools at random.
func TestALineAllocatesNothing(t *testing.T) {
	for _, level := range []string{"info", "warn"} {
		log, _ := newLog(io.Discard, configs.Log{Level: level, Format: "json"})
		access, r := newAccessLog(log), madeRecord("1")
		access.tell(&r)
		if allocs := testing.AllocsPerRun(20, func() { access.tell(&r) }); allocs > 0 {
			t.Errorf("at level %s a line costs %v allocations", level, allocs)
		}
	}
}

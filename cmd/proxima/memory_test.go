package main

import (
	"context"
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestTheLimitIsTheOperatorsOrNineTenthsOfTheContainers(t *testing.T) {
	for name, world := range map[string]struct {
		env   map[string]string
		files map[string]string
		limit int64
		from  string
		sets  bool
	}{
		"no limit anywhere": {limit: math.MaxInt64, from: "nobody"},
		"in a container": {
			files: map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "536870912\n"},
			limit: 483183819, from: "control group", sets: true,
		},
		"in a systemd unit within a slice that has less": {
			files: map[string]string{
				"proc/self/cgroup": "1:name=systemd:/ignored\n0::/edge.slice/proxima.service\n",
				"sys/fs/cgroup/edge.slice/proxima.service/memory.max": "2000\n",
				"sys/fs/cgroup/edge.slice/memory.max":                 "1000\n",
			},
			limit: 900, from: "control group", sets: true,
		},
		"in a group without a limit": {
			files: map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"},
			limit: math.MaxInt64, from: "nobody",
		},
		"in a group out of sight": {
			files: map[string]string{"proc/self/cgroup": "0::/../../a\n", "sys/fs/cgroup/a/memory.max": "1000\n"},
			limit: 900, from: "control group", sets: true,
		},
		"with files that say nothing of use": {
			files: map[string]string{"proc/self/cgroup": "\x00::", "sys/fs/cgroup/memory.max": "-5"},
			limit: math.MaxInt64, from: "nobody",
		},
		"the operator's word": {
			env:   map[string]string{"GOMEMLIMIT": "1GiB"},
			files: map[string]string{"sys/fs/cgroup/memory.max": "1000\n"},
			limit: 1 << 30, from: "GOMEMLIMIT",
		},
		"an operator without a word": {
			env:   map[string]string{"GOMEMLIMIT": ""},
			files: map[string]string{"sys/fs/cgroup/memory.max": "1000\n"},
			limit: 900, from: "control group", sets: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inForce, wasSet := int64(1<<30), false
			limit, from := limitMemory(environment(world.env), folder(world.files), func(limit int64) int64 {
				if limit >= 0 {
					inForce, wasSet = limit, true
				}
				return inForce
			})
			if limit != world.limit || from != world.from || wasSet != world.sets {
				t.Errorf("the limit is %d from %s, set: %v", limit, from, wasSet)
			}
			if world.sets && inForce != world.limit {
				t.Errorf("%d is in force", inForce)
			}
		})
	}
}

func TestTheLogTellsWhatMemoryThereIs(t *testing.T) {
	core, said := observer.New(zapcore.InfoLevel)
	if p := setMemory(environment(map[string]string{"GOGC": "150"}), folder(nil), zap.New(core)); p != nil {
		t.Error("GOGC is set, and paced all the same")
	}
	if p := setMemory(environment(nil), folder(nil), zap.New(core)); p == nil {
		t.Error("GOGC is not set, and nobody paces")
	}
	for i, want := range []string{"150", "paced"} {
		got := said.All()[i].ContextMap()
		if len(got) != 2 || got["gogc"] != want || got["limit_from"] != "nobody" {
			t.Errorf("said was %v", got)
		}
	}
}

func TestTheRoomForGarbageFollowsItsRate(t *testing.T) {
	const mib = 1 << 20
	for name, world := range map[string]struct {
		cost   time.Duration
		rate   float64
		marked uint64
		want   float64
	}{
		"nothing known":                {0, 0, 0, 8 * mib},
		"quiet":                        {time.Millisecond, 1 * mib, 4 * mib, 8 * mib},
		"busy":                         {time.Millisecond, 200 * mib, 4 * mib, 20 * mib},
		"as busy as can be":            {2 * time.Millisecond, 4000 * mib, 4 * mib, 32 * mib},
		"many quiet streams":           {40 * time.Millisecond, 2 * mib, 100 * mib, 12.5 * mib},
		"many streams, and many new":   {40 * time.Millisecond, 20 * mib, 100 * mib, 80 * mib},
		"a large heap, and much to do": {time.Second, 400 * mib, 1000 * mib, 1000 * mib},
		"a large heap, and none to do": {time.Second, 0, 1000 * mib, 125 * mib},
	} {
		if got := room(world.cost, world.rate, world.marked); math.Abs(got-world.want) > 1 {
			t.Errorf("%s: %.1f MiB", name, got/mib)
		}
	}
}

func TestTheRuntimeGivesTheRoomThatWasMeant(t *testing.T) {
	found := debug.SetGCPercent(100)
	defer debug.SetGCPercent(found)
	for _, alive := range []int{0, 50 << 20} {
		kept := make([]byte, alive)
		runtime.GC()
		const meant = 32 << 20
		now := heapNow()
		debug.SetGCPercent(gogc(meant, now.marked))
		goal := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}, {Name: "/gc/heap/live:bytes"}}
		metrics.Read(goal)
		got := float64(goal[0].Value.Uint64() - goal[1].Value.Uint64())
		if got < 0.8*meant || got > 1.1*meant {
			t.Errorf("with %d MiB alive there is room for %.1f MiB", alive>>20, got/(1<<20))
		}
		runtime.KeepAlive(kept)
	}
}

func TestCollectionsAreCountedByTheRuntime(t *testing.T) {
	before := heapNow()
	kept := make([]byte, 8<<20)
	runtime.GC()
	after := heapNow()
	if after.cycles <= before.cycles || after.spent <= before.spent || after.allocated < before.allocated+8<<20 || after.marked < 8<<20 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	runtime.KeepAlive(kept)
}

func TestThePaceFollowsTheTrafficAndEndsWithTheRouter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const mib = 1 << 20
		seconds := []heap{ // each is what was counted at the end of one
			{marked: 8 * mib},
			{marked: 8 * mib, allocated: 240 * mib, cycles: 20, spent: 20 * time.Millisecond}, // 24 MiB pay for one of 1 ms
			{marked: 8 * mib, allocated: 480 * mib, cycles: 30, spent: 30 * time.Millisecond},
			{marked: 8 * mib, allocated: 480 * mib, cycles: 30, spent: 30 * time.Millisecond}, // a lull needs none of them
		}
		ctx, stop := context.WithCancel(t.Context())
		percents := []int{50}
		p := &pacer{
			count: func() heap {
				counted := seconds[0]
				counted.at = time.Now()
				if seconds = seconds[1:]; len(seconds) == 0 {
					stop()
				}
				return counted
			},
			set: func(percent int) (before int) {
				before = percents[len(percents)-1]
				percents = append(percents, percent)
				return before
			},
		}
		p.Run(ctx)
		// The second 300 would change nothing.
		if want := []int{50, 100, 300, 100, 50}; !slices.Equal(percents, want) {
			t.Errorf("GOGC was %v, want %v", percents, want)
		}
	})
}

func environment(set map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, is := set[name]
		return value, is
	}
}

func folder(files map[string]string) fstest.MapFS {
	made := fstest.MapFS{}
	for name, text := range files {
		made[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return made
}

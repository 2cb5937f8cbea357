package main

// How much memory the process may take, and how often it is looked through for what
// is no longer in use.
//
// Go collects when as much was allocated as was alive before (GOGC=100). In a router
// that only passes things on a few MiB are alive, so that it would collect dozens of
// times a second. With GOGC=400 a request takes a sixth less processor time
// (BenchmarkHotPath/whole), but ten thousand streams have four times their live heap
// on top. So the room for garbage is paced instead: as much as makes collecting cheap
// at the rate at which garbage comes now, and not much more. Start at pacer.Run.
//
// What the operator has set, GOMEMLIMIT and GOGC, stands.

import (
	"context"
	"io/fs"
	"math"
	"path"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

// setMemory takes the container's limit for the process's own, tells the log what is
// in force, and returns who paces the collections: nil when the operator does.
func setMemory(env func(string) (string, bool), root fs.FS, log *zap.Logger) *pacer {
	limit, from := limitMemory(env, root, debug.SetMemoryLimit)
	said := []zap.Field{zap.String("limit_from", from)}
	if limit < math.MaxInt64 {
		said = append(said, zap.Int64("limit_bytes", limit))
	}
	if own, is := env("GOGC"); is && own != "" {
		log.Info("memory", append(said, zap.String("gogc", own))...)
		return nil
	}
	log.Info("memory", append(said, zap.String("gogc", "paced"))...)
	return &pacer{count: heapNow, set: debug.SetGCPercent}
}

// limitMemory returns the process's limit in bytes, and whose word it is. Without one
// of the operator's, it is nine tenths of the container's: the rest is for what the
// kernel keeps for the process, above all the buffers of its connections.
func limitMemory(env func(string) (string, bool), root fs.FS, set func(int64) int64) (limit int64, from string) {
	if own, is := env("GOMEMLIMIT"); is && own != "" {
		return set(-1), "GOMEMLIMIT" // -1 asks and changes nothing
	}
	given, limited := groupMemory(root)
	if !limited {
		return math.MaxInt64, "nobody"
	}
	limit = given / 10 * 9
	set(limit)
	return limit, "control group"
}

// groupMemory is the least memory.max of the control group that the process is in and
// of those around it (Linux, Control Group v2, "Memory Interface Files"); false when
// there is none.
func groupMemory(root fs.FS) (least int64, limited bool) {
	least = math.MaxInt64
	for group := ownGroup(root); ; group = path.Dir(group) {
		text, _ := fs.ReadFile(root, path.Join("sys/fs/cgroup", group, "memory.max"))
		if bytes, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && bytes > 0 {
			least = min(least, bytes)
		}
		if group == "/" {
			return least, least < math.MaxInt64
		}
	}
}

// ownGroup is the path of the process's group: the line 0:: of /proc/self/cgroup
// (cgroups(7)). In most containers it is /.
func ownGroup(root fs.FS) string {
	groups, _ := fs.ReadFile(root, "proc/self/cgroup")
	for line := range strings.Lines(string(groups)) {
		if group, is := strings.CutPrefix(strings.TrimSpace(line), "0::"); is {
			return path.Clean("/" + group)
		}
	}
	return "/"
}

// pacer sets how much may be allocated until the next collection.
type pacer struct {
	count func() heap
	set   func(percent int) (before int) // GOGC, as debug.SetGCPercent
}

// heap is what the runtime has counted.
type heap struct {
	at        time.Time
	allocated uint64        // bytes, since the start
	cycles    uint64        // collections, since the start
	spent     time.Duration // on them, by all processors together
	marked    uint64        // bytes the last one looked through: what is alive, and the stacks
}

// Run paces the collections until ctx is done, and leaves GOGC as it found it.
func (p *pacer) Run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last, cost := p.count(), time.Duration(0)
	inForce := gogc(room(0, 0, last.marked), last.marked)
	defer p.set(p.set(inForce))
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := p.count()
		if cycles := now.cycles - last.cycles; cycles > 0 {
			cost = (now.spent - last.spent) / time.Duration(cycles)
		}
		rate := float64(now.allocated-last.allocated) / now.at.Sub(last.at).Seconds()
		if percent := gogc(room(cost, rate, now.marked), now.marked); percent != inForce {
			p.set(percent) // which stops all others for a moment
			inForce = percent
		}
		last = now
	}
}

// Bounds of the room for garbage, in bytes, and what collecting may take of a processor
// by the runtime's own account. That leaves out what a collection costs those who work
// meanwhile, which was as much again when it was measured. Room for more than mostRoom
// saved nothing.
const (
	leastRoom  = 8 << 20
	mostRoom   = 32 << 20
	collecting = 0.01
)

// room is how much may be allocated between two collections, in bytes. A collection
// takes that much processor time however much garbage there is; at that many bytes a
// second, this share of a processor pays for one each
//
//	cost / collecting   seconds,   in which   rate · cost / collecting   bytes come.
//
// Of a large heap it is never less than an eighth, for bursts, nor more than the
// whole, which is what Go gives by itself.
func room(cost time.Duration, rate float64, marked uint64) float64 {
	least := max(leastRoom, float64(marked)/8)
	most := max(mostRoom, float64(marked))
	return min(max(rate*cost.Seconds()/collecting, least), most)
}

// gogc is the GOGC that gives that much room: a share of what is marked (A Guide to
// the Go Garbage Collector, "GOGC"), or of 4 MiB when that is more, which is the heap
// below which nothing is collected at GOGC=100 and grows with it.
func gogc(room float64, marked uint64) int {
	return int(100 * room / max(float64(marked), 4<<20))
}

// heapNow asks the runtime. Nothing stops for it.
func heapNow() heap {
	counted := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/gc/cycles/total:gc-cycles"},
		{Name: "/cpu/classes/gc/total:cpu-seconds"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/gc/scan/stack:bytes"},
		{Name: "/gc/scan/globals:bytes"},
	}
	metrics.Read(counted)
	return heap{
		at:        time.Now(),
		allocated: counted[0].Value.Uint64(),
		cycles:    counted[1].Value.Uint64(),
		spent:     time.Duration(counted[2].Value.Float64() * float64(time.Second)),
		marked:    counted[3].Value.Uint64() + counted[4].Value.Uint64() + counted[5].Value.Uint64(),
	}
}

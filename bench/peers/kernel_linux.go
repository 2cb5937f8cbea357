package peers

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"proxima/bench/raw"
)

func serveBare(ctx context.Context, socket *os.File) error {
	runtime.GOMAXPROCS(calmScheduler)
	return raw.Serve(ctx, socket)
}

// OwnCPU is the processor time of this process alone, without those that it started.
func OwnCPU() (time.Duration, error) { return processorTime(os.Getpid()) }

// CPU is the processor time that the kernel has counted so far for the process and
// those that it started and that still run, to the nanosecond.
func (p *Process) CPU() (time.Duration, error) {
	var sum time.Duration
	for _, pid := range family(p.pid) {
		spent, err := processorTime(pid)
		if err != nil {
			return 0, err
		}
		sum += spent
	}
	return sum, nil
}

func processorTime(pid int) (time.Duration, error) {
	var spent unix.Timespec
	// The clock of a process is its id in this form (clock_getcpuclockid(3)).
	if err := unix.ClockGettime(int32(^pid<<3|2), &spent); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(spent.Nano()), nil
}

// Memory is how many bytes of memory the process and those that it started have in
// use (RSS). What the kernel holds for their sockets is not in it.
func (p *Process) Memory() (int64, error) {
	var sum int64
	for _, pid := range family(p.pid) {
		resident, err := resident(pid)
		if err != nil {
			return 0, fmt.Errorf("memory of process %d: %w", pid, err)
		}
		sum += resident
	}
	return sum, nil
}

// resident reads /proc/PID/smaps_rollup, which counts pages; the figures in
// /proc/PID/status lag behind.
func resident(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, is := strings.CutPrefix(line, "Rss:"); is {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("smaps_rollup has no line Rss")
}

// family are a process and all its descendants.
func family(pid int) []int {
	all := []int{pid}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for child := range strings.FieldsSeq(string(text)) {
			if id, err := strconv.Atoi(child); err == nil {
				all = append(all, family(id)...)
			}
		}
	}
	return all
}

// startOn starts a program on one core: a child may run where the thread may that
// starts it.
func startOn(core *int, cmd *exec.Cmd) error {
	if core == nil {
		return cmd.Start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, only unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	only.Set(*core)
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		return fmt.Errorf("pin %s to core %d: %w", cmd.Path, *core, err)
	}
	return errors.Join(cmd.Start(), unix.SchedSetaffinity(0, &before))
}

// calmScheduler is GOMAXPROCS of the processes on the core of the load. With 1, the
// scheduler's watchdog would look every 20 µs whether a system call lasts so long that
// its processor should be given away, which costs as much as the load itself. It looks
// seldom as long as another processor is idle (runtime.retake).
const calmScheduler = 2

// PinLoad confines this process to the core of the load. undo gives it back what it
// had.
func (c *Cores) PinLoad() (undo func(), err error) {
	var before, only unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, err
	}
	only.Set(c.Load)
	threads := runtime.GOMAXPROCS(calmScheduler)
	return func() {
		runtime.GOMAXPROCS(threads)
		_ = pinThreads(&before)
	}, pinThreads(&only)
}

func pinThreads(to *unix.CPUSet) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, task := range tasks {
		id, err := strconv.Atoi(task.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, to); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// TwoCores are the first two cores that this process may run on, nil when it has
// only one.
func TwoCores() *Cores {
	var mine unix.CPUSet
	if unix.SchedGetaffinity(0, &mine) != nil || mine.Count() < 2 {
		return nil
	}
	var two []int
	for core := 0; len(two) < 2; core++ {
		if mine.IsSet(core) {
			two = append(two, core)
		}
	}
	return &Cores{Router: two[0], Load: two[1]}
}

// AllowFiles lets this process and those that it will start open as many files as
// the hard limit grants, and returns how many that are.
func AllowFiles() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	limit.Cur = limit.Max
	// Not x/sys: os/exec gives children the old limit unless package syscall set it.
	return int(min(limit.Max, 1<<20)), syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

// Quiet waits until the machine has had little else to do for a moment, and
// reports whether that came within the patience.
func Quiet(ctx context.Context, patience time.Duration) bool {
	const look, calm, enough = 100 * time.Millisecond, 0.1, 3
	for quiet, end := 0, time.Now().Add(patience); quiet < enough; {
		before := idle()
		select {
		case <-time.After(look):
		case <-ctx.Done():
			return false
		}
		if idle()-before > time.Duration((1-calm)*float64(look)*float64(runtime.NumCPU())) {
			quiet++
			continue
		}
		quiet = 0
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// idle is how long all processors together had nothing to do so far.
func idle() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), "\n")
	columns := strings.Fields(first) // cpu user nice system idle iowait …: proc_stat(5)
	if len(columns) < 6 {
		return 0
	}
	var ticks int64
	for _, column := range columns[4:6] {
		n, _ := strconv.ParseInt(column, 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100 everywhere
}

// Machine describes this machine: its processor, cores and kernel.
func Machine() string {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%s, %d cores, Linux %s", processor(), runtime.NumCPU(), bytes.TrimSpace(release))
}

func processor() string {
	file, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if name, value, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

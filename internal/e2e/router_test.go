package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"proxima/admin"
)

// Router is a running `proxima serve`.
type Router struct {
	t     *testing.T
	File  string // its configuration
	URL   string // for clients
	Admin admin.Client

	process *exec.Cmd
	log     *journal
}

// serve starts a router with a configuration and waits until it listens. It is
// stopped when the test ends, and the test fails if it does not stop well.
func serve(t *testing.T, config string) *Router { return serveBuilt(t, config, withRace) }

func serveBuilt(t *testing.T, config string, race bool) *Router {
	return serveBy(t, config, program(t, race))
}

// serveBy starts a router by a command to which "serve -c FILE" is added.
func serveBy(t *testing.T, config string, command ...string) *Router {
	r := &Router{t: t, File: filepath.Join(t.TempDir(), "proxima.yaml"), log: newJournal()}
	r.Write(config)
	r.process = exec.Command(command[0], append(command[1:], "serve", "-c", r.File)...)
	stderr, err := r.process.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.process.Start(); err != nil {
		t.Fatal(err)
	}
	go r.log.keep(stderr)
	t.Cleanup(r.stop)

	listening := r.Await("it listens", 20*time.Second, func(e entry) bool { return e["msg"] == "listening" })
	r.URL = fmt.Sprintf("http://%v", listening["address"])
	base, err := url.Parse(fmt.Sprintf("http://%v", listening["admin"]))
	if err != nil {
		t.Fatal(err)
	}
	r.Admin = admin.Client{Base: base, HTTP: single(10 * time.Second)}
	r.awaitTested()
	return r
}

// awaitTested waits until every endpoint was probed, so that a test begins with
// what the router knows and not with what it assumes.
func (r *Router) awaitTested() {
	eventually(r.t, "every endpoint is probed", 10*time.Second, func() bool {
		for _, health := range r.Health() {
			if health == "untested" {
				return false
			}
		}
		return true
	})
}

// stop ends the router unless the test has, and looks at how it went.
func (r *Router) stop() {
	if r.t.Failed() && r.Admin.Base != nil {
		r.t.Logf("what the router believed at the end: %s", r.belief())
	}
	if r.process.ProcessState == nil {
		r.Terminate()
		if r.Ended() != 0 {
			r.t.Errorf("the router ended with %v", r.process.ProcessState)
		}
	}
	if trouble := r.log.trouble(); trouble != "" {
		r.t.Errorf("the router met a bug:\n%s", trouble)
	}
	if r.t.Failed() {
		r.t.Logf("the last lines of the router's log:\n%s", r.log.tail(40))
	}
}

// Terminate asks the router to end, as an operator would.
func (r *Router) Terminate() { _ = r.process.Process.Signal(syscall.SIGTERM) }

// Ended waits until a router that was asked to has ended, and returns its exit code.
func (r *Router) Ended() int {
	impatient := time.AfterFunc(20*time.Second, func() {
		r.t.Error("the router did not stop within 20 s of SIGTERM")
		_ = r.process.Process.Kill()
	})
	defer impatient.Stop()
	<-r.log.ended        // all of its log must be read before Wait
	_ = r.process.Wait() // the exit code says it
	return r.process.ProcessState.ExitCode()
}

// belief is the router's own status, for people.
func (r *Router) belief() string {
	status, err := r.Admin.Status(context.Background()) // the test's own context has ended
	if err != nil {
		return err.Error()
	}
	text, err := json.Marshal(status.Regions)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Write replaces the configuration file in one step, as editors and deployment
// tools do.
func (r *Router) Write(config string) {
	r.t.Helper()
	replace(r.t, r.File, []byte(config))
}

// Reload asks the router to load its file again.
func (r *Router) Reload(force bool) (admin.Reload, error) {
	return r.Admin.Reload(r.t.Context(), force)
}

// Change writes a configuration and has it loaded. It fails the test if the
// router does not take it.
func (r *Router) Change(config string) {
	r.t.Helper()
	r.Write(config)
	if _, err := r.Reload(false); err != nil {
		r.t.Errorf("reload: %v", err)
	}
}

// Status is what the router says of itself.
func (r *Router) Status() admin.Status {
	status, err := r.Admin.Status(r.t.Context())
	if err != nil {
		r.t.Fatalf("status: %v", err)
	}
	return status
}

// Health is the health of every endpoint, by its id.
func (r *Router) Health() map[string]string {
	health := map[string]string{}
	for _, region := range r.Status().Regions {
		for _, endpoint := range region.Endpoints {
			health[endpoint.ID] = endpoint.Health
		}
	}
	return health
}

// inFlight is how many requests the router has under way at all endpoints.
func (r *Router) inFlight() int {
	sum := 0
	for _, region := range r.Status().Regions {
		for _, endpoint := range region.Endpoints {
			sum += endpoint.InFlight
		}
	}
	return sum
}

// Metric is the value of a series, such as streams_open or
// attempts_total{outcome="served",region="us-east1"}, which must be there.
func (r *Router) Metric(series string) float64 {
	response, err := r.Admin.HTTP.Get(r.Admin.Base.String() + "/metrics")
	if err != nil {
		r.t.Fatalf("metrics: %v", err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		text, found := strings.CutPrefix(strings.TrimPrefix(lines.Text(), "proxima_"), series+" ")
		if !found {
			continue
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			r.t.Fatalf("metric %s: %v", series, err)
		}
		return value
	}
	r.t.Fatalf("there is no metric %s", series)
	return 0
}

// Await waits until a line like this stands in the log; earlier lines count.
func (r *Router) Await(what string, patience time.Duration, like func(entry) bool) entry {
	r.t.Helper()
	var found entry
	eventually(r.t, what, patience, func() bool {
		found = r.log.find(like)
		return found != nil || r.log.over()
	})
	if found == nil {
		r.t.Fatalf("the router ended before %s:\n%s", what, r.log.tail(40))
	}
	return found
}

// entry is one line of the log.
type entry map[string]any

// journal keeps the last lines of a router's log.
type journal struct {
	ended chan struct{} // closed when the router has closed its stderr

	mu    sync.Mutex // guards lines
	lines []string
}

func newJournal() *journal { return &journal{ended: make(chan struct{})} }

const keptLines = 5000

func (j *journal) keep(from io.Reader) {
	defer close(j.ended)
	reader := bufio.NewReader(from)
	for {
		line, err := reader.ReadString('\n')
		if line != "" {
			j.add(strings.TrimRight(line, "\n"))
		}
		if err != nil {
			return
		}
	}
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.lines) == 2*keptLines {
		j.lines = append(j.lines[:0:0], j.lines[keptLines:]...)
	}
	j.lines = append(j.lines, line)
}

func (j *journal) over() bool {
	select {
	case <-j.ended:
		return true
	default:
		return false
	}
}

// find returns the first line that is like this; nil when there is none.
func (j *journal) find(like func(entry) bool) entry {
	for e := range j.entries() {
		if like(e) {
			return e
		}
	}
	return nil
}

func (j *journal) count(like func(entry) bool) int {
	n := 0
	for e := range j.entries() {
		if like(e) {
			n++
		}
	}
	return n
}

// entries are the kept lines that are JSON, the oldest first.
func (j *journal) entries() iter.Seq[entry] {
	j.mu.Lock()
	lines := slices.Clone(j.lines)
	j.mu.Unlock()
	return func(yield func(entry) bool) {
		for _, line := range lines {
			var e entry
			if json.Unmarshal([]byte(line), &e) == nil && !yield(e) {
				return
			}
		}
	}
}

// trouble returns the log from where the Go runtime, or the router itself, told
// of a bug; "" when none did.
func (j *journal) trouble() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, line := range j.lines {
		for _, sign := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: ", `"recovered"`} {
			if strings.Contains(line, sign) {
				return strings.Join(j.lines[i:min(i+60, len(j.lines))], "\n")
			}
		}
	}
	return ""
}

func (j *journal) tail(n int) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines[max(0, len(j.lines)-n):], "\n")
}

// eventually waits until something is so, and ends the test if it is not in time.
func eventually(t *testing.T, what string, patience time.Duration, so func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !so() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain until %s", patience, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

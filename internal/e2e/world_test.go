package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"proxima/internal/modelserver"
)

// World is some regions with one simulated model server each, all of them
// processes of their own on this machine.
type World struct {
	t       *testing.T
	Regions []*Region
}

// newWorld starts a model server for each region. The name of a known cloud
// region brings its place.
func newWorld(t *testing.T, as modelserver.Settings, regions ...string) *World {
	if testing.Short() {
		t.Skip("real processes and real time")
	}
	w := &World{t: t}
	for _, name := range regions {
		w.Add(name, as)
	}
	return w
}

// Add starts a model server in a region of this name.
func (w *World) Add(name string, as modelserver.Settings) *Region {
	as.Region, as.Faults = name, true
	r := &Region{t: w.t, Name: name, server: modelServer{Settings: as, Address: "127.0.0.1:0"}}
	r.Start()
	w.t.Cleanup(func() {
		if r.process != nil {
			r.Kill()
		}
	})
	w.Regions = append(w.Regions, r)
	return r
}

// Region returns the region of this name.
func (w *World) Region(name string) *Region {
	for _, r := range w.Regions {
		if r.Name == name {
			return r
		}
	}
	w.t.Fatalf("there is no region %s", name)
	return nil
}

// Config is a configuration that names every region of the world, with further
// sections as they are written. Endpoints have room for every load of these
// tests, so that only distance and health decide.
func (w *World) Config(sections ...string) string {
	var text strings.Builder
	fmt.Fprintln(&text, "version: 1\nlisten: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0}\nlog: {format: json, access: false}")
	fmt.Fprintln(&text, "regions:")
	for _, r := range w.Regions {
		fmt.Fprintf(&text, "  %s: {bias: %v}\n", r.Name, r.Bias)
	}
	fmt.Fprintln(&text, "endpoints:")
	for _, r := range w.Regions {
		fmt.Fprintf(&text, "  - {id: %s, region: %[1]s, url: %q, models: [%s], capacity: 4096}\n", r.Name, r.url(), r.Models)
	}
	for _, section := range sections {
		fmt.Fprintln(&text, strings.TrimSpace(section))
	}
	return text.String()
}

// Region is one region: a process that can be killed, frozen and broken.
type Region struct {
	t      *testing.T
	Name   string
	Bias   time.Duration // in the configuration
	Models string        // in the configuration, separated by commas; "": every model

	server  modelServer
	secure  bool      // over TLS
	process *exec.Cmd // nil: killed
	alive   io.Closer // the process ends when this is closed
}

func (r *Region) url() string {
	if r.secure {
		return "https://" + r.server.Address
	}
	return "http://" + r.server.Address
}

// Start starts the process, on the address that it had before if there was one.
func (r *Region) Start() {
	var err error
	for range 50 { // the old process's address may take a moment to become free
		if err = r.start(); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	r.t.Fatalf("start %s: %v", r.Name, err)
}

func (r *Region) start() error {
	settings, err := json.Marshal(r.server)
	if err != nil {
		return err
	}
	process := exec.Command(os.Args[0])
	process.Env = append(os.Environ(), modelServerVariable+"="+string(settings))
	process.Stderr = os.Stderr
	alive, err := process.StdinPipe()
	if err != nil {
		return err
	}
	says, err := process.StdoutPipe()
	if err != nil {
		return err
	}
	if err := process.Start(); err != nil {
		return err
	}
	address, err := bufio.NewReader(says).ReadString('\n')
	if err != nil {
		return fmt.Errorf("it said no address: %w", process.Wait())
	}
	r.server.Address = strings.TrimSpace(address)
	r.process, r.alive = process, alive
	return nil
}

// Kill ends the process at once, as a crash or a lost machine does.
func (r *Region) Kill() {
	r.signal(syscall.SIGKILL)
	_ = r.process.Wait() // "signal: killed"
	r.alive.Close()
	r.process = nil
}

// Freeze stops the process without ending it: connections are accepted by the
// kernel and nothing answers, as when a machine hangs.
func (r *Region) Freeze() { r.signal(syscall.SIGSTOP) }

// Thaw lets a frozen process go on.
func (r *Region) Thaw() { r.signal(syscall.SIGCONT) }

// Answer503 makes every path answer 503, the health path too.
func (r *Region) Answer503() { r.Break("status=503") }

// Revive takes away what Answer503 and Break did.
func (r *Region) Revive() { r.Break("none") }

// Break switches the model server to a fault of modelserver.ParseFault.
func (r *Region) Break(fault string) {
	response, err := single(5*time.Second).Post("http://"+r.server.Address+"/sim/fault?mode="+url.QueryEscape(fault), "", nil)
	if err != nil {
		r.t.Fatalf("break %s: %v", r.Name, err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		r.t.Fatalf("break %s with %s: %s", r.Name, fault, response.Status)
	}
}

// Stats is what the model server counted since its process started.
func (r *Region) Stats() (stats modelserver.Stats) {
	r.show("/sim/stats", &stats)
	return stats
}

// Requests are the last 100 that came to the model server since its process started,
// without probes, the oldest first.
func (r *Region) Requests() (requests []modelserver.Request) {
	r.show("/sim/requests", &requests)
	return requests
}

func (r *Region) show(path string, into any) {
	response, err := single(5 * time.Second).Get("http://" + r.server.Address + path)
	if err != nil {
		r.t.Fatalf("%s of %s: %v", path, r.Name, err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		r.t.Fatalf("%s of %s: %v", path, r.Name, err)
	}
}

func (r *Region) signal(s syscall.Signal) {
	if err := r.process.Process.Signal(s); err != nil {
		r.t.Fatalf("%v to %s: %v", s, r.Name, err)
	}
}

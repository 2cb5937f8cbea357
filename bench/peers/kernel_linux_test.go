package peers

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestAProcessIsPinnedBeforeItStarts(t *testing.T) {
	cores := TwoCores()
	if cores == nil {
		t.Skip("there is one core")
	}
	cmd := exec.Command("grep", "Cpus_allowed_list", "/proc/self/status")
	var said strings.Builder
	cmd.Stdout = &said

	if err := startOn(&cores.Load, cmd); err != nil {
		t.Fatal(err)
	}

	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, core, _ := strings.Cut(strings.TrimSpace(said.String()), "\t"); core != strconv.Itoa(cores.Load) {
		t.Errorf("it may run on %q, want %d alone", core, cores.Load)
	}
}

func TestThisProcessGetsItsCoresBack(t *testing.T) {
	cores := TwoCores()
	if cores == nil {
		t.Skip("there is one core")
	}

	undo, err := cores.PinLoad()
	if err != nil {
		t.Fatal(err)
	}
	during := TwoCores()
	undo()

	if during != nil || *TwoCores() != *cores {
		t.Errorf("it had %v meanwhile and %v after", during, TwoCores())
	}
}

func TestTimeAndMemoryAreThoseOfAllDescendants(t *testing.T) {
	// A shell whose child computes for a while and then sleeps with it.
	const script = `sh -c 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done; sleep 60' & wait`
	p, err := command{name: "family", path: "/bin/sh", args: []string{"-c", script}}.start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, pid := range family(p.pid)[1:] { // they would be orphans
			(&Process{pid: pid, ended: closed()}).Kill()
		}
		Stop(p)
	}()
	err = p.until(t.Context(), "it had computed", func() bool {
		text, _ := os.ReadFile(p.log)
		return strings.Contains(string(text), "done")
	})
	if err != nil {
		t.Fatal(err)
	}

	all, err := p.CPU()
	if err != nil {
		t.Fatal(err)
	}
	own, err := processorTime(p.pid)
	if err != nil {
		t.Fatal(err)
	}

	if all <= own || own <= 0 {
		t.Errorf("%v, of which the shell itself took %v", all, own)
	}
	memory, err := p.Memory()
	if shell, _ := resident(p.pid); err != nil || memory <= shell || shell <= 0 {
		t.Errorf("%d bytes, of which the shell itself has %d; %v", memory, shell, err)
	}
}

func TestAKilledProcessIsGone(t *testing.T) {
	w := &World{Folder: t.TempDir(), Regions: someRegions()[:1]}
	w.Regions[0].Bare = true
	closed, err := w.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer closed()

	if err := w.Regions[0].Server.Kill(); err != nil {
		t.Fatal(err)
	}

	if _, err := get(w.Regions[0].Address); err == nil {
		t.Error("it still answers")
	}
	if _, err := w.Regions[0].Server.CPU(); err == nil {
		t.Error("it still has a clock")
	}
}

func TestNobodyWaitsForQuietBeyondTheirPatience(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	if Quiet(ctx, time.Hour) {
		t.Error("it was quiet at once")
	}
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

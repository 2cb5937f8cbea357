package peers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	startPatience = 20 * time.Second // until a router answers
	stopPatience  = 5 * time.Second  // between asking a process to end and ending it
	askAgain      = 20 * time.Millisecond
)

// inherited is the file descriptor at which a process finds the socket that it is
// to listen on. So its port is known before it starts, and nobody else can take it.
const inherited = 3

// Process is a running program. One that has only a URL was started by somebody
// else, who also ends it.
type Process struct {
	URL string // where it answers HTTP

	pid   int
	log   string             // file of what it says
	stop  context.CancelFunc // nil: somebody else's
	ended chan struct{}      // closed when the process is gone
	err   error              // how it ended; to be read after ended
}

// Stop ends processes and returns when all of them are gone.
func Stop(processes ...*Process) {
	ours := slices.DeleteFunc(processes, func(p *Process) bool { return p.stop == nil })
	for _, p := range ours {
		p.stop()
	}
	for _, p := range ours {
		<-p.ended
	}
}

// Kill ends a process at once, as a crash would, and returns when it is gone.
func (p *Process) Kill() error {
	if err := syscall.Kill(p.pid, syscall.SIGKILL); err != nil {
		return err
	}
	<-p.ended
	return nil
}

// command is a program that is yet to be started.
type command struct {
	name   string // of its log
	path   string
	args   []string
	env    []string // besides this process's own
	socket *os.File // nil: it listens by itself
	core   *int     // the only one that it may run on; nil: any
}

// start starts the program. When ctx ends it is asked to end, and soon after that
// it is killed. Its stdin ends with this process, even with one that is killed.
func (c command) start(ctx context.Context, folder string) (*Process, error) {
	log, err := os.Create(filepath.Join(folder, c.name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	ctx, stop := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, c.path, c.args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopPatience
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Stdout, cmd.Stderr = log, log
	if c.socket != nil {
		cmd.ExtraFiles = []*os.File{c.socket}
	}
	_, err = cmd.StdinPipe()
	if err == nil {
		err = startOn(c.core, cmd)
	}
	if err != nil {
		stop()
		return nil, err
	}
	p := &Process{pid: cmd.Process.Pid, log: log.Name(), stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		p.err = cmd.Wait()
		stop()
	}()
	return p, nil
}

// listen opens a socket for a process that inherits it.
func listen() (address string, socket *os.File, err error) {
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return "", nil, err
	}
	defer listener.Close()
	socket, err = listener.File()
	return listener.Addr().String(), socket, err
}

// answers waits until the process answers HTTP, and ends it when it does not.
func (p *Process) answers(ctx context.Context) error {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	return p.until(ctx, "it answered", func() bool {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL, nil)
		if err != nil {
			return false
		}
		response, err := client.Do(request)
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode < 500
	})
}

// until asks until something is so, and ends the process when it is not in time.
func (p *Process) until(ctx context.Context, what string, so func() bool) error {
	limited, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for !so() {
		select {
		case <-time.After(askAgain):
		case <-p.ended:
			return fmt.Errorf("it ended before %s: %w", what, p.explained(p.err))
		case <-limited.Done():
			Stop(p)
			return fmt.Errorf("it was stopped before %s: %w", what, p.explained(context.Cause(limited)))
		}
	}
	return nil
}

// Explain adds to an error what the process said last.
func (p *Process) Explain(err error) error {
	if err == nil || p.log == "" {
		return err
	}
	return p.explained(err)
}

func (p *Process) explained(err error) error {
	if err == nil {
		err = errors.New("exit status 0")
	}
	return fmt.Errorf("%w; it said:\n%s", err, lastLines(p.log, 10))
}

// lastLines are the lines at the end of a log, for an error that must explain
// itself.
func lastLines(path string, n int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

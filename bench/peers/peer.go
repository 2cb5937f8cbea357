// Package peers starts what a comparison needs on this machine: a world of regions,
// each a simulated model server in a process of its own, and in front of it the
// routers that are compared, each the real program with a real configuration.
//
// Everything listens on loopback, at ports that the kernel picks. All routers of
// one world are told the same: which clients are near which region, and how many
// answers each model server makes at once.
//
// A program that opens a World must call ModelServer first thing in main, because
// the model servers are that same program, started again. proxima.go and
// haproxy.go configure a router each, model.go is a model server, process.go starts
// and stops processes.
package peers

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"text/template"

	"proxima/geo"
	"proxima/internal/modelserver"
)

// Peer is a router that takes part in a comparison.
type Peer struct {
	Name string

	// Version says which version of the router takes part, once it was made ready
	// in the world's folder. The error is a *Missing when the router's program is not
	// on this machine.
	Version func(ctx context.Context, w *World) (string, error)

	// Start starts the router in front of an open world and returns when it
	// answers. It ends with ctx at the latest. The error is a *Missing when the
	// router's program is not on this machine.
	Start func(ctx context.Context, w *World) (*Process, error)
}

// Missing says that the program of a peer is not installed.
type Missing struct {
	Program string
	Install string // the command that installs it
}

func (m *Missing) Error() string {
	return fmt.Sprintf("%s is not installed; install it with: %s", m.Program, m.Install)
}

// World is the regions that peers route to, and a folder for whatever files their
// processes need.
type World struct {
	Folder  string
	Regions []Region
	Cores   *Cores // nil: everything runs wherever the kernel likes
}

// Cores are processors, each for one side of a measurement alone.
type Cores struct {
	Router int
	Load   int // also for the model servers
}

// Region is a place with one endpoint, which is a simulated model server.
type Region struct {
	Name    string               // a word, for it is part of configurations
	Place   geo.Location         // where it is
	Clients netip.Prefix         // the clients that it is near to
	Model   modelserver.Settings // its Region is set when the world opens
	Bare    bool                 // instead of Model, a server as cheap as can be: package bench/raw
	Address string               // host and port; set when the world opens
	Server  *Process             // of the endpoint; set when the world opens
}

// Open starts the model servers. They end with ctx or when closed is called,
// which returns when they are gone.
func (w *World) Open(ctx context.Context) (closed func(), err error) {
	var started []*Process
	closed = func() { Stop(started...) }
	for i := range w.Regions {
		process, err := w.Regions[i].start(ctx, w.Folder, w.loadCore())
		if err != nil {
			closed()
			return nil, fmt.Errorf("start the model server of %s: %w", w.Regions[i].Name, err)
		}
		started = append(started, process)
	}
	return closed, nil
}

func (w *World) loadCore() *int {
	if w.Cores == nil {
		return nil
	}
	return &w.Cores.Load
}

func (w *World) routerCore() *int {
	if w.Cores == nil {
		return nil
	}
	return &w.Cores.Router
}

// Nearest are all regions in the order of their distance from one of them, which
// comes first.
func (w *World) Nearest(to Region) []Region {
	return slices.SortedStableFunc(slices.Values(w.Regions), func(a, b Region) int {
		return cmp.Compare(geo.Km(to.Place, a.Place), geo.Km(to.Place, b.Place))
	})
}

// write renders a configuration into a file of the world's folder.
func (w *World) write(name, form string, values any) (path string, err error) {
	text, err := render(form, values)
	if err != nil {
		return "", err
	}
	path = filepath.Join(w.Folder, name)
	return path, os.WriteFile(path, text, 0o600)
}

func render(form string, values any) ([]byte, error) {
	parsed, err := template.New("configuration").Option("missingkey=error").Parse(form)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	err = parsed.Execute(&text, values)
	return text.Bytes(), err
}

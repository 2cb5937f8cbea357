package peers

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed proxima.yaml
var proximaConfig string

// proximaSettings are what the template of Proxima's configuration needs.
type proximaSettings struct {
	Regions  []Region
	Declared bool
}

// Proxima is the router of this module, built from the sources in the working
// directory. When declared, its configuration says how many answers each endpoint
// makes at once; otherwise Proxima has to find out.
func Proxima(name string, declared bool) Peer {
	return Peer{Name: name, Start: func(ctx context.Context, w *World) (*Process, error) {
		program, err := buildProxima(ctx, w.Folder)
		if err != nil {
			return nil, err
		}
		config, err := w.write(name+".yaml", proximaConfig, proximaSettings{w.Regions, declared})
		if err != nil {
			return nil, err
		}
		process, err := command{name: name, path: program, args: []string{"serve", "-c", config}}.start(ctx, w.Folder)
		if err != nil {
			return nil, err
		}
		if err := process.until(ctx, "it listened", process.saysWhere); err != nil {
			return nil, err
		}
		return process, process.answers(ctx)
	}}
}

// buildProxima builds the program, or finds that it is up to date.
func buildProxima(ctx context.Context, folder string) (path string, err error) {
	path = filepath.Join(folder, "proxima")
	says, err := exec.CommandContext(ctx, "go", "build", "-o", path, "proxima/cmd/proxima").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build proxima: %w\n%s", err, says)
	}
	return path, nil
}

// saysWhere looks for the line of Proxima's log that says where it listens.
func (p *Process) saysWhere() bool {
	log, err := os.ReadFile(p.log)
	if err != nil {
		return false
	}
	for line := range bytes.Lines(log) {
		var event struct{ Msg, Address string }
		if json.Unmarshal(line, &event) == nil && event.Msg == "listening" {
			p.URL = "http://" + event.Address
			return true
		}
	}
	return false
}

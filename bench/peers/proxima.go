package peers

import (
	"bytes"
	"cmp"
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
	return proxima(name, "", proximaConfig, func(w *World) any { return proximaSettings{w.Regions, declared} })
}

// proxima is a router of this module with a configuration made of a template. The
// binary is "" when it is yet to be built.
func proxima(name, binary, form string, values func(*World) any) Peer {
	program := func(w *World) string { return cmp.Or(binary, filepath.Join(w.Folder, "proxima")) }
	return Peer{
		Name: name,
		Version: func(ctx context.Context, w *World) (string, error) {
			if binary == "" {
				if err := buildProxima(ctx, program(w)); err != nil {
					return "", err
				}
			}
			return says(ctx, program(w), "version")
		},
		Start: func(ctx context.Context, w *World) (*Process, error) {
			config, err := w.write(name+".yaml", form, values(w))
			if err != nil {
				return nil, err
			}
			c := command{name: name, path: program(w), args: []string{"serve", "-c", config}, core: w.routerCore()}
			process, err := c.start(ctx, w.Folder)
			if err != nil {
				return nil, err
			}
			if err := process.until(ctx, "it listened", process.saysWhere); err != nil {
				return nil, err
			}
			return process, process.answers(ctx)
		},
	}
}

// buildProxima builds the program from the sources in the working directory.
func buildProxima(ctx context.Context, path string) error {
	says, err := exec.CommandContext(ctx, "go", "build", "-o", path, "proxima/cmd/proxima").CombinedOutput()
	if err != nil {
		return fmt.Errorf("build proxima: %w\n%s", err, says)
	}
	return nil
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

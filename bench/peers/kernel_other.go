//go:build !linux

package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

func serveBare(context.Context, *os.File) error {
	return errors.New("there are bare model servers on Linux only")
}

// startOn starts a program; there are no Cores here to choose from.
func startOn(_ *int, cmd *exec.Cmd) error { return cmd.Start() }

// Machine describes this machine: its processor, cores and system.
func Machine() string {
	return fmt.Sprintf("%s, %d cores, %s", runtime.GOARCH, runtime.NumCPU(), runtime.GOOS)
}

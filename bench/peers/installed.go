package peers

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// installed is a peer whose program this machine may have.
func installed(
	name, program, version string, start func(ctx context.Context, w *World, program string) (*Process, error),
) Peer {
	find := func() (string, error) {
		path, err := exec.LookPath(program)
		if err != nil {
			return "", &Missing{Program: program, Install: "apt-get install " + program}
		}
		return path, nil
	}
	return Peer{
		Name: name,
		Version: func(ctx context.Context, _ *World) (string, error) {
			path, err := find()
			if err != nil {
				return "", err
			}
			return says(ctx, path, version)
		},
		Start: func(ctx context.Context, w *World) (*Process, error) {
			path, err := find()
			if err != nil {
				return nil, err
			}
			return start(ctx, w, path)
		},
	}
}

// says is the first line that a program prints.
func says(ctx context.Context, program string, args ...string) (string, error) {
	text, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(line), nil
}

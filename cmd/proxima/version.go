package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set at link time for releases: -ldflags "-X main.version=v1.2.3".
var version = "dev"

// build tells what this binary is made of.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision"` // of the source, "" when it was not recorded
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func thisBuild() build {
	b := build{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Revision = s.Value
		}
	}
	return b
}

func (a *app) versionCommand() *cobra.Command {
	var out format
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			b := thisBuild()
			if out == "json" {
				return writeJSON(a.stdout, b)
			}
			fmt.Fprintf(a.stdout, "proxima %s %s %s %s\n", b.Version, b.Revision, b.Go, b.Platform)
			return nil
		},
	}
	out.flag(cmd)
	return cmd
}

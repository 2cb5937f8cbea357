// Package e2e tests Proxima from outside, as its users meet it: the real program,
// with simulated model servers as processes of their own that are killed, frozen
// and brought back while requests flow. Time passes for real, so -short skips it.
//
// A test begins with newWorld (world_test.go), serves it through a router
// (router_test.go) and sends requests or a load (client_test.go).
package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"proxima/internal/modelserver"
)

// modelServerVariable makes this test binary a simulated model server.
const modelServerVariable = "PROXIMA_E2E_MODEL_SERVER"

// modelServer is what the variable holds, as JSON.
type modelServer struct {
	modelserver.Settings
	Address string // to listen on
}

func TestMain(m *testing.M) {
	if text := os.Getenv(modelServerVariable); text != "" {
		if err := beModelServer(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	folder, err := os.MkdirTemp("", "proxima-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	builds.folder = folder
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(folder)
		os.Exit(code)
	}))
}

// beModelServer serves until the process at the other end of stdin is gone.
func beModelServer(text string) error {
	var as modelServer
	if err := json.Unmarshal([]byte(text), &as); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", as.Address)
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	return modelserver.New(as.Settings).Serve(ctx, listener)
}

// builds is the program under test, built once for this run and each way of
// building it.
var builds struct {
	folder string
	mu     sync.Mutex
}

// program returns the path of the program under test. Built with the race
// detector it is slower and larger, and tells of every race that it meets.
func program(t *testing.T, race bool) string {
	builds.mu.Lock()
	defer builds.mu.Unlock()
	args, path := []string{"build"}, filepath.Join(builds.folder, "proxima")
	if race {
		args, path = append(args, "-race"), path+"-race"
	}
	if _, err := os.Stat(path); err == nil {
		return path
	}
	noticeSources(t)
	built, err := exec.Command("go", append(args, "-o", path, "proxima/cmd/proxima")...).CombinedOutput()
	if err != nil {
		t.Fatalf("build proxima: %v\n%s", err, built)
	}
	return path
}

// noticeSources looks into every folder of the module. go test remembers where a
// test has looked, and so does not answer from its cache after a change of the
// program.
func noticeSources(t *testing.T) {
	err := filepath.WalkDir(filepath.Join("..", ".."), func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && strings.HasPrefix(entry.Name(), ".git") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

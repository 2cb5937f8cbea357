package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
)

// sight is what an application got.
type sight struct {
	Text   string
	IDs    []string
	Finish []string // the reasons why it ended
	Usage  map[string]any
	Error  *thrown
}

// thrown is what a client threw.
type thrown struct {
	Kinds               []string // its class, and those that this extends
	Status              int
	Code, Type, Message string
	Cause               string
}

func (s sight) mustBeWhole(t *testing.T) {
	t.Helper()
	if s.Error != nil || s.Text == "" || len(s.IDs) != 1 || len(s.Finish) != 1 || s.Usage["completion_tokens"] != 64. {
		t.Fatalf("an endpoint alone gives %+v", s)
	}
}

func (s sight) mustEqual(t *testing.T, want sight) {
	t.Helper()
	if !reflect.DeepEqual(s, want) {
		t.Errorf("it got %+v (thrown: %+v)\nwant   %+v", s, s.Error, want)
	}
}

func (s sight) mustHaveThrown(t *testing.T, kind, code, typ string) {
	t.Helper()
	if e := s.Error; e == nil || !slices.Contains(e.Kinds, kind) || e.Code != code || e.Type != typ {
		t.Errorf("it threw %+v, want %s, code %s, type %s", e, kind, code, typ)
	}
}

// app is the application in testdata/sdk with the clients that it uses.
type app struct {
	t       *testing.T
	folder  string
	headers map[string]string // that it sends besides
}

func newApp(t *testing.T) *app {
	a := &app{t: t, folder: t.TempDir(), headers: map[string]string{}}
	if err := os.CopyFS(a.folder, os.DirFS("testdata/sdk")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(installed(t), filepath.Join(a.folder, modules)); err != nil {
		t.Fatal(err)
	}
	return a
}

// ask runs the application once. What the arguments mean stands in ask.mjs.
func (a *app) ask(url, call, request string) sight { return <-a.begin(url, call, request) }

// begin does not wait for it.
func (a *app) begin(url, call, request string) <-chan sight {
	answer := make(chan sight, 1)
	go func() {
		var s sight
		defer func() { answer <- s }()
		headers, _ := json.Marshal(a.headers)
		command := exec.CommandContext(a.t.Context(), "node", "ask.mjs", url, call, request, string(headers))
		command.Dir = a.folder
		command.Stderr = os.Stderr
		said, err := command.Output()
		if err == nil {
			err = json.Unmarshal(said, &s)
		}
		if err != nil {
			a.t.Errorf("the application failed: %v\n%s", err, said)
		}
	}()
	return answer
}

// modules is where npm installs.
const modules = "node_modules"

// installed is the folder of the clients' packages. They are installed once and kept
// in the user's cache.
func installed(t *testing.T) string {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			lack(t, fmt.Errorf("the official clients need Node and npm, such as Debian's packages nodejs and npm: %w", err))
		}
	}
	lock, err := os.ReadFile("testdata/sdk/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	cache = filepath.Join(cache, "proxima-tests")
	kept := filepath.Join(cache, fmt.Sprintf("sdk-%x", sha256.Sum256(lock)))
	if _, err := os.Stat(kept); err == nil {
		return filepath.Join(kept, modules)
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	install(t, cache, kept)
	return filepath.Join(kept, modules)
}

// install lets a folder appear whole or not at all.
func install(t *testing.T, cache, kept string) {
	draft, err := os.MkdirTemp(cache, "sdk-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(draft)
	if err := os.CopyFS(draft, os.DirFS("testdata/sdk")); err != nil {
		t.Fatal(err)
	}
	npm := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = draft
	if said, err := npm.CombinedOutput(); err != nil {
		lack(t, fmt.Errorf("npm ci: %w\n%s", err, bytes.TrimSpace(said)))
	}
	if err := os.Rename(draft, kept); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
}

// lack ends a test for which the machine, or its network, lacks something. In CI that
// is a failure.
func lack(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(err)
	}
	t.Skip(err)
}

package configs

import (
	"crypto/sha256"
	"testing"
)

func TestSubstitution(t *testing.T) {
	r := resolver{env: env, folder: "testdata", digest: sha256.New()}
	for text, want := range map[string]string{
		"":                              "",
		"plain":                         "plain",
		"${SECRET}":                     "hunter2-hunter2",
		"http://127.0.0.1:${PORT}/v1":   "http://127.0.0.1:9101/v1",
		"${PORT}${PORT}":                "91019101",
		"${NO_SUCH:-otherwise}":         "otherwise",
		"${EMPTY:-otherwise}":           "otherwise",
		"${EMPTY}":                      "",
		"${NO_SUCH:-}":                  "",
		"${NO_SUCH:-http://[::1]:8080}": "http://[::1]:8080",
		"$$":                            "$",
		"$${PORT}":                      "${PORT}",
		"$$$${PORT}$$":                  "$${PORT}$",
		"${NO_SUCH:-$PORT}":             "$PORT",
		"${file:level}":                 "debug",
		"${file:./../testdata/level}":   "debug",
		"a: b # ${PORT}":                "a: b # 9101",
		"${NO_SUCH:-[not, a, yaml]}":    "[not, a, yaml]",
	} {
		if got, err := r.resolve(text); err != nil || got != want {
			t.Errorf("%q stands for %q (%v), want %q", text, got, err, want)
		}
	}
}

func TestWithoutAnEnvironmentThereAreNoVariables(t *testing.T) {
	r := resolver{digest: sha256.New()}
	if got, err := r.resolve("${PORT}"); err == nil {
		t.Errorf("${PORT} stands for %q", got)
	}
}

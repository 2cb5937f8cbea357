package configs

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// MaxBytes is the largest configuration file that is read.
const MaxBytes = 4 << 20

// maxDepth is deeper than any option stands.
const maxDepth = 32

// Load reads a configuration file. The error is Problems when the file was read
// but is not valid, and another error when it could not be read. env looks up a
// variable of the environment, as os.LookupEnv does.
func Load(path string, env func(string) (string, bool)) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, data, env)
}

// Parse reads a configuration that came from the file of this name, in whose
// folder relative paths begin. The error is Problems: all of them.
func Parse(name string, data []byte, env func(string) (string, bool)) (*Config, error) {
	found := newReport(name)
	root, ok := tree(data, found)
	if !ok {
		return nil, found.err()
	}
	c := &Config{root: root}
	digest := sha256.New()
	digest.Write(data)
	d := &decoder{
		report:   found,
		resolver: resolver{env: env, folder: filepath.Dir(name), digest: digest},
		groups:   map[reflect.Type][]option{},
	}
	fill(reflect.ValueOf(c).Elem())
	d.value(root, reflect.ValueOf(c).Elem(), "")
	if !d.cut {
		(&checker{report: found, Config: c}).check()
	}
	if err := found.err(); err != nil {
		return nil, err
	}
	c.Hash = hex.EncodeToString(digest.Sum(nil))
	return c, nil
}

// tree reads the file's only YAML document.
func tree(data []byte, found *report) (root spot, ok bool) {
	start := spot{mark: mark{1, 1}, key: mark{1, 1}}
	if len(data) > MaxBytes {
		found.note(start, fmt.Sprintf("the file is larger than the limit of %d MiB", MaxBytes>>20), "")
		return start, false
	}
	if at, what := notText(data); what != "" {
		found.note(spot{mark: at, key: at}, what, "save the file as UTF-8 text")
		return start, false
	}
	limits := yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth)))
	loader, err := yaml.NewLoader(bytes.NewReader(data), limits)
	if err != nil {
		found.note(start, err.Error(), "")
		return start, false
	}
	var document, second yaml.Node
	switch err := loader.Load(&document); {
	case errors.Is(err, io.EOF):
		found.note(start, "the file is empty", "it needs at least version: 1, regions and endpoints")
		return start, false
	case err != nil:
		syntax(err, data, found)
		return start, false
	}
	if err := loader.Load(&second); err == nil {
		found.note(spot{mark: markOf(&second)}, "a second document begins", "keep one, and remove the line ---")
		return start, false
	} else if !errors.Is(err, io.EOF) {
		syntax(err, data, found)
		return start, false
	}
	start.node = follow(document.Content[0])
	return start, true
}

// notText finds the first byte that text does not have.
func notText(data []byte) (mark, string) {
	at := mark{1, 1}
	for rest := data; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		switch {
		case r == utf8.RuneError && size == 1:
			return at, fmt.Sprintf("the file is not UTF-8: it has the byte 0x%02X", rest[0])
		case r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0x7F:
			return at, fmt.Sprintf("the file has the control character 0x%02X", r)
		}
		rest = rest[size:]
		if at.column++; r == '\n' {
			at = mark{at.line + 1, 1}
		}
	}
	return at, ""
}

// syntax notes what the YAML reader found.
func syntax(err error, data []byte, found *report) {
	at, what := mark{1, 1}, err.Error()
	var where *yaml.LoadError
	if errors.As(err, &where) {
		at = mark{max(1, where.Mark.Line), max(1, where.Mark.Column)}
		what = where.Message
		if where.ContextMsg != "" && where.ContextMark.Line > 0 && where.ContextMark != where.Mark {
			what = fmt.Sprintf("%s, %s that begins in line %d", what, where.ContextMsg, where.ContextMark.Line)
		}
	}
	hint := ""
	switch {
	case strings.Contains(what, "max depth"):
		what = fmt.Sprintf("nested deeper than the limit of %d", maxDepth)
	case strings.HasPrefix(strings.TrimLeft(lineOf(data, at.line), " "), "\t"):
		what, hint = "a tab at the beginning of a line", "indent with blanks"
	case strings.HasPrefix(what, "unknown anchor"):
		what, hint = "an alias of an anchor that is not there", "put the value in quotes when it begins with *"
	case strings.Contains(what, "mapping values are not allowed"):
		hint = "put the value in quotes when it has a colon, or check the indentation"
	}
	found.note(spot{mark: at}, "not YAML: "+what, hint)
}

func lineOf(data []byte, number int) string {
	for line := range bytes.Lines(data) {
		if number--; number == 0 {
			return string(line)
		}
	}
	return ""
}

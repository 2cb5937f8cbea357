package configs

import (
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"
)

// The most that one ${…} and all of them together may stand for, in bytes.
const (
	maxResolved    = 64 << 10
	maxResolvedAll = 4 << 20
)

// resolver replaces, in the value of an option,
//
//	${NAME}           by a variable of the environment, which must be there
//	${NAME:-default}  by the variable, or by the default when it is missing or empty
//	${file:path}      by a file's content without its last line end
//	$$                by $
//
// A lone $ is a mistake. What comes out is never looked at again.
type resolver struct {
	env    func(string) (string, bool)
	folder string    // where relative paths begin
	digest hash.Hash // sees everything that was put in
	spent  int       // bytes put in so far
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// resolve returns the text with everything replaced; the error is a *wrong.
func (r *resolver) resolve(text string) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "$")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		if after, double := strings.CutPrefix(rest, "$"); double {
			b.WriteByte('$')
			text = after
			continue
		}
		if !strings.HasPrefix(rest, "{") {
			return "", &wrong{"has a $ that stands for nothing", "write ${NAME} for a variable of the environment, $$ for a dollar sign"}
		}
		inside, after, closed := strings.Cut(rest[1:], "}")
		if !closed {
			return "", &wrong{"has a ${ without its }", "write ${NAME}, or $${ for the characters themselves"}
		}
		value, err := r.reference(inside)
		if err != nil {
			return "", err
		}
		b.WriteString(value)
		text = after
	}
}

// reference returns what ${inside} stands for.
func (r *resolver) reference(inside string) (string, error) {
	value, err := r.lookUp(inside)
	if err != nil {
		return "", err
	}
	r.spent += len(value)
	switch {
	case len(value) > maxResolved:
		return "", &wrong{fmt.Sprintf("${%s} stands for more than %d KiB", called(inside), maxResolved>>10), ""}
	case r.spent > maxResolvedAll:
		return "", &wrong{fmt.Sprintf("the ${…} of this file stand for more than %d MiB together", maxResolvedAll>>20), ""}
	case !utf8.ValidString(value) || strings.ContainsRune(value, 0):
		return "", &wrong{fmt.Sprintf("${%s} stands for bytes that are not text", called(inside)), ""}
	}
	fmt.Fprintf(r.digest, "%d:%s", len(value), value)
	return value, nil
}

func (r *resolver) lookUp(inside string) (string, error) {
	if path, isFile := strings.CutPrefix(inside, "file:"); isFile {
		return r.content(path)
	}
	name, otherwise, hasDefault := strings.Cut(inside, ":-")
	if !variable.MatchString(name) {
		return "", &wrong{fmt.Sprintf("${%s} names no variable", called(inside)), "write ${NAME}, ${NAME:-default} or ${file:path}"}
	}
	value, given := "", false
	if r.env != nil {
		value, given = r.env(name)
	}
	switch {
	case hasDefault && value == "":
		return otherwise, nil
	case !given:
		return "", &wrong{fmt.Sprintf("the environment has no variable %s", name), fmt.Sprintf("set it, or write ${%s:-default}", name)}
	}
	return value, nil
}

// called is what stands in a ${…} without its default, which may be a secret.
func called(inside string) string {
	name, _, _ := strings.Cut(inside, ":-")
	return inline(name, 64)
}

func (r *resolver) content(path string) (string, error) {
	data, err := readSmall(within(r.folder, path), maxResolved)
	if err != nil {
		return "", &wrong{fmt.Sprintf("file %q %s", clip(path, 128), reason(err)), ""}
	}
	text := strings.TrimSuffix(string(data), "\n")
	return strings.TrimSuffix(text, "\r"), nil
}

// within makes a relative path start at a folder.
func within(folder, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(folder, path)
}

var (
	errNotRegular = errors.New("is not a regular file")
	errTooLarge   = errors.New("is too large")
)

// readSmall reads a regular file of at most so many bytes. It never waits for a
// pipe and never reads a device.
func readSmall(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		return nil, fmt.Errorf("%w: the limit is %d KiB", errTooLarge, most>>10)
	}
	return data, err
}

// reason puts a file error into words that follow the file's name.
func reason(err error) string {
	var at *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "may not be read by this user"
	case errors.As(err, &at):
		return "cannot be read: " + at.Err.Error()
	}
	return err.Error()
}

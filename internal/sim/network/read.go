package network

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"proxima/geo"
)

const (
	mostBytes     = 16 << 20 // of a file
	triplesHeader = "from,to,rtt_ms"
	jsonForm      = `{"data": {from: {to: ms}}}`
)

// Read reads a table of round trips in milliseconds, of 2 to 1,000 places that are
// known cloud regions. It may be
//
//   - JSON: {"data": {from: {to: ms}}}
//   - CSV of pairs, with the header from,to,rtt_ms
//   - CSV of a square, with the places in its first row and its first column.
//
// A pair that is left out has the round trip of the other direction. Errors begin with
// the name of the file and the line, and say what is wrong and what to write instead.
func Read(r io.Reader, name string) (*Table, error) { return ReadAt(r, name, nil) }

// ReadAt is Read for a table of which some places are no cloud regions, or elsewhere:
// places says where, see ReadPlaces.
func ReadAt(r io.Reader, name string, places map[string]geo.Location) (*Table, error) {
	f, err := readFile(r, name)
	if err != nil {
		return nil, err
	}
	d, read := newDraft(places), f.readCSV
	if f.data[0] == '{' || f.data[0] == '[' {
		read = f.readJSON
	}
	if err := read(d); err != nil {
		return nil, err
	}
	t, err := d.table()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

// readCSV tells pairs from a square by the header.
func (f *file) readCSV(d *draft) error {
	var head []string
	return f.rows(func(row []string) error {
		switch {
		case head == nil:
			head = slices.Clone(row)
			return checkHeader(head)
		case len(row) != len(head):
			return fmt.Errorf("%d fields where the header has %d", len(row), len(head))
		case isTriples(head):
			return d.add(row[0], row[1], row[2])
		}
		for i, text := range row[1:] {
			if err := d.add(row[0], head[i+1], text); err != nil {
				return err
			}
		}
		return nil
	})
}

func checkHeader(head []string) error {
	pairs := len(head) > 1 && strings.EqualFold(head[0], "from") && strings.EqualFold(head[1], "to")
	if len(head) < 2 || pairs && !isTriples(head) {
		return fmt.Errorf("the header must be %s, or the places of a square after an empty first field", triplesHeader)
	}
	return nil
}

func isTriples(head []string) bool { return strings.EqualFold(strings.Join(head, ","), triplesHeader) }

// readJSON walks {"data": {from: {to: ms}}} token by token, so that it knows the line of
// what is wrong. Whatever stands beside "data" is skipped.
func (f *file) readJSON(d *draft) error {
	w := walk{f, json.NewDecoder(bytes.NewReader(f.data)), d}
	w.UseNumber()
	if err := w.object("the file", w.top); err != nil {
		return err
	}
	if _, err := w.Token(); !errors.Is(err, io.EOF) {
		return f.wrong(w.line(), "the file goes on after its last }: leave that out")
	}
	if len(d.names) == 0 {
		return f.wrong(1, `no round trip under "data": write %s`, jsonForm)
	}
	return nil
}

type walk struct {
	*file
	*json.Decoder
	draft *draft
}

func (w *walk) top(key string) error {
	if key == "data" {
		return w.object(`"data"`, w.row)
	}
	var skipped json.RawMessage
	if err := w.Decode(&skipped); err != nil {
		return w.broken(err)
	}
	return nil
}

func (w *walk) row(from string) error {
	return w.object(fmt.Sprintf("%.60q", from), func(to string) error { return w.pair(from, to) })
}

// pair takes a number, or null for a pair that is left out.
func (w *walk) pair(from, to string) error {
	value, err := w.Token()
	if err != nil {
		return w.broken(err)
	}
	text, number := value.(json.Number)
	if !number && value != nil {
		return w.wrong(w.line(), "%.60q to %.60q: must be a number of milliseconds, such as 71.5", from, to)
	}
	if err := w.draft.add(from, to, text.String()); err != nil {
		return w.wrong(w.line(), "%w", err)
	}
	return nil
}

// object calls each for every key, with its value next to be read.
func (w *walk) object(what string, each func(key string) error) error {
	begin, err := w.Token()
	if err != nil {
		return w.broken(err)
	}
	if begin != json.Delim('{') {
		return w.wrong(w.line(), "%s must be an object: write %s", what, jsonForm)
	}
	for w.More() {
		key, err := w.Token()
		if err != nil {
			return w.broken(err)
		}
		if err := each(key.(string)); err != nil { // a key is always a string, else Token fails
			return err
		}
	}
	if _, err := w.Token(); err != nil {
		return w.broken(err)
	}
	return nil
}

// broken says where the file is no JSON.
func (w *walk) broken(err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return w.wrong(w.lineOf(syntax.Offset), "not valid JSON: %w", err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return w.wrong(w.lineOf(int64(len(w.data))), "the file ends before its last }")
	}
	return w.wrong(w.line(), "%w", err)
}

func (w *walk) line() int { return w.lineOf(w.InputOffset()) }

func (w *walk) lineOf(offset int64) int {
	return 1 + bytes.Count(w.data[:min(offset, int64(len(w.data)))], []byte("\n"))
}

// file is one that is being read, and says where in it something is wrong.
type file struct {
	name string
	data []byte // without the spaces around; never empty
	skip int    // lines before data
}

func readFile(r io.Reader, name string) (*file, error) {
	data, err := io.ReadAll(io.LimitReader(r, mostBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(data) > mostBytes {
		return nil, fmt.Errorf("%s: larger than %d MiB", name, mostBytes>>20)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	text := bytes.TrimSpace(data)
	if len(text) == 0 {
		return nil, fmt.Errorf("%s: the file is empty", name)
	}
	return &file{name, text, bytes.Count(data[:bytes.Index(data, text)], []byte("\n"))}, nil
}

// wrong is an error in a line, from 1 at the beginning of data.
func (f *file) wrong(line int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %w", f.name, f.skip+line, fmt.Errorf(format, args...))
}

// rows calls each for every line of CSV, and says in which it found a mistake. Fields
// come without the spaces around them, and are gone after the call.
func (f *file) rows(each func(row []string) error) error {
	rows := csv.NewReader(bytes.NewReader(f.data))
	rows.FieldsPerRecord, rows.ReuseRecord, rows.TrimLeadingSpace = -1, true, true
	for {
		row, err := rows.Read()
		var syntax *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &syntax):
			return f.wrong(syntax.Line, "not valid CSV: %w: put quotes around a whole field or leave them out", syntax.Err)
		case err != nil:
			return fmt.Errorf("%s: %w", f.name, err)
		}
		for i := range row {
			row[i] = strings.TrimSpace(row[i])
		}
		if err := each(row); err != nil {
			line, _ := rows.FieldPos(0)
			return f.wrong(line, "%w", err)
		}
	}
}

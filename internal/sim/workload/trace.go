package workload

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Trace is requests that somebody recorded, or that a process made up.
type Trace struct {
	Name string
	Rows []Row // by time
}

// Row is one request of a trace.
type Row struct {
	AtMs     float64 // after the first
	Context  int     // prompt tokens, at least 1
	Generate int     // generated tokens, at least 1
}

// Mean is the mean number of prompt and of generated tokens; 0 without rows.
func (t *Trace) Mean() (context, generate float64) {
	for _, row := range t.Rows {
		context, generate = context+float64(row.Context), generate+float64(row.Generate)
	}
	n := float64(max(len(t.Rows), 1))
	return context / n, generate / n
}

// Split cuts a trace in two by time: the first share of its rows, and the rest, so that
// what is chosen by one can be tried on the other. A share below 0 is 0, above 1 it is 1.
func (t *Trace) Split(share float64) (first, rest *Trace) {
	at := int(min(max(share, 0), 1) * float64(len(t.Rows)))
	return part(t.Name+", first part", t.Rows[:at]), part(t.Name+", second part", t.Rows[at:])
}

// part copies rows, and counts their time from the first.
func part(name string, rows []Row) *Trace {
	t := &Trace{Name: name}
	for _, row := range rows {
		row.AtMs -= rows[0].AtMs
		t.Rows = append(t.Rows, row)
	}
	return t
}

// Conversation is the embedded trace of a conversation service (Azure Public Dataset,
// 2023, CC BY 4.0): 19,366 requests in 58 minutes. All callers share it, so nobody may
// change it.
func Conversation() *Trace { return recorded() }

//go:embed data/llm_requests_conversation_2023.csv.gz
var conversationCSV []byte

// recorded reads the embedded file once, on first use. It is part of the program,
// and the tests read it.
var recorded = sync.OnceValue(func() *Trace {
	unpacked, err := gzip.NewReader(bytes.NewReader(conversationCSV))
	if err != nil {
		panic(err)
	}
	t, err := ReadTrace(unpacked, "conversation")
	if err != nil {
		panic(err)
	}
	return t
})

// Bounds of a trace file, and its headers: of times in seconds or as dates, and of
// times in milliseconds.
const (
	mostBytes     = 512 << 20
	mostRows      = 5_000_000
	mostTokens    = 1_000_000
	mostSeconds   = 1e11 // the year 5138; more are milliseconds under the wrong name
	secondsHeader = "TIMESTAMP,ContextTokens,GeneratedTokens"
	msHeader      = "TIMESTAMP_MS,ContextTokens,GeneratedTokens"
)

// ReadTrace reads CSV with the header TIMESTAMP,ContextTokens,GeneratedTokens, in order
// of time, of 2 to 5 million requests. Times are dates, 2023-11-16 18:15:46.68 or as in
// RFC 3339, or numbers of seconds; below the header TIMESTAMP_MS they are numbers of
// milliseconds. No tokens count as one. Errors begin with the name of the file and the
// line, and say what is wrong and what to write instead.
func ReadTrace(r io.Reader, name string) (*Trace, error) { return readTrace(r, name, mostBytes) }

func readTrace(r io.Reader, name string, most int64) (*Trace, error) {
	t := tracer{trace: &Trace{Name: name}}
	limited := &io.LimitedReader{R: r, N: most + 1}
	rows := csv.NewReader(withoutBOM(limited))
	rows.FieldsPerRecord, rows.ReuseRecord, rows.TrimLeadingSpace = -1, true, true
	for {
		row, err := rows.Read()
		var syntax *csv.ParseError
		switch {
		case limited.N == 0:
			return nil, fmt.Errorf("%s: larger than %d bytes", name, most)
		case errors.Is(err, io.EOF):
			return t.finish()
		case errors.As(err, &syntax):
			return nil, fmt.Errorf("%s:%d: not valid CSV: %w: put quotes around a whole field or leave them out", name, syntax.Line, syntax.Err)
		case err != nil:
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if err := t.take(row); err != nil {
			line, _ := rows.FieldPos(0)
			return nil, fmt.Errorf("%s:%d: %w", name, line, err)
		}
	}
}

// withoutBOM skips the byte order mark that spreadsheets write.
func withoutBOM(r io.Reader) io.Reader {
	buffered := bufio.NewReader(r)
	if mark, _ := buffered.Peek(3); string(mark) == "\ufeff" {
		_, _ = buffered.Discard(3) // they are in the buffer
	}
	return buffered
}

// tracer is a trace while its file is being read.
type tracer struct {
	trace   *Trace
	unitMs  float64 // of a number; 0: the header is yet to come
	firstMs float64
}

func (t *tracer) take(row []string) error {
	if t.unitMs == 0 {
		return t.header(row)
	}
	if len(row) != 3 {
		return fmt.Errorf("%d fields where the header has 3: %s", len(row), secondsHeader)
	}
	at, err := t.time(strings.TrimSpace(row[0]))
	if err != nil {
		return err
	}
	context, err := tokens(row[1])
	if err != nil {
		return fmt.Errorf("ContextTokens %w", err)
	}
	generate, err := tokens(row[2])
	if err != nil {
		return fmt.Errorf("GeneratedTokens %w", err)
	}
	return t.add(Row{AtMs: at, Context: context, Generate: generate}, row[0])
}

func (t *tracer) header(row []string) error {
	switch head := strings.Join(row, ","); {
	case strings.EqualFold(head, secondsHeader):
		t.unitMs = 1000
	case strings.EqualFold(head, msHeader):
		t.unitMs = 1
	default:
		return fmt.Errorf("the header must be %s, or %s", secondsHeader, msHeader)
	}
	return nil
}

func (t *tracer) add(row Row, written string) error {
	rows := t.trace.Rows
	if len(rows) == 0 {
		t.firstMs = row.AtMs
	}
	row.AtMs -= t.firstMs
	switch {
	case len(rows) > 0 && row.AtMs < rows[len(rows)-1].AtMs:
		return fmt.Errorf("%.40q is before the line above it: sort the trace by time", written)
	case len(rows) == mostRows:
		return fmt.Errorf("more than %d requests", mostRows)
	}
	t.trace.Rows = append(rows, row)
	return nil
}

func (t *tracer) finish() (*Trace, error) {
	if n := len(t.trace.Rows); n < 2 {
		return nil, fmt.Errorf("%s: a trace has at least two requests, here are %d: write CSV with the header %s", t.trace.Name, n, secondsHeader)
	}
	return t.trace, nil
}

// time is a time in milliseconds after some beginning.
func (t *tracer) time(text string) (float64, error) {
	if number, err := strconv.ParseFloat(text, 64); err == nil {
		return t.number(number, text)
	}
	for _, layout := range []string{"2006-01-02 15:04:05", time.RFC3339, "2006-01-02T15:04:05"} { // all take fractions
		if at, err := time.Parse(layout, text); err == nil {
			return float64(at.Unix())*1000 + float64(at.Nanosecond())/1e6, nil
		}
	}
	return 0, fmt.Errorf("%.40q is not a time: write 2023-11-16 18:15:46.68, or a number of seconds", text)
}

func (t *tracer) number(number float64, text string) (float64, error) {
	if ms := number * t.unitMs; math.Abs(ms) <= mostSeconds*1000 {
		return ms, nil
	}
	if t.unitMs > 1 && math.Abs(number) <= mostSeconds*1000 {
		return 0, fmt.Errorf("%.40q is too late for seconds: if they are milliseconds, name the column TIMESTAMP_MS", text)
	}
	return 0, fmt.Errorf("%.40q is not a time: write seconds, or milliseconds below the header TIMESTAMP_MS", text)
}

func tokens(text string) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || n < 0 || n > mostTokens {
		return 0, fmt.Errorf("%.40q: write a number of tokens from 0 to %d", text, mostTokens)
	}
	return max(n, 1), nil
}

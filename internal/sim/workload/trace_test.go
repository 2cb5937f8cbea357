package workload

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite testdata/errors.golden")

func TestEveryMistakeIsToldExactly(t *testing.T) {
	files, err := filepath.Glob("testdata/bad-*.csv")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d bad files, want 20 or more (%v)", len(files), err)
	}
	var told strings.Builder
	for _, path := range files {
		fmt.Fprintln(&told, mistake(t, path))
	}
	golden := filepath.Join("testdata", "errors.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(told.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if told.String() != string(want) {
		t.Errorf("%s is different (go test -update writes it anew); got:\n%s", golden, told.String())
	}
}

func mistake(t *testing.T, path string) error {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err = ReadTrace(f, strings.TrimPrefix(filepath.Base(path), "bad-")); err == nil {
		t.Fatalf("%s is read without an error", path)
	}
	return err
}

func TestTimesAreWrittenInManyWays(t *testing.T) {
	const seconds, ms = "TIMESTAMP,ContextTokens,GeneratedTokens\n", "timestamp_ms, contexttokens, generatedtokens\r\n"
	want := []Row{{0, 374, 44}, {4315.3, 396, 1}, {4541.5, 1, 55}}
	for form, text := range map[string]string{
		"as published":   seconds + "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9958900,396,0\n2023-11-16 18:15:51.2220900,0,55\n",
		"RFC 3339":       seconds + "2023-11-16T18:15:46.68059Z,374,44\n2023-11-16T19:15:50.99589+01:00,396,1\n2023-11-16T18:15:51.22209Z,1,55\n",
		"without a zone": seconds + "2023-11-16T18:15:46.68059,374,44\n2023-11-16T18:15:50.99589,396,1\n2023-11-16T18:15:51.22209,1,55\n",
		"seconds":        "\ufeff" + seconds + "-1.0,374,44\n3.3153,396,1\n3.5415,1,55\n",
		"milliseconds":   ms + "1700158546680.5 , 374,\"44\"\r\n1700158550995.8,396,1\r\n1700158551222,1,55",
	} {
		t.Run(form, func(t *testing.T) {
			got, err := ReadTrace(strings.NewReader(text), form)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.EqualFunc(got.Rows, want, nearly) {
				t.Errorf("got %v, want %v", got.Rows, want)
			}
		})
	}
}

// nearly forgives what a float64 of milliseconds since 1970 cannot hold.
func nearly(a, b Row) bool {
	return math.Abs(a.AtMs-b.AtMs) < 0.001 && a.Context == b.Context && a.Generate == b.Generate
}

// The figures are those of the published file, computed with another program.
func TestTheConversationTraceIsTheRecordedOne(t *testing.T) {
	trace := Conversation()
	context, generate := trace.Mean()
	last := trace.Rows[len(trace.Rows)-1].AtMs
	if len(trace.Rows) != 19366 || trace.Rows[0] != (Row{0, 374, 44}) || math.Abs(last-3501721.937) > 0.01 {
		t.Errorf("%d rows, first %+v, last at %v; want 19366, {0 374 44}, 3501721.937", len(trace.Rows), trace.Rows[0], last)
	}
	if math.Abs(context-1154.6974) > 1e-3 || math.Abs(generate-211.1259) > 1e-3 {
		t.Errorf("means %v and %v, want 1154.6974 and 211.1259", context, generate)
	}
}

func TestASplitLosesNothingAndSharesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		share := rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{0, 0.5, 1, math.Inf(1)})).Draw(t, "share")
		whole := drawTrace(t)
		first, rest := whole.Split(share)
		n := int(min(max(share, 0), 1) * float64(len(whole.Rows)))
		if len(first.Rows) != n || len(first.Rows)+len(rest.Rows) != len(whole.Rows) {
			t.Fatalf("%d and %d rows of %d at %v", len(first.Rows), len(rest.Rows), len(whole.Rows), share)
		}
		for i, row := range slices.Concat(first.Rows, rest.Rows) {
			if begin := 0; i >= n {
				begin = n
				row.AtMs += whole.Rows[begin].AtMs
			}
			if !nearly(row, whole.Rows[i]) {
				t.Fatalf("row %d is %+v, was %+v", i, row, whole.Rows[i])
			}
		}
		for _, half := range []*Trace{first, rest} {
			if len(half.Rows) > 0 && half.Rows[0].AtMs != 0 {
				t.Fatalf("a part begins at %v, want 0", half.Rows[0].AtMs)
			}
		}
	})
}

func TestATraceWithoutRowsHasNoMean(t *testing.T) {
	if context, generate := (&Trace{}).Mean(); context != 0 || generate != 0 {
		t.Errorf("means %v and %v, want 0", context, generate)
	}
}

func TestATraceIsNoLongerThanFiveMillionRequests(t *testing.T) {
	full := tracer{trace: &Trace{Rows: make([]Row, mostRows)}, unitMs: 1000}
	if err := full.take([]string{"1", "2", "3"}); err == nil || err.Error() != "more than 5000000 requests" {
		t.Errorf("got %v, want that there are too many requests", err)
	}
}

func TestATraceFileIsNoLargerThanItsBound(t *testing.T) {
	text := "TIMESTAMP,ContextTokens,GeneratedTokens\n1,2,3\n2,3,4\n"
	if _, err := readTrace(strings.NewReader(text), "file", int64(len(text))); err != nil {
		t.Errorf("a file of just that size: %v", err)
	}
	endless := io.MultiReader(strings.NewReader(text+`"`), endlessField{})
	if _, err := readTrace(endless, "endless", 1000); err == nil || err.Error() != "endless: larger than 1000 bytes" {
		t.Errorf("got %v, want that it is too large", err)
	}
}

func TestATraceThatCannotBeReadIsNamed(t *testing.T) {
	broken := errors.New("input/output error")
	if _, err := ReadTrace(iotest.ErrReader(broken), "disk.csv"); !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "disk.csv: ") {
		t.Errorf("got %v, want the reader's error after the name", err)
	}
}

// endlessField is a field that never ends.
type endlessField struct{}

func (endlessField) Read(p []byte) (int, error) { return copy(p, strings.Repeat("x", len(p))), nil }

func FuzzReadTrace(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := ReadTrace(strings.NewReader(string(data)), "fuzzed")
		if err != nil {
			if text := err.Error(); !strings.HasPrefix(text, "fuzzed:") || len(text) > 1000 || strings.ContainsFunc(text, unicode.IsControl) {
				t.Fatalf("an error that cannot be shown: %q", text)
			}
			return
		}
		before := 0.0
		for _, row := range got.Rows {
			if !(row.AtMs >= before) || math.IsInf(row.AtMs, 0) || row.Context < 1 || row.Generate < 1 {
				t.Fatalf("%+v after %v", row, before)
			}
			before = row.AtMs
		}
	})
}

func drawTrace(t *rapid.T) *Trace {
	trace, at := &Trace{Name: "drawn"}, 0.0
	for range rapid.IntRange(1, 50).Draw(t, "rows") {
		trace.Rows = append(trace.Rows, Row{
			AtMs:     at,
			Context:  rapid.IntRange(1, 20_000).Draw(t, "context"),
			Generate: rapid.IntRange(1, 1000).Draw(t, "generate"),
		})
		at += rapid.SampledFrom([]float64{0, 0.5, 100, 3000}).Draw(t, "gap")
	}
	return trace
}

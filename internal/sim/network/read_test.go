package network

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite testdata/errors.golden")

func TestEveryMistakeIsToldExactly(t *testing.T) {
	files, err := filepath.Glob("testdata/bad-*")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d bad files, want 40 or more (%v)", len(files), err)
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
	name := strings.TrimPrefix(filepath.Base(path), "bad-")
	if strings.HasPrefix(name, "places-") {
		_, err = ReadPlaces(f, name)
	} else {
		_, err = Read(f, name)
	}
	if err == nil {
		t.Fatalf("%s is read without an error", path)
	}
	return err
}

func TestOneTableHasThreeForms(t *testing.T) {
	want := table{{4, 60, 130}, {61, 3, 130}, {130, 131, 2}}
	for form, text := range map[string]string{
		"pairs": "From, To, RTT_ms\r\nus-east-1,us-east-1,4\r\nus-east-1,us-east-2,60\r\nus-east-1,us-west-1,130\r\n" +
			"us-east-2,us-east-1,61\r\nus-east-2,us-east-2,3\r\nus-west-1,us-east-2,131\r\nus-east-2,us-west-1,130\r\nus-west-1,us-west-1,2",
		"square": "\ufeff\n,us-west-1,us-east-1,us-east-2\nus-east-1,130,4,60\nus-east-2,130,61,3\nus-west-1,2,,131\n",
		"JSON": `{"unit": ["ms", {}], "data": {"us-west-1": {"us-west-1": 2, "us-east-1": 130, "us-east-2": 131},
			"us-east-1": {"us-east-1": 4.0, "us-east-2": 6e1, "us-west-1": null},
			"us-east-2": {"us-east-1": 61, "us-east-2": 3, "us-west-1": 130}}}`,
	} {
		t.Run(form, func(t *testing.T) {
			got, err := Read(strings.NewReader(text), form)
			if err != nil {
				t.Fatal(err)
			}
			want.compare(t, got)
		})
	}
}

func TestADirectionLeftOutIsTheOtherOne(t *testing.T) {
	got := mustRead(t, "from,to,rtt_ms\nus-west-1,us-east-1,60\n")
	table{{ownMs, 60}, {60, ownMs}}.compare(t, got)
}

func TestAPlaceIsNoFurtherFromItselfThanFromOthers(t *testing.T) {
	got := mustRead(t, "from,to,rtt_ms\nus-east-1,us-west-1,0.5\n")
	table{{0.5, 0.5}, {0.5, 0.5}}.compare(t, got)
}

func TestPlacesOfOnesOwnAreGivenInAFile(t *testing.T) {
	places, err := ReadPlaces(strings.NewReader("name,lat,lon,country\nlab berlin, 52.52 ,13.40,DE\nus-east-1,0,0,GH\n"), "places")
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadAt(strings.NewReader("from,to,rtt_ms\nlab berlin,us-east-1,90\nlab berlin,us-west-1,140\nus-east-1,us-west-1,60\n"), "table", places)
	if err != nil {
		t.Fatal(err)
	}
	lab, _ := got.Place("lab berlin")
	moved, _ := got.Place("us-east-1")
	known, _ := got.Place("us-west-1")
	if lab.Country != "DE" || lab.Lat != 52.52 || moved.Country != "GH" || known.Country != "US" {
		t.Errorf("lab %+v, us-east-1 %+v, us-west-1 %+v; want Germany, Ghana as given, the United States", lab, moved, known)
	}
}

func TestATableHasAtMostAThousandPlaces(t *testing.T) {
	var places, rows strings.Builder
	places.WriteString("name,lat,lon,country\n")
	rows.WriteString("from,to,rtt_ms\n")
	for i := range mostPlaces {
		fmt.Fprintf(&places, "p%d,0,0,DE\n", i)
		fmt.Fprintf(&rows, "p%d,p0,1\n", i)
	}
	given, err := ReadPlaces(strings.NewReader(places.String()), "places")
	if err != nil {
		t.Fatal(err)
	}
	rows.WriteString("us-east-1,p0,5\n")
	_, err = ReadAt(strings.NewReader(rows.String()), "table", given)
	const want = `table:1002: "us-east-1" is one place too many: a table has at most 1000`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	places.WriteString("one-more,0,0,DE\n")
	if _, err := ReadPlaces(strings.NewReader(places.String()), "places"); err == nil || err.Error() != "places:1002: more than 1000 places" {
		t.Errorf("got %v, want that there are too many places", err)
	}
}

func TestAFileIsNoLargerThan16MiB(t *testing.T) {
	_, err := Read(io.MultiReader(strings.NewReader("from,to,rtt_ms\n"), zeros{}), "endless")
	if err == nil || err.Error() != "endless: larger than 16 MiB" {
		t.Errorf("got %v, want that it is too large", err)
	}
}

// zeros is a reader that never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestAFileThatCannotBeReadIsNamed(t *testing.T) {
	broken := errors.New("input/output error")
	if _, err := Read(iotest.ErrReader(broken), "disk.csv"); !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "disk.csv: ") {
		t.Errorf("got %v, want the reader's error after the name", err)
	}
}

// table is round trips by hand, in alphabetical order of their places.
type table [][]float64

func (want table) compare(t *testing.T, got *Table) {
	t.Helper()
	if len(got.Places) != len(want) {
		t.Fatalf("places %v, want %d", got.Places, len(want))
	}
	for from, row := range want {
		for to, ms := range row {
			if got.RTT(from, to) != ms {
				t.Errorf("%s to %s: %v, want %v", got.Places[from], got.Places[to], got.RTT(from, to), ms)
			}
		}
	}
}

// A table that is written down in any form is read as it was, in any order of its rows.
func TestWhatIsWrittenIsRead(t *testing.T) {
	names := AWS().Places
	rapid.Check(t, func(t *rapid.T) {
		chosen := rapid.SliceOfNDistinct(rapid.SampledFrom(names), 2, 8, rapid.ID).Draw(t, "places")
		rows, want := []string{}, map[[2]string]float64{}
		for _, from := range chosen {
			for _, to := range chosen {
				ms := rapid.Float64Range(1e-3, mostMs).Draw(t, "ms")
				want[[2]string{from, to}] = ms
				rows = append(rows, fmt.Sprintf("%s,%s,%v", from, to, ms))
			}
		}
		text := "from,to,rtt_ms\n" + strings.Join(rapid.Permutation(rows).Draw(t, "rows"), "\n")
		got, err := Read(strings.NewReader(text), "table")
		if err != nil {
			t.Fatal(err)
		}
		for pair, ms := range want {
			if rtt := got.RTT(got.Index(pair[0]), got.Index(pair[1])); rtt != ms {
				t.Fatalf("%v: %v, want %v", pair, rtt, ms)
			}
		}
	})
}

func FuzzRead(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := Read(strings.NewReader(string(data)), "fuzzed")
		if err != nil {
			mustBeReadable(t, err)
			return
		}
		for from := range got.Places {
			for to := range got.Places {
				if ms := got.RTT(from, to); !(ms > 0 && ms <= mostMs) || math.IsNaN(got.Tail(from, to)) {
					t.Fatalf("%d to %d: %v ms, tail %v", from, to, ms, got.Tail(from, to))
				}
			}
		}
	})
}

func FuzzReadPlaces(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := ReadPlaces(strings.NewReader(string(data)), "fuzzed")
		if err != nil {
			mustBeReadable(t, err)
			return
		}
		for name, place := range got {
			if !place.Placed || math.Abs(place.Lat) > 90 || math.Abs(place.Lon) > 180 || strings.ContainsFunc(name, unicode.IsControl) {
				t.Fatalf("%q is at %+v", name, place)
			}
		}
	})
}

func mustBeReadable(t *testing.T, err error) {
	if text := err.Error(); !strings.HasPrefix(text, "fuzzed:") || len(text) > 1000 || strings.ContainsFunc(text, unicode.IsControl) {
		t.Fatalf("an error that cannot be shown: %q", text)
	}
}

package http1

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestFieldsAreWrittenAsLines(t *testing.T) {
	header := http.Header{"A": {"1", "2"}, "Skipped": {"3"}, "Empty": {""}, "Absent": nil, "Set-Cookie": {"caf\xe9\t"}}
	text := string(AppendHeader([]byte("X: 0\r\n"), header, func(name string) bool { return name == "Skipped" }))
	lines := strings.SplitAfter(text, "\r\n")
	slices.Sort(lines)
	want := []string{"", "A: 1\r\n", "A: 2\r\n", "Empty: \r\n", "Set-Cookie: caf\xe9\t\r\n", "X: 0\r\n"}
	if !slices.Equal(lines, want) {
		t.Errorf("%q", lines)
	}
}

func TestNoFieldBreaksOutOfItsLine(t *testing.T) {
	header := http.Header{"A": {"1\r\nB: 2\x00\x7f\n3"}, "B\r\nC": {"4"}, "D ": {"5"}, "": {"6"}, "E:": {"7"}}
	if got := string(AppendHeader(nil, header, nil)); got != "A: 1  B: 2   3\r\n" {
		t.Errorf("%q", got)
	}
}

func TestWhatIsWrittenInChunksIsReadAgain(t *testing.T) {
	trailer := http.Header{"X-Sum": {"1"}}
	pieces := []string{"hello", "", " ", strings.Repeat("world", 100)}
	var text []byte
	for _, piece := range pieces {
		text = AppendChunk(text, []byte(piece))
	}
	text = AppendLastChunk(text, trailer)
	if !strings.HasPrefix(string(text), "5\r\nhello\r\n1\r\n \r\n1f4\r\nworld") || !strings.HasSuffix(string(text), "0\r\nX-Sum: 1\r\n\r\n") {
		t.Errorf("%q", text)
	}
	data, came, err := (&incoming{b: text}).chunks(nil)
	if data != strings.Join(pieces, "") || !reflect.DeepEqual(came, trailer) || err != nil {
		t.Errorf("%q, %v, %v", data, came, err)
	}
}

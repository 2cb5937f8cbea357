package http1

import (
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

func TestDataMovesToTheFrontOfWhatCame(t *testing.T) {
	var c Chunks
	came := []byte("5\r\nhello\r\n6;a=b\r\n wor")
	data, rest, err := c.Decode(came)
	if string(data) != "hello wor" || &data[0] != &came[0] || rest != nil || err != nil || c.Done() {
		t.Fatalf("%q, %q, %v", data, rest, err)
	}
	came = []byte("ld\r\n0\r\n\r\nGET /")
	data, rest, err = c.Decode(came)
	if string(data) != "ld" || &data[0] != &came[0] || string(rest) != "GET /" || err != nil || !c.Done() || c.Trailer() != nil {
		t.Fatalf("%q, %q, %v", data, rest, err)
	}
	if data, rest, err = c.Decode([]byte("GET /")); len(data) > 0 || string(rest) != "GET /" || err != nil {
		t.Errorf("after the end: %q, %q, %v", data, rest, err)
	}
}

func TestTheTrailerIsReadInWholeOrInPieces(t *testing.T) {
	const text = "0\r\nx-sum: \t1 \r\nX-SUM: 2\r\nServer-Timing: total;dur=3\r\n\r\n"
	want := http.Header{"X-Sum": {"1", "2"}, "Server-Timing": {"total;dur=3"}}
	for _, pieces := range splittings(text) {
		in := &incoming{left: pieces}
		if _, trailer, err := in.chunks(nil); !reflect.DeepEqual(trailer, want) || err != nil {
			t.Fatalf("in %d pieces: %v, %v", len(pieces), trailer, err)
		}
	}
}

func TestDataBeforeWhatIsWrongIsNotLost(t *testing.T) {
	var c Chunks
	data, rest, err := c.Decode([]byte("5\r\nhello\r\nwhat"))
	if string(data) != "hello" || rest != nil {
		t.Errorf("%q, %q", data, rest)
	}
	mustBeMalformed(t, "what", err)
	data, rest, again := c.Decode([]byte("5\r\nhello\r\n"))
	if len(data) > 0 || rest != nil || !errors.Is(again, err) {
		t.Errorf("after an error: %q, %q, %v", data, rest, again)
	}
}

// TestWhatIsNoDataIsBounded is about bodies at the bound, and right above it.
func TestWhatIsNoDataIsBounded(t *testing.T) {
	field := func(size int) string { return "A: " + strings.Repeat("b", size-len("A: \r\n")) + "\r\n" }
	chunk := func(extension int) string { return "1;" + strings.Repeat("a", extension) + "\r\nx\r\n" }
	for body, fits := range map[string]bool{
		"0\r\n" + field(maxTrailer) + "\r\n":                                        true,
		"0\r\n" + field(maxTrailer+1) + "\r\n":                                      false,
		"0\r\n" + field(maxTrailer/2) + field(maxTrailer/2) + "A:\r\n\r\n":          false,
		chunk(maxSizeLine-len("1;")) + "0\r\n\r\n":                                  true,
		chunk(maxSizeLine-len("1;")+1) + "0\r\n\r\n":                                false,
		strings.Repeat(chunk(0), 0) + strings.Repeat(chunk(1014), 16) + "0\r\n\r\n": true,
		strings.Repeat(chunk(1014), 17) + "0\r\n\r\n":                               false,
	} {
		_, _, err := (&incoming{left: []string{body}}).chunks(nil)
		if (err == nil) != fits || err != nil && !isMalformed(err) {
			t.Errorf("%d bytes that begin with %.20q: %v", len(body), body, err)
		}
	}
}

// TestSmallExtensionsMayComeForEver is about signatures, say, which some send with each
// chunk, and about events of one byte.
func TestSmallExtensionsMayComeForEver(t *testing.T) {
	for _, chunk := range []string{
		"100;chunk-signature=" + strings.Repeat("f", 64) + "\r\n" + strings.Repeat("x", 0x100) + "\r\n",
		"1\r\nx\r\n",
	} {
		var c Chunks
		for range 10_000 {
			if _, _, err := c.Decode([]byte(chunk)); err != nil {
				t.Fatalf("%.20q: %v", chunk, err)
			}
		}
	}
}

package http1

import (
	"net/http"
	"testing"
)

// TestReadingAllocatesLittle: of a head comes one text, one piece for the URL and the
// values, and a map, which is made of four when it has more than eight fields.
func TestReadingAllocatesLittle(t *testing.T) {
	request, response, chunk := []byte(usualRequest), []byte(usualResponse), []byte("5\r\nhello\r\n")
	var asked http.Request
	var answered http.Response
	var written []byte
	if err := ParseRequest(request, &asked); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		most float64
		do   func()
	}{
		"a request": {6, func() {
			_, _ = Head(request, 0, true)
			_ = ParseRequest(request, &asked)
		}},
		"an answer": {4, func() {
			_, _ = Head(response, 0, false)
			_ = ParseResponse(response, http.MethodPost, &answered)
		}},
		"a chunk":       {0, func() { _, _, _ = new(Chunks).Decode(append(chunk[:0], "5\r\nhello\r\n"...)) }},
		"a header sent": {0, func() { written = AppendHeader(written[:0], asked.Header, nil) }},
	} {
		if got := testing.AllocsPerRun(100, c.do); got > c.most {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}

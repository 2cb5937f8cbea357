package http1

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// conversation is what came of a client's requests, or an endpoint's answers, as
// whoever has the connection reads them.
type conversation struct {
	asked []request
	end   error // io.EOF: nothing is left; io.ErrUnexpectedEOF: the last message breaks off
}

type request struct {
	*http.Request
	body string
	ends int // where, in all that was sent
}

// converse reads requests that come in pieces.
func converse(pieces []string) (c conversation) {
	in := &incoming{left: pieces}
	for c.end == nil {
		var r request
		if r, c.end = in.request(); c.end == nil {
			c.asked = append(c.asked, r)
		}
	}
	return c
}

// incoming is a connection of which everything that comes is known.
type incoming struct {
	left []string
	b    []byte // came, and is not read yet
	read int    // bytes that are
}

// more waits for the next piece.
func (in *incoming) more() error {
	switch {
	case len(in.left) > 0:
		in.b = append(in.b, in.left[0]...)
		in.left = in.left[1:]
		return nil
	case len(in.b) > 0:
		return io.ErrUnexpectedEOF
	}
	return io.EOF
}

func (in *incoming) pass(n int) {
	in.b = in.b[n:]
	in.read += n
}

func (in *incoming) request() (request, error) {
	end, err := in.head(true)
	if err != nil {
		return request{}, err
	}
	r := request{Request: &http.Request{}}
	if err := ParseRequest(in.b[:end], r.Request); err != nil {
		return request{}, err
	}
	in.pass(end)
	r.body, r.Trailer, err = in.body(r.ContentLength, r.Trailer)
	r.ends = in.read
	return r, err
}

func (in *incoming) head(strict bool) (end int, err error) {
	for seen := 0; ; seen = len(in.b) {
		if err := in.more(); err != nil && seen > 0 || err == io.EOF && len(in.b) == 0 {
			return 0, err
		}
		if end, err = Head(in.b, seen, strict); end > 0 || err != nil {
			return end, err
		}
	}
}

// body reads a body, and the trailer to what was announced of it.
func (in *incoming) body(length int64, trailer http.Header) (string, http.Header, error) {
	if length < 0 {
		return in.chunks(trailer)
	}
	for int64(len(in.b)) < length {
		if in.more() != nil || len(in.left) == 0 && int64(len(in.b)) < length {
			return "", nil, io.ErrUnexpectedEOF
		}
	}
	body := string(in.b[:length])
	in.pass(int(length))
	return body, trailer, nil
}

func (in *incoming) chunks(trailer http.Header) (string, http.Header, error) {
	var c Chunks
	var body strings.Builder
	for {
		data, rest, err := c.Decode(in.b)
		body.Write(data)
		in.pass(len(in.b) - len(rest))
		switch {
		case err != nil:
			return body.String(), nil, err
		case c.Done():
			return body.String(), merged(trailer, c.Trailer()), nil
		case in.more() != nil:
			return body.String(), nil, io.ErrUnexpectedEOF
		}
	}
}

// merged is what came of a trailer, and what was announced and did not, as net/http has it.
func merged(announced, came http.Header) http.Header {
	if announced == nil {
		return came
	}
	for name, values := range came {
		announced[name] = values
	}
	return announced
}

// splittings of a text: whole, byte by byte, and in two everywhere.
func splittings(text string) [][]string {
	all := [][]string{{text}, strings.Split(text, "")}
	for at := range len(text) {
		all = append(all, []string{text[:at], text[at:]})
	}
	return all
}

// inPiecesOf cuts a text into pieces of a size.
func inPiecesOf(size int, sent []byte) (pieces []string) {
	for piece := range slices.Chunk(sent, max(size, 1)) {
		pieces = append(pieces, string(piece))
	}
	return pieces
}

func isMalformed(err error) bool { return errors.As(err, new(Malformed)) }

func mustBeMalformed(t *testing.T, text string, err error) {
	t.Helper()
	if !isMalformed(err) {
		t.Errorf("%q: %v", text, err)
	}
}

package http1

import (
	"bytes"
	"math"
	"net/http"
)

// Chunks takes the data of a chunked body out of its chunks (RFC 9112 §7.1), where
// they stand. The zero value is at the body's beginning.
type Chunks struct {
	at   place
	part part  // of a chunk extension
	line int   // bytes so far of the line under way
	left int64 // bytes of the chunk that are to come
	over int64 // bytes so far that are no data, above what is usual

	lines   []byte // of the trailer
	trailer http.Header
	failed  error
}

// place is what comes next.
type place uint8

const (
	atSize place = iota
	inExtension
	atSizeLF
	inData
	atDataCR
	atDataLF
	inTrailer
	atTrailerLF // of the empty line
	atEnd
)

// What is no data is bounded as net/http bounds it: a line with a chunk's size, and the
// trailer as a whole. A chunk may have 16 bytes and twice its data in size and
// extensions; what goes beyond that is added up.
const (
	maxSizeLine = 4 << 10
	maxTrailer  = 4 << 10
	usualOver   = 16
	maxOver     = 16 << 10
)

// Decode takes what came of the body and moves the data in it to the front of b: data is
// b[:n], none if no data came. rest is what follows the end of the body, once that is
// there. What is wrong with the body is a Malformed, with the data before it; it ends
// the body, and every call after it says the same.
func (c *Chunks) Decode(b []byte) (data, rest []byte, err error) {
	in, out := 0, 0
	for in < len(b) && c.at != atEnd && c.failed == nil {
		var n int
		if c.at == inData {
			n = c.take(b[in:])
			if in > out {
				copy(b[out:], b[in:in+n])
			}
			out += n
		} else {
			n, c.failed = c.step(b[in:])
		}
		in += n
	}
	if c.at == atEnd {
		rest = b[in:]
	}
	return b[:out], rest, c.failed
}

// Done reports whether the body has come to its end.
func (c *Chunks) Done() bool { return c.at == atEnd }

// Trailer is what came behind the last chunk, nil if nothing did. It is there once the
// body is Done. A sender can write any field there: trust none of them for what
// belongs into a header.
func (c *Chunks) Trailer() http.Header { return c.trailer }

// take takes what belongs to the chunk under way.
func (c *Chunks) take(b []byte) int {
	n := int(min(int64(len(b)), c.left))
	c.left -= int64(n)
	if c.left == 0 {
		c.at = atDataCR
	}
	return n
}

// step takes some of what came that is no data, and returns how many bytes.
func (c *Chunks) step(b []byte) (int, error) {
	switch c.at {
	case atSize:
		return c.size(b)
	case inExtension:
		return c.extension(b)
	case atSizeLF:
		if b[0] != '\n' {
			return 0, errBareCR
		}
		return 1, c.begin()
	case atDataCR, atDataLF:
		return c.dataEnd(b)
	case inTrailer:
		return c.trailerLine(b)
	}
	if b[0] != '\n' {
		return 0, errBareCR
	}
	return 1, c.end()
}

// size is a chunk's, in no more digits than net/http takes.
func (c *Chunks) size(b []byte) (int, error) {
	for n, char := range b {
		digit := hexDigit(char)
		switch {
		case digit >= 0 && (c.line == 16 || c.left > math.MaxInt64>>4):
			return n, Malformed("a chunk's size is too large a number")
		case digit >= 0:
			c.left = c.left<<4 | digit
			c.line++
		case c.line > 0 && char == '\r':
			c.at = atSizeLF
			return n + 1, nil
		case c.line > 0 && char == ';':
			c.at, c.part = inExtension, beforeName
			c.line++
			return n + 1, nil
		default:
			return n, Malformed("a chunk's size is not a hexadecimal number")
		}
	}
	return len(b), nil
}

// hexDigit is what a hexadecimal digit is worth; -1: it is none.
func hexDigit(c byte) int64 {
	switch {
	case '0' <= c && c <= '9':
		return int64(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int64(c|0x20-'a') + 10
	}
	return -1
}

func (c *Chunks) extension(b []byte) (int, error) {
	for n, char := range b {
		if char == '\r' && c.part.mayEnd() {
			c.at = atSizeLF
			return n + 1, nil
		}
		c.part = c.part.next(char)
		c.line++
		switch {
		case c.part == noPart:
			return n, Malformed("a chunk extension is not well formed")
		case c.line > maxSizeLine:
			return n, Malformed("a chunk extension is too long")
		}
	}
	return len(b), nil
}

// begin is where the line with a chunk's size has ended.
func (c *Chunks) begin() error {
	c.over += int64(c.line+len("\r\n")) - usualOver - 2*min(c.left, maxOver)
	c.over = max(c.over, 0)
	c.line = 0
	c.at = inData
	switch {
	case c.over > maxOver:
		return Malformed("chunk extensions are longer than the data")
	case c.left == 0:
		c.at = inTrailer
	}
	return nil
}

func (c *Chunks) dataEnd(b []byte) (int, error) {
	switch {
	case c.at == atDataCR && b[0] == '\r':
		c.at = atDataLF
	case c.at == atDataLF && b[0] == '\n':
		c.at = atSize
	default:
		return 0, Malformed("a chunk is not as long as it says")
	}
	return 1, nil
}

// trailerLine collects a line of the trailer, unless it is the empty one at its end.
func (c *Chunks) trailerLine(b []byte) (int, error) {
	if c.line == 0 && b[0] == '\r' {
		c.at = atTrailerLF
		return 1, nil
	}
	n := bytes.IndexByte(b, '\n') + 1
	whole := n > 0
	if !whole {
		n = len(b)
	}
	if len(c.lines)+n > maxTrailer {
		return 0, Malformed("the trailer is too long")
	}
	c.lines = append(c.lines, b[:n]...)
	c.line += n
	if !whole {
		return n, nil
	}
	_, _, err := readField(c.lines, len(c.lines)-c.line)
	c.line = 0
	return n, err
}

// end is where the body has come to its end.
func (c *Chunks) end() (err error) {
	c.at = atEnd
	var list fields
	for at := 0; at < len(c.lines); {
		var f field
		if f, at, err = readField(c.lines, at); err != nil {
			return err
		}
		list = append(list, f)
	}
	if list != nil {
		c.trailer, c.lines = list.header(string(c.lines), nil), nil
	}
	return nil
}

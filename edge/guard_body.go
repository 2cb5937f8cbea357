package edge

import "math"

// body is as long as Content-Length says.
func (r *request) body(b []byte) (int, error) {
	n := r.pass(b)
	r.over = r.left == 0
	return n, nil
}

// pass takes what belongs to the body, or to the chunk under way.
func (r *request) pass(b []byte) int {
	n := int(min(int64(len(b)), r.left))
	r.left -= int64(n)
	return n
}

// size is a chunk's (RFC 9112 §7.1), in no more digits than net/http takes.
func (r *request) size(b []byte) (int, error) {
	for n, c := range b {
		digit := hexDigit(c)
		switch {
		case digit >= 0 && (r.count == 16 || r.left > math.MaxInt64>>4):
			return n, malformed("a chunk's size is too large a number")
		case digit >= 0:
			r.left = r.left<<4 | digit
			r.count++
		case r.count > 0 && c == '\r':
			r.then((*request).sizeEnd)
			return n + 1, nil
		case r.count > 0 && c == ';':
			r.part = beforeName
			r.then((*request).extension)
			return n + 1, nil
		default:
			return n, malformed("a chunk's size is not a hexadecimal number")
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

func (r *request) sizeEnd(b []byte) (int, error) {
	if b[0] != '\n' {
		return 0, errBareCR
	}
	if r.left > 0 {
		r.then((*request).chunk)
		return 1, nil
	}
	r.trailer = true
	r.then((*request).field)
	return 1, nil
}

func (r *request) chunk(b []byte) (int, error) {
	n := r.pass(b)
	if r.left == 0 {
		r.then((*request).chunkEnd)
	}
	return n, nil
}

// chunkEnd is the CRLF behind a chunk.
func (r *request) chunkEnd(b []byte) (int, error) {
	if b[0] != "\r\n"[r.count] {
		return 0, malformed("a chunk is not as long as it says")
	}
	if r.count++; r.count == 2 {
		r.then((*request).size)
	}
	return 1, nil
}

// part is one of a chunk extension (RFC 9112 §7.1.1). Nobody reads extensions, but
// where they end must be beyond doubt.
type part uint8

const (
	beforeName part = iota
	inName
	afterName // a space came
	beforeText
	inText
	inQuotes
	escaped
	afterQuotes
	afterText // a space came
	noPart
)

func (r *request) extension(b []byte) (int, error) {
	for n, c := range b {
		if c == '\r' && (r.part == inName || r.part == inText || r.part == afterQuotes) {
			r.then((*request).sizeEnd)
			return n + 1, nil
		}
		next := r.part.next(c)
		if next == noPart {
			return n, malformed("a chunk extension is not well formed")
		}
		r.part = next
	}
	return len(b), nil
}

// next is the part that a byte belongs to or leads to; noPart: it may not stand here.
func (p part) next(c byte) part {
	switch p {
	case inQuotes:
		return p.quoted(c)
	case escaped:
		if is(c, inValue) {
			return inQuotes
		}
		return noPart
	}
	switch {
	case is(c, isSpace):
		return p.spaced()
	case is(c, inToken):
		return p.worded()
	case c == ';' && p != beforeName && p != beforeText:
		return beforeName
	case c == '=' && (p == inName || p == afterName):
		return beforeText
	case c == '"' && p == beforeText:
		return inQuotes
	}
	return noPart
}

func (p part) quoted(c byte) part {
	switch {
	case c == '"':
		return afterQuotes
	case c == '\\':
		return escaped
	case is(c, inValue):
		return inQuotes
	}
	return noPart
}

// spaced is the part behind a space, which nobody should write there and everybody
// has to read.
func (p part) spaced() part {
	switch p {
	case inName:
		return afterName
	case inText, afterQuotes:
		return afterText
	}
	return p
}

// worded is the part of a byte of a token.
func (p part) worded() part {
	switch p {
	case beforeName, inName:
		return inName
	case beforeText, inText:
		return inText
	}
	return noPart
}

package stream

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// maxDepth is how deep values may stand within values; chats do not come near it.
const maxDepth = 256

// isJSON reports whether a text is one JSON value (RFC 8259), and no deeper than
// maxDepth. It agrees with json.Valid, at a fraction of its time: every request that
// asks for a stream is checked, and every event of a new form.
func isJSON(text []byte) bool {
	rest, is := checkValue(text, maxDepth)
	return is && len(trimLeft(rest)) == 0
}

// checkValue cuts a value off that is JSON.
func checkValue(text []byte, depth int) (rest []byte, is bool) {
	text = trimLeft(text)
	if len(text) == 0 || depth == 0 {
		return nil, false
	}
	switch text[0] {
	case '"':
		return checkString(text)
	case '{', '[':
		return checkNested(text, depth-1)
	case 't':
		return bytes.CutPrefix(text, []byte("true"))
	case 'f':
		return bytes.CutPrefix(text, []byte("false"))
	case 'n':
		return bytes.CutPrefix(text, []byte("null"))
	}
	return checkNumber(text)
}

// checkNested cuts off an object or an array. In ASCII a closing bracket or brace is
// the second character after the one that opens.
func checkNested(text []byte, depth int) (rest []byte, is bool) {
	opened, closing := text[0], text[0]+2
	rest = trimLeft(text[1:])
	if len(rest) > 0 && rest[0] == closing {
		return rest[1:], true
	}
	for {
		if opened == '{' {
			if rest, is = checkKey(rest); !is {
				return nil, false
			}
		}
		if rest, is = checkValue(rest, depth); !is {
			return nil, false
		}
		rest = trimLeft(rest)
		if len(rest) > 0 && rest[0] == closing {
			return rest[1:], true
		}
		if rest, is = cutMark(rest, ','); !is {
			return nil, false
		}
	}
}

func checkKey(text []byte) (rest []byte, is bool) {
	text = trimLeft(text)
	if len(text) == 0 || text[0] != '"' {
		return nil, false
	}
	if rest, is = checkString(text); !is {
		return nil, false
	}
	return cutMark(rest, ':')
}

func checkString(text []byte) (rest []byte, is bool) {
	end := closingQuote(text[1:])
	if end < 0 {
		return nil, false
	}
	return text[end+2:], true
}

// closingQuote is where the quote stands that ends a JSON string, of which the text
// begins after the opening one; -1: it does not end, or is none.
func closingQuote(text []byte) int {
	for at := PlainRun(text); at < len(text); at += PlainRun(text[at:]) {
		switch text[at] {
		case '"':
			return at
		case '\\':
			n := escapeLength(text[at:])
			if n == 0 {
				return -1
			}
			at += n
		default:
			return -1
		}
	}
	return -1
}

// escapeLength is the length of the escape that a text begins with; 0: JSON has no
// such.
func escapeLength(text []byte) int {
	if len(text) < 2 {
		return 0
	}
	switch text[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(text) >= 6 && isHex(text[2]) && isHex(text[3]) && isHex(text[4]) && isHex(text[5]) {
			return 6
		}
	}
	return 0
}

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func checkNumber(text []byte) (rest []byte, is bool) {
	rest = bytes.TrimPrefix(text, []byte("-"))
	n := wholeNumber(rest)
	if n == 0 {
		return nil, false
	}
	rest = rest[n:]
	if fraction, has := bytes.CutPrefix(rest, []byte(".")); has {
		if n = digitRun(fraction); n == 0 {
			return nil, false
		}
		rest = fraction[n:]
	}
	if len(rest) > 0 && rest[0]|0x20 == 'e' {
		rest = rest[1:]
		if len(rest) > 0 && (rest[0] == '+' || rest[0] == '-') {
			rest = rest[1:]
		}
		if n = digitRun(rest); n == 0 {
			return nil, false
		}
		rest = rest[n:]
	}
	return rest, true
}

// wholeNumber is the length of the digits that a text begins with, which are one 0 if
// they begin with 0; 0: there are none.
func wholeNumber(text []byte) int {
	if len(text) > 0 && text[0] == '0' {
		return 1
	}
	return digitRun(text)
}

func digitRun(text []byte) int {
	n := 0
	for n < len(text) && isDigit(text[n]) {
		n++
	}
	return n
}

// PlainRun counts the bytes of a string up to the first quote, backslash or control
// character, eight at a time.
func PlainRun(text []byte) int {
	at := 0
	for ; len(text)-at >= 8; at += 8 {
		eight := binary.LittleEndian.Uint64(text[at:])
		if marks := special(eight); marks != 0 {
			return at + bits.TrailingZeros64(marks)/8
		}
	}
	for at < len(text) && text[at] >= ' ' && text[at] != '"' && text[at] != '\\' {
		at++
	}
	return at
}

// asciiRun is as PlainRun, but may end earlier, before what is not ASCII or when less
// than eight bytes are left.
func asciiRun(text []byte) int {
	at := 0
	for ; len(text)-at >= 8; at += 8 {
		eight := binary.LittleEndian.Uint64(text[at:])
		if marks := special(eight) | eight&(0x80*each); marks != 0 {
			return at + bits.TrailingZeros64(marks)/8
		}
	}
	return at
}

// special marks the bytes that are a quote, a backslash or a control character, by the
// highest bit of each. The first mark is true; those above it may be a borrow's.
func special(eight uint64) uint64 {
	return below(eight, ' ') | below(eight^'"'*each, 1) | below(eight^'\\'*each, 1)
}

// each has a one in every byte.
const each = 0x0101_0101_0101_0101

// below marks the bytes that are less than n, which is 128 at most.
func below(eight, n uint64) uint64 { return (eight - n*each) &^ eight & (0x80 * each) }

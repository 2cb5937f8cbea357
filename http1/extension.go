package http1

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

// mayEnd reports whether the line may end behind the part.
func (p part) mayEnd() bool { return p == inName || p == inText || p == afterQuotes }

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

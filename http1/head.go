package http1

import "bytes"

// Head finds the end of a message's head in the bytes of it that have come. end > 0:
// b[:end] is all of it, the empty line at its end included. 0: more must come. seen is
// how many of the bytes were in b at the call before, so that none is looked at twice.
//
// strict is for requests: before one may stand two empty lines, and the first line that
// is wrong is an error at once, so that nobody waits for the rest of it. Otherwise b
// is an answer, whose lines may end in LF alone, and which is refused at once when it
// does not begin as one of HTTP/1. Names in b may be made canonical where they stand.
func Head(b []byte, seen int, strict bool) (end int, err error) {
	from, err := 0, error(nil)
	if strict {
		from, err = skipEmptyLines(b)
	} else {
		err = beginsAnswer(b)
	}
	if err != nil {
		return 0, err
	}
	if end = headEnd(b, max(from, seen-len("\n\r"))); end == 0 && strict {
		err = checkLines(b, from, seen)
	}
	return end, err
}

// headEnd is where the first empty line behind another ends that does in b[from:]; 0:
// there is none.
func headEnd(b []byte, from int) int {
	for at := from; ; {
		n := bytes.IndexByte(b[at:], '\n')
		if n < 0 {
			return 0
		}
		at += n + 1
		switch next := b[at:]; {
		case len(next) > 0 && next[0] == '\n':
			return at + 1
		case len(next) > 1 && next[0] == '\r' && next[1] == '\n':
			return at + 2
		}
	}
}

// skipEmptyLines passes two empty lines at most that stand before a request (RFC 9112
// §2.2 asks for one), and looks whether a method can begin behind them. All of b: that
// is not known yet.
func skipEmptyLines(b []byte) (at int, err error) {
	for ; at < len(b) && b[at] == '\r'; at += 2 {
		switch {
		case at == 4:
			return 0, Malformed("more than two empty lines before a request")
		case at+1 == len(b):
			return len(b), nil
		case b[at+1] != '\n':
			return 0, errBareCR
		}
	}
	if at < len(b) && !is(b[at], inToken) {
		return 0, errNoMethod
	}
	return at, nil
}

// checkLines holds the lines of an unfinished request that end behind b[:seen] to what
// can be said of them without the others.
func checkLines(b []byte, from, seen int) (err error) {
	end := len(b)
	for end > max(from, seen) && b[end-1] != '\n' {
		end--
	}
	if end <= max(from, seen) {
		return nil
	}
	b = b[:end]
	says := framing{strict: true}
	at := max(from, bytes.LastIndexByte(b[:seen], '\n')+1)
	if at == from {
		var line requestLine
		if at, err = line.read(b, from); err != nil {
			return err
		}
		says.old = line.old
	}
	for at < end {
		var f field
		if f, at, err = readField(b, at); err != nil {
			return err
		}
		if err := says.note(b, &f); err != nil {
			return err
		}
	}
	return nil
}

func beginsAnswer(b []byte) error {
	const begin = "HTTP/1."
	if n := min(len(b), len(begin)); string(b[:n]) != begin[:n] {
		return errVersion
	}
	return nil
}

package stream

import "bytes"

// Border returns the length of the longest prefix of buf that ends where an event
// ends; 0 means that none does. buf begins where an event begins, and the first
// from bytes of it are those that an earlier call found no border in: they are not
// looked at again, so that a stream fed piece by piece costs what it would in one.
//
// An event ends with an empty line, and a line with LF, CR LF or CR (WHATWG HTML,
// 9.2.5 "Parsing an event stream"). A CR counts at once, whatever comes next: an LF
// that belonged to it is then an empty line of its own, which clients ignore. Of
// Lines, every line is an event, and LF ends it.
func (d Dialect) Border(buf []byte, from int) int {
	if d == Lines {
		if last := bytes.LastIndexByte(buf[from:], '\n'); last >= 0 {
			return from + last + 1
		}
		return 0
	}
	for end := lastLineEnd(buf, from); end > from; end = lastLineEnd(buf[:end-1], from) {
		if endsEmptyLine(buf[:end]) {
			return end
		}
	}
	return 0
}

// lastLineEnd is where the last line end ends, if it begins at from or later; or else
// at most from. It looks a piece at a time: the last bytes are mostly one, or else it
// is far.
func lastLineEnd(text []byte, from int) int {
	const piece = 128
	for end := len(text); end > from; end -= piece {
		if isLineEnd(text[end-1]) {
			return end
		}
		near := text[max(from, end-piece):end]
		if bytes.IndexByte(near, '\n') >= 0 || bytes.IndexByte(near, '\r') >= 0 {
			for !isLineEnd(text[end-1]) {
				end--
			}
			return end
		}
	}
	return from
}

// endsEmptyLine reports whether the last line of a text, which has its end, is empty.
func endsEmptyLine(text []byte) bool {
	before := len(text) - 1
	if before > 0 && text[before] == '\n' && text[before-1] == '\r' {
		before--
	}
	return before == 0 || isLineEnd(text[before-1])
}

func isLineEnd(c byte) bool { return c == '\n' || c == '\r' }

// event is one event of a stream. Comments and the fields that only concern a
// client's reconnection are part of raw alone.
type event struct {
	raw     []byte // with the empty line that ends it
	name    []byte // what its event field says
	data    []byte // its data lines, joined by LF; nil: it has none, and clients ignore it
	strange bool   // it has a field that the specification does not know
}

// next cuts the first event off a text of whole ones. An end without a border is an
// event too.
func (d Dialect) next(text []byte) (e event, rest []byte) {
	rest = text
	for ended := false; !ended && len(rest) > 0; {
		var line []byte
		line, rest = cutLine(rest)
		switch {
		case d == Lines:
			e.data, ended = line, true
		case len(line) == 0:
			ended = true
		default:
			e.take(line)
		}
	}
	e.raw = text[:len(text)-len(rest)]
	return e, rest
}

// cutLine cuts a line off, without its end.
func cutLine(text []byte) (line, rest []byte) {
	end := lineEnd(text)
	switch {
	case end < 0:
		return text, nil
	case bytes.HasPrefix(text[end:], []byte("\r\n")):
		return text[:end], text[end+2:]
	}
	return text[:end], text[end+1:]
}

// lineEnd finds the first CR or LF; -1: there is none. It looks a piece at a time,
// because either may be missing from all of a long text.
func lineEnd(text []byte) int {
	const piece = 1024
	for at := 0; at < len(text); at += piece {
		near := text[at:min(at+piece, len(text))]
		end := bytes.IndexByte(near, '\n')
		if end >= 0 {
			near = near[:end]
		}
		if cr := bytes.IndexByte(near, '\r'); cr >= 0 {
			end = cr
		}
		if end >= 0 {
			return at + end
		}
	}
	return -1
}

// take reads a line of an event, which is not empty.
func (e *event) take(line []byte) {
	field, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(field) {
	case "", "id", "retry":
	case "event":
		e.name = value
	case "data":
		e.add(value)
	default:
		e.strange = true
	}
}

// add joins a data line to those before it. The only one is not copied.
func (e *event) add(line []byte) {
	if e.data == nil {
		e.data = line[:len(line):len(line)]
		return
	}
	e.data = append(append(e.data, '\n'), line...)
}

// dataAt is where the data begins in raw; -1: it is spread over lines, or not all of
// raw is the event, because its end is missing or an LF that follows would be part of
// it.
func (e event) dataAt(d Dialect) int {
	switch {
	case len(e.data) == 0, e.raw[len(e.raw)-1] != '\n':
		return -1
	case d == Lines:
		return 0
	case !endsEmptyLine(e.raw):
		return -1
	}
	at := -1
	for rest := e.raw; len(rest) > 0; {
		line := rest
		line, rest = cutLine(rest)
		if !isData(line) {
			continue
		}
		if at >= 0 {
			return -1
		}
		at = cap(e.raw) - cap(line) + len(line) - len(e.data)
	}
	return at
}

// appendWith appends the event with other data, and the rest of it as it came.
func (e event) appendWith(out, data []byte) []byte {
	written := false
	for rest := e.raw; len(rest) > 0; {
		line := rest
		_, rest = cutLine(rest)
		line = line[:len(line)-len(rest)]
		switch {
		case !isData(line):
			out = append(out, line...)
		case !written:
			written = true
			out = append(out, "data: "...)
			out = append(out, bytes.ReplaceAll(data, []byte("\n"), []byte("\ndata: "))...)
			out = append(out, '\n')
		}
	}
	return out
}

func isData(line []byte) bool {
	field, _, _ := bytes.Cut(line, []byte(":"))
	return string(bytes.TrimRight(field, "\r\n")) == "data"
}

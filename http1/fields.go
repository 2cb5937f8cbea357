package http1

import (
	"bytes"
	"net/http"
	"strings"
)

// fields are the fields of a head, in their order.
type fields []field

// field is where a field's name and value stand, without the spaces around them.
type field struct{ name, value extent }

// extent is a part of a head.
type extent struct{ from, to int }

func (e extent) in(b []byte) []byte { return b[e.from:e.to] }

func (e extent) of(text string) string { return text[e.from:e.to] }

// drop keeps the field out of the header.
func (f *field) drop() { f.name = extent{} }

func (f *field) dropped() bool { return f.name.to == 0 }

// usualFields is how many fields a head may have before they need memory of their own.
const usualFields = 16

// readFields takes the fields from head[at] on, to the empty line. They come into room,
// which stays on the stack because nothing here keeps it.
func (says *framing) readFields(head []byte, at int, room fields) (list fields, err error) {
	for list = room; at < len(head) && head[at] != '\r' && head[at] != '\n'; {
		var f field
		if says.strict {
			f, at, err = readField(head, at)
		} else {
			f, at, err = readLooseField(head, at)
		}
		if err == nil {
			err = says.note(head, &f)
		}
		if err != nil {
			return nil, err
		}
		if !f.dropped() {
			list = append(list, f)
		}
	}
	switch end := string(head[at:]); {
	case end != "\r\n" && (says.strict || end != "\n"):
		return nil, Malformed("no empty line ends the head")
	case says.strict && !says.hasHost && !says.old:
		return nil, Malformed("there is no Host")
	}
	return list, nil
}

// readField takes the line at b[at], and returns where the next one begins. The name
// is made canonical where it stands.
func readField(b []byte, at int) (f field, next int, err error) {
	if is(b[at], isSpace) {
		return f, 0, errFolded
	}
	colon := at + canonicalize(b[at:])
	if colon == at || colon == len(b) || b[colon] != ':' {
		return f, 0, errNoName
	}
	f.name = extent{at, colon}
	from := colon + 1
	for from < len(b) && is(b[from], isSpace) {
		from++
	}
	to := from + valueSpan(b[from:])
	if to == len(b) || b[to] != '\r' {
		return f, 0, errValue
	}
	next, err = lineEnd(b, to)
	f.value = trimmed(b, from, to)
	return f, next, err
}

// readLooseField is readField for an answer: the line may end in LF alone and be
// continued, and RFC 9112 §5.1 asks those who pass it on to take spaces away that stand
// behind the name.
func readLooseField(b []byte, at int) (f field, next int, err error) {
	colon := at + canonicalize(b[at:])
	f.name = extent{at, colon}
	for colon < len(b) && is(b[colon], isSpace) {
		colon++
	}
	if f.name.from == f.name.to || colon == len(b) || b[colon] != ':' {
		return f, 0, errNoName
	}
	to, next := unfold(b, colon+1)
	from := colon + 1
	for from < to && is(b[from], isSpace) {
		from++
	}
	if valueSpan(b[from:to]) < to-from {
		return f, 0, errValue
	}
	f.value = trimmed(b, from, to)
	return f, next, nil
}

// unfold finds the end of a line that may be continued, with spaces where it was (RFC
// 9112 §5.2).
func unfold(b []byte, at int) (to, next int) {
	to, next = looseLineEnd(b, at)
	for next < len(b) && is(b[next], isSpace) {
		for i := to; i < next || i < len(b) && is(b[i], isSpace); i++ {
			b[i] = ' '
		}
		to, next = looseLineEnd(b, next)
	}
	return to, next
}

// looseLineEnd finds where the line at b[at] ends, in CRLF or LF, and the next one begins.
func looseLineEnd(b []byte, at int) (to, next int) {
	n := bytes.IndexByte(b[at:], '\n')
	if n < 0 {
		return len(b), len(b)
	}
	to = at + n
	if to > at && b[to-1] == '\r' {
		return to - 1, to + 1
	}
	return to, to + 1
}

func trimmed(b []byte, from, to int) extent {
	for to > from && is(b[to-1], isSpace) {
		to--
	}
	return extent{from, to}
}

// canonicalize makes the name that b begins with canonical, as
// http.CanonicalHeaderKey does, and returns its length.
func canonicalize(b []byte) (n int) {
	for n < len(b) && upper[b[n]] != 0 {
		first := upper[b[n]]
		b[n] = first
		n++
		if first != '-' {
			n += lowerWord(b[n:])
		}
	}
	return n
}

// lowerWord is canonicalize up to the next hyphen.
func lowerWord(b []byte) int {
	for n, c := range b {
		d := lower[c]
		if d == 0 {
			return n
		}
		b[n] = d
		if d == '-' {
			return n + 1
		}
	}
	return len(b)
}

// upper and lower are how a byte of a name is written behind a hyphen and elsewhere.
// 0: no name has it. Nobody changes them.
var (
	upper = letters("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
	lower = letters("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
)

func letters(from, to string) (table [256]byte) {
	for i := range table {
		if c := byte(i); is(c, inToken) {
			table[c] = c
		}
	}
	for i := range from {
		table[from[i]] = to[i]
	}
	return table
}

// header is the fields as net/http has them. text is the head, once the names in it
// are canonical. Each value has a slice of its own within one for all: room, if it is
// large enough.
func (list fields) header(text string, room []string) http.Header {
	if cap(room) < len(list) {
		room = make([]string, len(list))
	}
	header := make(http.Header, len(list))
	kept := 0
	for _, f := range list {
		if f.dropped() {
			continue
		}
		values := room[kept : kept+1 : kept+1]
		values[0] = f.value.of(text)
		header[f.name.of(text)] = values
		kept++
	}
	if len(header) < kept {
		list.gather(text, header)
	}
	return header
}

// gather fills a header in which some names stand more than once.
func (list fields) gather(text string, header http.Header) {
	clear(header)
	for _, f := range list {
		if !f.dropped() {
			name := f.name.of(text)
			header[name] = append(header[name], f.value.of(text))
		}
	}
}

// announced takes the fields Trailer out, and returns the names in them.
func (list fields) announced(text string) (trailer http.Header, err error) {
	for i, f := range list {
		if f.name.of(text) != "Trailer" {
			continue
		}
		list[i].drop()
		for name := range strings.SplitSeq(f.value.of(text), ",") {
			switch name = http.CanonicalHeaderKey(trim(name)); name {
			case "":
				continue
			case "Transfer-Encoding", "Trailer", "Content-Length":
				return nil, Malformed("a field is announced for the trailer that may not stand there")
			}
			if trailer == nil {
				trailer = http.Header{}
			}
			trailer[name] = nil
		}
	}
	return trailer, nil
}

const (
	errFolded = Malformed("a field is continued on another line, or begins with a space")
	errNoName = Malformed("no name, a token and a colon behind it, begins the field")
	errValue  = Malformed("a field's value holds a byte that it may not")
)

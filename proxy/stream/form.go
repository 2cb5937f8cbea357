package stream

import (
	"bytes"
	"unicode/utf8"
)

// Nearly all events of one stream look alike: the words in them differ, and with some
// servers a time or a number. What such an event says is known without reading it once
// another one was read, if all else in the two is the same, byte for byte. So whoever
// reads a stream remembers the form of an event, and reads only those of another form.
//
// That what is left out does not change what an event says follows from how it is
// read. It is a string's inside, checked to be one, or a whole number: neither holds an
// end of a line, so that the event's lines stay what they are, and its JSON stays JSON
// with the same keys. And it is the value of a key whose value nobody looks at, or
// looks at only for whether there are words, or only for the first one's, which are
// known by then; or it is the content itself, which a Tale gets from the form.

// Bounds of a form. An event of OpenAI's has some 300 bytes without its words.
const (
	maxForm  = 640 // bytes that are remembered
	maxHoles = 4
)

// form is what most events of a stream have alike, and what such an event says: some
// text, and to a Watch that has seen text before, nothing. The zero form is nobody's.
// It says the same to all who watch streams of one dialect, whatever they have seen.
type form struct {
	fixed []byte // the event without what differs
	holes [maxHoles]hole
	count uint8 // of holes; 0: no form was learned

	text   uint8  // which hole is what a Tale hears
	tells  bool   // a Tale hears that text, and goes on
	role   bool   // the event says who speaks
	begins bool   // or has content, if only an empty one
	number uint32 // how many were learned so far

	hits, misses uint32 // of events since
	patience     uint32 // so many misses in a row make another form worth learning
}

// hole is a place where events of a form differ: between a string's quotes, or a whole
// number.
type hole struct {
	at     uint16 // in the fixed bytes
	digits bool
}

// match cuts the first event off, if it is of the form. The text is what a Tale hears.
func (f *form) match(events []byte) (text, rest []byte, is bool) {
	if f == nil || f.count == 0 {
		return nil, nil, false
	}
	rest = events
	from := 0
	for i, h := range f.holes[:f.count] {
		if rest, is = bytes.CutPrefix(rest, f.fixed[from:h.at]); !is {
			return nil, nil, false
		}
		n := h.fill(rest)
		if n < 0 {
			return nil, nil, false
		}
		if i == int(f.text) {
			text = rest[:n]
		}
		rest, from = rest[n:], int(h.at)
	}
	rest, is = bytes.CutPrefix(rest, f.fixed[from:])
	return text, rest, is
}

// fill is how much of a text stands in the hole; -1: nothing that may.
func (h hole) fill(text []byte) int {
	if h.digits {
		if n := wholeNumber(text); n > 0 {
			return n
		}
		return -1
	}
	if n := asciiRun(text); n < len(text) && text[n] == '"' {
		return n
	}
	n := closingQuote(text)
	if n < 0 || !utf8.Valid(text[:n]) {
		return -1
	}
	return n
}

// hit counts an event of the form.
func (f *form) hit() { f.hits, f.misses = f.hits+1, 0 }

// worthwhile is so many hits that learning the form has paid, several times over.
const worthwhile = 16

// missed is told of an event that is of another form, and learns that one when enough
// have missed: one, if the last form has paid, and ever more if forms do not.
func (f *form) missed(d Dialect, e event) {
	if f.misses++; f.misses < f.patience {
		return
	}
	f.patience = 2*f.patience + 2
	if f.hits >= worthwhile {
		f.patience = 0
	}
	f.hits, f.misses = 0, 0
	f.learn(d, e)
}

// learn takes an event's form, if it has words and says nothing but them.
func (f *form) learn(d Dialect, e event) {
	at := e.dataAt(d)
	if at < 0 || !isJSON(e.data) {
		return
	}
	raw := e.raw[:len(e.raw):len(e.raw)]
	e.data = raw[at : at+len(e.data)]
	c := readChunk(e)
	if c.finished || changesWatch(d, e) {
		return
	}
	var found gaps
	if found.find(raw, trimLeft(e.data)); !found.words || found.count > maxHoles || len(raw)-found.size > maxForm {
		return
	}
	f.number++
	f.tells, f.role, f.begins = false, c.role, c.role || c.speaks
	f.fixed, f.count = f.fixed[:0], uint8(found.count)
	from := 0
	for i, gap := range found.all[:found.count] {
		f.fixed = append(f.fixed, raw[from:gap.from]...)
		f.holes[i] = hole{at: uint16(len(f.fixed)), digits: gap.digits}
		if c.isText() && gap.from == len(raw)-cap(c.text) {
			f.text, f.tells = uint8(i), true
		}
		from = gap.to
	}
	f.fixed = append(f.fixed, raw[from:]...)
	if _, _, is := f.match(raw); !is {
		f.count = 0
	}
}

// changesWatch reports whether an event says something to a Watch that has seen text.
func changesWatch(d Dialect, e event) bool {
	before := Watch{dialect: d, choices: 1, known: true, began: true}
	after := before
	after.see(e)
	return after != before
}

// gaps are what differs in an event, in their order.
type gaps struct {
	all   [maxHoles]gap
	count int // may be more than are kept
	size  int // bytes of all
	words bool
}

type gap struct {
	from, to int
	digits   bool
}

// find looks through a JSON value, which is a part of the event, and at whose end the
// event's capacity ends: so the capacity of a part tells where it stands.
func (g *gaps) find(raw, value []byte) {
	switch value[0] {
	case '{':
		for key, inner := range fields(value) {
			g.look(raw, key, inner)
		}
	case '[':
		for inner := range elements(value) {
			g.find(raw, inner)
		}
	}
}

// look is find for the value of a key. What OpenAI calls obfuscation are characters
// that hide how long the words are, other ones in every event.
func (g *gaps) look(raw, key, value []byte) {
	switch string(key) {
	case "content", "text", "delta", "response", "thinking", "reasoning", "reasoning_content", "partial_json", "arguments":
		if isString(value) && len(value) > 2 {
			g.words = true
			g.add(raw, inside(value), false)
			return
		}
	case "created_at", "obfuscation":
		if isString(value) {
			g.add(raw, inside(value), false)
			return
		}
	case "created", "sequence_number":
		if n := wholeNumber(value); n > 0 && n == len(value) {
			g.add(raw, value, true)
			return
		}
	}
	g.find(raw, value)
}

func (g *gaps) add(raw, part []byte, digits bool) {
	if g.count < maxHoles {
		from := len(raw) - cap(part)
		g.all[g.count] = gap{from: from, to: from + len(part), digits: digits}
	}
	g.count++
	g.size += len(part)
}

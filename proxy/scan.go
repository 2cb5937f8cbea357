package proxy

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"proxima/proxy/stream"
)

// Bounds of what is looked at in a JSON body.
const (
	maxNesting = 1000 // deeper is refused: model servers' own parsers give up about there
	maxModel   = 256  // bytes of a model's name
)

// scan reads a JSON text piece by piece, checks that it is one (RFC 8259), and
// finds the value of the key "model" at the top level of the object, and where the
// prompt begins. It keeps nothing else, so that a body of any size is scanned in
// constant memory. Two such keys are an error, because servers do not agree on which
// one counts; so is a key that only differs in case, because some take that one too.
type scan struct {
	model string
	found bool
	done  bool // the top-level value is complete

	streams  bool  // "stream" at the top level is true
	isStream bool  // its value is to come
	prompt   int64 // where the text after the prompt's key begins; 0: there is none so far

	step    func(*scan, byte) error
	inside  bool // step is str: between the quotes of a string, and in no escape
	nesting nesting
	isKey   bool     // the string under way is a top-level key
	isModel bool     // the value to come, or under way, is the model's
	text    []byte   // the string under way, unescaped, if it is one of these
	room    [64]byte // for it, unless it is longer
	unit    rune     // the \u escape under way
	digits  int
	half    rune   // the first half of a surrogate pair
	literal string // what is left of true, false or null
	offset  int64
}

func newScan() *scan {
	s := &scan{step: (*scan).value}
	s.text = s.room[:0]
	return s
}

// nesting tells, for each level, whether it is an object or an array.
type nesting struct {
	depth   int
	objects [(maxNesting + 63) / 64]uint64 // a bit for each level
}

func (n *nesting) enter(object bool) {
	bit := uint64(1) << (n.depth % 64)
	n.objects[n.depth/64] &^= bit
	if object {
		n.objects[n.depth/64] |= bit
	}
	n.depth++
}

// inObject reports whether the innermost level is an object.
func (n *nesting) inObject() bool {
	at := n.depth - 1
	return n.objects[at/64]>>(at%64)&1 != 0
}

// feed scans the next piece. After an error the scan is over.
func (s *scan) feed(piece []byte) error {
	for at := 0; at < len(piece); {
		if s.inside {
			run := stream.PlainRun(piece[at:])
			s.note(piece[at : at+run])
			at, s.offset = at+run, s.offset+int64(run)
			if at == len(piece) {
				break
			}
		}
		c := piece[at]
		at, s.offset = at+1, s.offset+1
		if err := s.step(s, c); err != nil {
			return err
		}
	}
	return nil
}

// finish tells whether the text ended where a JSON text may end.
func (s *scan) finish() error {
	if !s.done {
		return s.wrong("ends too early")
	}
	return nil
}

func (s *scan) wrong(what string) error {
	return fmt.Errorf("not valid JSON at byte %d: %s", s.offset, what)
}

func (s *scan) unexpected(c byte, wanted string) error {
	return s.wrong(fmt.Sprintf("found %q where %s should be", c, wanted))
}

func space(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func digit(c byte) bool { return '0' <= c && c <= '9' }

// value is where a value must begin.
func (s *scan) value(c byte) error {
	if space(c) {
		return nil
	}
	if s.nesting.depth == 0 && c != '{' {
		return fmt.Errorf("the body must be a JSON object")
	}
	if s.isModel && c != '"' {
		return fmt.Errorf(`"model" must be a string`)
	}
	if s.isStream {
		s.streams, s.isStream = c == 't', false
	}
	switch {
	case c == '{':
		s.step = (*scan).firstKey
		return s.enter(true)
	case c == '[':
		s.step = (*scan).firstElement
		return s.enter(false)
	case c == '"':
		s.goInside()
	case c == '-':
		s.step = (*scan).minus
	case c == '0':
		s.step = (*scan).zero
	case digit(c):
		s.step = (*scan).integer
	case c == 't':
		s.step, s.literal = (*scan).word, "rue"
	case c == 'f':
		s.step, s.literal = (*scan).word, "alse"
	case c == 'n':
		s.step, s.literal = (*scan).word, "ull"
	default:
		return s.unexpected(c, "a value")
	}
	return nil
}

func (s *scan) enter(object bool) error {
	if s.nesting.depth == maxNesting {
		return s.wrong(fmt.Sprintf("nested deeper than %d", maxNesting))
	}
	s.nesting.enter(object)
	return nil
}

// leave closes the innermost object or array, whose kind the caller has checked.
func (s *scan) leave() {
	s.nesting.depth--
	s.afterValue()
}

func (s *scan) afterValue() {
	s.step = (*scan).separator
	if s.nesting.depth == 0 {
		s.done, s.step = true, (*scan).end
	}
}

func (s *scan) firstKey(c byte) error {
	if c == '}' {
		s.leave()
		return nil
	}
	return s.key(c)
}

func (s *scan) key(c byte) error {
	if space(c) {
		return nil
	}
	if c != '"' {
		return s.unexpected(c, "a key")
	}
	s.isKey, s.text = true, s.text[:0]
	s.goInside()
	return nil
}

func (s *scan) colon(c byte) error {
	if space(c) {
		return nil
	}
	if c != ':' {
		return s.unexpected(c, "a colon")
	}
	s.step = (*scan).value
	return nil
}

func (s *scan) firstElement(c byte) error {
	if c == ']' {
		s.leave()
		return nil
	}
	if space(c) {
		return nil
	}
	return s.value(c)
}

func (s *scan) separator(c byte) error {
	if space(c) {
		return nil
	}
	object := s.nesting.inObject()
	switch {
	case c == ',' && object:
		s.step = (*scan).key
	case c == ',':
		s.step = (*scan).value
	case c == '}' && object, c == ']' && !object:
		s.leave()
	default:
		return s.unexpected(c, "a comma or an end")
	}
	return nil
}

func (s *scan) end(c byte) error {
	if space(c) {
		return nil
	}
	return s.unexpected(c, "the end")
}

func (s *scan) goInside() { s.step, s.inside = (*scan).str, true }

// str is within a string, at a byte that ends a run.
func (s *scan) str(c byte) error {
	s.inside = false
	switch c {
	case '"':
		return s.endString()
	case '\\':
		s.step = (*scan).escape
		return nil
	}
	return s.unexpected(c, "a character of a string")
}

// watched reports whether the string under way is one whose text matters.
func (s *scan) watched() bool { return s.isModel || s.isKey && s.nesting.depth == 1 }

// note takes in what a string says.
func (s *scan) note(text []byte) {
	if len(text) > 0 && s.watched() {
		s.flushHalf()
		s.add(text)
	}
}

// add keeps no more than it takes to see that a text is too long.
func (s *scan) add(text []byte) {
	more := min(len(text), maxModel+1-len(s.text))
	s.text = append(s.text, text[:more]...)
}

func (s *scan) addRune(r rune) { s.add(utf8.AppendRune(make([]byte, 0, utf8.UTFMax), r)) }

// flushHalf writes a surrogate that found no partner as the replacement character.
func (s *scan) flushHalf() {
	if s.half != 0 {
		s.half = 0
		s.addRune(utf8.RuneError)
	}
}

func (s *scan) endString() error {
	s.flushHalf()
	switch {
	case s.isKey:
		s.isKey = false
		s.step = (*scan).colon
		if s.nesting.depth == 1 {
			return s.endKey(s.text)
		}
	case s.isModel:
		s.isModel = false
		s.afterValue()
		return s.endModel(string(s.text))
	default:
		s.afterValue()
	}
	return nil
}

func (s *scan) endKey(key []byte) error {
	switch string(key) {
	case "model":
		if s.found {
			return fmt.Errorf(`the key "model" stands twice`)
		}
		s.isModel, s.found, s.text = true, true, s.text[:0]
	case "stream":
		s.isStream = true
	case "messages", "prompt", "input":
		if s.prompt == 0 {
			s.prompt = s.offset
		}
	default:
		if len(key) == len("model") && bytes.EqualFold(key, []byte("model")) {
			return fmt.Errorf(`the key %q is read as "model" by some servers and not by others: write it in lower case, once`, key)
		}
	}
	return nil
}

func (s *scan) endModel(name string) error {
	switch {
	case name == "":
		return fmt.Errorf(`"model" is empty`)
	case len(name) > maxModel:
		return fmt.Errorf(`"model" is longer than %d bytes`, maxModel)
	case !utf8.ValidString(name) || strings.ContainsRune(name, utf8.RuneError):
		return fmt.Errorf(`"model" is not valid Unicode`)
	}
	s.model = name
	return nil
}

var escapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

func (s *scan) escape(c byte) error {
	if c == 'u' {
		s.step, s.unit, s.digits = (*scan).hex, 0, 0
		return nil
	}
	plain, known := escapes[c]
	if !known {
		return s.unexpected(c, "an escape")
	}
	s.goInside()
	s.note([]byte{plain})
	return nil
}

func (s *scan) hex(c byte) error {
	v := strings.IndexByte("0123456789abcdef", c|0x20)
	if digit(c) {
		v = int(c - '0')
	} else if v < 10 {
		return s.unexpected(c, "a hexadecimal digit")
	}
	s.unit = s.unit<<4 | rune(v)
	if s.digits++; s.digits < 4 {
		return nil
	}
	s.goInside()
	if s.watched() {
		s.noteUnit()
	}
	return nil
}

// noteUnit adds a UTF-16 code unit to the text, joining surrogate pairs.
func (s *scan) noteUnit() {
	if s.half != 0 {
		if r := utf16.DecodeRune(s.half, s.unit); r != utf8.RuneError {
			s.half = 0
			s.addRune(r)
			return
		}
		s.flushHalf()
	}
	if utf16.IsSurrogate(s.unit) {
		s.half = s.unit
		return
	}
	s.addRune(s.unit)
}

func (s *scan) word(c byte) error {
	if c != s.literal[0] {
		return s.unexpected(c, "true, false or null")
	}
	if s.literal = s.literal[1:]; s.literal == "" {
		s.afterValue()
	}
	return nil
}

func (s *scan) minus(c byte) error {
	switch {
	case c == '0':
		s.step = (*scan).zero
	case digit(c):
		s.step = (*scan).integer
	default:
		return s.unexpected(c, "a digit")
	}
	return nil
}

func (s *scan) integer(c byte) error {
	if digit(c) {
		return nil
	}
	return s.zero(c)
}

func (s *scan) zero(c byte) error {
	switch c {
	case '.':
		s.step = (*scan).point
		return nil
	case 'e', 'E':
		s.step = (*scan).exponent
		return nil
	}
	return s.numberEnd(c)
}

func (s *scan) point(c byte) error {
	if !digit(c) {
		return s.unexpected(c, "a digit")
	}
	s.step = (*scan).fraction
	return nil
}

func (s *scan) fraction(c byte) error {
	switch {
	case digit(c):
		return nil
	case c == 'e' || c == 'E':
		s.step = (*scan).exponent
		return nil
	}
	return s.numberEnd(c)
}

func (s *scan) exponent(c byte) error {
	if c == '+' || c == '-' {
		s.step = (*scan).signed
		return nil
	}
	return s.signed(c)
}

func (s *scan) signed(c byte) error {
	if !digit(c) {
		return s.unexpected(c, "a digit")
	}
	s.step = (*scan).power
	return nil
}

func (s *scan) power(c byte) error {
	if digit(c) {
		return nil
	}
	return s.numberEnd(c)
}

// numberEnd is the byte after a number: it belongs to what comes next.
func (s *scan) numberEnd(c byte) error {
	s.afterValue()
	return s.step(s, c)
}

package stream

import (
	"bytes"
	"iter"
)

// fields goes through the keys and values of a JSON object as they stand in its
// text: keys without their quotes, nothing unescaped, nothing allocated. It does not
// check the text: where that is no object, the walk ends early or makes no sense.
func fields(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		rest, more := cutMark(object, '{')
		for more {
			var key, value []byte
			if key, rest = cutValue(rest); !isString(key) {
				return
			}
			if rest, more = cutMark(rest, ':'); !more {
				return
			}
			if value, rest = cutValue(rest); len(value) == 0 || !yield(inside(key), value) {
				return
			}
			rest, more = cutMark(rest, ',')
		}
	}
}

// elements goes through the values of a JSON array, as fields does.
func elements(array []byte) iter.Seq[[]byte] {
	return func(yield func(value []byte) bool) {
		rest, more := cutMark(array, '[')
		for more {
			var value []byte
			if value, rest = cutValue(rest); len(value) == 0 || !yield(value) {
				return
			}
			rest, more = cutMark(rest, ',')
		}
	}
}

// cutMark cuts a character off that structures a JSON text.
func cutMark(text []byte, mark byte) (rest []byte, found bool) {
	text = trimLeft(text)
	if len(text) == 0 || text[0] != mark {
		return nil, false
	}
	return text[1:], true
}

// cutValue cuts a JSON value off; an empty one means that there is none.
func cutValue(text []byte) (value, rest []byte) {
	text = trimLeft(text)
	if len(text) == 0 {
		return nil, nil
	}
	var end int
	switch text[0] {
	case '"':
		end = stringEnd(text)
	case '{', '[':
		end = nestedEnd(text)
	default:
		end = wordEnd(text)
	}
	return text[:end], text[end:]
}

func trimLeft(text []byte) []byte {
	for len(text) > 0 && isSpace(text[0]) {
		text = text[1:]
	}
	return text
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

func stringEnd(text []byte) int {
	for i := 1; i < len(text); i++ {
		i += PlainRun(text[i:])
		switch {
		case i == len(text):
		case text[i] == '"':
			return i + 1
		case text[i] == '\\':
			i++
		}
	}
	return len(text)
}

func nestedEnd(text []byte) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i += stringEnd(text[i:]) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(text)
}

// wordEnd ends numbers, true, false and null.
func wordEnd(text []byte) int {
	for i, c := range text {
		if isSpace(c) || c == ',' || c == ':' || c == '}' || c == ']' {
			return i
		}
	}
	return len(text)
}

func isString(value []byte) bool { return len(value) >= 2 && value[0] == '"' }

// inside is what stands between a string's quotes.
func inside(text []byte) []byte { return text[1 : len(text)-1] }

// isNothing reports whether a value says no more than a missing one: null, false,
// and what is empty.
func isNothing(value []byte) bool {
	switch string(value) {
	case "null", "false", `""`:
		return true
	}
	if len(value) >= 2 && (value[0] == '[' || value[0] == '{') {
		return len(trimLeft(inside(value))) == 0
	}
	return false
}

// appendField adds a key and its value to an object that is being written, whose
// opening brace is there.
func appendField(object, key, value []byte) []byte {
	if object[len(object)-1] != '{' {
		object = append(object, ',')
	}
	object = append(append(append(object, '"'), key...), `":`...)
	return append(object, value...)
}

// rewrite copies an object with its values edited; a key whose value is edited to
// nil is left out. What is not edited stays the same byte for byte.
func rewrite(object []byte, edit func(key, value []byte) []byte) []byte {
	out := append(make([]byte, 0, len(object)+64), '{')
	for key, value := range fields(object) {
		if edited := edit(key, value); edited != nil {
			out = appendField(out, key, edited)
		}
	}
	return append(out, '}')
}

// appendInside adds to a JSON string's end what stands between another's quotes.
func appendInside(text, more []byte) []byte {
	longer := make([]byte, 0, len(text)+len(more))
	longer = append(longer, text[:len(text)-1]...)
	return append(append(longer, more...), '"')
}

// glance looks for a key in a JSON text without reading the rest: what its value
// begins with, or 0 if the key is not there. Of several it takes the first that is
// neither null nor false, if there is one. A key never stands within a string, where
// its quotes are escaped. The search is for the key with its second quote alone,
// because it is fast when what it begins with is rare, and quotes are not.
func glance(text, keyAndQuote []byte) (begin byte) {
	for {
		at := bytes.Index(text, keyAndQuote)
		if at < 0 {
			return begin
		}
		value, is := cutMark(text[at+len(keyAndQuote):], ':')
		value = trimLeft(value)
		if is && len(value) > 0 && at > 0 && text[at-1] == '"' {
			if begin = value[0]; begin != 'n' && begin != 'f' {
				return begin
			}
		}
		text = text[at+len(keyAndQuote):]
	}
}

package stream

import "bytes"

// White space at the end of a text is the one thing that does not survive its way to
// the next endpoint: many chat templates trim the messages they render, Llama 3.1's
// among them (huggingface/transformers, pull request 34214 and issue 35433), so that
// the model would say it a second time, and others do not. So a chat goes on without
// it: it is not sent, the endpoint says it again, and the client does not hear it
// twice. A completion has no template, and its prompt is taken as it is.

// firm is a text, given as it stands between a JSON string's quotes, without the
// white space at its end that does not survive.
func (t *Tale) firm(text []byte) []byte {
	if t.dialect == Chat {
		for n := spaceAtEnd(text); n > 0; n = spaceAtEnd(text) {
			text = text[:len(text)-n]
		}
	}
	return text
}

// spaceAtEnd is the length of the space, or of the escaped end of a line or tab, that
// ends a text; 0 if something else does.
func spaceAtEnd(text []byte) int {
	if len(text) == 0 {
		return 0
	}
	switch last := len(text) - 1; text[last] {
	case ' ':
		return 1
	case 'n', 'r', 't':
		if before := bytes.TrimRight(text[:last], `\`); (last-len(before))%2 == 1 {
			return 2
		}
	}
	return 0
}

// repeated is how much of what the endpoint says next, in bytes from its beginning, is
// the white space that the client has already. With the first other character the
// seam is over.
func (t *Tale) repeated(text []byte) int {
	n := 0
	for len(t.owed) > 0 && n < len(text) {
		space := t.owed[:1]
		if space[0] == '\\' {
			space = t.owed[:2]
		}
		if !bytes.HasPrefix(text[n:], space) {
			t.owed = nil
			break
		}
		n, t.owed = n+len(space), t.owed[len(space):]
	}
	return n
}

// withoutBeginning is a chat chunk's choices, of which there is one, without so many
// bytes of the beginning of its content.
func withoutBeginning(choices []byte, n int) []byte {
	cut := func(key, value []byte) []byte {
		if string(key) == "content" && isString(value) {
			return append([]byte{'"'}, value[1+n:]...)
		}
		return value
	}
	inDelta := func(key, value []byte) []byte {
		if string(key) == "delta" {
			return rewrite(value, cut)
		}
		return value
	}
	out := []byte("[")
	for choice := range elements(choices) {
		out = append(out, rewrite(choice, inDelta)...)
	}
	return append(out, ']')
}

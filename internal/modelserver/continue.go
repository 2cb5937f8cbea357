package modelserver

import (
	"slices"
	"strings"
)

// A model goes on with any text that it is given: asked again with the beginning
// of its own answer, it gives the rest. Nothing but the text tells it so, and a
// server that makes text up has to find out the same way. This file does.

// beginning is where the answer to a question stands before its first new token.
type beginning struct {
	seed uint64 // of the answer from its very first token
	at   int    // bytes of the given text that come before that token
	told int    // tokens of the answer that the given text holds
	half int    // bytes that it holds of the token after those
}

// begin finds the answer that a given text is in the middle of. All that comes
// before the text is in the seed.
//
// The answer began at the earliest place such that the answer to everything
// before the place begins with everything after it. If part of an answer is added
// to the text, that place is still one, and no earlier one comes in: it would have
// been one without the addition. So the answer to text and addition is the rest of
// the answer to the text, wherever it is cut.
func begin(seed uint64, given string) beginning {
	if told, half, ok := follow(seed, given); ok {
		return beginning{seed: seed, told: told, half: half}
	}
	tokens := trailing(given)
	at := len(given) - len(strings.Join(tokens, ""))
	seed = mix(seed, given[:at])
	for len(tokens) > 0 && !opens(seed, tokens) {
		seed = mix(seed, tokens[0])
		at += len(tokens[0])
		tokens = tokens[1:]
	}
	return beginning{seed: seed, at: at, told: len(tokens)}
}

// follow reports whether an answer begins with the text: with so many whole
// tokens, and with half of one more.
func follow(seed uint64, text string) (told, half int, ok bool) {
	said := speak(seed)
	for told < mostTokens {
		token := said.next()
		rest, whole := strings.CutPrefix(text, token)
		if !whole {
			return told, len(text), strings.HasPrefix(token, text)
		}
		text = rest
		told++
	}
	return told, 0, text == ""
}

// opens reports whether an answer begins with these tokens.
func opens(seed uint64, tokens []string) bool {
	said := speak(seed)
	for _, token := range tokens {
		if said.next() != token {
			return false
		}
	}
	return true
}

// trailing returns the tokens at the end of a text, as many as an answer can have.
func trailing(text string) []string {
	var backwards []string
	for len(backwards) < mostTokens {
		last := strings.LastIndexAny(text, " ,.")
		if last < 0 || !slices.Contains(vocabulary[:], text[last:]) {
			break
		}
		backwards = append(backwards, text[last:])
		text = text[:last]
	}
	slices.Reverse(backwards)
	return backwards
}

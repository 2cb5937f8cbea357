package proxy

import (
	"crypto/sha256"
	"net/http"
	"strings"

	"proxima/router"
)

// Keys are the clients' API keys that say how important a request is. They are kept as
// SHA-256: no secret stays in memory or is compared byte by byte, and how long a look-up
// takes says nothing about a key.
type Keys map[[sha256.Size]byte]router.Priority

// NewKeys returns the Keys for the priorities of API keys in plain text.
func NewKeys(priorities map[string]router.Priority) Keys {
	keys := make(Keys, len(priorities))
	for key, p := range priorities {
		keys[sha256.Sum256([]byte(key))] = p
	}
	return keys
}

// priorityOf is how important a request is. Its key says how important it may be, and
// the client may say that it is less. Where keys are configured, a request without one
// of them is standard at the most; where none are, the client is believed.
func priorityOf(h http.Header, keys Keys) router.Priority {
	wish, said := wishOf(h)
	if len(keys) == 0 {
		return wish
	}
	most := keys.most(h)
	if said && rankOf[wish] > rankOf[most] {
		return wish
	}
	return most
}

// wishOf is what the client says of its request. A word that is not known counts as
// none.
func wishOf(h http.Header) (p router.Priority, said bool) {
	word := field(h, "X-Proxima-Priority")
	if word == "" {
		return router.Standard, false
	}
	for p := range rankOf {
		if strings.EqualFold(word, router.Priority(p).String()) {
			return router.Priority(p), true
		}
	}
	return router.Standard, false
}

// most is the priority of the key that a request brings, as Authorization: Bearer or as
// x-api-key; Standard without one that is known.
func (k Keys) most(h http.Header) router.Priority {
	for _, key := range []string{bearer(h), field(h, "X-Api-Key")} {
		if key == "" {
			continue
		}
		if p, known := k[sha256.Sum256([]byte(key))]; known {
			return p
		}
	}
	return router.Standard
}

// bearer is the token of an Authorization field; "" when it has none. The scheme may be
// written in any case (RFC 9110 §11.1).
func bearer(h http.Header) string {
	scheme, token, _ := strings.Cut(field(h, "Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

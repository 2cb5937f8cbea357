package edge

import (
	"net/http"
	"strings"
)

// hasTrailer reports whether there will be fields behind the body, as far as is known.
func (a *answer) hasTrailer() bool {
	if len(a.header["Trailer"]) > 0 {
		return true
	}
	for name := range a.header {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			return true
		}
	}
	return false
}

// trailer is what was announced, and what has http.TrailerPrefix; nil: nothing.
func (a *answer) trailer() http.Header {
	if !a.hasTrailer() {
		return nil
	}
	t := http.Header{}
	add := func(name string, values []string) {
		if name = http.CanonicalHeaderKey(name); mayTrail(name) && len(values) > 0 {
			t[name] = append(t[name], values...)
		}
	}
	for _, line := range a.header["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			name = http.CanonicalHeaderKey(strings.Trim(name, " \t"))
			add(name, a.header[name])
		}
	}
	for name, values := range a.header {
		if name, is := strings.CutPrefix(name, http.TrailerPrefix); is {
			add(name, values)
		}
	}
	return t
}

// mayTrail is by RFC 9110 §6.5.1: what says where a message ends or who it is for comes
// too late behind it.
func mayTrail(name string) bool {
	switch name {
	case "Connection", "Content-Encoding", "Content-Length", "Content-Range", "Content-Type", "Host", "Keep-Alive",
		"Te", "Trailer", "Transfer-Encoding", "Www-Authenticate", "Authorization", "Set-Cookie", "Cookie":
		return false
	}
	return true
}

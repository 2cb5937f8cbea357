package http1

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
)

// class is a set of classes of bytes.
type class uint8

const (
	inToken  class = 1 << iota // names and methods: tchar (RFC 9110 §5.6.2)
	inValue                    // values: visible, space, tab, and what is not ASCII (RFC 9110 §5.5)
	inTarget                   // paths and queries: visible ASCII but the fragment's # and the backslash, which some take for a slash
	inPath                     // paths that net/url neither decodes nor would write in another way
	inHost                     // hosts with their ports: what names and IPv6 literals are made of
	isSpace                    // space and tab (RFC 9110 §5.6.3)
)

// classes says of each byte what it belongs to. Nobody changes it.
var classes = func() (table [256]class) {
	for i := range table {
		c := byte(i)
		plain := 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'
		visible := ' ' < c && c < 0x7f
		table[c] = classIf(plain || oneOf(c, "!#$%&'*+-.^_`|~"), inToken) |
			classIf(visible || c == ' ' || c == '\t' || c >= 0x80, inValue) |
			classIf(visible && c != '#' && c != '\\', inTarget) |
			classIf(plain || oneOf(c, "-._~$&+,/:;=@"), inPath) |
			classIf(plain || oneOf(c, "-._~[]:"), inHost) |
			classIf(c == ' ' || c == '\t', isSpace)
	}
	return table
}()

func oneOf(c byte, list string) bool { return strings.IndexByte(list, c) >= 0 }

func classIf(is bool, c class) class {
	if is {
		return c
	}
	return 0
}

func is(c byte, of class) bool { return classes[c]&of != 0 }

// span is how many of the first bytes belong to a class.
func span[text []byte | string](b text, of class) int {
	for n := range len(b) {
		if classes[b[n]]&of == 0 {
			return n
		}
	}
	return len(b)
}

// valueSpan is span for what a value may hold, eight bytes at a time: values are most of
// a head.
func valueSpan(b []byte) (n int) {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for n+8 <= len(b) {
		word := binary.LittleEndian.Uint64(b[n:])
		deletes := word ^ 0x7f*ones
		bad := ((word-' '*ones)&^word | (deletes-ones)&^deletes) & highs // the lowest is right, those above it may not be
		if bad == 0 {
			n += 8
			continue
		}
		n += bits.TrailingZeros64(bad) / 8
		if b[n] != '\t' {
			return n
		}
		n++
	}
	return n + span(b[n:], inValue)
}

// IsToken reports whether text is a token (RFC 9110 §5.6.2), as methods and the names
// of fields are.
func IsToken(text string) bool { return text != "" && span(text, inToken) == len(text) }

// ValidTarget reports whether text is a path, with a query or without, that a request
// line may hold (origin-form, RFC 9112 §3.2.1). Percent-encoding is not looked into.
func ValidTarget(text string) bool {
	return strings.HasPrefix(text, "/") && span(text, inTarget) == len(text)
}

// maxHost is the longest host with its port: a name has 253 bytes at most (RFC 1035
// §2.3.4).
const maxHost = 253 + len(":65535")

// ValidHost tells a host, with or without a port, from what only looks like one. A
// list of hosts is none, and neither is one with a user's name before it, or an
// IPv6 zone, which means nothing elsewhere (RFC 6874 §1). RFC 3986 §3.2.2 lets a
// name hold more, but no name that can be looked up does.
func ValidHost(host string) bool { return validHost([]byte(host)) }

func validHost(host []byte) bool {
	if len(host) == 0 || len(host) > maxHost {
		return false
	}
	if host[0] == '[' {
		end := bytes.IndexByte(host, ']')
		return end > 0 && isIPv6(host[1:end]) && (end+1 == len(host) || host[end+1] == ':' && validPort(host[end+2:]))
	}
	name, port, _ := bytes.Cut(host, []byte(":"))
	return len(name) > 0 && span(name, inHost) == len(name) && bytes.IndexByte(name, '[') < 0 && bytes.IndexByte(name, ']') < 0 && validPort(port)
}

func isIPv6(literal []byte) bool {
	address, err := netip.ParseAddr(string(literal))
	return err == nil && address.Is6() && address.Zone() == ""
}

// validPort also takes none at all, as RFC 3986 §3.2.3 does.
func validPort(port []byte) bool {
	if len(port) == 0 {
		return true
	}
	_, err := strconv.ParseUint(string(port), 10, 16)
	return err == nil
}

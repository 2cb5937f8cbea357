package edge

import (
	"bytes"
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
	inHost                     // hosts with their ports: what names and IPv6 literals are made of
	isSpace                    // space and tab (RFC 9110 §5.6.3)
)

// classes says of each byte what it belongs to. Nobody changes it.
var classes = func() (table [256]class) {
	for i := range table {
		c := byte(i)
		plain := 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'
		visible := ' ' < c && c < 0x7f
		table[c] = classIf(plain || visible && strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0, inToken) |
			classIf(visible || c == ' ' || c == '\t' || c >= 0x80, inValue) |
			classIf(visible && c != '#' && c != '\\', inTarget) |
			classIf(plain || visible && strings.IndexByte("-._~[]:", c) >= 0, inHost) |
			classIf(c == ' ' || c == '\t', isSpace)
	}
	return table
}()

func classIf(is bool, c class) class {
	if is {
		return c
	}
	return 0
}

func is(c byte, of class) bool { return classes[c]&of != 0 }

// span is how many of the first bytes belong to a class.
func span(b []byte, of class) int {
	for n, c := range b {
		if classes[c]&of == 0 {
			return n
		}
	}
	return len(b)
}

// validHost tells a host, with or without a port, from what only looks like one. A
// list of hosts is none, and neither is one with a user's name before it, or an
// IPv6 zone, which means nothing elsewhere (RFC 6874 §1). RFC 3986 §3.2.2 lets a
// name hold more, but no name that can be looked up does.
func validHost(host []byte) bool {
	name, port, found := bytes.Cut(host, []byte(":"))
	if bytes.HasPrefix(host, []byte("[")) {
		end := bytes.IndexByte(host, ']')
		return end > 0 && isIPv6(host[1:end]) && (end+1 == len(host) || host[end+1] == ':' && validPort(host[end+2:]))
	}
	return len(name) > 0 && span(name, inHost) == len(name) && !bytes.ContainsAny(name, "[]") && (!found || validPort(port))
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

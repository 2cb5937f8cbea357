package proxy

import (
	"iter"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// maxHops bounds how many addresses of a forwarding header are looked at.
const maxHops = 64

// Client returns the address of the client behind the peer that connected. The
// header is believed only as far as it was written by trusted proxies: from the
// right, the first address that is not one of them. What cannot be parsed ends
// the search, and the last trusted address stands. peer is the answer when it is
// not trusted.
func (s *Settings) Client(r *http.Request, peer netip.Addr) netip.Addr {
	if !s.trusts(peer) {
		return peer
	}
	return s.behind(peer, r.Header)
}

// behind is the address of the client behind a trusted peer.
func (s *Settings) behind(peer netip.Addr, h http.Header) netip.Addr {
	client, hops := peer, hopsOf(h, s.AddressHeader)
	for range maxHops {
		addr, ok := parseHop(hops.next())
		if !ok {
			return client
		}
		client = addr
		if !s.trusts(addr) {
			return client
		}
	}
	return client
}

func (s *Settings) trusts(addr netip.Addr) bool {
	return addr.IsValid() && slices.ContainsFunc(s.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// peerOf is the other end of the connection; invalid when it has no IP address.
func peerOf(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap().WithZone("")
}

// hops reads a forwarding header from the right, the nearest hop first. Several lines
// are one list (RFC 9110 §5.3). Headers that hold a single address are lists of one; a
// second line of such a header makes it ambiguous, and the last one, which the nearest
// proxy wrote, counts.
type hops struct {
	lines     []string // to come
	line      string   // what is left of the one that is read
	more      bool     // there may be something left
	forwarded bool     // they are elements of Forwarded
}

func hopsOf(h http.Header, name string) hops {
	return hops{lines: h.Values(name), forwarded: strings.EqualFold(name, "Forwarded")}
}

// next is what the next hop is called; "" when there is none, or none that is named.
func (h *hops) next() string {
	for h.more || len(h.lines) > 0 {
		if last := len(h.lines) - 1; !h.more {
			h.line, h.lines = h.lines[last], h.lines[:last]
		}
		var hop string
		h.line, hop, h.more = cutLast(h.line, ',')
		switch {
		case hop == "": // an empty element is none (RFC 9110 §5.6.1)
		case h.forwarded:
			return forwardedFor(hop)
		default:
			return hop
		}
	}
	return ""
}

// elementsFromTheRight lists the elements of a field's value, the last one first,
// without the empty ones (RFC 9110 §5.6.1). It reads no further to the left than
// it is asked to. What a client wrote on the left cannot touch what a proxy
// appended: no quote that it opened swallows the rest.
func elementsFromTheRight(line string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for more := true; more; {
			var element string
			line, element, more = cutLast(line, ',')
			if element != "" && !yield(element) {
				return
			}
		}
	}
}

// cutLast cuts a list at its last separator outside quoted strings.
func cutLast(list string, separator byte) (before, last string, found bool) {
	quoted := false
	for i := len(list) - 1; i >= 0; i-- {
		switch {
		case list[i] == '"' && !escaped(list[:i]):
			quoted = !quoted
		case list[i] == separator && !quoted:
			return list[:i], strings.Trim(list[i+1:], " \t"), true
		}
	}
	return "", strings.Trim(list, " \t"), false
}

// escaped reports whether the byte after a text is escaped by it.
func escaped(before string) bool {
	return (len(before)-len(strings.TrimRight(before, `\`)))%2 == 1
}

// forwardedFor returns the for= parameter of one Forwarded element (RFC 7239 §4),
// "" when it has none or has two.
func forwardedFor(element string) string {
	found := ""
	for more := true; more; {
		var pair string
		element, pair, more = cutLast(element, ';')
		name, value, _ := strings.Cut(pair, "=")
		if !strings.EqualFold(name, "for") {
			continue
		}
		if found != "" || value == "" {
			return ""
		}
		found = value
	}
	if len(found) >= 2 && found[0] == '"' && found[len(found)-1] == '"' {
		found = found[1 : len(found)-1]
	}
	return found
}

// parseHop reads an address with or without a port: 192.0.2.1, 192.0.2.1:80,
// 2001:db8::1, [2001:db8::1], [2001:db8::1]:80.
func parseHop(hop string) (netip.Addr, bool) {
	if len(hop) > 64 {
		return netip.Addr{}, false
	}
	if at, err := netip.ParseAddrPort(hop); err == nil {
		return at.Addr().Unmap().WithZone(""), true
	}
	if len(hop) > 2 && hop[0] == '[' && hop[len(hop)-1] == ']' {
		hop = hop[1 : len(hop)-1]
		if !strings.Contains(hop, ":") {
			return netip.Addr{}, false
		}
	}
	addr, err := netip.ParseAddr(hop)
	if err != nil {
		return netip.Addr{}, false
	}
	return addr.Unmap().WithZone(""), true
}

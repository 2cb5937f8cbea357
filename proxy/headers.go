package proxy

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"proxima/http1"
	"proxima/router"
)

// forwardedHeader is the client's header as an endpoint shall see it. What stays as it
// was has its values from the client's header, so nobody changes them in place.
func (x *exchange) forwardedHeader() http.Header {
	in := x.in.Header
	out := newFields(make(http.Header, len(in)+ownFields), ownFields)
	for name, values := range in {
		if x.passes(name) {
			out.header[name] = values
		}
	}
	removeNamed(out.header, in["Connection"])
	if http1.AnyHasToken(in["Te"], "trailers") {
		out.set("Te", "trailers")
	}
	if x.asksHops() && field(out.header, "Max-Forwards") != "" {
		out.set("Max-Forwards", strconv.Itoa(x.hopsLeft()-1))
	}
	if _, given := out.header["User-Agent"]; !given {
		out.set("User-Agent", "") // none: net/http would write its own
	}
	x.sayWhoAsks(&out)
	x.sayWhoCarries(&out)
	return out.header
}

// ownFields is how many fields forwardedHeader sets, rare ones aside.
const ownFields = 8

// passes reports whether a field of the client's goes on to the endpoint.
func (x *exchange) passes(name string) bool {
	if name == "Expect" || isLocal(name) { // the body is read here, so the client was told to go on
		return false
	}
	return x.trusted || !isClaim(name) && !strings.EqualFold(name, x.settings.AddressHeader)
}

// isLocal reports whether a field belongs to one connection (RFC 9110 §7.6.1, and what
// came before it), or is one that this router alone says or reads.
func isLocal(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings":
		return true
	}
	return strings.HasPrefix(name, "X-Proxima-")
}

// isClaim reports whether a field says who the client is. From a peer that is not
// trusted it is not passed on: an endpoint might believe it.
func isClaim(name string) bool {
	switch name {
	case "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Forwarded-Server",
		"X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "Fastly-Client-Ip":
		return true
	}
	return false
}

// asksHops reports whether Max-Forwards means something for the request's method.
func (x *exchange) asksHops() bool {
	return x.in.Method == http.MethodOptions || x.in.Method == http.MethodTrace
}

// mostHops is what a Max-Forwards that cannot be read, or is absurd, is taken for.
const mostHops = 255

// hopsLeft is how far the client wants its OPTIONS or TRACE to go.
func (x *exchange) hopsLeft() int {
	n, err := strconv.ParseUint(field(x.in.Header, "Max-Forwards"), 10, 8)
	if err != nil {
		return mostHops
	}
	return int(n)
}

// endsHere reports whether this router is the one the request is meant for (RFC 9110
// §7.6.2).
func (x *exchange) endsHere() bool {
	return x.asksHops() && field(x.in.Header, "Max-Forwards") != "" && x.hopsLeft() == 0
}

// sayWhoAsks tells the endpoint about the client: appended to what a trusted
// proxy said, in place of what anybody else said.
func (x *exchange) sayWhoAsks(out *fields) {
	if x.settings.ReplaceForwarded {
		out.set("X-Forwarded-For", nameOf(x.record.Client))
	} else {
		out.set("X-Forwarded-For", appended(out.header["X-Forwarded-For"], nameOf(x.peer)))
	}
	if field(out.header, "X-Forwarded-Host") == "" {
		out.set("X-Forwarded-Host", x.in.Host)
	}
	if field(out.header, "X-Forwarded-Proto") == "" {
		out.set("X-Forwarded-Proto", schemeOf(x.in))
	}
}

// nameOf writes an address, or "unknown" (RFC 7239 §6.2) where there is none.
func nameOf(peer netip.Addr) string {
	if !peer.IsValid() {
		return "unknown"
	}
	return peer.String()
}

// sayWhoCarries adds this router to the request's trace.
func (x *exchange) sayWhoCarries(out *fields) {
	out.set("Via", appended(out.header["Via"], viaOf(x.in.ProtoMajor, x.in.ProtoMinor)))
	out.set("Cdn-Loop", appended(out.header["Cdn-Loop"], x.handler.loopToken()))
	out.set("X-Request-Id", x.record.ID)
	if !validTraceparent(field(out.header, "Traceparent")) {
		out.set("Traceparent", newTraceparent())
		delete(out.header, "Tracestate")
	}
}

// describe writes what the client may know about who answered, and how long it took.
func (x *exchange) describe(h http.Header) {
	removeLocal(h)
	out := newFields(h, 5)
	out.set("X-Request-Id", x.record.ID)
	if attempt := x.record.Last(); attempt != nil {
		out.set("X-Proxima-Region", string(attempt.Region))
		out.set("X-Proxima-Endpoint", string(attempt.Endpoint))
		out.set("X-Proxima-Attempts", strconv.Itoa(len(x.record.Attempts)))
		out.add("Server-Timing", x.timing(attempt))
	}
}

// timing says how long the parts of a request took (Server-Timing, W3C).
func (x *exchange) timing(a *router.Attempt) string {
	text := make([]byte, 0, 96)
	text = appendMs(append(text, "geo;dur="...), x.record.Locate)
	text = appendMs(append(text, ", pick;dur="...), x.record.Decide)
	text = appendMs(append(text, ", connect;dur="...), a.Connected)
	text = appendMs(append(text, ", ttfb;dur="...), a.FirstByte)
	return string(text)
}

// appendMs writes a time in milliseconds, with three decimals.
func appendMs(text []byte, d time.Duration) []byte {
	us := max(d, 0).Round(time.Microsecond).Microseconds()
	text = strconv.AppendInt(text, us/1000, 10)
	return append(text, '.', '0'+byte(us/100%10), '0'+byte(us/10%10), '0'+byte(us%10))
}

// loops reports whether this very router has carried the request before (RFC 8586).
func (x *exchange) loops() bool {
	for _, line := range x.in.Header["Cdn-Loop"] {
		for token := range elementsFromTheRight(line) {
			if token == x.handler.loopToken() {
				return true
			}
		}
	}
	return false
}

// loopToken is this router's name in CDN-Loop.
func (h *Handler) loopToken() string {
	h.naming.Do(func() { h.token = "proxima; id=" + h.Instance })
	return h.token
}

func viaOf(major, minor int) string {
	switch {
	case major == 1 && minor == 1:
		return "1.1 proxima"
	case major >= 2:
		return strconv.Itoa(major) + " proxima"
	}
	return fmt.Sprintf("%d.%d proxima", major, minor)
}

// appended is a list field with one member more, as one line.
func appended(lines []string, last string) string {
	if len(lines) == 0 {
		return last
	}
	return strings.Join(append(slices.Clip(lines), last), ", ")
}

func schemeOf(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// removeLocal deletes what belongs to one connection, with what its Connection
// field names, and what this router alone says or reads.
func removeLocal(h http.Header) {
	removeNamed(h, h["Connection"])
	for name := range h {
		if isLocal(name) {
			delete(h, name)
		}
	}
}

// removeNamed deletes what a Connection field names. Most name nothing but how long the
// connection lives.
func removeNamed(h http.Header, connection []string) {
	for _, line := range connection {
		for name := range strings.SplitSeq(line, ",") {
			if name = textproto.TrimString(name); name != "keep-alive" && name != "close" {
				h.Del(name)
			}
		}
	}
}

// fields sets single values in a header, all of them in one array.
type fields struct {
	header http.Header
	values []string
}

// newFields has room for n values.
func newFields(h http.Header, n int) fields { return fields{h, make([]string, 0, n)} }

// set is Header.Set for names in canonical form.
func (f *fields) set(name, value string) {
	n := len(f.values)
	f.values = append(f.values, value)
	f.header[name] = f.values[n : n+1 : n+1]
}

// add is Header.Add for names in canonical form. It leaves the values that were there
// where they are: others may have them too.
func (f *fields) add(name, value string) {
	if before := f.header[name]; len(before) > 0 {
		f.header[name] = append(slices.Clip(before), value)
		return
	}
	f.set(name, value)
}

// field is Header.Get for names in canonical form.
func field(h http.Header, name string) string {
	if values := h[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// requestID keeps the one that a trusted proxy gave, if it is fit for a log, and
// makes one otherwise.
func requestID(r *http.Request, trusted bool) string {
	if trusted {
		if id := field(r.Header, "X-Request-Id"); fitForLog(id) {
			return id
		}
	}
	return string(appendHex(make([]byte, 0, 16), rand.Uint64()))
}

func fitForLog(id string) bool {
	if id == "" || len(id) > 128 {
		return false
	}
	for i := range len(id) {
		if c := id[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// validTraceparent checks the form that W3C Trace Context §3.2 asks for.
func validTraceparent(v string) bool {
	if len(v) != 55 || v[2] != '-' || v[35] != '-' || v[52] != '-' || v[:2] == "ff" {
		return false
	}
	version, trace, parent, flags := v[:2], v[3:35], v[36:52], v[53:]
	return isHex(version) && isHex(trace) && isHex(parent) && isHex(flags) &&
		strings.Trim(trace, "0") != "" && strings.Trim(parent, "0") != ""
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }

// newTraceparent begins a trace that nobody is asked to record.
func newTraceparent() string {
	text := make([]byte, 0, 55)
	text = appendHex(appendHex(append(text, "00-"...), nonZero()), nonZero())
	text = appendHex(append(text, '-'), nonZero())
	return string(append(text, "-00"...))
}

// appendHex writes a number in 16 hexadecimal digits.
func appendHex(text []byte, n uint64) []byte {
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], n)
	return hex.AppendEncode(text, raw[:])
}

func nonZero() uint64 { return rand.Uint64() | 1 }

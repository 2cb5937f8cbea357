package proxy

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"
)

// hopByHop are the fields that belong to one connection (RFC 9110 §7.6.1, and the
// ones that came before it).
var hopByHop = []string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings",
}

// claims are fields in which a sender says who the client is. From a peer that
// is not trusted they are not passed on: an endpoint might believe them.
var claims = []string{
	"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Forwarded-Server",
	"X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "Fastly-Client-Ip",
}

// forwardedHeader is the client's header as an endpoint shall see it.
func (x *exchange) forwardedHeader() http.Header {
	in := x.in.Header
	out := in.Clone()
	removeLocal(out)
	if names(in["Te"], "trailers") {
		out.Set("Te", "trailers")
	}
	if x.asksHops() && out.Get("Max-Forwards") != "" {
		out.Set("Max-Forwards", strconv.Itoa(x.hopsLeft()-1))
	}
	out.Del("Expect") // the body is read here, so the client was told to go on
	if _, given := out["User-Agent"]; !given {
		out.Set("User-Agent", "")
	}
	x.sayWhoAsks(out)
	x.sayWhoCarries(out)
	return out
}

// asksHops reports whether Max-Forwards means something for the request's method.
func (x *exchange) asksHops() bool {
	return x.in.Method == http.MethodOptions || x.in.Method == http.MethodTrace
}

// mostHops is what a Max-Forwards that cannot be read, or is absurd, is taken for.
const mostHops = 255

// hopsLeft is how far the client wants its OPTIONS or TRACE to go.
func (x *exchange) hopsLeft() int {
	n, err := strconv.ParseUint(x.in.Header.Get("Max-Forwards"), 10, 8)
	if err != nil {
		return mostHops
	}
	return int(n)
}

// endsHere reports whether this router is the one the request is meant for (RFC 9110
// §7.6.2).
func (x *exchange) endsHere() bool {
	return x.asksHops() && x.in.Header.Get("Max-Forwards") != "" && x.hopsLeft() == 0
}

// sayWhoAsks tells the endpoint about the client: appended to what a trusted
// proxy said, in place of what anybody else said.
func (x *exchange) sayWhoAsks(out http.Header) {
	if !x.trusted {
		for _, name := range claims {
			out.Del(name)
		}
		out.Del(x.settings.AddressHeader)
	}
	if x.settings.ReplaceForwarded {
		out.Set("X-Forwarded-For", nameOf(x.record.Client))
	} else {
		out.Set("X-Forwarded-For", appended(out.Values("X-Forwarded-For"), nameOf(x.peer)))
	}
	if out.Get("X-Forwarded-Host") == "" {
		out.Set("X-Forwarded-Host", x.in.Host)
	}
	if out.Get("X-Forwarded-Proto") == "" {
		out.Set("X-Forwarded-Proto", schemeOf(x.in))
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
func (x *exchange) sayWhoCarries(out http.Header) {
	out.Set("Via", appended(out.Values("Via"), viaOf(x.in.ProtoMajor, x.in.ProtoMinor)))
	out.Set("Cdn-Loop", appended(out.Values("Cdn-Loop"), x.handler.loopToken()))
	out.Set("X-Request-Id", x.record.ID)
	if !validTraceparent(out.Get("Traceparent")) {
		out.Set("Traceparent", fmt.Sprintf("00-%016x%016x-%016x-00", nonZero(), nonZero(), nonZero()))
		out.Del("Tracestate")
	}
}

// describe writes what the client may know about who answered, and how long it took.
func (x *exchange) describe(out http.Header) {
	removeLocal(out)
	out.Set("X-Request-Id", x.record.ID)
	if attempt := x.record.Last(); attempt != nil {
		out.Set("X-Proxima-Region", string(attempt.Region))
		out.Set("X-Proxima-Endpoint", string(attempt.Endpoint))
		out.Set("X-Proxima-Attempts", fmt.Sprint(len(x.record.Attempts)))
		out.Add("Server-Timing", fmt.Sprintf("geo;dur=%.3f, pick;dur=%.3f, connect;dur=%.3f, ttfb;dur=%.3f",
			ms(x.record.Locate), ms(x.record.Decide), ms(attempt.Connected), ms(attempt.FirstByte)))
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

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

func (h *Handler) loopToken() string { return "proxima; id=" + h.Instance }

func viaOf(major, minor int) string {
	if major >= 2 {
		return fmt.Sprintf("%d proxima", major)
	}
	return fmt.Sprintf("%d.%d proxima", major, minor)
}

// appended is a list field with one member more, as one line.
func appended(lines []string, last string) string {
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
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			h.Del(textproto.TrimString(name))
		}
	}
	for _, name := range hopByHop {
		h.Del(name)
	}
	for name := range h {
		if strings.HasPrefix(name, "X-Proxima-") {
			delete(h, name)
		}
	}
}

// names reports whether a list of tokens has this one, in any case.
func names(lines []string, token string) bool {
	for _, line := range lines {
		for member := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(textproto.TrimString(member), token) {
				return true
			}
		}
	}
	return false
}

// requestID keeps the one that a trusted proxy gave, if it is fit for a log, and
// makes one otherwise.
func requestID(r *http.Request, trusted bool) string {
	if id := r.Header.Get("X-Request-Id"); trusted && fitForLog(id) {
		return id
	}
	return fmt.Sprintf("%016x", rand.Uint64())
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
	digits := v[:2] + v[3:35] + v[36:52] + v[53:]
	return strings.Trim(digits, "0123456789abcdef") == "" &&
		strings.Trim(v[3:35], "0") != "" && strings.Trim(v[36:52], "0") != ""
}

func nonZero() uint64 { return rand.Uint64() | 1 }

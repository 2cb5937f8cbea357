package edge

import (
	"net/http"
	"strconv"

	"proxima/http1"
)

// framing is how the end of the body is told.
type framing uint8

const (
	undecided framing = iota
	bodiless
	counted
	chunked
	untilClose
)

// frame ends the head, if it has not yet, with how the body's end is told. next is what is
// to be written behind what is held; last: it is all there will be.
func (a *answer) frame(next []byte, last bool) {
	if a.framing != undecided {
		return
	}
	a.reserve()
	held := a.held
	a.held = nil
	a.decide(int64(len(held)), last)
	switch {
	case a.typed || !mayHaveBody(a.status):
	case len(held) > 0:
		a.appendField("Content-Type", http.DetectContentType(held))
	case len(next) > 0:
		a.appendField("Content-Type", http.DetectContentType(next))
	}
	a.appendFraming()
	a.appendConnection()
	a.out = append(a.out, "\r\n"...)
	if len(held) > 0 {
		a.append(held)
		a.exchange.front.server.buffers.reuse(held)
	}
}

// decide chooses the framing. HEAD is told as much of the body as GET, as far as it is
// known.
func (a *answer) decide(held int64, last bool) {
	head := a.exchange.head
	switch {
	case !mayHaveBody(a.status):
		a.framing, a.length = bodiless, -1
	case a.length < 0 && last && !a.hasTrailer() && (!head || held > 0):
		a.length = held
	}
	switch {
	case a.framing == bodiless:
	case head:
		a.framing = bodiless
	case a.length >= 0:
		a.framing = counted
	case a.exchange.old:
		a.framing = untilClose
	default:
		a.framing = chunked
	}
}

// appendFraming says the length also where there is no body, if it is that of GET's.
func (a *answer) appendFraming() {
	switch {
	case a.length >= 0:
		a.out = append(a.out, "Content-Length: "...)
		a.out = strconv.AppendInt(a.out, a.length, 10)
		a.out = append(a.out, "\r\n"...)
	case a.framing == chunked:
		a.appendField("Transfer-Encoding", "chunked")
	}
}

func (a *answer) appendConnection() {
	x, told := a.exchange, a.header["Connection"]
	a.closes = a.framing == untilClose || x.mustClose() || http1.AnyHasToken(told, "close")
	switch {
	case a.status == http.StatusSwitchingProtocols:
	case a.closes:
		a.appendField("Connection", "close")
		return
	case x.old:
		a.appendField("Connection", "keep-alive")
		return
	}
	if len(told) > 0 {
		a.out = http1.AppendHeader(a.out, http.Header{"Connection": told}, nil)
	}
}

func (a *answer) appendField(name, value string) {
	a.out = append(a.out, name...)
	a.out = append(a.out, ": "...)
	a.out = append(a.out, value...)
	a.out = append(a.out, "\r\n"...)
}

// append puts some of the body into the buffer.
func (a *answer) append(p []byte) {
	switch a.framing {
	case bodiless:
	case chunked:
		a.out = http1.AppendChunk(a.out, p)
	default:
		a.out = append(a.out, p...)
	}
}

// mayHaveBody is by RFC 9110 §6.4.1.
func mayHaveBody(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

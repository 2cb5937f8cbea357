package edge

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"proxima/http1"
)

// answer is the http.ResponseWriter of one request. It is what net/http's is, and can be
// detached besides.
//
// WriteHeader puts the head into a buffer and Write the first piece behind it, so that
// both leave in one system call, with Flush, with the end of the answer, or when they
// are more than the buffer holds. How the body's end is told (RFC 9112 §6.3) is
// decided as late as that, so that a short answer gets a Content-Length.
type answer struct {
	exchange *exchange
	header   http.Header
	status   int   // 0: nobody has said
	length   int64 // that the handler declared; -1: none
	written  int64 // of the body
	framing  framing
	typed    bool // the handler said what the content is, or that it says nothing
	closes   bool // the connection ends with this answer
	hijacked bool

	out  []byte // on its way to the client
	held []byte // of the body, as long as framing is undecided
	err  error  // what came of writing; nothing more is written

	interim sync.Mutex // one of sayContinue and the answer goes first
}

// framing is how the end of the body is told.
type framing uint8

const (
	undecided framing = iota
	bodiless
	counted
	chunked
	untilClose
)

// heldAtMost is how long a body of unknown length may be and yet get a Content-Length.
const heldAtMost = 2 << 10

// Header is a http.ResponseWriter's.
func (a *answer) Header() http.Header {
	if a.header == nil {
		a.header = make(http.Header)
	}
	return a.header
}

// WriteHeader is a http.ResponseWriter's. It sends nothing, unless it is an interim
// answer, which goes out at once. Transfer-Encoding in the header means nothing.
func (a *answer) WriteHeader(status int) {
	switch {
	case status < 100 || status > 999:
		panic("edge: a handler answers with status " + strconv.Itoa(status))
	case a.hijacked || a.status != 0:
		a.exchange.front.server.logf("a handler answers with %d after it has answered with %d", status, a.status)
	case status < 200 && status != http.StatusSwitchingProtocols:
		a.writeInterim(status)
	default:
		a.begin(status)
	}
}

// writeInterim leaves out what only belongs to the answer itself. HTTP/1.0 has none
// (RFC 9110 §15.2).
func (a *answer) writeInterim(status int) {
	if a.exchange.old {
		return
	}
	if status == http.StatusContinue {
		a.forgetContinue()
	}
	a.appendStatus(status)
	a.out = http1.AppendHeader(a.out, a.header, isFraming)
	a.out = append(a.out, "\r\n"...)
	_ = a.send() // it shows when the answer is written
}

func isFraming(name string) bool {
	return name == "Content-Length" || name == "Transfer-Encoding"
}

// begin puts the head into the buffer, as far as it is certain.
func (a *answer) begin(status int) {
	a.forgetContinue()
	a.status = status
	a.length = a.declared()
	_, a.typed = a.header["Content-Type"]
	a.typed = a.typed || a.header.Get("Content-Encoding") != ""
	a.appendStatus(status)
	skip := isOurs
	if status == http.StatusNotModified {
		skip = isOursOrType
	}
	a.out = http1.AppendHeader(a.out, a.header, skip)
	if _, given := a.header["Date"]; !given {
		a.out = a.exchange.front.server.clock.appendDate(a.out)
	}
}

// isOurs names what frame decides on, and trailers that have no place in the head.
func isOurs(name string) bool {
	switch name {
	case "Connection", "Content-Length", "Transfer-Encoding":
		return true
	}
	return strings.HasPrefix(name, http.TrailerPrefix)
}

func isOursOrType(name string) bool { return name == "Content-Type" || isOurs(name) }

// appendStatus is the first line.
func (a *answer) appendStatus(status int) {
	a.reserve()
	version := "HTTP/1.1 "
	if a.exchange.old {
		version = "HTTP/1.0 "
	}
	a.out = append(a.out, version...)
	a.out = strconv.AppendInt(a.out, int64(status), 10)
	a.out = append(a.out, ' ')
	a.out = append(a.out, http.StatusText(status)...)
	a.out = append(a.out, "\r\n"...)
}

// declared is the Content-Length that the handler gave; -1: none.
func (a *answer) declared() int64 {
	text := a.header.Get("Content-Length")
	if text == "" {
		return -1
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		a.exchange.front.server.logf("a handler's Content-Length is %q", text)
		return -1
	}
	return int64(n)
}

// Write is a http.ResponseWriter's. After it has failed, everything fails.
func (a *answer) Write(p []byte) (int, error) {
	if a.hijacked {
		return 0, http.ErrHijacked
	}
	if a.status == 0 {
		a.begin(http.StatusOK)
	}
	switch {
	case len(p) == 0:
		return 0, nil
	case !mayHaveBody(a.status):
		return 0, http.ErrBodyNotAllowed
	}
	a.written += int64(len(p))
	if a.length >= 0 && a.written > a.length {
		return 0, http.ErrContentLength
	}
	if err := a.take(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// mayHaveBody is by RFC 9110 §6.4.1.
func mayHaveBody(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// take takes some of the body.
func (a *answer) take(p []byte) error {
	if a.framing == undecided && a.length < 0 && len(a.held)+len(p) <= heldAtMost {
		if a.held == nil {
			a.held = a.exchange.front.server.buffers.take()[:0]
		}
		a.held = append(a.held, p...)
		return a.err
	}
	a.frame(p, false)
	return a.put(p)
}

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
	a.closes = a.framing == untilClose || x.mustClose() || anyHas(told, "close")
	switch {
	case a.status == http.StatusSwitchingProtocols:
	case a.closes:
		a.appendField("Connection", "close")
		return
	case x.old:
		a.appendField("Connection", "keep-alive")
		return
	}
	for _, line := range told {
		a.appendField("Connection", line)
	}
}

func anyHas(lines []string, token string) bool {
	for _, line := range lines {
		if http1.HasToken(line, token) {
			return true
		}
	}
	return false
}

func (a *answer) appendField(name, value string) {
	a.out = append(a.out, name...)
	a.out = append(a.out, ": "...)
	a.out = append(a.out, value...)
	a.out = append(a.out, "\r\n"...)
}

// put writes some of the body: into the buffer, or with it when it does not fit there.
func (a *answer) put(p []byte) error {
	switch {
	case a.err != nil:
		return a.err
	case a.framing == bodiless:
		return nil
	}
	a.reserve()
	const around = len("ffffffffffffffff\r\n\r\n") // of a chunk
	if len(a.out)+len(p)+around <= len(buffer{}) {
		a.append(p)
		return nil
	}
	var end []byte
	if a.framing == chunked {
		a.out = strconv.AppendUint(a.out, uint64(len(p)), 16)
		a.out = append(a.out, "\r\n"...)
		end = a.out[len(a.out)-len("\r\n"):]
	}
	return a.sendWith(p, end)
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

// Flush is a http.Flusher's.
func (a *answer) Flush() { _ = a.FlushError() }

// FlushError sends what was written so far, and returns when the kernel has it.
func (a *answer) FlushError() error {
	if a.hijacked {
		return http.ErrHijacked
	}
	if a.status == 0 {
		a.begin(http.StatusOK)
	}
	a.frame(nil, false)
	return a.send()
}

// end sends what is left of the answer, and reports whether another may follow it. No more
// is taken, from whoever still has it.
func (a *answer) end() (goesOn bool, err error) {
	if a.status == 0 {
		a.begin(http.StatusOK)
	}
	a.frame(nil, true)
	if a.framing == chunked {
		a.reserve()
		a.out = http1.AppendLastChunk(a.out, a.trailer())
	}
	whole := a.framing != counted || a.written == a.length
	err = a.send()
	a.err = errOver
	return whole && !a.closes && a.status != http.StatusSwitchingProtocols, err
}

var errOver = errors.New("the answer is over")

// breakOff sends what is left of the answer without its end, as far as that goes out at once.
func (a *answer) breakOff() {
	if a.hijacked || a.framing == undecided {
		a.drop()
		return
	}
	client := a.exchange.front.client
	_ = client.SetWriteDeadline(time.Now().Add(lingering))
	client.socket.hurry(true)
	_ = a.send()
}

// reserve sees that there is a buffer.
func (a *answer) reserve() {
	if a.out == nil {
		a.out = a.exchange.front.server.buffers.take()[:0]
	}
}

// drop gives the buffers back.
func (a *answer) drop() {
	pool := &a.exchange.front.server.buffers
	pool.reuse(a.out)
	pool.reuse(a.held)
	a.out, a.held = nil, nil
}

// send sends what is in the buffer, and what was kept when somebody did not want to wait.
func (a *answer) send() error { return a.sendWith(nil, nil) }

func (a *answer) sendWith(p, end []byte) error {
	if a.err == nil {
		if err := a.exchange.front.write(a.out, p, end); err != nil {
			a.err = err
			a.exchange.life.end(context.Canceled) // the client is gone
		}
	}
	a.exchange.front.server.buffers.reuse(a.out)
	a.out = nil
	return a.err
}

// sayContinue tells a client to send the body, unless it has an answer already.
func (a *answer) sayContinue() {
	a.interim.Lock()
	defer a.interim.Unlock()
	if a.exchange.asksContinue {
		a.exchange.asksContinue = false
		_, _ = io.WriteString(a.exchange.front.conn, "HTTP/1.1 100 Continue\r\n\r\n") // it shows when the body is read
	}
}

// forgetContinue is before an answer to somebody who waits for leave to send the body.
func (a *answer) forgetContinue() {
	a.interim.Lock()
	defer a.interim.Unlock()
	a.exchange.asksContinue = false
}

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

// SetReadDeadline is for reads of the request's body (http.ResponseController): also one
// that waits already ends then, with an error that is os.ErrDeadlineExceeded. The zero
// time lifts it.
func (a *answer) SetReadDeadline(t time.Time) error {
	return a.exchange.front.client.SetReadDeadline(t)
}

// SetWriteDeadline is for writing the answer (http.ResponseController). It is lifted at
// the answer's end.
func (a *answer) SetWriteDeadline(t time.Time) error {
	return a.exchange.front.client.SetWriteDeadline(t)
}

// EnableFullDuplex has nothing to enable: the body may be read while the answer goes out.
func (a *answer) EnableFullDuplex() error { return nil }

// Hijack is a http.Hijacker's. The connection closes when the caller closes it, or with
// Server.Close. Nobody notices any more when the client leaves.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	x := a.exchange
	switch {
	case a.hijacked:
		return nil, nil, http.ErrHijacked
	case x.detached:
		return nil, nil, errors.New("a detached answer's connection cannot be taken over")
	}
	a.forgetContinue()
	if a.status != 0 {
		_ = a.FlushError() // the caller will see it, too
	}
	if x.hasBody() {
		x.body.end()
	}
	a.hijacked = true
	a.drop()
	conn, came := x.front.handOver()
	in := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(came), conn), max(len(buffer{}), len(came)))
	_, _ = in.Peek(len(came)) // now it is buffered
	return conn, bufio.NewReadWriter(in, bufio.NewWriter(conn)), nil
}

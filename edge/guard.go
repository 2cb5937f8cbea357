package edge

import (
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
)

// guard stands between a client's connection and net/http's server and hands on
// the bytes of well-formed HTTP/1 requests (RFC 9112), unchanged, and nothing
// else. net/http is lenient where the RFC lets it be: it unfolds folded lines,
// takes a bare LF for the end of a line, lets Transfer-Encoding win over
// Content-Length. Whoever stands in front or behind may read such a request
// another way, and then another request hides in it. At the first bad byte Read
// fails, and goes on failing. The end of a bad head is never handed on, so that
// net/http has no request to serve and answers 400; a bad body cannot be read to
// its end.
//
// It decides nothing about size. net/http does: it answers 431 to a head that is
// too large, and bears no chunk line of 4 KiB, no 16 KiB of chunk extensions in a
// body and no trailer of more than 4 KiB.
//
// One request is handed on at a time. What the client sends behind it is kept back
// until net/http asks for it, so that a bad request does no harm to the good one
// before it.
type guard struct {
	net.Conn

	request request // the one that is handed on, as far as it has come
	held    []byte  // came from the client and is not handed on yet
	ended   error   // what came from the connection behind held
	refused error   // why nothing is handed on any more

	sniffs bool // for the preface of HTTP/2, with which the connection may begin
	first  [len(preface)]byte
	passes atomic.Bool // what comes is not HTTP/1
}

// preface is how HTTP/2 begins (RFC 9113 §3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// newGuard guards a connection from which TLS, if any, was taken off. With h2c, a
// connection that begins with the preface of HTTP/2 is left to net/http.
func newGuard(conn net.Conn, h2c bool) *guard { return &guard{Conn: conn, sniffs: h2c} }

// follow takes note of what net/http says about a connection. A handler that took
// it over speaks another protocol on it, so the guard lets everything pass.
func follow(g *guard, state http.ConnState) {
	if state == http.StateHijacked {
		g.passes.Store(true)
	}
}

func (g *guard) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := g.sniff(); err != nil {
		return 0, err
	}
	if g.passes.Load() {
		return g.pass(p)
	}
	return g.handOn(p)
}

// sniff reads until it is known whether HTTP/2 begins here. No byte of what may be
// its preface is handed on before: net/http takes the preface for a request if what
// follows it goes wrong.
func (g *guard) sniff() error {
	for g.sniffs {
		n, err := g.Conn.Read(g.first[len(g.held):])
		g.held = g.first[:len(g.held)+n]
		switch {
		case string(g.held) == preface:
			g.sniffs = false
			g.passes.Store(true)
		case !strings.HasPrefix(preface, string(g.held)):
			g.sniffs = false
			g.ended = err
		case err != nil:
			return err
		}
	}
	return nil
}

// handOn reads some of the request under way, or the first of the next one.
func (g *guard) handOn(p []byte) (int, error) {
	if g.refused != nil {
		return 0, g.refused
	}
	if g.request.over {
		g.request = request{}
	}
	begins, fresh := g.request.at == nil, len(g.held) == 0
	n, err := g.receive(p)
	good, bad := g.request.scan(p[:n])
	if g.refused = bad; bad != nil && good == 0 {
		if !begins {
			return 0, bad
		}
		// net/http may be reading a byte ahead while it serves the request before, and
		// would cancel that if it got an error. One byte is no request.
		good = 1
	}
	switch {
	case !fresh:
		g.held = g.held[good:]
	case good < n:
		g.held, g.ended, err = slices.Clone(p[good:n]), err, nil
	}
	return good, err
}

// receive copies what is held, which stays so, or else reads from the client.
func (g *guard) receive(p []byte) (int, error) {
	if len(g.held) > 0 {
		return copy(p, g.held), nil
	}
	if err := g.ended; err != nil {
		g.ended = nil
		return 0, err
	}
	return g.Conn.Read(p)
}

// pass reads what is not HTTP/1.
func (g *guard) pass(p []byte) (int, error) {
	n, err := g.receive(p)
	g.held = g.held[min(n, len(g.held)):]
	return n, err
}

// NetConn is the connection below.
func (g *guard) NetConn() net.Conn { return g.Conn }

// CloseWrite is as in client.
func (g *guard) CloseWrite() error { return closeWrite(g.Conn) }

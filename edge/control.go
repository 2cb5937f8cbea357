package edge

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// SetReadDeadline is for reads of the request's body (http.ResponseController): also one
// that waits already ends then, with an error that is os.ErrDeadlineExceeded. The zero
// time lifts it.
func (a *answer) SetReadDeadline(t time.Time) error {
	return a.control(func(c *client) error { return c.SetReadDeadline(t) })
}

// SetWriteDeadline is for writing the answer (http.ResponseController). It is lifted at
// the answer's end.
func (a *answer) SetWriteDeadline(t time.Time) error {
	return a.control(func(c *client) error { return c.SetWriteDeadline(t) })
}

// control lets the handler do something with the connection as long as that is its own:
// who comes too late must not disturb the next request.
func (a *answer) control(do func(*client) error) error {
	a.controlling.Lock()
	defer a.controlling.Unlock()
	if a.over {
		return errOver
	}
	return do(a.exchange.front.client)
}

// endControl ends the handler's control.
func (a *answer) endControl() {
	a.controlling.Lock()
	defer a.controlling.Unlock()
	a.over = true
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
		_ = a.FlushError() // what went wrong, the caller will see, too
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

package transport

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// connection is one to an endpoint. It serves one exchange at a time.
type connection struct {
	net.Conn
	host   string // as requests name it
	pool   *pool
	abort  func()  // closes it; made once, for all contexts that may end an exchange on it
	socket *socket // nil: it is none that can be looked at

	readable func(fd int, ready func()) (forget func(), err error) // as in Transport

	kept time.Time // since when it is
	lost chan bool // while it is kept and no socket: whether it was lost. See watch
}

func newConnection(conn net.Conn, host string, p *pool) *connection {
	c := &connection{Conn: conn, host: host, pool: p, socket: socketOf(conn)}
	c.abort = func() { _ = conn.Close() }
	return c
}

// rest begins the time in which a connection is kept.
func (c *connection) rest(now time.Time) {
	c.kept = now
	if c.socket == nil {
		c.lost = make(chan bool, 1)
		go c.watch()
	}
}

func (c *connection) age(now time.Time) time.Duration { return now.Sub(c.kept) }

// isReady reports whether a kept connection can take a request: it is young enough, it
// was not closed, and nothing has come on it. What comes unasked would be taken for the
// answer to the next request.
func (c *connection) isReady(now time.Time) bool {
	quiet := false
	if c.socket != nil {
		quiet = c.socket.isQuiet()
	} else {
		quiet = c.endWatch()
	}
	return quiet && c.age(now) < keptFor
}

// watch reads from a kept connection that cannot be looked at without reading, a
// pipe in memory for one. Whatever it reads, the connection is lost.
func (c *connection) watch() {
	n, err := c.Conn.Read(make([]byte, 1))
	lost := n > 0 || !errors.Is(err, os.ErrDeadlineExceeded)
	c.lost <- lost
	if lost {
		c.pool.drop(c)
	}
}

// endWatch ends the watch, and reports whether the connection is well.
func (c *connection) endWatch() bool {
	if c.SetReadDeadline(past) != nil {
		c.Close()
	}
	lost := <-c.lost
	return !lost && c.SetReadDeadline(time.Time{}) == nil
}

// past is a deadline that ends a read at once.
var past = time.Unix(1, 0)

// mostEmptyReads is how often in a row a connection may bring nothing without an error.
const mostEmptyReads = 100

// read waits for more of an answer. Bytes and an error do not come together: what
// ended the connection is there to be read again.
func (c *connection) read(p []byte) (int, error) {
	if c.socket != nil && len(p) > 0 {
		return c.socket.read(p)
	}
	for range mostEmptyReads {
		n, err := c.Conn.Read(p)
		if n > 0 {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, io.ErrNoProgress
}

// Write implements net.Conn.
func (c *connection) Write(p []byte) (int, error) {
	if c.socket != nil {
		return c.socket.write(p)
	}
	return c.Conn.Write(p)
}

// bufferSize holds the head of most answers, and often all of them.
const bufferSize = 4 << 10

type buffer [bufferSize]byte

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// readFirst waits for the beginning of an answer. It takes a buffer once something is
// there to put into it, if that can be known.
func (c *connection) readFirst() (*buffer, int, error) {
	if c.socket != nil {
		return c.socket.readFirst()
	}
	b := buffers.Get().(*buffer)
	n, err := c.read(b[:])
	if n == 0 {
		buffers.Put(b)
		return nil, 0, err
	}
	return b, n, nil
}

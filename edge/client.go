package edge

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// client is the connection of a client. It holds one of the server's places until
// it is closed.
type client struct {
	net.Conn // as it was accepted
	socket   socket
	server   *Server

	address netip.Addr // whose connection it is; invalid: not of TCP
	claimed net.Addr   // the same, when a PROXY header said so; nil
	rest    []byte     // what was read of it already, and is to be read again

	household netip.Prefix // where it is counted; guarded by server.mu
	front     *front       // nil: HTTP/1 is not spoken, or not yet; guarded by server.mu
	close     sync.Once

	state atomic.Int32 // a state
	due   atomic.Int64 // when its waiting ends, on the server's clock; 0: it does not; expired: it did
}

// state is what a connection is about.
type state = int32

const (
	arriving  state = iota // it asks for something for the first time, or a head has begun to come
	waiting                // it may ask for something more
	answering              // it asked
	elsewhere              // net/http has it, or whoever took it over
)

// expired is a due that has passed.
const expired = -1

// leastPatience is how long a client may take nothing at least, where a handler has set no
// limit. One that asks and asks and takes no answer is let go.
const leastPatience = time.Minute

func (s *Server) newClient(conn net.Conn) *client {
	c := &client{Conn: conn, server: s}
	c.socket.open(conn, &s.buffers)
	c.socket.out.patience = s.patience
	return c
}

// RemoteAddr is the client's address, also from behind a proxy.
func (c *client) RemoteAddr() net.Addr {
	if c.claimed != nil {
		return c.claimed
	}
	return c.Conn.RemoteAddr()
}

func (c *client) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return c.socket.Read(p)
	}
	n := copy(p, c.rest)
	if c.rest = c.rest[n:]; len(c.rest) == 0 {
		c.rest = nil
	}
	return n, nil
}

func (c *client) Write(p []byte) (int, error) { return c.socket.Write(p) }

// SetReadDeadline is a net.Conn's.
func (c *client) SetReadDeadline(t time.Time) error { return c.socket.SetReadDeadline(t) }

// SetWriteDeadline is a net.Conn's.
func (c *client) SetWriteDeadline(t time.Time) error { return c.socket.SetWriteDeadline(t) }

// SetDeadline is a net.Conn's.
func (c *client) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// interrupt ends a read that waits, and every one that begins before there is another
// deadline.
func (c *client) interrupt() { _ = c.SetReadDeadline(time.Unix(1, 0)) }

// Close closes the socket, and then gives the place to somebody else. From the
// second time on it returns net.ErrClosed.
func (c *client) Close() error {
	err := net.ErrClosed
	c.close.Do(func() {
		err = c.Conn.Close()
		c.server.forget(c)
	})
	return err
}

// CloseWrite ends what is sent to the client, so that a refusal can still be read.
func (c *client) CloseWrite() error { return closeWrite(c.Conn) }

// NetConn is the connection as it was accepted.
func (c *client) NetConn() net.Conn { return c.Conn }

// within finds a wrapper of a certain kind among those of a connection.
func within[Wrapper net.Conn](conn net.Conn) (found Wrapper, there bool) {
	for {
		if found, there = conn.(Wrapper); there {
			return found, true
		}
		outer, is := conn.(interface{ NetConn() net.Conn })
		if !is {
			return found, false
		}
		conn = outer.NetConn()
	}
}

// closeWrite ends what is sent to the client, where the connection can do so.
func closeWrite(conn net.Conn) error {
	if half, can := conn.(interface{ CloseWrite() error }); can {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

package transport

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"proxima/poll"
)

// bare is a socket that Go's poller does not know. It is read without waiting, and not
// written to.
type bare struct {
	ready  func()
	forget func()

	mu      sync.Mutex // guards what follows
	fd      int        // -1: it is closed
	aborted bool
}

// goBare takes the connection's socket from Go's poller.
func (c *connection) goBare(ready func()) bool {
	if c.socket == nil || c.readable == nil {
		return false
	}
	b := &bare{ready: ready, fd: -1}
	err := c.socket.raw.Control(func(fd uintptr) { b.fd, _ = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err != nil || b.fd < 0 {
		return false
	}
	b.forget, err = c.readable(b.fd, ready)
	if err != nil {
		unix.Close(b.fd)
		return false
	}
	c.Conn.Close() // the other descriptor of the same socket
	c.Conn, c.abort, c.socket = b, b.abort, nil
	return true
}

// dress gives the socket back to Go's poller, if it was taken from it. When that fails, the
// connection is closed.
func (c *connection) dress() bool {
	b, is := c.Conn.(*bare)
	if !is {
		return true
	}
	file := b.file()
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return false
	}
	readable := c.readable
	*c = *newConnection(conn, c.host, c.pool)
	c.readable = readable
	return true
}

func (b *bare) file() *os.File {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget()
	file := os.NewFile(uintptr(b.fd), "")
	b.fd = -1
	return file
}

func (b *bare) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fd < 0 || b.aborted {
		return 0, net.ErrClosed
	}
	n, err := poll.Receive(uintptr(b.fd), p)
	switch {
	case err == syscall.EAGAIN:
		return 0, ErrNothing
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// abort ends the reading, and lets whoever reads know.
func (b *bare) abort() {
	b.mu.Lock()
	b.aborted = true
	b.mu.Unlock()
	b.ready()
}

func (b *bare) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fd < 0 {
		return net.ErrClosed
	}
	b.forget()
	err := unix.Close(b.fd)
	b.fd = -1
	return err
}

// The rest of a net.Conn, which nobody asks for while it is bare.

func (b *bare) Write([]byte) (int, error)        { return 0, net.ErrClosed }
func (b *bare) LocalAddr() net.Addr              { return nil }
func (b *bare) RemoteAddr() net.Addr             { return nil }
func (b *bare) SetDeadline(time.Time) error      { return nil }
func (b *bare) SetReadDeadline(time.Time) error  { return nil }
func (b *bare) SetWriteDeadline(time.Time) error { return nil }

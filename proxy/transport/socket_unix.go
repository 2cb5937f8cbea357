//go:build unix

package transport

import (
	"io"
	"net"
	"os"
	"syscall"
)

// socket is what the operating system tells about a connection. Its functions are
// made once, for an allocation each time would be most of what they cost.
type socket struct {
	raw         syscall.RawConn
	look, fetch func(fd uintptr) bool

	one [1]byte // room for a look
	buf *buffer // what a fetch brought, n bytes or err
	n   int
	err error
}

// socketOf is nil for what is no socket, or only has one inside.
func socketOf(conn net.Conn) *socket {
	var raw syscall.RawConn
	var err error
	switch bare := conn.(type) {
	case *net.TCPConn:
		raw, err = bare.SyscallConn()
	case *net.UnixConn:
		raw, err = bare.SyscallConn()
	}
	if raw == nil || err != nil {
		return nil
	}
	s := &socket{raw: raw}
	s.look, s.fetch = s.peek, s.receive
	return s
}

// isQuiet reports whether nothing has come, the end included.
func (s *socket) isQuiet() bool {
	s.err = nil
	return s.raw.Read(s.look) == nil && s.err == syscall.EAGAIN
}

func (s *socket) peek(fd uintptr) bool {
	for {
		_, _, s.err = syscall.Recvfrom(int(fd), s.one[:], syscall.MSG_PEEK) // never waits: Go's sockets do not
		if s.err != syscall.EINTR {
			return true
		}
	}
}

// readFirst waits for bytes without holding a buffer meanwhile.
func (s *socket) readFirst() (*buffer, int, error) {
	if err := s.raw.Read(s.fetch); err != nil {
		return nil, 0, err
	}
	b, n, err := s.buf, s.n, s.err
	s.buf = nil
	switch {
	case n > 0:
		return b, n, nil
	case err == nil:
		return nil, 0, io.EOF
	}
	return nil, 0, os.NewSyscallError("read", err)
}

// receive reports whether the wait is over.
func (s *socket) receive(fd uintptr) bool {
	b := buffers.Get().(*buffer)
	for {
		s.n, s.err = syscall.Read(int(fd), b[:])
		if s.err != syscall.EINTR {
			break
		}
	}
	if s.n > 0 {
		s.buf = b
		return true
	}
	buffers.Put(b)
	return s.err != syscall.EAGAIN
}

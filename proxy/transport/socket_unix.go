//go:build unix

package transport

import (
	"io"
	"net"
	"os"
	"syscall"

	"proxima/poll"
)

// socket is what the operating system tells about a connection. Its functions are
// made once, for an allocation each time would be most of what they cost.
type socket struct {
	raw                    syscall.RawConn
	look, fetch, get, push func(fd uintptr) bool

	quiet bool    // what a look saw
	buf   *buffer // what a fetch brought, n bytes or err
	into  []byte  // what a get brings goes here
	n     int
	err   error

	out  []byte // what a push has yet to write
	fail error  // of the push
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
	s.look, s.fetch, s.get, s.push = s.peek, s.receive, s.receiveInto, s.send
	return s
}

// isQuiet reports whether nothing has come, the end included.
func (s *socket) isQuiet() bool { return s.raw.Read(s.look) == nil && s.quiet }

func (s *socket) peek(fd uintptr) bool {
	s.quiet = poll.Peek(fd)
	return true
}

// read waits for bytes.
func (s *socket) read(p []byte) (int, error) {
	s.into = p
	err := s.raw.Read(s.get)
	s.into = nil
	switch {
	case err != nil:
		return 0, err
	case s.err != nil:
		return 0, os.NewSyscallError("read", s.err)
	case s.n == 0:
		return 0, io.EOF
	}
	return s.n, nil
}

func (s *socket) receiveInto(fd uintptr) bool {
	s.n, s.err = poll.Receive(fd, s.into)
	return s.err != syscall.EAGAIN
}

// write writes all of p, and returns how much that was when it cannot.
func (s *socket) write(p []byte) (int, error) {
	s.out, s.fail = p, nil
	err := s.raw.Write(s.push)
	left := len(s.out)
	s.out = nil
	if err == nil && s.fail != nil {
		err = os.NewSyscallError("write", s.fail)
	}
	return len(p) - left, err
}

func (s *socket) send(fd uintptr) bool {
	for len(s.out) > 0 {
		n, err := poll.Send(fd, s.out)
		s.out = s.out[n:]
		switch {
		case err == syscall.EAGAIN:
			return false
		case err != nil:
			s.fail = err
			return true
		}
	}
	return true
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
	if s.n, s.err = poll.Receive(fd, b[:]); s.n > 0 {
		s.buf = b
		return true
	}
	buffers.Put(b)
	return s.err != syscall.EAGAIN
}

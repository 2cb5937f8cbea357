package edge

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// socket reads and writes a TCP connection. It does what a net.Conn does, and three
// things that one cannot: wait for something to read without a buffer to read into,
// write only what goes out at once, and have deadlines that cost nothing unless
// somebody has to wait.
//
// There is one on Linux only, and only of what is a socket. Everything else is left to
// the net.Conn, and the zero socket says so.
type socket struct {
	conn net.Conn
	raw  syscall.RawConn // nil: there is none
	in   reading
	out  writing
}

func (s *socket) open(conn net.Conn, pool *buffers) {
	s.conn = conn
	of, is := conn.(syscall.Conn)
	if !is || !canTry {
		return
	}
	if raw, err := of.SyscallConn(); err == nil {
		s.raw = raw
		s.in.pool = pool
		s.in.attempt, s.out.attempt = s.tryToRead, s.tryToWrite
	}
}

// reading is what is read right now, by one at a time.
type reading struct {
	turn sync.Mutex
	deadline
	attempt func(fd uintptr) (done bool) // tryToRead, made once

	pool *buffers
	lend *buffer // where what came is, when into is nil
	into []byte
	n    int
	err  error
}

// Read is a net.Conn's.
func (s *socket) Read(p []byte) (int, error) {
	if s.raw == nil {
		return s.conn.Read(p)
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, _, err := s.read(p)
	return n, err
}

// Await waits until something has come, and lends a buffer with it, which is nil when
// there is an error.
func (s *socket) Await() (*buffer, int, error) {
	n, lent, err := s.read(nil)
	return lent, n, err
}

func (s *socket) read(p []byte) (int, *buffer, error) {
	in := &s.in
	in.turn.Lock()
	defer in.turn.Unlock()
	if err := in.begin(s.conn.SetReadDeadline); err != nil {
		return 0, nil, s.failed("read", err)
	}
	in.into, in.n, in.err = p, 0, nil
	err := s.raw.Read(in.attempt)
	in.over()
	lent := in.lend
	in.into, in.lend = nil, nil
	switch {
	case err != nil:
		return 0, nil, err
	case in.err != nil:
		return 0, nil, s.failed("read", in.err)
	case in.n == 0:
		if lent != nil {
			in.pool.give(lent)
		}
		return 0, nil, io.EOF
	}
	return in.n, lent, nil
}

// tryToRead is called by the runtime, and again when there may be more.
func (s *socket) tryToRead(fd uintptr) (done bool) {
	in := &s.in
	p := in.into
	if p == nil {
		in.lend = in.pool.take()
		p = in.lend[:]
	}
	n, err := tryRead(fd, p)
	if err == nil {
		in.n = n
		return true
	}
	if in.lend != nil {
		in.pool.give(in.lend)
		in.lend = nil
	}
	if err == syscall.EAGAIN {
		in.wait(s.conn.SetReadDeadline)
		return false
	}
	in.err = os.NewSyscallError("read", err)
	return true
}

// writing is what is written right now, by one at a time.
type writing struct {
	turn sync.Mutex
	deadline
	attempt func(fd uintptr) (done bool) // tryToWrite, made once

	parts   pieces
	err     error
	hurried atomic.Bool // what does not go out at once is kept
	kept    []byte      // goes out before what is written next
}

// Write is a net.Conn's, unless somebody has hurried it. Then it keeps what does not go
// out at once, and says that all was written.
func (s *socket) Write(p []byte) (int, error) { return s.WriteAll(p, nil, nil) }

// WriteAll writes three pieces as if they were one.
func (s *socket) WriteAll(a, b, c []byte) (int, error) {
	if s.raw == nil {
		return s.writeEach(a, b, c)
	}
	out := &s.out
	out.turn.Lock()
	defer out.turn.Unlock()
	size := len(a) + len(b) + len(c)
	if len(out.kept)+size == 0 {
		return 0, nil
	}
	if err := out.begin(s.conn.SetWriteDeadline); err != nil {
		return 0, s.failed("write", err)
	}
	out.parts, out.err = pieces{out.kept, a, b, c}, nil
	err := s.raw.Write(out.attempt)
	out.over()
	left := out.parts
	out.parts, out.kept = pieces{}, nil
	switch {
	case err == nil && out.err != nil:
		err = s.failed("write", out.err)
	case err == nil:
		out.kept = left.together() // there is something only in a hurry
		return size, nil
	}
	return max(size-left.size(), 0), err
}

func (s *socket) writeEach(parts ...[]byte) (n int, err error) {
	for _, p := range parts {
		if len(p) > 0 && err == nil {
			var m int
			m, err = s.conn.Write(p)
			n += m
		}
	}
	return n, err
}

// hurry lets writes not wait from now on, or wait again.
func (s *socket) hurry(on bool) { s.out.hurried.Store(on) }

// isFull reports whether something is kept, so that the next write has to wait for the
// client unless it is in a hurry, too.
func (s *socket) isFull() bool {
	s.out.turn.Lock()
	defer s.out.turn.Unlock()
	return len(s.out.kept) > 0
}

func (s *socket) tryToWrite(fd uintptr) (done bool) {
	out := &s.out
	for out.parts.size() > 0 {
		n, err := tryWrite(fd, &out.parts)
		out.parts.skip(n)
		switch {
		case err == nil:
		case err != syscall.EAGAIN:
			out.err = os.NewSyscallError("write", err)
			return true
		case out.hurried.Load():
			return true
		default:
			out.wait(s.conn.SetWriteDeadline)
			return false
		}
	}
	return true
}

func (s *socket) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: s.conn.LocalAddr(), Addr: s.conn.RemoteAddr(), Err: err}
}

// SetReadDeadline is a net.Conn's: it also ends a read that waits already.
func (s *socket) SetReadDeadline(t time.Time) error {
	return s.in.set(t, s.raw == nil, s.conn.SetReadDeadline)
}

// SetWriteDeadline likewise.
func (s *socket) SetWriteDeadline(t time.Time) error {
	return s.out.set(t, s.raw == nil, s.conn.SetWriteDeadline)
}

// deadline is until when somebody may wait. It is told to the connection, as armed,
// only when somebody does.
type deadline struct {
	patience time.Duration // for each wait, when there is no deadline; 0: for ever

	mu      sync.Mutex
	until   time.Time // zero: for ever
	armed   time.Time // what the connection was told last
	waiting bool
}

// set notes a deadline. In arm is the connection's own method.
func (d *deadline) set(t time.Time, now bool, arm func(time.Time) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.until = t
	if d.waiting || now {
		return d.tell(arm, t)
	}
	return nil
}

// isSet reports whether there is one.
func (d *deadline) isSet() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.until.IsZero()
}

// begin is before an attempt, which fails when the deadline is over. What the connection
// was told for an earlier one must not disturb it.
func (d *deadline) begin(arm func(time.Time) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.until.IsZero() && !time.Now().Before(d.until) {
		return os.ErrDeadlineExceeded
	}
	if !d.armed.IsZero() {
		return d.tell(arm, d.until)
	}
	return nil
}

// wait is before somebody waits.
func (d *deadline) wait(arm func(time.Time) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting = true
	until := d.until
	if until.IsZero() && d.patience > 0 {
		until = time.Now().Add(d.patience)
	}
	_ = d.tell(arm, until) // of a closed connection; that is what the waiting will say, too
}

// over is after the attempt and the waiting.
func (d *deadline) over() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting = false
}

func (d *deadline) tell(arm func(time.Time) error, until time.Time) error {
	if d.armed.Equal(until) {
		return nil
	}
	d.armed = until
	return arm(until)
}

// pieces are to be written one behind the other.
type pieces [4][]byte

func (p *pieces) size() int {
	return len(p[0]) + len(p[1]) + len(p[2]) + len(p[3])
}

// skip takes the first n bytes away.
func (p *pieces) skip(n int) {
	for i := range p {
		m := min(n, len(p[i]))
		p[i] = p[i][m:]
		n -= m
	}
}

// together is a copy of them in one; nil when there is nothing.
func (p *pieces) together() []byte {
	if p.size() == 0 {
		return nil
	}
	all := make([]byte, 0, p.size())
	for _, piece := range p {
		all = append(all, piece...)
	}
	return all
}

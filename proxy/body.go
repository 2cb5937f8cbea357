package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// body is what the client sends. The beginning, up to the replay limit, is kept,
// so that another endpoint can be given the same request; the rest, if any, is
// streamed once, to one attempt.
type body struct {
	kept   []byte
	rest   io.Reader // what follows kept; nil when kept is all of it
	length int64     // as declared; -1: unknown
	taken  int64     // of the room that all kept bodies share
	source *source   // where it comes from; nil: there is none

	reading sync.Mutex // held during a read of the rest

	mu      sync.Mutex // transports read the rest in goroutines of their own
	holder  *streamed  // who may read it
	started bool       // some of the rest was handed out: no second attempt
	ended   bool       // all of it was
	fault   error      // why the rest cannot be had: the client's doing
}

// firstRoom is what is set aside for a body on the client's word about its length.
// Beyond it, room grows with what really comes.
const firstRoom = 16 << 10

// keep reads the beginning of a request's body, limit bytes at most. What it keeps it
// takes from the room that all bodies share.
func (b *body) keep(r *http.Request, from *source, limit int64, shared *share) error {
	b.length = r.ContentLength
	if r.Body == nil || r.Body == http.NoBody {
		b.length = 0
		return nil
	}
	b.source = from
	var in io.Reader = from
	if isHere(r.Body) {
		in = r.Body // it needs no deadlines
	}
	err := b.fill(in, limit, shared)
	if err == io.EOF {
		b.length = int64(len(b.kept))
		return nil
	}
	b.rest, from.kept = from, true
	return err
}

// fill reads what is to be kept, and a byte more, which shows that there is a rest. A
// small body of a declared length gets all its room at once. The error is io.EOF when
// the body has ended, and nil when it goes on.
func (b *body) fill(from io.Reader, limit int64, shared *share) error {
	first := b.length
	if first < 0 {
		first = bytes.MinRead
	}
	b.kept = make([]byte, 0, min(first, limit, firstRoom)+1)
	for int64(len(b.kept)) <= limit {
		if len(b.kept) == cap(b.kept) {
			b.kept = slices.Grow(b.kept, len(b.kept))
		}
		have := len(b.kept)
		n, err := from.Read(b.kept[have:min(int64(cap(b.kept)), limit+1)])
		if n > 0 && shared.limit > 0 {
			if !shared.take(int64(n), shared.limit) {
				return problemMemory
			}
			b.taken += int64(n)
		}
		b.kept = b.kept[:have+n]
		if err != nil {
			return err
		}
	}
	return nil
}

// share is the part of the room for kept bodies that a request may take.
type share struct {
	*room
	limit int64 // of the room; 0: none
}

// whole reports whether every byte is kept.
func (b *body) whole() bool { return b.rest == nil }

// open gives an attempt the body from its start.
func (b *body) open() io.ReadCloser {
	switch {
	case b.whole() && len(b.kept) == 0:
		return http.NoBody
	case b.whole():
		return newKept(b.kept)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.holder = &streamed{body: b, kept: b.kept}
	return b.holder
}

// kept reads a body that is all here.
type kept struct{ bytes.Reader }

func newKept(text []byte) *kept {
	k := &kept{}
	k.Reset(text)
	return k
}

func (*kept) Close() error { return nil }

// replayable reports whether another attempt can be given the body from its start.
func (b *body) replayable() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.started
}

// recall takes the body back from the attempt that has it, so that another can be
// given it from the start. When the rest is on its way already it reports false,
// and the attempt keeps the body.
func (b *body) recall() bool {
	if b.whole() {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.started {
		return false
	}
	b.holder = nil
	return true
}

// lingering is how long net/http may read on after the answer: a client that is
// still sending might not see the answer when the connection ended under it.
const lingering = time.Second

// stop ends the reading of the rest. A read that is under way is over when it returns.
func (b *body) stop() {
	if !b.unread() || !b.source.stop() {
		return
	}
	b.reading.Lock()
	defer b.reading.Unlock()
	b.source.linger()
}

// unread reports whether the client has more to send than was read.
func (b *body) unread() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rest != nil && !b.ended
}

// broken returns why the rest could not be read, nil when it could.
func (b *body) broken() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fault
}

var errRecalled = errors.New("the request's body was given to another attempt")

// begin lets the holder of the body read on.
func (b *body) begin(s *streamed) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.holder != s {
		return errRecalled
	}
	b.started = true
	return b.fault
}

// note remembers how a read of the rest ended.
func (b *body) note(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err == nil, err == errRecalled:
	case err == io.EOF:
		b.ended = true
	case b.fault == nil:
		b.fault = err
	}
}

// streamed reads the kept beginning, then the rest straight from the client.
type streamed struct {
	body *body
	kept []byte
}

func (s *streamed) Read(p []byte) (int, error) {
	if len(s.kept) > 0 {
		n := copy(p, s.kept)
		s.kept = s.kept[n:]
		return n, nil
	}
	s.body.reading.Lock()
	defer s.body.reading.Unlock()
	if err := s.body.begin(s); err != nil {
		return 0, err
	}
	n, err := s.body.rest.Read(p)
	s.body.note(err)
	return n, err
}

// Close leaves the rest unread, for another attempt or for the server to drain.
func (s *streamed) Close() error { return nil }

// leastRate is how many bytes a second a client must send in the long run of what is
// kept of its body.
const leastRate = 4 << 10

// source reads what a client sends. One that sends nothing for the limit is too
// slow, and so is one that sends less than leastRate for longer: neither its connection
// nor its part of the memory is held for it.
type source struct {
	from    io.Reader
	control *http.ResponseController
	limit   time.Duration // 0: none
	kept    bool          // what comes from now on is not kept, and may be slow
	read    int64         // bytes that have come
	spent   time.Duration // on waiting for them

	mu      sync.Mutex // guards stopped, and with it the deadline
	stopped bool
}

func (s *source) Read(p []byte) (int, error) {
	began := time.Now()
	deadline := s.deadline(began)
	if !s.until(deadline) {
		return 0, errRecalled
	}
	n, err := s.from.Read(p)
	s.read += int64(n)
	s.spent += time.Since(began)
	late := !deadline.IsZero() && !time.Now().Before(deadline) // then net/http has given the client up, and so stopped this
	if !s.until(time.Time{}) && err != io.EOF && !late {
		return n, errRecalled
	}
	return n, err
}

// deadline is until when the next bytes must have come; the zero time: whenever.
func (s *source) deadline(now time.Time) time.Time {
	if s.limit <= 0 {
		return time.Time{}
	}
	wait := s.limit
	if !s.kept {
		wait = min(wait, s.limit+time.Duration(s.read)*time.Second/leastRate-s.spent)
	}
	return now.Add(wait)
}

// until sets the deadline for reads. It reports false, and sets none, when reading
// was stopped.
func (s *source) until(deadline time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		_ = s.control.SetReadDeadline(deadline)
	}
	return !s.stopped
}

// stop breaks off a read that is under way and lets no other begin. It reports
// false when there is nothing to break off any more, or no means to do it.
func (s *source) stop() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	s.stopped = true
	return s.control.SetReadDeadline(time.Now()) == nil
}

// linger lets net/http read what the client still sends, for a while.
func (s *source) linger() { _ = s.control.SetReadDeadline(time.Now().Add(lingering)) }

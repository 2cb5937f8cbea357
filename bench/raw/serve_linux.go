package raw

import (
	"bytes"
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// tickEvery is how far apart the moments are at which tokens are sent, whatever
// their number.
const tickEvery = 250 * time.Microsecond

// Serve answers every request on a listening socket until ctx ends: with 600 bytes
// of JSON, or when the body asks for a stream, with a token at once and one again
// whenever the time has passed that the field Token-Every says, until the client
// leaves. The last one to ask says so for all. All streams take turns, so that tokens
// come evenly. It closes the socket.
func Serve(ctx context.Context, socket *os.File) error {
	defer socket.Close() // and until then its descriptor, which is all that is used of it, stays open
	s, err := newServer(int(socket.Fd()))
	if err != nil {
		return err
	}
	defer s.close()
	for ctx.Err() == nil {
		events, err := s.poll.wait(longestWait)
		if err != nil {
			return err
		}
		for _, event := range events {
			if err := s.happened(event.Fd); err != nil {
				return err
			}
		}
	}
	return nil
}

type server struct {
	poll     *poller
	listener int
	ticker   ticker
	callers  map[int32]*caller
	buffer   []byte // for whatever is read
	answer   []byte
	token    token

	streams []*caller
	every   time.Duration // between two tokens of a stream
	owed    float64       // tokens that are due
	ticked  time.Time     // until when owed is counted
	next    int           // of streams
}

// caller is one connection.
type caller struct {
	fd     int    // -1: it was hung up
	asks   []byte // of a request that is not all there
	unsent []byte // of a token that only went out in part
	stream int    // among the streams; -1: it is none
}

func newServer(listener int) (*server, error) {
	if err := unix.SetNonblock(listener, true); err != nil {
		return nil, err
	}
	poll, err := newPoller()
	if err != nil {
		return nil, err
	}
	ticker, err := newTicker()
	if err != nil {
		poll.close()
		return nil, err
	}
	s := &server{
		poll: poll, listener: listener, ticker: ticker, callers: map[int32]*caller{},
		buffer: make([]byte, 64<<10), answer: wholeAnswer(), token: newToken(),
	}
	if err := errors.Join(poll.add(listener), poll.add(ticker.fd)); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *server) happened(fd int32) error {
	switch int(fd) {
	case s.listener:
		return s.accept()
	case s.ticker.fd:
		s.tick()
		return nil
	}
	if c, open := s.callers[fd]; open {
		return s.hear(c)
	}
	return nil
}

func (s *server) accept() error {
	fd, _, err := unix.Accept4(s.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err != nil {
		return nil //nolint:nilerr // the client has left again, or there are too many: the next try tells
	}
	s.callers[int32(fd)] = &caller{fd: fd, stream: -1}
	return errors.Join(unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1), s.poll.add(fd))
}

// hear reads what a caller says, and answers what it has said completely.
func (s *server) hear(c *caller) error {
	n, err := unix.Read(c.fd, s.buffer)
	if errors.Is(err, unix.EAGAIN) {
		return nil
	}
	if err != nil || n == 0 {
		return s.hangUp(c)
	}
	said := s.buffer[:n]
	if len(c.asks) > 0 {
		said = append(c.asks, said...)
	}
	for c.fd >= 0 {
		head, length := message(said)
		if length == 0 {
			break
		}
		if err := s.respond(c, head, said[:length]); err != nil {
			return err
		}
		said = said[length:]
	}
	c.asks = append(c.asks[:0], said...)
	return nil
}

func (s *server) respond(c *caller, head, request []byte) error {
	if !bytes.Contains(request, []byte(`"stream":true`)) {
		if n, err := unix.Write(c.fd, s.answer); n < len(s.answer) || err != nil {
			return s.hangUp(c)
		}
		return nil
	}
	every, err := time.ParseDuration(string(field(head, everyField)))
	if err != nil || every <= 0 {
		return s.hangUp(c)
	}
	return s.begin(c, every)
}

// begin begins a stream.
func (s *server) begin(c *caller, every time.Duration) error {
	now := time.Now()
	if _, err := unix.Write(c.fd, append([]byte(streamHead), s.token.at(now)...)); err != nil {
		return s.hangUp(c)
	}
	c.stream, s.every = len(s.streams), every
	s.streams = append(s.streams, c)
	if len(s.streams) > 1 {
		return nil
	}
	s.ticked, s.owed = now, 0
	return s.ticker.every(tickEvery)
}

// tick sends the tokens that have become due since the last tick. When it comes
// late by more than a whole turn of all streams, what is beyond is left out.
func (s *server) tick() {
	s.ticker.ticks()
	now := time.Now()
	s.owed += float64(len(s.streams)) * float64(now.Sub(s.ticked)) / float64(s.every)
	s.owed, s.ticked = min(s.owed, float64(len(s.streams))), now
	for ; s.owed >= 1 && len(s.streams) > 0; s.owed-- {
		s.next = (s.next + 1) % len(s.streams)
		s.send(s.streams[s.next])
	}
}

// send sends a token, or what is left of the last one. One for which the socket
// has no room at all is left out.
func (s *server) send(c *caller) {
	text, begun := c.unsent, len(c.unsent) > 0
	if !begun {
		text = s.token.at(time.Now())
	}
	n, err := unix.Write(c.fd, text)
	full := errors.Is(err, unix.EAGAIN)
	switch {
	case err != nil && !full:
		_ = s.hangUp(c)
	case n > 0 && n < len(text), begun && full:
		c.unsent = append(c.unsent[:0], text[max(n, 0):]...)
	default:
		c.unsent = c.unsent[:0]
	}
}

func (s *server) hangUp(c *caller) error {
	delete(s.callers, int32(c.fd))
	unix.Close(c.fd)
	c.fd = -1
	if c.stream < 0 {
		return nil
	}
	last := s.streams[len(s.streams)-1]
	s.streams[c.stream], last.stream = last, c.stream
	s.streams, c.stream = s.streams[:len(s.streams)-1], -1
	if len(s.streams) > 0 {
		return nil
	}
	return s.ticker.every(0)
}

func (s *server) close() {
	for fd := range s.callers {
		unix.Close(int(fd))
	}
	s.ticker.close()
	s.poll.close()
}

package raw

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Fleet is many clients of one server, each with a connection that it keeps.
// Its methods are for one goroutine. A connection opens when its client first asks,
// and again when it was lost.
type Fleet struct {
	server  unix.SockaddrInet4
	poll    *poller
	ticker  ticker
	clients []*client
	open    map[int32]*client
	buffer  []byte
	tally   Tally
}

// Tally is what a fleet got.
type Tally struct {
	Answers int             // or tokens, of streams
	Failed  int             // answers that did not come, or not as the model server gives them; or streams that ended
	Why     string          // the first of them failed
	Delays  []time.Duration // by Pace, from when each request was due; by Listen, from when each token was sent
	Took    time.Duration
}

type client struct {
	fd      int // -1: not connected
	request []byte
	begun   []byte    // of an answer or a token that is not all there
	asked   time.Time // zero: it waits for no answer
}

// NewFleet prepares clients of the server at an IPv4 address and port: the i-th of
// n sends request(i).
func NewFleet(address string, n int, request func(i int) []byte) (*Fleet, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("address of the server: %w", err)
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
	f := &Fleet{
		server: unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())},
		poll:   poll, ticker: ticker, open: map[int32]*client{}, buffer: make([]byte, 64<<10),
	}
	for i := range n {
		f.clients = append(f.clients, &client{fd: -1, request: request(i)})
	}
	return f, poll.add(ticker.fd)
}

// Close closes all connections.
func (f *Fleet) Close() {
	for _, c := range f.clients {
		f.leave(c)
	}
	f.ticker.close()
	f.poll.close()
}

// Open is how many connections are open.
func (f *Fleet) Open() int { return len(f.open) }

// window is how many clients connect and ask at once while a fleet grows, so that
// no queue of a listener overflows.
const window = 64

// Ask has every client ask once, and returns when each has its answer, or of a
// stream the first token.
func (f *Fleet) Ask(ctx context.Context) error {
	f.begin(0)
	next, answered := 0, 0
	ask := func() error {
		if next == len(f.clients) {
			return nil
		}
		next++
		return f.ask(f.clients[next-1], time.Now())
	}
	for range window {
		if err := ask(); err != nil {
			return err
		}
	}
	patience := time.Now().Add(askPatience)
	for answered < len(f.clients) {
		err := f.hear(ctx, patience, func(c *client, data []byte) error {
			if c.asked.IsZero() || !f.hasAnswer(c, data) {
				return nil
			}
			answered++
			return ask()
		})
		switch {
		case err != nil:
			return err
		case f.tally.Failed > 0:
			return fmt.Errorf("%d of %d first requests failed: %s", f.tally.Failed, next, f.tally.Why)
		case time.Now().After(patience):
			return fmt.Errorf("%d of %d clients are answered after %v", answered, len(f.clients), askPatience)
		}
	}
	return nil
}

const askPatience = time.Minute

// Saturate has each client ask again as soon as it is answered, and returns after
// that time.
func (f *Fleet) Saturate(ctx context.Context, lasts time.Duration) (Tally, error) {
	began := f.begin(0)
	for _, c := range f.clients {
		if err := f.ask(c, began); err != nil {
			return Tally{}, err
		}
	}
	end := began.Add(lasts)
	for now := began; now.Before(end); now = time.Now() {
		err := f.hear(ctx, end, func(c *client, data []byte) error {
			if c.fd >= 0 && !f.hasAnswer(c, data) {
				return nil
			}
			return f.ask(c, now)
		})
		if err != nil {
			return Tally{}, err
		}
	}
	got := f.tally
	got.Took = time.Since(began)
	return got, f.settle(ctx)
}

// Pace has the clients ask rate times a second for that time, whether or not earlier
// requests were answered; one that finds all clients waiting is sent late, and its
// delay counts from when it was due.
func (f *Fleet) Pace(ctx context.Context, rate float64, lasts time.Duration) (Tally, error) {
	f.begin(int(rate * lasts.Seconds()))
	idle := make(chan *client, len(f.clients))
	for _, c := range f.clients {
		idle <- c
	}
	interval := time.Duration(float64(time.Second) / rate)
	if err := f.ticker.every(interval); err != nil {
		return Tally{}, err
	}
	due := time.Now().Add(interval)
	began, end := due, due.Add(lasts)
	overdue := func(now time.Time) error {
		for ; !due.After(now) && due.Before(end); due = due.Add(interval) {
			select {
			case c := <-idle:
				if err := f.ask(c, due); err != nil {
					return err
				}
			default:
				return nil
			}
		}
		return nil
	}
	for now := time.Now(); now.Before(end); now = time.Now() {
		if err := overdue(now); err != nil {
			return Tally{}, err
		}
		err := f.hear(ctx, end, func(c *client, data []byte) error {
			asked := c.asked
			if c.fd >= 0 && !f.hasAnswer(c, data) {
				return nil
			}
			if c.fd >= 0 {
				f.tally.Delays = append(f.tally.Delays, time.Since(asked))
			}
			idle <- c
			return nil
		})
		if err != nil {
			return Tally{}, err
		}
	}
	got := f.tally
	got.Took = time.Since(began)
	return got, errors.Join(f.ticker.every(0), f.settle(ctx))
}

// Listen hears for that time the streams that Ask has begun.
func (f *Fleet) Listen(ctx context.Context, lasts time.Duration) (Tally, error) {
	began := f.begin(0)
	end := began.Add(lasts)
	for now := began; now.Before(end); now = time.Now() {
		err := f.hear(ctx, end, func(c *client, data []byte) error {
			if c.fd >= 0 {
				f.tokens(c, data, time.Now())
			}
			return nil
		})
		if err != nil {
			return Tally{}, err
		}
	}
	f.tally.Took = time.Since(began)
	return f.tally, nil
}

// begin starts a tally that expects so many delays.
func (f *Fleet) begin(expected int) time.Time {
	f.tally = Tally{Delays: make([]time.Duration, 0, expected)}
	return time.Now()
}

// ask sends a client's request, which was due at that time.
func (f *Fleet) ask(c *client, due time.Time) error {
	if c.fd < 0 {
		if err := f.connect(c); err != nil {
			return err
		}
	}
	c.asked, c.begun = due, c.begun[:0]
	// What cannot be written the server has closed, as reading will find.
	_, _ = unix.Write(c.fd, c.request)
	return nil
}

func (f *Fleet) connect(c *client) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	c.fd, f.open[int32(fd)] = fd, c
	err = errors.Join(
		unix.Connect(fd, &f.server),
		unix.SetNonblock(fd, true),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		f.poll.add(fd),
	)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return nil
}

func (f *Fleet) leave(c *client) {
	if c.fd < 0 {
		return
	}
	delete(f.open, int32(c.fd))
	unix.Close(c.fd)
	c.fd, c.asked = -1, time.Time{}
}

// hear waits until something comes, and passes it on with the client that it came
// for. A client whose connection was lost is passed on without one.
func (f *Fleet) hear(ctx context.Context, until time.Time, came func(*client, []byte) error) error {
	events, err := f.poll.wait(time.Until(until))
	if err != nil {
		return err
	}
	for _, event := range events {
		c, is := f.open[event.Fd]
		if !is {
			f.ticker.ticks()
			continue
		}
		n, err := unix.Read(c.fd, f.buffer)
		if errors.Is(err, unix.EAGAIN) {
			continue
		}
		if err != nil || n == 0 {
			f.fail("connection lost: %v", err)
			f.leave(c)
		}
		if err := came(c, f.buffer[:max(n, 0)]); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// hasAnswer reports whether a client's answer is complete with what came, or of a
// stream the first token is there; and counts it.
func (f *Fleet) hasAnswer(c *client, data []byte) bool {
	if len(c.begun) > 0 {
		c.begun = append(c.begun, data...)
		data = c.begun
	}
	_, length := message(data)
	streamed := bytes.IndexByte(data, mark) >= 0
	if length == 0 && !streamed {
		if len(c.begun) == 0 {
			c.begun = append(c.begun, data...)
		}
		return false
	}
	c.asked, c.begun = time.Time{}, c.begun[:0]
	whole := streamed || length >= answerBytes // a router's own answers are shorter
	if whole && bytes.HasPrefix(data, []byte("HTTP/1.1 200 ")) {
		f.tally.Answers++
	} else {
		f.fail("answered with %.200q", data)
	}
	return true
}

func (f *Fleet) fail(format string, args ...any) {
	f.tally.Failed++
	if f.tally.Why == "" {
		f.tally.Why = fmt.Sprintf(format, args...)
	}
}

// tokens counts the tokens in what came of a stream.
func (f *Fleet) tokens(c *client, data []byte, now time.Time) {
	if len(c.begun) > 0 {
		data = append(c.begun, data...)
	}
	for {
		at, rest, found := sent(data)
		if !found {
			c.begun = append(c.begun[:0], rest...)
			return
		}
		f.tally.Answers++
		f.tally.Delays = append(f.tally.Delays, now.Sub(at))
		data = rest
	}
}

// settle waits for the answers that are still to come, of which none counts.
func (f *Fleet) settle(ctx context.Context) error {
	for patience := time.Now().Add(settlePatience); f.waiting() && time.Now().Before(patience); {
		err := f.hear(ctx, patience, func(c *client, data []byte) error {
			if c.fd >= 0 {
				f.hasAnswer(c, data)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, c := range f.clients {
		if !c.asked.IsZero() {
			f.leave(c)
		}
	}
	return nil
}

const settlePatience = 2 * time.Second

func (f *Fleet) waiting() bool {
	for _, c := range f.clients {
		if !c.asked.IsZero() {
			return true
		}
	}
	return false
}

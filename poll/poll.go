// Package poll watches many sockets without a goroutine for each: who has left, and
// where there is something to read. It carries no bytes.
//
// Go's own poller wakes a goroutine that waits in a call. That is right for a
// request, and too much for two things: a client that may leave while its request is
// somewhere else, and a stream that brings a token now and then for minutes, whose
// goroutine would cost more memory than all that is known of the stream.
//
// A Poller tells of both by calling a function. There is one on Linux, which has epoll;
// Open says so elsewhere.
package poll

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
)

// ErrUnsupported is what Open returns where there is no epoll.
var ErrUnsupported = errors.New("watching sockets is not supported on this system")

// Poller watches sockets while Run runs.
type Poller struct {
	lines []*line
	next  atomic.Uint32 // of lines, who gets the next socket
}

// Open makes a poller with a line for each processor that this process may use. It is
// used up by Run, or by Close when Run is never called.
func Open() (*Poller, error) {
	p := &Poller{}
	for range runtime.GOMAXPROCS(0) {
		l, err := openLine()
		if err != nil {
			p.Close()
			return nil, err
		}
		p.lines = append(p.lines, l)
	}
	return p, nil
}

// Run calls the functions of the sockets that are watched until ctx ends. Functions of
// sockets on one line are called one after the other.
func (p *Poller) Run(ctx context.Context) {
	defer context.AfterFunc(ctx, p.Close)()
	var lines sync.WaitGroup
	for _, l := range p.lines {
		lines.Go(l.run)
	}
	lines.Wait()
}

// Close ends Run.
func (p *Poller) Close() {
	for _, l := range p.lines {
		l.close()
	}
}

// Leaving calls left when the other end of a connection has closed it, or its sending
// half, or the connection broke. forget ends the watch; left may be under way when it
// returns. A connection that is no socket cannot be watched; forget is never nil.
func (p *Poller) Leaving(conn net.Conn, left func()) (forget func()) {
	forget = func() {}
	socket, is := conn.(syscall.Conn)
	if !is {
		return forget
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return forget
	}
	_ = raw.Control(func(fd uintptr) {
		if stop, err := p.line().watch(int(fd), leaving, left); err == nil {
			forget = stop
		}
	})
	return forget
}

// Readable calls ready whenever something has come on a socket since the last call, its
// end included. ready must not wait. forget, which is to be called while the descriptor is
// open, ends the watch, also where the socket stays open by another descriptor; ready may
// be under way when it returns.
func (p *Poller) Readable(fd int, ready func()) (forget func(), err error) {
	l := p.line()
	strike, err := l.watch(fd, readable, ready)
	if err != nil {
		return nil, err
	}
	return func() {
		l.drop(fd)
		strike()
	}, nil
}

func (p *Poller) line() *line {
	return p.lines[int(p.next.Add(1))%len(p.lines)]
}

// book says whom to call for which socket. The place of a socket that is not watched any
// more is given to another, and what the kernel still has to say about the old one is
// told apart by the turn.
type book struct {
	mu    sync.Mutex
	pages []page
	free  []int32
}

type page struct {
	call func()
	turn int32
}

// enter makes a page, and returns where it is.
func (b *book) enter(call func()) (at, turn int32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if last := len(b.free) - 1; last >= 0 {
		at, b.free = b.free[last], b.free[:last]
	} else {
		at = int32(len(b.pages))
		b.pages = append(b.pages, page{})
	}
	b.pages[at].call = call
	return at, b.pages[at].turn
}

// find returns whom to call; nil: nobody any more.
func (b *book) find(at, turn int32) func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if page := &b.pages[at]; page.turn == turn {
		return page.call
	}
	return nil
}

// strike frees a page. From the second time on it does nothing.
func (b *book) strike(at, turn int32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if page := &b.pages[at]; page.turn == turn {
		page.call = nil
		page.turn++
		b.free = append(b.free, at)
	}
}

// Package edge is where clients connect: it decides what becomes of a connection
// before a request on it is one, speaks HTTP with the client, and calls a http.Handler.
// It knows nothing of endpoints.
//
//	accept   no more than Limits.Connections at once; the others wait in the kernel
//	meet     who is it (PROXY protocol), has that address too many already, TLS
//	serve    HTTP/1: front, a loop of our own. HTTP/2: net/http, behind frames
//
// Each step wraps the connection of the one before, and each wrapper has NetConn,
// so that whoever wants the socket finds it:
//
//	plain       client → socket
//	h1 on TLS   tls.Conn → client → socket
//	HTTP/2      frames → one of these
//
// Nearly every request comes over HTTP/1, and most of them are small: what a server
// spends on a request that has nothing to do with it, goroutines, timers, contexts,
// copies, is most of what a request costs. The front is written to spend none of it, and
// to hold nothing while it waits. That it serves a http.Handler as net/http does is
// what keeps the rest of the router from knowing.
//
// Start reading at Serve; arrive.go is what a connection goes through, front.go what it
// is for HTTP/1, with answer.go and body.go for the two directions.
package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Server accepts clients. Fields are set before Serve and not changed; only Handler
// is required. The functions are called from many goroutines at once.
type Server struct {
	Handler  http.Handler
	ErrorLog *log.Logger // of connections that go wrong, and bugs; nil: that of package log
	Limits   Limits

	// BaseContext is that of every request. The router cancels it, with a cause, when
	// it cuts what is left. nil: nobody does.
	BaseContext context.Context

	// ConnContext adds values to the context of the requests on a connection. The socket
	// is within the connection; see above.
	ConnContext func(context.Context, net.Conn) context.Context

	// Trusted are the proxies in front. There is no limit per address for them, and
	// only their PROXY headers are believed. nil: none.
	Trusted func(netip.Addr) bool

	// Leaving is asked once for each connection of HTTP/1, with its socket, to call left
	// when the client closes it or its sending half, which ends the context of the
	// request under way. forget ends that. nil: it is noticed when something is written.
	Leaving func(socket net.Conn, left func()) (forget func())

	// Turned is told of connections that were turned away. err has the address and the
	// cause, for a log at a level at which strangers may fill it.
	Turned func(why Reason, err error)

	// Opened is told of every connection that was opened, +1, or closed, -1.
	Opened func(more int)

	// ProxyProtocol asks trusted proxies for a PROXY header, v1 or v2. Without one
	// they are turned away. From anybody else it is not looked for, so that nobody
	// can claim another's address with it.
	ProxyProtocol bool

	// TLS has at least a certificate. NextProtos is set here, and so is what is left
	// out: TLS 1.2 at least, and there only suites with forward secrecy and AEAD. nil:
	// HTTP/1 and HTTP/2 with prior knowledge, both unencrypted.
	TLS *tls.Config

	once     sync.Once // guards the making of what follows
	limits   Limits
	patience time.Duration // see leastPatience
	tls      *tls.Config
	http     *http.Server
	door     *door
	places   chan struct{} // one taken for each connection that is open
	stopping chan struct{} // closed when nobody new is accepted
	emptied  chan struct{} // closed when, besides, the last connection is closed
	clock    clock
	buffers  buffers

	arrivals sync.WaitGroup // connections that were accepted and not yet handed over

	mu         sync.Mutex
	stopped    bool
	listener   net.Listener
	open       map[*client]struct{}
	perAddress map[netip.Prefix]int // of those in open; no entry is 0
}

// Reason says in one word why a connection was turned away. There are no others
// than these.
type Reason string

const (
	TooManyFromAddress Reason = "connections_per_address" // that address has as many open as it may
	BadProxyHeader     Reason = "proxy_header"            // a trusted proxy sent none, or one that is not to the letter
	FailedHandshake    Reason = "tls_handshake"           // TLS was not agreed upon
	TooSlow            Reason = "timeout"                 // neither came within Limits.HeaderTimeout
	Flood              Reason = "h2_flood"                // HTTP/2 frames that keep the router busy and ask for nothing
	Panic              Reason = "panic"                   // a bug of ours, told in ErrorLog
)

// Reasons are all there are, for those who count them.
func Reasons() []Reason {
	return []Reason{TooManyFromAddress, BadProxyHeader, FailedHandshake, TooSlow, Flood, Panic}
}

// Serve accepts clients until Shutdown or Close, and then returns
// http.ErrServerClosed. It ends with another error only when l was closed by
// somebody else: whatever else goes wrong with accepting is waited out, however
// long it lasts. It is called once.
func (s *Server) Serve(l net.Listener) error {
	s.prepare()
	if !s.listenTo(l) {
		l.Close()
		return http.ErrServerClosed
	}
	go s.http.Serve(s.door) //nolint:errcheck // always http.ErrServerClosed
	go s.sweep()
	return s.accept(l)
}

// Shutdown closes the listener and waits until no request is under way, detached ones
// included; what was hijacked is not waited for. Connections that were accepted but have
// asked for nothing yet may still do so for a moment. When ctx is done first, its error
// is returned, and what is open stays open until Close.
func (s *Server) Shutdown(ctx context.Context) error {
	s.prepare()
	s.stopAccepting()
	s.http.SetKeepAlivesEnabled(false)
	s.hearOut(ctx)
	err := s.http.Shutdown(ctx)
	if err == nil {
		err = s.seeOff(ctx)
	}
	s.arrivals.Wait()
	return err
}

// Close closes the listener and every connection, also hijacked ones.
func (s *Server) Close() error {
	s.prepare()
	s.stopAccepting()
	s.cut(context.Canceled)
	for _, c := range s.clients(func(*client) bool { return true }) {
		c.Close() // the socket: TLS would first say goodbye to each, and wait
	}
	err := s.http.Close()
	s.arrivals.Wait()
	return err
}

func (s *Server) prepare() {
	s.once.Do(func() {
		s.limits = s.Limits.orDefault()
		if s.patience == 0 {
			s.patience = max(s.limits.IdleTimeout, leastPatience)
		}
		s.tls = s.agreeable()
		s.http = s.newHTTP2()
		s.door = newDoor()
		s.places = make(chan struct{}, s.limits.Connections)
		s.stopping = make(chan struct{})
		s.emptied = make(chan struct{})
		s.clock.began = time.Now()
		s.open = map[*client]struct{}{}
		s.perAddress = map[netip.Prefix]int{}
	})
}

// base is the context that all requests have in common.
func (s *Server) base() context.Context {
	if s.BaseContext == nil {
		return context.Background()
	}
	return s.BaseContext
}

// listenTo reports whether l is still wanted.
func (s *Server) listenTo(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener = l
	return !s.stopped
}

// longestPause is the longest that accepting rests after it went wrong, for
// instance because no more files may be open.
const longestPause = time.Second

func (s *Server) accept(l net.Listener) error {
	var pause time.Duration
	var told time.Time
	for s.takePlace() {
		conn, err := l.Accept()
		if err == nil {
			pause = 0
			s.admit(conn)
			continue
		}
		<-s.places
		switch {
		case s.isStopping():
			return http.ErrServerClosed
		case errors.Is(err, net.ErrClosed):
			return err
		}
		if time.Since(told) >= longestPause {
			s.logf("accept: %v; trying again", err)
			told = time.Now()
		}
		pause = min(max(2*pause, 5*time.Millisecond), longestPause)
		s.rest(pause)
	}
	return http.ErrServerClosed
}

// takePlace waits until one more connection may be open; false: the server stops.
func (s *Server) takePlace() bool {
	select {
	case s.places <- struct{}{}:
		return true
	case <-s.stopping:
		return false
	}
}

func (s *Server) rest(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.stopping:
	}
}

// admit takes in a connection for which a place was taken.
func (s *Server) admit(conn net.Conn) {
	c := s.newClient(conn)
	s.opened(+1)
	if !s.begin(c) {
		c.Close()
	}
}

// begin lets a connection arrive, unless the server stops.
func (s *Server) begin(c *client) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	s.open[c] = struct{}{}
	s.arrivals.Go(func() { s.arrive(c) })
	return true
}

func (s *Server) stopAccepting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return
	}
	s.stopped = true
	close(s.stopping)
	s.noteEmpty()
	if s.listener != nil {
		s.listener.Close()
	}
}

// noteEmpty is called with the lock held when it may have become true that nobody is
// connected any more and nobody will be.
func (s *Server) noteEmpty() {
	select {
	case <-s.emptied:
	default:
		if s.stopped && len(s.open) == 0 {
			close(s.emptied)
		}
	}
}

// forget gives the place of a connection that was closed to another.
func (s *Server) forget(c *client) {
	s.mu.Lock()
	delete(s.open, c)
	if c.household.IsValid() {
		s.perAddress[c.household]--
		if s.perAddress[c.household] == 0 {
			delete(s.perAddress, c.household)
		}
	}
	s.noteEmpty()
	s.mu.Unlock()
	s.opened(-1)
	<-s.places
}

func (s *Server) isStopping() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

// courtesy is how long, from Shutdown on, a client that just connected may take to
// ask for something.
const courtesy = 250 * time.Millisecond

// hearOut waits until everybody who is connected has asked for something, and
// closes the connections of those who do not in time. Who has asked before and only may
// ask again is not waited for.
func (s *Server) hearOut(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, courtesy)
	defer cancel()
	again := time.NewTicker(courtesy / 25)
	defer again.Stop()
	for s.dismiss(waiting); ctx.Err() == nil && len(s.clients(isSilent)) > 0; s.dismiss(waiting) {
		select {
		case <-again.C:
		case <-ctx.Done():
		}
	}
	s.dismiss(arriving)
	for _, c := range s.clients(isUnknown) {
		c.Close()
	}
}

// isUnknown reports whether a client has not got as far as to be waited for.
func isUnknown(c *client) bool { return isSilent(c) && c.due.Load() == 0 && c.front == nil }

func isSilent(c *client) bool { return c.state.Load() == arriving }

// dismiss ends the waiting of those for whom it means that.
func (s *Server) dismiss(who state) {
	for _, c := range s.clients(func(c *client) bool { return c.state.Load() == who }) {
		c.expire(c.due.Load())
	}
}

// seeOff waits until HTTP/1 has come to its end on every connection.
func (s *Server) seeOff(ctx context.Context) error {
	served := func(c *client) bool { return c.front != nil && c.state.Load() != elsewhere }
	for pause := time.Millisecond; len(s.clients(served)) > 0; pause = min(2*pause, courtesy) {
		s.dismiss(waiting)
		s.dismiss(arriving)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// clients are the open ones that are wanted.
func (s *Server) clients(wanted func(*client) bool) []*client {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*client
	for c := range s.open {
		if wanted(c) {
			found = append(found, c)
		}
	}
	return found
}

func (s *Server) opened(more int) {
	if s.Opened != nil {
		s.Opened(more)
	}
}

func (s *Server) turned(why Reason, err error) {
	if s.Turned != nil {
		s.Turned(why, err)
	}
}

func (s *Server) logf(format string, values ...any) {
	if s.ErrorLog == nil {
		log.Printf(format, values...)
		return
	}
	s.ErrorLog.Printf(format, values...)
}

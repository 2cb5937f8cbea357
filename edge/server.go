// Package edge is where clients connect: it decides what becomes of a connection
// before a request on it is one. It knows nothing of endpoints.
//
//	accept   no more than Limits.Connections at once; the others wait in the kernel
//	meet     who is it (PROXY protocol), has that address too many already, TLS
//	serve    net/http, behind what reads the bytes first: guard for HTTP/1, frames
//	         for HTTP/2
//
// Each step wraps the connection of the one before, and each wrapper has NetConn,
// so that whoever wants the socket finds it:
//
//	plain       frames → guard → client → socket
//	h1 on TLS   secured → guard → tls.Conn → client → socket
//	h2 on TLS   frames → tls.Conn → client → socket
//
// Start reading at Serve; arrive.go is what a connection goes through.
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
	// it cuts what is left.
	BaseContext context.Context

	// ConnContext makes the context of the requests on a connection, from the one they
	// would have. The socket is within the connection; see above.
	ConnContext func(context.Context, net.Conn) context.Context

	// Trusted are the proxies in front. There is no limit per address for them, and
	// only their PROXY headers are believed. nil: none.
	Trusted func(netip.Addr) bool

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
	tls      *tls.Config
	http     *http.Server
	door     *door
	places   chan struct{} // one taken for each connection that is open
	stopping chan struct{} // closed when nobody new is accepted

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
	return s.accept(l)
}

// Shutdown closes the listener and waits until no request is under way; what was
// hijacked is not waited for. Connections that were accepted but have asked for
// nothing yet may still do so for a moment. When ctx is done first, its error is
// returned, and what is open stays open until Close.
func (s *Server) Shutdown(ctx context.Context) error {
	s.prepare()
	s.stopAccepting()
	s.http.SetKeepAlivesEnabled(false)
	s.hearOut(ctx)
	err := s.http.Shutdown(ctx)
	s.arrivals.Wait()
	return err
}

// Close closes the listener and every connection, also hijacked ones.
func (s *Server) Close() error {
	s.prepare()
	s.stopAccepting()
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
		s.tls = s.agreeable()
		s.http = s.server()
		s.door = newDoor()
		s.places = make(chan struct{}, s.limits.Connections)
		s.stopping = make(chan struct{})
		s.open = map[*client]struct{}{}
		s.perAddress = map[netip.Prefix]int{}
	})
}

// server is net/http's part. On a *tls.Conn it would speak HTTP/2 with nothing in
// between that could count frames, so it gets none: it takes every HTTP/2 for
// unencrypted, and serveHTTP says in Request.TLS that it is not. Of HTTP/1 over TLS
// it learns from secured.
func (s *Server) server() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Handler:                      http.HandlerFunc(s.serveHTTP),
		ConnContext:                  s.connContext,
		ConnState:                    noteState,
		DisableGeneralOptionsHandler: true, // OPTIONS * is answered like any other request
		ErrorLog:                     s.ErrorLog,
		ReadHeaderTimeout:            s.limits.HeaderTimeout,
		IdleTimeout:                  s.limits.IdleTimeout,
		MaxHeaderBytes:               s.limits.HeaderSize,
		Protocols:                    protocols,
		HTTP2:                        s.limits.http2(),
	}
	if s.BaseContext != nil {
		server.BaseContext = func(net.Listener) context.Context { return s.BaseContext }
	}
	return server
}

type tlsKey struct{}

func (s *Server) connContext(ctx context.Context, conn net.Conn) context.Context {
	if f, is := conn.(*frames); is && f.tls != nil {
		ctx = context.WithValue(ctx, tlsKey{}, f.tls)
	}
	if s.ConnContext != nil {
		ctx = s.ConnContext(ctx, conn)
	}
	return ctx
}

func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if state, is := r.Context().Value(tlsKey{}).(*tls.ConnectionState); is {
		r.TLS = state
	}
	if r.ProtoMajor == 2 {
		if err := checkHTTP2(r); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	s.Handler.ServeHTTP(w, r)
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
	c := &client{Conn: conn, server: s}
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
	if s.listener != nil {
		s.listener.Close()
	}
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
// ask for something. net/http alone would wait for 5 s, and then not answer.
const courtesy = 250 * time.Millisecond

// hearOut waits until everybody who is connected has asked for something, and
// closes the connections of those who do not in time.
func (s *Server) hearOut(ctx context.Context) {
	silent := func(c *client) bool { return !c.asked.Load() }
	ctx, cancel := context.WithTimeout(ctx, courtesy)
	defer cancel()
	again := time.NewTicker(courtesy / 25)
	defer again.Stop()
	for ctx.Err() == nil && len(s.clients(silent)) > 0 {
		select {
		case <-again.C:
		case <-ctx.Done():
		}
	}
	for _, c := range s.clients(silent) {
		c.Close()
	}
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

// noteState is a http.Server's ConnState.
func noteState(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateActive:
		if c, is := within[*client](conn); is {
			c.asked.Store(true)
		}
	case http.StateHijacked:
		if g, is := within[*guard](conn); is {
			follow(g, state)
		}
	}
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

// door is the listener that net/http accepts from: what comes through it has been
// met already.
type door struct {
	ready  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func newDoor() *door {
	return &door{ready: make(chan net.Conn), closed: make(chan struct{})}
}

// hand hands a connection over; false: the door is closed.
func (d *door) hand(conn net.Conn) bool {
	select {
	case d.ready <- conn:
		return true
	case <-d.closed:
		return false
	}
}

func (d *door) Accept() (net.Conn, error) {
	select {
	case conn := <-d.ready:
		return conn, nil
	case <-d.closed:
		return nil, net.ErrClosed
	}
}

func (d *door) Close() error {
	d.once.Do(func() { close(d.closed) })
	return nil
}

func (d *door) Addr() net.Addr { return &net.TCPAddr{} }

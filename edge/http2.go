package edge

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"sync"

	"proxima/http1"
)

// newHTTP2 is net/http's part, and does not know HTTP/1. On a *tls.Conn it would speak
// HTTP/2 with nothing in between that could count frames, so it gets none: it takes every
// HTTP/2 for unencrypted, and serveHTTP2 says in Request.TLS that it is not.
func (s *Server) newHTTP2() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:                      http.HandlerFunc(s.serveHTTP2),
		ConnContext:                  s.connContext,
		ConnState:                    noteState,
		DisableGeneralOptionsHandler: true, // OPTIONS * is answered like any other request
		BaseContext:                  func(net.Listener) context.Context { return s.base() },
		ErrorLog:                     s.ErrorLog,
		ReadHeaderTimeout:            s.limits.HeaderTimeout,
		IdleTimeout:                  s.limits.IdleTimeout,
		MaxHeaderBytes:               s.limits.HeaderSize,
		Protocols:                    protocols,
		HTTP2:                        s.limits.http2(),
	}
}

type tlsKey struct{}

func (s *Server) connContext(ctx context.Context, conn net.Conn) context.Context {
	f := conn.(*frames) // nothing else comes through the door
	if f.ctx != nil {
		return f.ctx
	}
	return s.contextOf(context.WithValue(ctx, tlsKey{}, f.tls), conn)
}

// contextOf is the context of the requests on a connection.
func (s *Server) contextOf(ctx context.Context, conn net.Conn) context.Context {
	if s.ConnContext == nil {
		return ctx
	}
	return s.ConnContext(ctx, conn)
}

func (s *Server) serveHTTP2(w http.ResponseWriter, r *http.Request) {
	if state, is := r.Context().Value(tlsKey{}).(*tls.ConnectionState); is {
		r.TLS = state
	}
	if err := checkHTTP2(r); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.Handler.ServeHTTP(w, r)
}

// leaveToNetHTTP hands a connection over on which HTTP/2 is spoken.
func (s *Server) leaveToNetHTTP(c *client, conn *frames) {
	if !s.door.hand(conn) {
		c.Close()
	}
}

// noteState is a http.Server's ConnState.
func noteState(conn net.Conn, state http.ConnState) {
	if c, is := within[*client](conn); is && state == http.StateActive {
		c.state.Store(elsewhere)
	}
}

// checkHTTP2 holds a request that came over HTTP/2 to what http1 asks of one over
// HTTP/1, as far as net/http does not: it is passed on over HTTP/1, and there must
// be read as it was meant here (RFC 9113 §8.3.1, §10.3). CONNECT is the handler's.
func checkHTTP2(r *http.Request) error {
	asterisk := r.RequestURI == "*" && r.Method == http.MethodOptions
	switch h := r.Header; {
	case r.Method == http.MethodConnect:
	case !http1.IsToken(r.Method):
		return http1.Malformed("the method is not a token")
	case !asterisk && !http1.ValidTarget(r.RequestURI):
		return http1.Malformed("the path is none, or holds a byte that no URL may")
	case r.Host != "" && !http1.ValidHost(r.Host):
		return http1.Malformed("the host is none, or its port")
	case len(h["Host"]) > 1, len(h["Host"]) == 1 && !strings.EqualFold(h["Host"][0], r.Host):
		return http1.Malformed("Host and :authority differ")
	case len(h["Content-Length"]) > 1:
		return http1.Malformed("the length of the body is said twice")
	case h["Content_length"] != nil, h["Transfer_encoding"] != nil:
		return http1.Malformed("a name has an underscore where some read a hyphen")
	}
	return nil
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

package edge

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/pires/go-proxyproto"
)

// arrive is a connection's way from the socket to who speaks its protocol.
func (s *Server) arrive(c *client) {
	defer s.contain(c)
	conn, why, err := s.meet(c)
	if err != nil {
		s.turnAway(c, why, err)
		return
	}
	s.welcome(c, conn)
}

// contain keeps a bug on the way of one connection from costing any other. It is to be
// deferred.
func (s *Server) contain(c *client) {
	if value := recover(); value != nil {
		s.logf("panic on a client's connection: %v\n%s", value, debug.Stack())
		s.forgetFront(c)
		c.Close()
		s.turned(Panic, fmt.Errorf("%s: panic: %v", c.Conn.RemoteAddr(), value))
	}
}

// forgetFront ends the watch for a client that leaves, if there is one.
func (s *Server) forgetFront(c *client) {
	s.mu.Lock()
	f := c.front
	s.mu.Unlock()
	if f != nil {
		f.forget()
	}
}

// meet finds out who it is and agrees on a protocol, all of it within the header
// timeout. An error has its reason with it.
func (s *Server) meet(c *client) (conn net.Conn, why Reason, err error) {
	_ = c.SetDeadline(time.Now().Add(s.limits.HeaderTimeout)) // on a closed socket the next step says so
	if err := s.identify(c); err != nil {
		return nil, BadProxyHeader, err
	}
	if err := s.count(c); err != nil {
		return nil, TooManyFromAddress, err
	}
	if conn, err = s.agree(c); err != nil {
		return nil, FailedHandshake, err
	}
	_ = c.SetDeadline(time.Time{})
	return conn, "", nil
}

// turnAway closes a connection and tells why, unless nobody is left to be turned
// away: a port scan, a load balancer's check, or our own Shutdown.
func (s *Server) turnAway(c *client, why Reason, err error) {
	already := errors.Is(c.Close(), net.ErrClosed)
	switch {
	case already, errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return
	case errors.Is(err, os.ErrDeadlineExceeded):
		why = TooSlow
	}
	s.turned(why, fmt.Errorf("%s: %w", c.RemoteAddr(), err))
}

// identify finds out whose connection it is: a trusted proxy says so before
// anything else, with a PROXY header.
func (s *Server) identify(c *client) error {
	c.address = addressOf(c.Conn.RemoteAddr())
	if !s.ProxyProtocol || !s.trusts(c.address) {
		return nil
	}
	reader := bufio.NewReaderSize(c, 256) // no header but one with long TLVs is longer
	if _, err := reader.Peek(1); err != nil {
		return err
	}
	from, err := readProxyHeader(reader)
	if err != nil {
		return fmt.Errorf("PROXY header: %w", err)
	}
	came, _ := reader.Peek(reader.Buffered())
	c.rest = bytes.Clone(came)
	if from.IsValid() {
		c.claimed = net.TCPAddrFromAddrPort(from)
		c.address = from.Addr()
	}
	return nil
}

// readProxyHeader returns the client's address; none when the proxy speaks for
// itself, or does not know.
// https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
func readProxyHeader(reader *bufio.Reader) (netip.AddrPort, error) {
	header, err := proxyproto.Read(reader)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if header.Command.IsLocal() {
		return netip.AddrPort{}, nil
	}
	if _, err := header.TLVs(); err != nil {
		return netip.AddrPort{}, err
	}
	source, is := header.SourceAddr.(*net.TCPAddr)
	if !is {
		return netip.AddrPort{}, errors.New("the client's address is not one of TCP")
	}
	from := source.AddrPort()
	return netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), nil
}

// count adds a connection to those of its address, unless there are too many.
func (s *Server) count(c *client) error {
	if !c.address.IsValid() || s.trusts(c.address) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, open := s.open[c]; !open {
		return net.ErrClosed
	}
	household := householdOf(c.address)
	if s.perAddress[household] >= s.limits.ConnectionsPerAddress {
		return fmt.Errorf("%s has %d connections open, as many as it may", household, s.perAddress[household])
	}
	s.perAddress[household]++
	c.household = household
	return nil
}

// householdOf is whom a limit is for: an IPv4 address, or the network of IPv6
// addresses that one subscriber has at least (RFC 6177 §2), and may use one after
// the other.
func householdOf(address netip.Addr) netip.Prefix {
	bits := 32
	if address.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(address, bits).Masked()
}

func (s *Server) trusts(address netip.Addr) bool {
	return s.Trusted != nil && address.IsValid() && s.Trusted(address)
}

// addressOf is the address of a TCP connection's other end; invalid: it has none.
func addressOf(remote net.Addr) netip.Addr {
	tcp, is := remote.(*net.TCPAddr)
	if !is {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}

// agree is the TLS handshake, if there is one.
func (s *Server) agree(c *client) (net.Conn, error) {
	if s.tls == nil {
		return c, nil
	}
	conn := tls.Server(c, s.tls)
	if err := conn.Handshake(); err != nil {
		explainPlain(err)
		return nil, err
	}
	return conn, nil
}

// welcome gives a connection to who speaks its protocol. HTTP/1 gets a goroutine that
// has not done anything yet: what a handshake needs of a stack, waiting does not.
func (s *Server) welcome(c *client, conn net.Conn) {
	var state *tls.ConnectionState
	if secured, is := conn.(*tls.Conn); is {
		agreed := secured.ConnectionState()
		state = &agreed
	}
	if state != nil && state.NegotiatedProtocol == "h2" {
		s.leaveToNetHTTP(c, s.newFrames(conn, state))
		return
	}
	go s.serveHTTP1(c, conn, state)
}

// explainPlain answers somebody who wrote http:// where https:// belongs.
func explainPlain(err error) {
	var header tls.RecordHeaderError
	if !errors.As(err, &header) || header.Conn == nil {
		return
	}
	switch string(header.RecordHeader[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "PATCH", "DELET":
		_, _ = io.WriteString(header.Conn, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"+
			"this port speaks TLS: write https:// instead of http://\n")
	}
}

// agreeable is the TLS configuration in use: the given one, with what it leaves
// out. The suites are those of RFC 9325 §4.2; TLS 1.3 has no others.
func (s *Server) agreeable() *tls.Config {
	if s.TLS == nil {
		return nil
	}
	config := s.TLS.Clone()
	config.NextProtos = []string{"h2", "http/1.1"}
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	if config.CipherSuites == nil {
		config.CipherSuites = []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		}
	}
	return config
}

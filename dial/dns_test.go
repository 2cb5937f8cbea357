package dial

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// nameserver answers questions for addresses over UDP and TCP, as it is told.
type nameserver struct {
	t       *testing.T
	packets net.PacketConn
	streams net.Listener
	all     sync.WaitGroup
	asked   atomic.Int64 // questions for IPv4 addresses

	mu        sync.Mutex // guards what follows
	code      dnsmessage.RCode
	addresses []netip.Addr
}

func newNameserver(t *testing.T) *nameserver {
	s := &nameserver{t: t}
	var err error
	if s.packets, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if s.streams, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s.all.Go(s.servePackets)
	s.all.Go(s.serveStreams)
	t.Cleanup(func() {
		s.packets.Close()
		s.streams.Close()
		s.all.Wait()
	})
	return s
}

// names are names that this server answers for.
func (s *nameserver) names() *Names {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		at := s.packets.LocalAddr()
		if strings.HasPrefix(network, "tcp") {
			at = s.streams.Addr()
		}
		var d net.Dialer
		return d.DialContext(ctx, network, at.String())
	}}
	return &Names{Lookup: resolver.LookupNetIP}
}

// say sets the answer to every question.
func (s *nameserver) say(code dnsmessage.RCode, addresses ...netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.code, s.addresses = code, addresses
}

func (s *nameserver) servePackets() {
	buffer := make([]byte, 1<<16)
	for {
		n, from, err := s.packets.ReadFrom(buffer)
		if err != nil {
			return
		}
		answer := s.answer(buffer[:n])
		if len(answer) > 512 {
			answer = s.truncated(buffer[:n])
		}
		_, _ = s.packets.WriteTo(answer, from)
	}
}

func (s *nameserver) serveStreams() {
	for {
		conn, err := s.streams.Accept()
		if err != nil {
			return
		}
		s.all.Go(func() {
			defer conn.Close()
			var length [2]byte
			if _, err := io.ReadFull(conn, length[:]); err != nil {
				return
			}
			question := make([]byte, binary.BigEndian.Uint16(length[:]))
			if _, err := io.ReadFull(conn, question); err != nil {
				return
			}
			answer := s.answer(question)
			_, _ = conn.Write(binary.BigEndian.AppendUint16(nil, uint16(len(answer))))
			_, _ = conn.Write(answer)
		})
	}
}

// answer is what the server says to a question. Its TTL is 0: never to be kept.
func (s *nameserver) answer(question []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	header, asked := s.parse(question)
	header.RCode = s.code
	if asked.Type == dnsmessage.TypeA {
		s.asked.Add(1)
	}
	b := dnsmessage.NewBuilder(nil, header)
	b.EnableCompression()
	s.must(b.StartQuestions(), b.Question(asked), b.StartAnswers())
	for _, address := range s.addresses {
		resource := dnsmessage.ResourceHeader{Name: asked.Name, Class: dnsmessage.ClassINET}
		switch {
		case asked.Type == dnsmessage.TypeA && address.Is4():
			s.must(b.AResource(resource, dnsmessage.AResource{A: address.As4()}))
		case asked.Type == dnsmessage.TypeAAAA && address.Is6():
			s.must(b.AAAAResource(resource, dnsmessage.AAAAResource{AAAA: address.As16()}))
		}
	}
	message, err := b.Finish()
	s.must(err)
	return message
}

// truncated sends who asks to TCP.
func (s *nameserver) truncated(question []byte) []byte {
	header, asked := s.parse(question)
	header.Truncated = true
	b := dnsmessage.NewBuilder(nil, header)
	s.must(b.StartQuestions(), b.Question(asked))
	message, err := b.Finish()
	s.must(err)
	return message
}

func (s *nameserver) parse(question []byte) (dnsmessage.Header, dnsmessage.Question) {
	var p dnsmessage.Parser
	header, err := p.Start(question)
	s.must(err)
	asked, err := p.Question()
	s.must(err)
	return dnsmessage.Header{ID: header.ID, Response: true, RecursionDesired: true, RecursionAvailable: true}, asked
}

func (s *nameserver) must(errs ...error) {
	if err := errors.Join(errs...); err != nil {
		s.t.Error(err)
	}
}

// age makes every answer old enough to be asked for again.
func age(n *Names) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, at := range n.known {
		at.due = at.asked
	}
}

// settle waits until no lookup is under way.
func settle(n *Names) {
	for {
		n.mu.Lock()
		var answered chan struct{}
		for _, at := range n.known {
			if at.answered != nil {
				answered = at.answered
			}
		}
		n.mu.Unlock()
		if answered == nil {
			return
		}
		<-answered
	}
}

// listener accepts at every address of this machine, and hangs up.
func listener(t *testing.T) (port string) {
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
	})
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port
}

// connect returns the address that a connection was made to, or the error.
func connect(t *testing.T, n *Names, d *net.Dialer, port string) string {
	t.Helper()
	conn, err := n.DialContext(d)(t.Context(), "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	at, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
	return at
}

var (
	loop1 = netip.MustParseAddr("127.0.0.1")
	loop2 = netip.MustParseAddr("127.0.0.2")
)

func TestTroubleOfDNSMovesNobody(t *testing.T) {
	port := listener(t)
	for what, trouble := range map[string]struct {
		code dnsmessage.RCode
		says string
	}{
		"NXDOMAIN": {dnsmessage.RCodeNameError, "no such host"},
		"SERVFAIL": {dnsmessage.RCodeServerFailure, "server misbehaving"},
		"nothing":  {dnsmessage.RCodeSuccess, "no such host"},
	} {
		t.Run(what, func(t *testing.T) {
			server := newNameserver(t)
			server.say(trouble.code)
			cold := server.names()
			if got := connect(t, cold, &net.Dialer{}, port); !strings.Contains(got, host) || !strings.HasSuffix(got, ": "+trouble.says) {
				t.Errorf("without an older answer: %s", got)
			}
			warm := server.names()
			server.say(dnsmessage.RCodeSuccess, loop1)
			if got := connect(t, warm, &net.Dialer{}, port); got != loop1.String() {
				t.Errorf("connected to %s", got)
			}
			server.say(trouble.code)
			for range 3 {
				age(warm)
				if got := connect(t, warm, &net.Dialer{}, port); got != loop1.String() {
					t.Errorf("in trouble, connected to %s", got)
				}
				settle(warm)
			}
			server.say(dnsmessage.RCodeSuccess, loop2)
			age(warm)
			_ = connect(t, warm, &net.Dialer{}, port)
			settle(warm)
			if got := connect(t, warm, &net.Dialer{}, port); got != loop2.String() {
				t.Errorf("after the trouble, connected to %s", got)
			}
		})
	}
}

func TestAnAnswerThatMustNotBeKeptCostsNoLookupForEachConnection(t *testing.T) {
	port, server := listener(t), newNameserver(t)
	n := server.names()
	for i := range 20 {
		server.say(dnsmessage.RCodeSuccess, []netip.Addr{loop1, loop2}[i%2])
		if got := connect(t, n, &net.Dialer{}, port); got != loop1.String() {
			t.Fatalf("connected to %s", got)
		}
	}
	if got := server.asked.Load(); got != 1 {
		t.Errorf("%d lookups, want 1", got)
	}
}

func TestFourThousandAddressesAreSixteen(t *testing.T) {
	server := newNameserver(t)
	n := server.names()
	var addresses []netip.Addr
	for address := loop1; len(addresses) < 4000; address = address.Next() {
		addresses = append(addresses, address)
	}
	server.say(dnsmessage.RCodeSuccess, addresses...)
	var dialled atomic.Int64
	refuse := &net.Dialer{Control: func(string, string, syscall.RawConn) error {
		dialled.Add(1)
		return errors.New("not there")
	}}
	if got := connect(t, n, refuse, "80"); !strings.HasPrefix(got, host+": none of its 16 addresses takes a connection: ") || dialled.Load() != 16 {
		t.Errorf("%d addresses were dialled: %s", dialled.Load(), got)
	}
}

func TestANameThatLeadsToAForbiddenAddressNowIsRefused(t *testing.T) {
	port, server := listener(t), newNameserver(t)
	n := server.names()
	forbidden := errors.New("not this address")
	d := &net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		if strings.HasPrefix(address, "169.254.169.254:") {
			return forbidden
		}
		return nil
	}}
	server.say(dnsmessage.RCodeSuccess, loop1)
	if got := connect(t, n, d, port); got != loop1.String() {
		t.Fatalf("connected to %s", got)
	}
	server.say(dnsmessage.RCodeSuccess, netip.MustParseAddr("169.254.169.254"))
	age(n)
	if got := connect(t, n, d, port); !strings.HasPrefix(got, host+": ") || !strings.HasSuffix(got, forbidden.Error()) {
		t.Errorf("connected to %s", got)
	}
}

func TestAnIPAddressIsNotLookedUp(t *testing.T) {
	port := listener(t)
	n := &Names{Lookup: func(context.Context, string, string) ([]netip.Addr, error) {
		t.Error("looked up")
		return nil, nil
	}}
	conn, err := n.DialContext(&net.Dialer{})(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestTheZeroValueAsksTheSystem(t *testing.T) {
	port := listener(t)
	conn, err := new(Names).DialContext(&net.Dialer{})(t.Context(), "tcp", net.JoinHostPort("localhost", port))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

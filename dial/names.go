// Package dial connects to endpoints by name, and goes on doing so while nobody can
// tell where the name leads: an outage of DNS does not move any address.
//
// Names remembers the last good answer for each name. Start at DialContext, which is
// what happens to one connection; addresses decides whether it waits for the resolver;
// race.go tries the addresses. The package refuses none: that is for the Control of
// the net.Dialer it is given, which sees each address that is really dialled.
package dial

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// fresh is how long an answer is used without asking again, whatever its TTL
	// says: one of a millisecond must not cost a lookup for each connection.
	fresh = 5 * time.Second
	// rest is the pause after a lookup that failed.
	rest = 1 * time.Second
	// lookupLimit ends a lookup. A dead nameserver costs Go's resolver 5 s before it
	// asks the next of resolv.conf, and that answer is still worth having.
	lookupLimit = 6 * time.Second
	// patience is how long a connection waits for the first answer there ever is.
	patience = 2 * time.Second
	// grace is how long it waits for a newer answer than the one that is known: less
	// than the quarter of a second in which an attempt has to be connected.
	grace = 100 * time.Millisecond
)

// Bounds: of the addresses of a name, and of the names.
const (
	addressLimit = 16
	nameLimit    = 4096
)

// Names knows where names lead. The last good answer for a name is used for as long as
// the resolver fails, takes too long or has no address to tell. The zero value is ready
// and asks the system's resolver; all methods are safe for concurrent use. At most
// 4,096 names are remembered, those that were dialled last.
type Names struct {
	// Lookup asks for the addresses of a name, with "ip" as the network; nil: the
	// system's resolver. At most one lookup of a name is under way at a time, and
	// its context ends after 6 s.
	Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
	// Stale is told when an old answer begins to stand in for one that the resolver
	// does not give, and why; with nil when that is over. It is told once an outage.
	// Names are looked up when they are dialled, and never on their own.
	Stale func(host string, why error)

	mu    sync.Mutex // guards known, and the names in it
	known map[string]*name
}

// name is what is known of one name.
type name struct {
	addresses []netip.Addr  // of the last good answer; never replaced by none
	err       error         // of the last lookup; nil: it was good
	due       time.Time     // when an answer is wanted again
	asked     time.Time     // when the last lookup set out
	used      time.Time     // when it was last dialled
	answered  chan struct{} // closed by the lookup that is under way; nil: none is
}

// DialContext returns what http.Transport.DialContext wants: it connects to a host and
// a port through d, to the host's addresses as race does. An IP address is dialled as
// it is. An error that stems from the resolver is a *net.DNSError.
func (n *Names) DialContext(d *net.Dialer) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil || isAddress(host) {
			return d.DialContext(ctx, network, address)
		}
		addresses, err := n.addresses(ctx, host)
		if err != nil {
			return nil, err
		}
		return race(ctx, host, addresses, func(ctx context.Context, at netip.Addr) (net.Conn, error) {
			return d.DialContext(ctx, network, net.JoinHostPort(at.String(), port))
		})
	}
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// addresses returns where a name leads. It waits for the resolver when nothing is known
// yet, and a moment when what is known is no longer fresh; not at all when the resolver
// is known to have trouble.
func (n *Names) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	at, answered, wait := n.find(ctx, host, time.Now())
	if wait > 0 {
		await(ctx, answered, wait)
	}
	return n.tell(host, at)
}

// find returns a name, and how long its lookup is worth waiting for. It sees to it
// that one is under way when it is due.
func (n *Names) find(ctx context.Context, host string, now time.Time) (at *name, answered <-chan struct{}, wait time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	at = n.remember(host, now)
	if at.answered == nil && !now.Before(at.due) {
		at.asked, at.answered = now, make(chan struct{})
		go n.ask(host, at)
	}
	switch {
	case at.answered == nil:
		return at, nil, 0
	case len(at.addresses) == 0:
		return at, at.answered, worth(ctx, now)
	case at.err != nil:
		return at, nil, 0
	}
	return at, at.answered, at.asked.Add(grace).Sub(now)
}

// remember makes a name one that is known, in the place of the one that was dialled
// least recently if there are too many.
func (n *Names) remember(host string, now time.Time) *name {
	at := n.known[host]
	if at == nil {
		if n.known == nil {
			n.known = map[string]*name{}
		}
		n.forget(nameLimit - 1)
		at = &name{due: now}
		n.known[host] = at
	}
	at.used = now
	return at
}

// forget keeps so many names.
func (n *Names) forget(most int) {
	for len(n.known) > most {
		var oldest string
		for host, at := range n.known {
			if oldest == "" || at.used.Before(n.known[oldest].used) {
				oldest = host
			}
		}
		delete(n.known, oldest)
	}
}

// worth is how long it makes sense to wait for addresses before dialling. A tenth of
// the time is left, so that whoever dials learns that it was the resolver.
func worth(ctx context.Context, now time.Time) time.Duration {
	if deadline, set := ctx.Deadline(); set {
		return min(patience, deadline.Sub(now)*9/10)
	}
	return patience
}

func await(ctx context.Context, answered <-chan struct{}, wait time.Duration) {
	over := time.NewTimer(wait)
	defer over.Stop()
	select {
	case <-answered:
	case <-over.C:
	case <-ctx.Done():
	}
}

var errNoAnswer = errors.New("the resolver does not answer")

// tell returns what is known now.
func (n *Names) tell(host string, at *name) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case len(at.addresses) > 0:
		return at.addresses, nil
	case at.err != nil:
		return nil, at.err
	}
	return nil, dnsError(host, errNoAnswer)
}

// ask is a lookup. It is nobody's own: who waits for it may leave, and its answer is
// for those who come later, too.
func (n *Names) ask(host string, at *name) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupLimit)
	defer cancel()
	lookup := n.Lookup
	if lookup == nil {
		lookup = net.DefaultResolver.LookupNetIP
	}
	addresses, err := lookup(ctx, "ip", host)
	if err == nil && len(addresses) == 0 {
		err = errors.New("it has no address")
	}
	news, why := n.learn(host, at, addresses, err)
	if news && n.Stale != nil {
		n.Stale(host, why)
	}
	n.finish(at)
}

// learn takes in how a lookup ended. news says that a name became stale, and why, or
// that it is so no more.
func (n *Names) learn(host string, at *name, addresses []netip.Addr, err error) (news bool, why error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	news = len(at.addresses) > 0 && (at.err == nil) != (err == nil)
	if err != nil {
		at.err, at.due = dnsError(host, err), time.Now().Add(rest)
		return news, at.err
	}
	at.addresses, at.err, at.due = inTurn(addresses), nil, time.Now().Add(fresh)
	return news, nil
}

// finish lets those who wait look, and the next lookup set out.
func (n *Names) finish(at *name) {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(at.answered)
	at.answered = nil
}

// dnsError is err as the resolver's, of a name.
func dnsError(host string, err error) error {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return err
	case errors.Is(err, errNoAnswer), errors.Is(err, context.DeadlineExceeded):
		return &net.DNSError{UnwrapErr: err, Err: errNoAnswer.Error(), Name: host, IsTimeout: true}
	}
	return &net.DNSError{UnwrapErr: err, Err: err.Error(), Name: host}
}

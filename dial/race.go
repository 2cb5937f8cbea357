package dial

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// headStart is how long an address has to itself before the next one is dialled beside
// it: the least that RFC 8305 §5 recommends, because an attempt may have only a quarter
// of a second to connect.
const headStart = 100 * time.Millisecond

// result is how dialling one address ended.
type result struct {
	conn net.Conn
	err  error
}

// race dials the addresses of a host in their order, the next one as soon as one fails
// or its head start is over, and returns the first connection there is. When there is
// none, it returns the error that came first: it is of an address that the resolver
// prefers, where the last may be of a family that this machine has no way to.
func race(ctx context.Context, host string, addresses []netip.Addr, dial func(context.Context, netip.Addr) (net.Conn, error)) (net.Conn, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop() // those that have not won
	results, over := make(chan result), make(chan struct{})
	defer close(over)
	var first error
	dialling := 0
	for left := addresses; len(left) > 0 || dialling > 0; {
		var next <-chan time.Time // never, when none is left
		if len(left) > 0 {
			at := left[0]
			go func() {
				conn, err := dial(ctx, at)
				deliver(result{conn, err}, results, over)
			}()
			dialling++
			if left = left[1:]; len(left) > 0 {
				next = time.After(lead(ctx, len(left)))
			}
		}
		select {
		case r := <-results:
			dialling--
			if r.err == nil {
				return r.conn, nil
			}
			if first == nil {
				first = r.err
			}
		case <-next:
		}
	}
	return nil, failure(host, len(addresses), first)
}

func failure(host string, addresses int, err error) error {
	if addresses > 1 {
		return fmt.Errorf("%s: none of its %d addresses takes a connection: %w", host, addresses, err)
	}
	return fmt.Errorf("%s: %w", host, err)
}

// lead is the head start of an address before so many others. Whoever has little time
// to connect has time for each of them.
func lead(ctx context.Context, others int) time.Duration {
	if deadline, set := ctx.Deadline(); set {
		return min(headStart, time.Until(deadline)/time.Duration(others+1))
	}
	return headStart
}

// deliver hands over a result. A connection that comes when the race is over is closed.
func deliver(r result, results chan<- result, over <-chan struct{}) {
	select {
	case results <- r:
	case <-over:
		if r.conn != nil {
			r.conn.Close()
		}
	}
}

// inTurn is an answer as it is dialled: the families in turn, beginning with the one
// that the resolver puts first, so that no broken one holds up the other (RFC 8305 §4).
func inTurn(answer []netip.Addr) []netip.Addr {
	var families [2][]netip.Addr
	for _, address := range answer {
		address = address.Unmap()
		family := 0
		if address.Is4() != answer[0].Unmap().Is4() {
			family = 1
		}
		families[family] = append(families[family], address)
	}
	var turns []netip.Addr
	for at := 0; len(turns) < min(len(answer), addressLimit); at++ {
		for _, family := range families {
			if at < len(family) {
				turns = append(turns, family[at])
			}
		}
	}
	return turns
}

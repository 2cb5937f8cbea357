package dial

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// place is what a test finds at an address.
type place struct {
	after time.Duration
	err   error
}

// run is a race over places, the first being 192.0.2.1, and who took part.
func run(ctx context.Context, places ...place) (won net.Conn, began []time.Duration, err error) {
	var addresses []netip.Addr
	at := map[netip.Addr]place{}
	for address := here; len(addresses) < len(places); address = address.Next() {
		at[address] = places[len(addresses)]
		addresses = append(addresses, address)
	}
	start := time.Now()
	turn := make(chan []time.Duration, 1)
	turn <- nil
	won, err = race(ctx, host, addresses, func(ctx context.Context, address netip.Addr) (net.Conn, error) {
		turn <- append(<-turn, time.Since(start))
		there := at[address]
		select {
		case <-time.After(there.after):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if there.err != nil {
			return nil, there.err
		}
		return &line{address: address}, nil
	})
	return won, <-turn, err
}

// line is a connection to an address.
type line struct {
	net.Conn
	address netip.Addr
	closed  chan struct{}
}

func (l *line) Close() error {
	close(l.closed)
	return nil
}

func TestTheNextAddressIsDialledAsSoonAsOneFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		won, began, err := run(t.Context(), place{after: time.Millisecond, err: syscall.ECONNREFUSED}, place{})
		if err != nil || won.(*line).address != there || !slices.Equal(began, []time.Duration{0, time.Millisecond}) {
			t.Errorf("%v won, begun at %v, %v", won, began, err)
		}
	})
}

func TestASilentAddressHasAHeadStart(t *testing.T) {
	for room, want := range map[time.Duration]time.Duration{time.Minute: headStart, 120 * time.Millisecond: 60 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), room)
			defer cancel()
			won, began, err := run(ctx, place{after: time.Hour}, place{})
			if err != nil || won.(*line).address != there || !slices.Equal(began, []time.Duration{0, want}) {
				t.Errorf("with %v: %v won, begun at %v, %v", room, won, began, err)
			}
		})
	}
}

func TestWhenNoAddressTakesAConnectionTheFirstErrorIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, err := run(t.Context(), place{after: time.Second, err: syscall.ENETUNREACH}, place{err: syscall.ECONNREFUSED})
		if !errors.Is(err, syscall.ECONNREFUSED) || err.Error() != host+": none of its 2 addresses takes a connection: connection refused" {
			t.Error(err)
		}
		if _, _, err := run(t.Context(), place{err: syscall.ECONNREFUSED}); err == nil || err.Error() != host+": connection refused" {
			t.Error(err)
		}
	})
}

func TestARaceEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, _, err := run(ctx, slices.Repeat([]place{{after: time.Hour}}, addressLimit)...)
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}

func TestAConnectionThatComesTooLateIsClosed(t *testing.T) {
	late := &line{closed: make(chan struct{})}
	over := make(chan struct{})
	close(over)
	deliver(result{conn: late}, nil, over)
	<-late.closed
}

func TestFamiliesTakeTurns(t *testing.T) {
	many := strings.Repeat("10.0.0.1 ", 4000)
	for answer, want := range map[string]string{
		"10.0.0.1 10.0.0.2":                  "10.0.0.1 10.0.0.2",
		"::1 ::2 ::3 10.0.0.1":               "::1 10.0.0.1 ::2 ::3",
		"10.0.0.1 10.0.0.2 10.0.0.3 ::1 ::2": "10.0.0.1 ::1 10.0.0.2 ::2 10.0.0.3",
		"::ffff:10.0.0.1 ::1":                "10.0.0.1 ::1",
		many:                                 strings.TrimSpace(strings.Repeat("10.0.0.1 ", 16)),
		many + "::1 ::2 ::3 ::4 ::5 ::6 ::7": "10.0.0.1 ::1 10.0.0.1 ::2 10.0.0.1 ::3 10.0.0.1 ::4 10.0.0.1 ::5 10.0.0.1 ::6 10.0.0.1 ::7 10.0.0.1 10.0.0.1",
	} {
		var addresses []netip.Addr
		for _, text := range strings.Fields(answer) {
			addresses = append(addresses, netip.MustParseAddr(text))
		}
		var got []string
		for _, address := range inTurn(addresses) {
			got = append(got, address.String())
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%.60s are dialled as %s\nwant %s", answer, text, want)
		}
	}
}

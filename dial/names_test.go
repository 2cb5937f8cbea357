package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const host = "model.example"

var (
	here    = netip.MustParseAddr("192.0.2.1")
	there   = netip.MustParseAddr("192.0.2.2")
	errDown = &net.DNSError{Err: "server misbehaving", Name: host, IsTemporary: true}
)

// resolver is one that tests make answer as they like. It counts.
type resolver struct {
	mu      sync.Mutex // guards what follows
	answer  []netip.Addr
	err     error
	after   time.Duration
	lookups int
	told    []string // of what became stale
}

func (r *resolver) set(answer []netip.Addr, err error, after time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer, r.err, r.after = answer, err, after
}

func (r *resolver) lookUp(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	r.mu.Lock()
	r.lookups++
	answer, err, after := r.answer, r.err, r.after
	r.mu.Unlock()
	select {
	case <-time.After(after):
		return answer, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *resolver) stale(host string, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, fmt.Sprint(host, ": ", why))
}

// story is a test in a time of its own, with names that a resolver answers for.
func story(t *testing.T, tell func(t *testing.T, n *Names, r *resolver)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &resolver{answer: []netip.Addr{here}}
		tell(t, &Names{Lookup: r.lookUp, Stale: r.stale}, r)
		time.Sleep(lookupLimit) // until the last lookup has ended
	})
}

// asked is the answer for a name, and how long it took.
func asked(t *testing.T, n *Names) (answer []netip.Addr, took time.Duration, err error) {
	began := time.Now()
	answer, err = n.addresses(t.Context(), host)
	return answer, time.Since(began), err
}

// wantAddress fails the test unless a name leads to one address within a time.
func wantAddress(t *testing.T, n *Names, want netip.Addr, within time.Duration) {
	t.Helper()
	answer, took, err := asked(t, n)
	if !slices.Equal(answer, []netip.Addr{want}) || err != nil || took > within {
		t.Errorf("after %v it leads to %v, %v; want %v within %v", took, answer, err, want, within)
	}
}

func TestAnAnswerIsGoodForFiveSeconds(t *testing.T) {
	story(t, func(t *testing.T, n *Names, r *resolver) {
		for range 100 {
			wantAddress(t, n, here, 0)
			time.Sleep(99 * time.Millisecond)
		}
		if r.lookups != 2 {
			t.Errorf("%d lookups in 9.9 s, want 2", r.lookups)
		}
	})
}

func TestANewAnswerIsForTheNextConnection(t *testing.T) {
	story(t, func(t *testing.T, n *Names, r *resolver) {
		wantAddress(t, n, here, 0)
		r.set([]netip.Addr{there}, nil, 20*time.Millisecond)
		time.Sleep(fresh)
		wantAddress(t, n, there, 20*time.Millisecond)
	})
}

func TestAThousandConnectionsMakeOneLookup(t *testing.T) {
	story(t, func(t *testing.T, n *Names, r *resolver) {
		r.set([]netip.Addr{here}, nil, time.Second)
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() { wantAddress(t, n, here, time.Second) })
		}
		all.Wait()
		if r.lookups != 1 {
			t.Errorf("%d lookups, want 1", r.lookups)
		}
	})
}

// resolverTroubles are the ways in which a resolver may fail.
var resolverTroubles = map[string]struct {
	err   error
	after time.Duration
	says  string
}{
	"an error": {err: errDown, says: "lookup model.example: server misbehaving"},
	"nothing":  {says: "lookup model.example: it has no address"},
	"silence":  {after: time.Hour, says: "lookup model.example: the resolver does not answer"},
}

func TestTheLastAnswerStandsInForAResolverThatGives(t *testing.T) {
	for what, trouble := range resolverTroubles {
		t.Run(what, func(t *testing.T) {
			story(t, func(t *testing.T, n *Names, r *resolver) {
				wantAddress(t, n, here, 0)
				r.set(nil, trouble.err, trouble.after)
				time.Sleep(fresh)
				wantAddress(t, n, here, grace)
				for range 1000 {
					time.Sleep(time.Minute)
					wantAddress(t, n, here, 0)
				}
				r.set([]netip.Addr{there}, nil, 0)
				time.Sleep(time.Minute)
				_, _, _ = asked(t, n) // which lets a lookup set out
				synctest.Wait()
				wantAddress(t, n, there, 0)
				if want := []string{host + ": " + trouble.says, host + ": <nil>"}; !slices.Equal(r.told, want) {
					t.Errorf("told %q\nwant %q", r.told, want)
				}
			})
		})
	}
}

func TestWithoutAnAnswerTheErrorSaysWhatTheResolverSaid(t *testing.T) {
	for what, trouble := range resolverTroubles {
		t.Run(what, func(t *testing.T) {
			story(t, func(t *testing.T, n *Names, r *resolver) {
				r.set(nil, trouble.err, trouble.after)
				_, took, err := asked(t, n)
				var dns *net.DNSError
				if !errors.As(err, &dns) || dns.Name != host || err.Error() != trouble.says || took > patience {
					t.Errorf("after %v: %v\nwant %s", took, err, trouble.says)
				}
				if len(r.told) > 0 {
					t.Errorf("told %q of a name without an old answer", r.told)
				}
			})
		})
	}
}

func TestAResolverThatFailsIsAskedOnceASecond(t *testing.T) {
	story(t, func(t *testing.T, n *Names, r *resolver) {
		r.set(nil, errDown, 0)
		for range 100 {
			if _, took, err := asked(t, n); err == nil || took > 0 {
				t.Fatalf("%v after %v", err, took)
			}
			time.Sleep(99 * time.Millisecond)
		}
		if r.lookups < 9 || r.lookups > 10 {
			t.Errorf("%d lookups in 9.9 s", r.lookups)
		}
	})
}

func TestASlowResolverHoldsUpOnlyTheFirstConnection(t *testing.T) {
	story(t, func(t *testing.T, n *Names, r *resolver) {
		wantAddress(t, n, here, 0)
		r.set([]netip.Addr{there}, nil, 3*time.Second)
		time.Sleep(fresh)
		if _, took, _ := asked(t, n); took != grace {
			t.Errorf("the first waits %v, want %v", took, grace)
		}
		wantAddress(t, n, here, 0)
		time.Sleep(3 * time.Second)
		wantAddress(t, n, there, 0)
		if len(r.told) > 0 {
			t.Errorf("told %q although the resolver answers", r.told)
		}
	})
}

func TestAConnectionLearnsThatItWasTheResolverBeforeItsTimeIsOver(t *testing.T) {
	story(t, func(t *testing.T, n *Names, r *resolver) {
		r.set(nil, nil, time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := n.addresses(ctx, host)
		if dns := (*net.DNSError)(nil); !errors.As(err, &dns) || !dns.IsTimeout || ctx.Err() != nil {
			t.Errorf("%v, time over: %v", err, ctx.Err())
		}
	})
}

func TestAnAnswerIsKeptWhenWhoAskedHasLeft(t *testing.T) {
	story(t, func(t *testing.T, n *Names, r *resolver) {
		r.set([]netip.Addr{here}, nil, 5*time.Second)
		ctx, leave := context.WithCancel(t.Context())
		leave()
		if _, err := n.addresses(ctx, host); err == nil {
			t.Error("an address without an answer")
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		wantAddress(t, n, here, 0)
		if r.lookups != 1 {
			t.Errorf("%d lookups, want 1", r.lookups)
		}
	})
}

func TestTheNameThatWasDialledLeastRecentlyIsForgotten(t *testing.T) {
	story(t, func(t *testing.T, n *Names, _ *resolver) {
		for i := range nameLimit + 1 {
			_, _ = n.addresses(t.Context(), fmt.Sprintf("%d.example", i))
			time.Sleep(time.Microsecond)
			if i == nameLimit-1 {
				_, _ = n.addresses(t.Context(), "0.example")
			}
		}
		_, first := n.known["0.example"]
		_, second := n.known["1.example"]
		if len(n.known) != nameLimit || !first || second {
			t.Errorf("%d names are known, the first %v, the second %v", len(n.known), first, second)
		}
	})
}

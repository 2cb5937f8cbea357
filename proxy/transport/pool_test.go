package transport

import (
	"context"
	"io"
	"net"
	"net/textproto"
	"testing"
	"time"
)

func TestAConnectionIsKeptForFiftyFiveSeconds(t *testing.T) {
	onPipes(t, func(w *world) {
		closed := make(chan time.Time, 2)
		w.does(func(c *call) {
			always(hello)(c)
			closed <- time.Now()
		})
		w.ask(nil, "GET", "")
		time.Sleep(keptFor - time.Second)
		trip := &diary{}
		w.ask(trip, "GET", "")
		w.want("trip", trip.String(), "got kept, sent")
		began := time.Now()
		w.want("closed after", (<-closed).Sub(began), keptFor)
		w.want("hosts remembered", len(w.pool.hosts), 0)
	})
}

// TestAConnectionThatIsTooOldIsNotTried is about a process that was stopped for a while,
// and its sweeper with it.
func TestAConnectionThatIsTooOldIsNotTried(t *testing.T) {
	for age, ready := range map[time.Duration]bool{keptFor - 1: true, keptFor: false} {
		near, far := net.Pipe()
		c, now := newConnection(near, "endpoint.test", &pool{}), time.Now()
		c.rest(now)
		if c.isReady(now.Add(age)) != ready {
			t.Errorf("at the age of %v it is ready: %t", age, !ready)
		}
		near.Close()
		far.Close()
	}
}

func TestAConnectionWhoseContextHasEndedIsNotKept(t *testing.T) {
	story(t, func(w *world) {
		w.does(always("HTTP/1.1 102 Processing\r\n\r\n" + hello))
		ctx, cancel := context.WithCancelCause(w.t.Context())
		trip := &leaves{leave: func() { cancel(errLeft) }}
		if response, err := w.RoundTrip(w.request(WithTrip(ctx, trip), nil, "GET", nil)); err == nil {
			response.Body.Close()
		}
		w.want("kept", w.pool.count, 0)
	})
}

// leaves is a Trip whose client leaves at an interim answer.
type leaves struct {
	diary
	leave func()
}

func (l *leaves) Inform(int, textproto.MIMEHeader) error { l.leave(); return nil }

func TestTheNewestConnectionIsUsedFirst(t *testing.T) {
	onPipes(t, func(w *world) {
		used := make(chan int, 10)
		w.does(func(c *call) {
			for c.hear() {
				used <- c.number
				time.Sleep(time.Duration(c.number) * time.Second)
				c.say(hello)
			}
		})
		go w.ask(nil, "GET", "")
		w.ask(nil, "GET", "")
		time.Sleep(10 * time.Second)
		<-used
		<-used
		w.ask(nil, "GET", "")
		w.want("used", <-used, 2) // it was free last
	})
}

func TestNoMoreThanSoManyConnectionsAreKept(t *testing.T) {
	var p pool
	defer p.clear()
	keep := func(host string) bool {
		near, far := net.Pipe()
		far.Close()
		return p.push(newConnection(near, host, &p))
	}
	for i := range mostKept {
		if host := string(rune('a' + i/mostKeptHost)); !keep(host) {
			t.Fatalf("connection %d is not kept", i)
		}
		if i == mostKeptHost-1 && keep("a") {
			t.Error("one more is kept for a host")
		}
	}
	if keep("z") {
		t.Error("one more is kept in all")
	}
}

func TestClosingIdleConnectionsClosesThoseThatBecomeFree(t *testing.T) {
	story(t, func(w *world) {
		next, left := make(chan struct{}), make(chan int, 2)
		w.does(func(c *call) {
			c.hear()
			c.say(hello[:len(hello)-2])
			<-next
			c.say("lo")
			always(hello)(c)
			left <- c.number
		})
		response, err := w.RoundTrip(w.request(w.t.Context(), nil, "GET", nil))
		if err != nil {
			w.t.Fatal(err)
		}
		defer response.Body.Close()
		w.CloseIdleConnections()
		close(next)
		body, err := io.ReadAll(response.Body)
		w.want("body", string(body), "hello")
		w.want("error", err, nil)
		w.want("closed", <-left, 1)
		w.ask(nil, "GET", "")
		trip := &diary{}
		w.ask(trip, "GET", "")
		w.want("kept again", trip.String(), "got kept, sent")
	})
}

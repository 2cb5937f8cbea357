package transport

import (
	"io"
	"net"
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

package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const hello = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

func TestAConnectionServesOneRequestAfterTheOther(t *testing.T) {
	story(t, func(w *world) {
		w.does(always(hello))
		first, second := &diary{}, &diary{}
		w.want("first", w.ask(first, "POST", "a").body, "hello")
		w.want("second", w.ask(second, "POST", "b").body, "hello")
		w.want("first trip", first.String(), "dial, got, sent")
		w.want("second trip", second.String(), "got kept, sent")
	})
}

// hangsUpOnTheSecond is an endpoint that closes its first connection as a second request
// comes on it: the race of keep-alive.
func hangsUpOnTheSecond(c *call) {
	if c.hear() {
		c.say(hello)
	}
	if c.hear() && c.number > 1 {
		c.say(hello)
	}
}

func TestAKeptConnectionThatWasClosedMeanwhile(t *testing.T) {
	for name, test := range map[string]struct {
		method  string
		trip    *diary
		repeats bool
		key     string // a field that says so
	}{
		"a request that may be repeated":       {"POST", &diary{repeats: true}, true, ""},
		"one that may not":                     {"POST", &diary{}, false, ""},
		"a safe one that nobody follows":       {"GET", nil, true, ""},
		"one with effects that nobody follows": {"POST", nil, false, ""},
		"one with effects and a key":           {"POST", nil, true, "Idempotency-Key"},
		"one with the other key":               {"POST", nil, true, "X-Idempotency-Key"},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				w.does(hangsUpOnTheSecond)
				w.ask(nil, "GET", "")
				r := w.request(w.t.Context(), test.trip, test.method, strings.NewReader("body"))
				if test.key != "" {
					r.Header[test.key] = []string{"1"}
				}
				got := w.do(r)
				w.want("answered", got.err == nil && got.body == "hello", test.repeats)
				if !test.repeats {
					w.want("error", got.err, errNoAnswer)
				}
			})
		})
	}
}

func TestARequestIsRepeatedOnceAndOnANewConnection(t *testing.T) {
	story(t, func(w *world) {
		w.does(func(c *call) {
			if c.hear() && c.number == 1 {
				c.say(hello)
				c.hear()
			}
		})
		w.ask(nil, "GET", "")
		trip := &diary{repeats: true}
		w.want("error", w.ask(trip, "POST", "a").err, errNoAnswer)
		w.want("trip", trip.String(), "got kept, sent, dial, got, sent")
	})
}

func TestARequestWhoseBodyCannotBeHadAgainIsNotRepeated(t *testing.T) {
	story(t, func(w *world) {
		w.does(hangsUpOnTheSecond)
		w.ask(nil, "GET", "")
		r := w.request(w.t.Context(), &diary{repeats: true}, "POST", strings.NewReader("body"))
		r.GetBody = nil
		w.want("error", w.do(r).err, errNoAnswer)
	})
}

// deaf is a connection that takes nothing after its first request, but for some bytes.
type deaf struct {
	net.Conn
	takes  int
	writes int
}

func (d *deaf) Write(p []byte) (int, error) {
	if d.writes++; d.writes == 1 {
		return d.Conn.Write(p)
	}
	return d.takes, errDeaf
}

var errDeaf = errors.New("broken pipe")

// TestOnlyWhatMayHaveBeenSeenIsNotRepeated is about a connection that breaks between the
// look at it and the request: when nothing went out, any request may go out on another.
func TestOnlyWhatMayHaveBeenSeenIsNotRepeated(t *testing.T) {
	for _, length := range []int{1, 2 * atOnce} {
		for takes, want := range map[int]error{0: nil, 1: errDeaf} {
			onPipes(t, func(w *world) {
				w.does(always(hello))
				dial := w.Dial
				w.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := dial(ctx, network, address)
					if w.connections() == 1 {
						conn = &deaf{Conn: conn, takes: takes}
					}
					return conn, err
				}
				w.ask(nil, "GET", "")
				w.want("error", w.ask(&diary{}, "POST", strings.Repeat("x", length)).err, want)
			})
		}
	}
}

func TestAnAnswerThatBreaksOffIsNotAskedForAgain(t *testing.T) {
	story(t, func(w *world) {
		w.does(func(c *call) {
			c.hear()
			c.say(hello)
			c.hear()
			c.say("HTTP/1.1 2")
		})
		w.ask(nil, "GET", "")
		trip := &diary{repeats: true}
		w.want("error", w.ask(trip, "GET", "").err, io.ErrUnexpectedEOF)
		w.want("trip", trip.String(), "got kept, sent")
	})
}

// TestAConnectionThatWasClosedWhileItWasKeptIsNotTried: on it a request that must not be
// repeated would be lost.
func TestAConnectionThatWasClosedWhileItWasKeptIsNotTried(t *testing.T) {
	story(t, func(w *world) {
		closed := make(chan struct{}, 2)
		w.does(func(c *call) {
			c.hear()
			c.say(hello)
			c.Close()
			closed <- struct{}{}
		})
		w.ask(nil, "GET", "")
		<-closed
		trip := &diary{}
		w.want("answer", w.ask(trip, "POST", "a").body, "hello")
		w.want("trip", trip.String(), "dial, got, sent")
	})
}

// TestWhatComesUnaskedIsNoAnswer is the desynchronisation that must not be: the next
// request would be answered with it.
func TestWhatComesUnaskedIsNoAnswer(t *testing.T) {
	const other = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nunasked"
	for name, late := range map[string]bool{"behind an answer": false, "later": true} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				sent := make(chan struct{}, 2)
				w.does(func(c *call) {
					c.hear()
					if late {
						c.say(hello)
						c.say(other)
					} else {
						c.say(hello + other)
					}
					sent <- struct{}{}
					c.untilLeft()
				})
				w.want("first", w.ask(nil, "GET", "").body, "hello")
				<-sent
				w.want("second", w.ask(nil, "GET", "").body, "hello")
				w.want("connections", w.connections(), 2)
			})
		})
	}
}

var errLeft = errors.New("the client left")

func TestAContextEndsARoundTrip(t *testing.T) {
	for name, act := range map[string]func(*call){
		"before an answer":       func(c *call) { c.hear(); c.untilLeft() },
		"in the midst of a head": func(c *call) { c.hear(); c.say("HTTP/1.1 200 "); c.untilLeft() },
		"after an interim one":   func(c *call) { c.hear(); c.say("HTTP/1.1 102 \r\n\r\n"); c.untilLeft() },
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				heard := make(chan struct{})
				w.does(func(c *call) {
					defer close(heard)
					c.hear()
					heard <- struct{}{}
					act(c)
				})
				ctx, cancel := context.WithCancelCause(w.t.Context())
				go func() { <-heard; cancel(errLeft) }()
				w.want("error", w.do(w.request(ctx, nil, "GET", nil)).err, errLeft)
				<-heard // the endpoint saw the end
			})
		})
	}
}

func TestAContextEndsABody(t *testing.T) {
	story(t, func(w *world) {
		w.does(func(c *call) {
			c.hear()
			c.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
			c.untilLeft()
		})
		ctx, cancel := context.WithCancelCause(w.t.Context())
		response, err := w.RoundTrip(w.request(ctx, nil, "GET", nil))
		if err != nil {
			w.t.Fatal(err)
		}
		defer response.Body.Close()
		first := make([]byte, 10)
		n, err := response.Body.Read(first)
		w.want("first", string(first[:n]), "a")
		w.want("error", err, nil)
		go cancel(errLeft)
		_, err = response.Body.Read(first)
		w.want("error", err, errLeft)
	})
}

func TestAContextThatHasEndedCostsNoConnection(t *testing.T) {
	story(t, func(w *world) {
		w.does(always(hello))
		w.ask(nil, "GET", "")
		ctx, cancel := context.WithCancelCause(w.t.Context())
		cancel(errLeft)
		body := &closer{Reader: strings.NewReader("a")}
		w.want("error", w.do(w.request(ctx, nil, "POST", body)).err, errLeft)
		w.want("body closed", body.closed, true)
		trip := &diary{}
		w.ask(trip, "GET", "")
		w.want("trip", trip.String(), "got kept, sent")
	})
}

// closer is a body that knows whether it was closed.
type closer struct {
	io.Reader
	closed bool
}

func (c *closer) Close() error { c.closed = true; return nil }

func TestAContextThatEndsAfterTheAnswerLeavesTheConnectionAlone(t *testing.T) {
	story(t, func(w *world) {
		w.does(always(hello))
		ctx, cancel := context.WithCancelCause(w.t.Context())
		w.want("first", w.do(w.request(ctx, nil, "GET", nil)).body, "hello")
		cancel(errLeft)
		trip := &diary{}
		w.want("second", w.ask(trip, "GET", "").body, "hello")
		w.want("trip", trip.String(), "got kept, sent")
	})
}

func TestAContextEndsTheWaitForAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, host: "endpoint.test", Transport: &Transport{Dial: hole}}
		ctx, cancel := context.WithCancelCause(w.t.Context())
		time.AfterFunc(time.Second, func() { cancel(errLeft) })
		body := &closer{Reader: strings.NewReader("a")}
		w.want("error", w.do(w.request(ctx, &diary{wait: time.Minute}, "POST", body)).err, errLeft)
		w.want("body closed", body.closed, true)
	})
}

// hole is a network that drops packets.
func hole(ctx context.Context, _, _ string) (net.Conn, error) {
	<-ctx.Done()
	return nil, &net.OpError{Op: "dial", Err: ctx.Err()}
}

func TestATripBoundsTheWaitForAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, host: "endpoint.test", Transport: &Transport{Dial: hole}}
		trip := &diary{wait: time.Second}
		began := time.Now()
		err := w.do(w.request(w.t.Context(), trip, "GET", nil)).err
		w.want("timeout", errors.Is(err, os.ErrDeadlineExceeded), true)
		w.want("time", time.Since(began), time.Second+pollPause)
		w.want("trip", trip.String(), "dial")
	})
}

func TestATripMayRefuseANewConnection(t *testing.T) {
	story(t, func(w *world) {
		w.does(always(hello))
		trip := &diary{refuses: errLeft}
		w.want("error", w.ask(trip, "GET", "").err, errLeft)
		w.ask(nil, "GET", "")
		w.want("over a kept one", w.ask(trip, "GET", "").body, "hello")
	})
}

func TestAConnectionThatNobodyHasLookedAtIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		busy := func(ctx context.Context, _, _ string) (net.Conn, error) {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(time.Second + pollPause/2):
				return here, nil
			}
		}
		conn, err := within(t.Context(), time.Second, busy, "tcp", "endpoint.test:80")
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		time.Sleep(pollPause) // until the timer has seen that it is too late
	})
}

func TestWhereAHostIsFound(t *testing.T) {
	for host, want := range map[string]string{
		"endpoint.test": "endpoint.test:80", "endpoint.test:": "endpoint.test:80", "endpoint.test:8000": "endpoint.test:8000",
		"192.0.2.1": "192.0.2.1:80", "[2001:db8::1]": "[2001:db8::1]:80", "[2001:db8::1]:8000": "[2001:db8::1]:8000",
	} {
		if got := addressOf(host); got != want {
			t.Errorf("%s is found at %s, want %s", host, got, want)
		}
	}
}

func TestTheRequestIsTheAnswers(t *testing.T) {
	story(t, func(w *world) {
		w.does(always(hello))
		r := w.request(w.t.Context(), nil, "GET", nil)
		w.want("request", w.do(r).Request, r)
		w.want("status", w.do(r).Status, "200 OK")
	})
}

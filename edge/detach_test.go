package edge

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// detachable is what a handler finds in a http.ResponseWriter of HTTP/1.
type detachable interface {
	http.ResponseWriter
	Detach() (finish func(), ok bool)
	TryWrite(p []byte) (full bool, err error)
	Abort()
}

// detach lets a handler detach its answer.
func (c *call) detach(t *testing.T) (w detachable, finish func()) {
	t.Helper()
	w = c.w.(detachable)
	var ok bool
	c.do(func() { finish, ok = w.Detach() })
	if !ok {
		t.Fatal("the answer cannot be detached")
	}
	return w, finish
}

func brings(t *testing.T, w detachable, text string) {
	t.Helper()
	if full, err := w.TryWrite([]byte(text)); full || err != nil {
		t.Errorf("%q: full: %t, %v", text, full, err)
	}
}

func TestADetachedAnswerGoesOnWithoutItsHandler(t *testing.T) {
	server, client := secure(t)
	for _, config := range []*tls.Config{nil, server} {
		for _, order := range []string{"the handler returns first", "finish is called first"} {
			all := make(calls)
			w := serve(t, &Server{TLS: config, Handler: all})
			conn := w.dial(t)
			if config != nil {
				conn = tls.Client(conn, client)
			}
			send(t, conn, plain+plain)
			c := <-all
			c.do(func() { _, _ = io.WriteString(c.w, "one ") })
			answer, finish := c.detach(t)
			brings(t, answer, "two ")
			if order == "the handler returns first" {
				c.returns()
			}
			brings(t, answer, "three")
			if err := c.r.Context().Err(); err != nil {
				t.Errorf("%s: the context has ended: %v", order, err)
			}
			finish()
			finish() // which changes nothing
			if order != "the handler returns first" {
				c.returns()
			}
			<-c.r.Context().Done()
			second := <-all
			second.returns()
			send(t, conn, last)
			third := <-all
			third.returns()
			if got := answersOn(t, conn); !slices.Equal(got, []string{"200 one two three", "200 ", "200 "}) {
				t.Errorf("%s: %q", order, got)
			}
			if _, err := answer.TryWrite([]byte("four")); err == nil {
				t.Errorf("%s: and on, after its end", order)
			}
		}
	}
}

func TestWhatDoesNotGoOutWaitsForTheClient(t *testing.T) {
	server, client := secure(t)
	for _, config := range []*tls.Config{nil, server} {
		all := make(calls)
		w := serve(t, &Server{TLS: config, Handler: all})
		conn := w.dial(t)
		if config != nil {
			conn = tls.Client(conn, client)
		}
		send(t, conn, last)
		c := <-all
		answer, finish := c.detach(t)
		c.returns()
		piece := strings.Repeat("x", 100_000)
		pieces := 1
		for full := false; !full; pieces++ {
			var err error
			if full, err = answer.TryWrite([]byte(piece)); err != nil {
				t.Fatal(err)
			}
		}
		_, _ = answer.TryWrite([]byte(piece))
		got := make(chan []string)
		go func() { got <- answersOn(t, conn) }()
		if _, err := io.WriteString(answer, "y"); err != nil {
			t.Error(err)
		}
		if err := http.NewResponseController(answer).Flush(); err != nil {
			t.Error(err)
		}
		brings(t, answer, "z") // there is room again
		finish()
		if want := "200 " + strings.Repeat(piece, pieces) + "yz"; (<-got)[0] != want {
			t.Error("something else came")
		}
	}
}

func TestAnAbortedAnswerIsCut(t *testing.T) {
	for _, how := range []string{"before the handler returns", "after it", "without finish", "by a panic"} {
		all := make(calls)
		w := serve(t, &Server{Handler: all})
		conn := w.dial(t)
		send(t, conn, plain+plain)
		c := <-all
		var finish func()
		answer := c.w.(detachable)
		if how != "without finish" {
			answer, finish = c.detach(t)
		}
		c.do(func() { _, _ = answer.Write([]byte("one")); _ = http.NewResponseController(answer).Flush() })
		switch how {
		case "before the handler returns":
			answer.Abort()
			finish()
			c.returns()
		case "after it":
			c.returns()
			answer.Abort()
			finish()
		case "without finish":
			answer.Abort()
			c.returns()
		case "by a panic":
			c.panics(http.ErrAbortHandler)
			<-c.r.Context().Done() // whoever runs it hears of it
			finish()
		}
		if got := answersOn(t, conn); !slices.Equal(got, []string{"200 one✂"}) {
			t.Errorf("%s: %q", how, got)
		}
	}
}

func TestADetachedAnswerHearsThatTheClientLeaves(t *testing.T) {
	all, left := make(calls), make(chan func(), 1)
	w := serve(t, &Server{Handler: all, Leaving: func(_ net.Conn, leaves func()) func() {
		left <- leaves
		return func() {}
	}})
	conn := w.dial(t)
	send(t, conn, plain)
	c := <-all
	answer, finish := c.detach(t)
	c.returns()
	heard := make(chan struct{})
	context.AfterFunc(c.r.Context(), func() {
		answer.Abort()
		finish()
		close(heard)
	})
	(<-left)()
	<-heard
	closed(t, conn)
}

func TestShutdownWaitsForADetachedAnswer(t *testing.T) {
	all := make(calls)
	w := serve(t, &Server{Handler: all})
	conn := w.dial(t)
	send(t, conn, plain)
	c := <-all
	answer, finish := c.detach(t)
	c.returns()
	done := make(chan error, 1)
	go func() { done <- w.Shutdown(t.Context()) }()
	<-w.stopping
	brings(t, answer, "hello")
	select {
	case err := <-done:
		t.Fatalf("it did not: %v", err)
	default:
	}
	finish()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || !response.Close {
		t.Errorf("%+v, %v", response, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCloseEndsADetachedAnswer(t *testing.T) {
	all := make(calls)
	w := serve(t, &Server{Handler: all})
	conn := w.dial(t)
	send(t, conn, plain)
	c := <-all
	answer, finish := c.detach(t)
	c.returns()
	w.Close()
	<-c.r.Context().Done()
	if _, err := answer.TryWrite([]byte("hello")); err == nil {
		t.Error("it goes on")
	}
	finish()
	closed(t, conn)
}

func TestWhereSomebodyWouldHaveToWaitNothingIsDetached(t *testing.T) {
	all := make(calls)
	client, ours := net.Pipe()
	serveOn(t, &Server{Handler: all}, hands(ours))
	go func() { _, _ = io.WriteString(client, last) }()
	c := <-all
	if _, ok := c.w.(detachable).Detach(); ok {
		t.Error("an answer on a pipe was")
	}
	go c.returns()
	closed(t, client)
}

func TestADetachedAnswerKeepsItsConnection(t *testing.T) {
	all := make(calls)
	w := serve(t, &Server{Handler: all})
	conn := w.dial(t)
	send(t, conn, last)
	c := <-all
	answer, finish := c.detach(t)
	c.do(func() {
		if _, _, err := http.NewResponseController(answer).Hijack(); err == nil {
			t.Error("it was taken over")
		}
		if _, ok := answer.Detach(); ok {
			t.Error("it was detached twice")
		}
	})
	c.returns()
	finish()
	closed(t, conn)
}

func TestADetachedAnswerHasTheBodyToItsEnd(t *testing.T) {
	all := make(calls)
	w := serve(t, &Server{Handler: all})
	conn := w.dial(t)
	send(t, conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
	c := <-all
	answer, finish := c.detach(t)
	c.returns()
	send(t, conn, "llo"+last)
	body, err := io.ReadAll(c.r.Body)
	if string(body) != "hello" || err != nil {
		t.Errorf("%q, %v", body, err)
	}
	brings(t, answer, "thanks")
	finish()
	c = <-all
	c.returns()
	if got := answersOn(t, conn); !slices.Equal(got, []string{"200 thanks", "200 "}) {
		t.Errorf("%q", got)
	}
}

func TestAWriteDeadlineHoldsForWhatWasLeftWaiting(t *testing.T) {
	all := make(calls)
	w := serve(t, &Server{Handler: all})
	conn := w.dial(t)
	send(t, conn, plain)
	c := <-all
	answer, finish := c.detach(t)
	c.returns()
	for full := false; !full; {
		var err error
		if full, err = answer.TryWrite(make([]byte, 100_000)); err != nil {
			t.Fatal(err)
		}
	}
	_ = http.NewResponseController(answer).SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	finish() // which waits for the client elsewhere
	within5s(t, "the connection is closed", func() bool { return w.isOpen() == 0 })
}

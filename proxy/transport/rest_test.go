package transport

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"proxima/poll"
)

// resting is a world whose answers can rest.
func resting(t *testing.T, tell func(w *world)) {
	t.Helper()
	onSockets(t, func(w *world) {
		p, err := poll.Open()
		if err != nil {
			t.Skip(err)
		}
		w.Readable = p.Readable
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			p.Run(ctx)
		}()
		defer func() {
			stop()
			<-ended
		}()
		tell(w)
	})
}

// await reads a body at rest up to some text, or its end.
func await(t *testing.T, body io.Reader, ready <-chan struct{}, text string) (got string, err error) {
	t.Helper()
	buf := make([]byte, 100)
	for got != text || text == "" {
		n, err := body.Read(buf)
		got += string(buf[:n])
		switch {
		case err == ErrNothing:
			select {
			case <-ready:
			case <-time.After(10 * time.Second):
				t.Fatalf("nobody says that more than %q has come", got)
			}
		case err != nil:
			return got, err
		}
	}
	return got, nil
}

const streamed = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

func TestAnAnswerAtRestIsReadAsItComesAndItsConnectionKept(t *testing.T) {
	resting(t, func(w *world) {
		const end = "0\r\n\r\n"
		more := make(chan string)
		defer close(more)
		w.does(func(c *call) {
			for c.hear() {
				c.say(streamed + "3\r\none\r\n")
				for text := range more {
					if c.say(text); text == end {
						break
					}
				}
			}
		})
		for range 20 { // more than there are lines in the poller
			response, err := w.RoundTrip(w.request(t.Context(), nil, "GET", nil))
			if err != nil {
				t.Fatal(err)
			}
			ready := make(chan struct{}, 100)
			if !response.Body.(interface{ Rest(func()) bool }).Rest(func() { ready <- struct{}{} }) {
				t.Fatal("it cannot rest")
			}
			if got, err := await(t, response.Body, ready, "one"); got != "one" || err != nil {
				t.Fatalf("got %q, %v", got, err)
			}
			if _, err := response.Body.Read(make([]byte, 10)); err != ErrNothing {
				t.Errorf("a read when nothing has come: %v", err)
			}
			for _, text := range []string{"3\r", "\ntwo\r\n", "5"} {
				more <- text
			}
			if got, err := await(t, response.Body, ready, "two"); got != "two" || err != nil {
				t.Fatalf("got %q, %v", got, err)
			}
			more <- "\r\nthree\r\n"
			more <- end
			if got, err := await(t, response.Body, ready, ""); got != "three" || err != io.EOF {
				t.Fatalf("got %q, %v", got, err)
			}
			response.Body.Close()
		}
		w.want("connections", w.connections(), 1)
	})
}

func TestAnAnswerAtRestEndsWithItsContext(t *testing.T) {
	resting(t, func(w *world) {
		w.does(func(c *call) { c.hear(); c.say(streamed); c.untilLeft() })
		ctx, cancel := context.WithCancelCause(t.Context())
		response, err := w.RoundTrip(w.request(ctx, nil, "GET", nil))
		if err != nil {
			t.Fatal(err)
		}
		ready := make(chan struct{}, 100)
		response.Body.(interface{ Rest(func()) bool }).Rest(func() { ready <- struct{}{} })
		stalled := errors.New("silent for too long")
		cancel(stalled)
		if _, err := await(t, response.Body, ready, ""); err != stalled {
			t.Errorf("it ended with %v", err)
		}
		response.Body.Close()
	})
}

func TestAnAnswerAtRestThatBreaksSaysSo(t *testing.T) {
	resting(t, func(w *world) {
		w.does(func(c *call) { c.hear(); c.say(streamed + "3\r\none\r\n5\r\nt") })
		response, err := w.RoundTrip(w.request(t.Context(), nil, "GET", nil))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		ready := make(chan struct{}, 100)
		response.Body.(interface{ Rest(func()) bool }).Rest(func() { ready <- struct{}{} })
		if got, err := await(t, response.Body, ready, ""); got != "onet" || err != io.ErrUnexpectedEOF {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestAnAnswerThatIsOverDoesNotRest(t *testing.T) {
	resting(t, func(w *world) {
		w.does(always(hello))
		response, err := w.RoundTrip(w.request(t.Context(), nil, "GET", nil))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(response.Body)
		if response.Body.(interface{ Rest(func()) bool }).Rest(func() {}) {
			t.Error("it rests")
		}
		response.Body.Close()
	})
}

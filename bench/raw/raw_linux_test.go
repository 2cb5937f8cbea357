package raw

import (
	"context"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestASaturatedServerAnswersAll(t *testing.T) {
	f := fleet(t, serve(t), 8, Chat{BodyBytes: 1024})

	tally := enough(t, 8, func() (Tally, error) { return f.Saturate(t.Context(), 10*time.Millisecond) })

	if tally.Failed != 0 || tally.Took < 10*time.Millisecond || f.Open() != 8 {
		t.Errorf("%+v with %d connections", tally, f.Open())
	}
}

func TestAPacedFleetAsksAtItsRate(t *testing.T) {
	f := fleet(t, serve(t), 4, Chat{BodyBytes: 1024})

	tally := enough(t, 2, func() (Tally, error) { return f.Pace(t.Context(), 1000, 20*time.Millisecond) })

	if tally.Answers > 20 || tally.Answers != len(tally.Delays) || tally.Failed != 0 {
		t.Errorf("%+v", tally)
	}
	if slices.Min(tally.Delays) <= 0 {
		t.Errorf("an answer came before it was asked for: %v", tally.Delays)
	}
}

func TestARequestThatWaitsForAClientIsDelayedSinceItWasDue(t *testing.T) {
	const held, interval = 30 * time.Millisecond, 5 * time.Millisecond
	slow := answering(t, func(connection net.Conn) {
		time.Sleep(held)
		for err := error(nil); err == nil; _, err = connection.Read(make([]byte, 4096)) {
			connection.Write(wholeAnswer())
		}
	})
	f := fleet(t, slow, 1, Chat{BodyBytes: 1024})

	tally, err := f.Pace(t.Context(), float64(time.Second/interval), 10*held)
	if err != nil {
		t.Fatal(err)
	}

	if d := tally.Delays; len(d) < 2 || d[0] < held || d[1] < held-interval {
		t.Errorf("%v", d)
	}
}

func TestStreamsTakeTurnsAndTellWhenTokensWereSent(t *testing.T) {
	f := fleet(t, serve(t), 5, Chat{BodyBytes: 1024, Every: 2 * time.Millisecond})
	if err := f.Ask(t.Context()); err != nil {
		t.Fatal(err)
	}

	tally := enough(t, 10, func() (Tally, error) { return f.Listen(t.Context(), 10*time.Millisecond) })

	if tally.Failed != 0 || f.Open() != 5 || len(tally.Delays) != tally.Answers {
		t.Errorf("%+v with %d streams", tally, f.Open())
	}
	if shortest := slices.Min(tally.Delays); shortest <= 0 || shortest > time.Minute {
		t.Errorf("a token took %v", shortest)
	}
}

func TestAStreamThatBreaksIsCounted(t *testing.T) {
	broken := answering(t, func(connection net.Conn) {
		connection.Write(append([]byte(streamHead), newToken().at(time.Now())...))
	})
	f := fleet(t, broken, 1, Chat{Every: time.Millisecond})
	if err := f.Ask(t.Context()); err != nil {
		t.Fatal(err)
	}

	var tally Tally
	for tally.Failed == 0 {
		heard, err := f.Listen(t.Context(), time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		tally = heard
	}

	if tally.Failed != 1 || f.Open() != 0 {
		t.Errorf("%+v with %d streams", tally, f.Open())
	}
}

func TestMoreClientsThanTheWindowAllAskOnce(t *testing.T) {
	f := fleet(t, serve(t), 3*window, Chat{BodyBytes: 1024})

	if err := f.Ask(t.Context()); err != nil {
		t.Fatal(err)
	}

	if f.Open() != 3*window || f.tally.Answers != 3*window {
		t.Errorf("%d connections, %d answers", f.Open(), f.tally.Answers)
	}
}

func TestALostServerAndABadAnswerAreFailures(t *testing.T) {
	for name, c := range map[string]struct{ says, why string }{
		"hangs up":           {"", "connection lost: <nil>"},
		"empty answer":       {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", `answered with "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"`},
		"no endpoint for it": {"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", `answered with "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"`},
	} {
		t.Run(name, func(t *testing.T) {
			f := fleet(t, saying(t, c.says), 1, Chat{BodyBytes: 1024})

			err := f.Ask(t.Context())

			if want := "1 of 1 first requests failed: " + c.why; err == nil || err.Error() != want {
				t.Errorf("the error is %v, want %s", err, want)
			}
		})
	}
}

func TestAFleetEndsWithItsContext(t *testing.T) {
	silent := answering(t, func(connection net.Conn) { io.Copy(io.Discard, connection) })
	f := fleet(t, silent, 1, Chat{BodyBytes: 1024})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)

	err := f.Ask(ctx)

	if err == nil || err.Error() != "context canceled" {
		t.Errorf("the error is %v", err)
	}
}

// enough repeats a load that a slow machine may cut short until so much of it was
// answered.
func enough(t *testing.T, answers int, load func() (Tally, error)) Tally {
	t.Helper()
	for {
		tally, err := load()
		if err != nil {
			t.Fatal(err)
		}
		if tally.Answers >= answers {
			return tally
		}
	}
}

func fleet(t *testing.T, address string, n int, chat Chat) *Fleet {
	t.Helper()
	f, err := NewFleet(address, n, func(int) []byte { return chat.Bytes() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// serve is the address of a model server that ends with the test.
func serve(t *testing.T) string {
	t.Helper()
	address, socket := listen(t)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- Serve(ctx, socket) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return address
}

func listen(t *testing.T) (address string, socket *os.File) {
	t.Helper()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	socket, err = listener.File()
	if err != nil {
		t.Fatal(err)
	}
	return listener.Addr().String(), socket
}

// saying is the address of a server that reads a request, says the same to each, and
// hangs up.
func saying(t *testing.T, answer string) string {
	t.Helper()
	return answering(t, func(connection net.Conn) { connection.Write([]byte(answer)) })
}

// answering serves one connection, once a request has come.
func answering(t *testing.T, answer func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	ended := make(chan struct{})
	t.Cleanup(func() { <-ended })
	go func() {
		defer close(ended)
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		defer connection.Close()
		connection.Read(make([]byte, 4096))
		answer(connection)
	}()
	return listener.Addr().String()
}

package poll

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestALeavingClientIsNoticedWithoutARead(t *testing.T) {
	p := running(t)
	client, server := pair(t)
	left := make(chan struct{})
	defer p.Leaving(server, func() { close(left) })()

	client.Close()

	await(t, left, "that the client has left")
}

func TestAClientThatOnlySendsHasNotLeft(t *testing.T) {
	p := running(t)
	client, server := pair(t)
	var left atomic.Bool
	defer p.Leaving(server, func() { left.Store(true) })()

	for range 100 {
		_, _ = client.Write([]byte("x"))
	}
	_, err := io.ReadFull(server, make([]byte, 100))

	if err != nil || left.Load() {
		t.Errorf("after 100 bytes: left %v, error %v", left.Load(), err)
	}
}

func TestAClientThatLeftBeforeTheWatchIsNoticed(t *testing.T) {
	p := running(t)
	client, server := pair(t)
	client.Close()
	_, _ = server.Read(make([]byte, 1)) // the end is here for certain
	left := make(chan struct{})

	defer p.Leaving(server, func() { close(left) })()

	await(t, left, "that the client has left")
}

func TestEveryArrivalIsTold(t *testing.T) {
	p := running(t)
	client, server := pair(t)
	told := make(chan struct{}, 100)
	forget := readableOn(t, p, server, func() { told <- struct{}{} })
	defer forget()

	for range 3 {
		_, _ = client.Write([]byte("token"))
		await(t, told, "something to read")
		_, _ = io.ReadFull(server, make([]byte, 5))
	}
	client.Close()

	await(t, told, "the end")
}

func TestAForgottenSocketIsNotToldOfNorTheOneInItsPlaceMistaken(t *testing.T) {
	p := running(t)
	var old atomic.Int32
	for range 50 {
		first, firstServer := pair(t)
		readableOn(t, p, firstServer, func() { old.Add(1) })()
		second, secondServer := pair(t)
		told := make(chan struct{}, 2)
		forget := readableOn(t, p, secondServer, func() { told <- struct{}{} })

		_, _ = first.Write([]byte("nobody listens"))
		_, _ = second.Write([]byte("token"))

		await(t, told, "something to read")
		forget()
	}
	if old.Load() != 0 {
		t.Errorf("%d calls for sockets that were forgotten", old.Load())
	}
}

func TestWhatIsNoSocketIsNotWatched(t *testing.T) {
	p := running(t)
	client, server := net.Pipe()
	defer client.Close()

	p.Leaving(server, func() { t.Error("a pipe cannot be watched") })()

	server.Close()
}

func running(t *testing.T) *Poller {
	t.Helper()
	p, err := Open()
	if err != nil {
		t.Skip(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return p
}

func pair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

func readableOn(t *testing.T, p *Poller, conn net.Conn, ready func()) (forget func()) {
	t.Helper()
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) { forget, err = p.Readable(int(fd), ready) })
	if err != nil {
		t.Fatal(err)
	}
	return forget
}

func await(t *testing.T, told <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-told:
	case <-time.After(10 * time.Second):
		t.Fatalf("waited in vain for %s", what)
	}
}

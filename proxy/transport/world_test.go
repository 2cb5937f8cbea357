package transport

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a transport and an endpoint that speaks HTTP byte by byte.
type world struct {
	*Transport
	t      *testing.T
	host   string
	served sync.WaitGroup

	mu    sync.Mutex    // guards what follows; the race detector sees no connection
	act   func(c *call) // what the endpoint does with a connection; it returns to close it
	calls int           // connections so far
}

// does says what the endpoint does.
func (w *world) does(act func(c *call)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.act = act
}

// connections is how many the transport has made.
func (w *world) connections() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls
}

// story tells one test twice: over sockets, and over pipes in a world where time
// passes only when nothing else happens.
func story(t *testing.T, tell func(w *world)) {
	t.Helper()
	t.Run("sockets", func(t *testing.T) { onSockets(t, tell) })
	t.Run("pipes", func(t *testing.T) { onPipes(t, tell) })
}

func onSockets(t *testing.T, tell func(w *world)) {
	door, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Transport: &Transport{}, t: t, host: door.Addr().String()}
	w.served.Go(func() {
		for {
			conn, err := door.Accept()
			if err != nil {
				return
			}
			w.serve(conn)
		}
	})
	defer w.served.Wait()
	defer door.Close()
	defer w.CloseIdleConnections()
	tell(w)
}

func onPipes(t *testing.T, tell func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{Transport: &Transport{}, t: t, host: "endpoint.test"}
		w.Dial = func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			w.serve(far)
			return near, nil
		}
		defer w.served.Wait()
		defer w.CloseIdleConnections()
		tell(w)
	})
}

// call is a connection at the endpoint.
type call struct {
	net.Conn
	number int // among all, from 1
	in     *bufio.Reader
	text   bytes.Buffer // of the requests so far
}

func (w *world) serve(conn net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	c := &call{Conn: conn, number: w.calls}
	c.in = bufio.NewReader(io.TeeReader(conn, &c.text))
	act := w.act
	w.served.Go(func() {
		defer conn.Close()
		act(c)
	})
}

// hear takes in a whole request; false: there is none.
func (c *call) hear() bool {
	r, err := http.ReadRequest(c.in)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, r.Body)
	return err == nil
}

func (c *call) say(text string) { _, _ = io.WriteString(c, text) }

// untilLeft returns when the transport has closed the connection.
func (c *call) untilLeft() { _, _ = io.Copy(io.Discard, c.in) }

// always answers each request with the same text.
func always(text string) func(*call) {
	return func(c *call) {
		for c.hear() {
			c.say(text)
		}
	}
}

// diary is a Trip that writes down what it hears.
type diary struct {
	mu      sync.Mutex
	heard   []string
	repeats bool
	wait    time.Duration
	refuses error // to have a connection made
	rejects error // any interim answer
}

func (d *diary) note(form string, values ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heard = append(d.heard, fmt.Sprintf(form, values...))
}

func (d *diary) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.heard, ", ")
}

func (d *diary) DialWait() (time.Duration, error) { d.note("dial"); return d.wait, d.refuses }

func (d *diary) Got(reused, http2 bool) {
	said := "got"
	if reused {
		said += " kept"
	}
	if http2 {
		said += " http2"
	}
	d.note("%s", said)
}

func (d *diary) Sent()         { d.note("sent") }
func (d *diary) Repeats() bool { return d.repeats }

func (d *diary) Inform(code int, header textproto.MIMEHeader) error {
	d.note("%d %v", code, header)
	return d.rejects
}

// request makes one, which the diary follows unless it is nil.
func (w *world) request(ctx context.Context, d *diary, method string, body io.Reader) *http.Request {
	w.t.Helper()
	if d != nil {
		ctx = WithTrip(ctx, d)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+w.host+"/a", body)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// got is a whole answer.
type got struct {
	*http.Response
	body string
	err  error // of the round trip, or of the body
}

func (w *world) do(r *http.Request) got {
	response, err := w.RoundTrip(r)
	if err != nil {
		return got{err: err}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return got{response, string(body), err}
}

// ask makes a request that nobody ends.
func (w *world) ask(d *diary, method, body string) got {
	w.t.Helper()
	return w.do(w.request(w.t.Context(), d, method, strings.NewReader(body)))
}

func (w *world) want(what string, got, want any) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

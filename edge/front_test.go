package edge

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	plain    = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	inChunks = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" // up to the first chunk
	last     = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
)

// repeat answers with what it was asked.
func repeat(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	fmt.Fprintf(w, "%s %s %s %q", r.Method, r.RequestURI, r.Host, body)
}

// answersOn reads answers until the connection is closed: the status of each and its
// body.
func answersOn(t *testing.T, conn net.Conn) (all []string) {
	t.Helper()
	in := bufio.NewReader(conn)
	for {
		response, err := http.ReadResponse(in, nil)
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("after %q: %v", all, err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			body = append(body, "✂"...)
		}
		all = append(all, fmt.Sprintf("%d %s", response.StatusCode, body))
	}
}

func TestRequestsAreAnsweredInTheirOrderHoweverTheyCome(t *testing.T) {
	text := "\r\n" + plain +
		"POST /a?b HTTP/1.1\r\nhost: b:80\r\ncontent-length: 5\r\n\r\nhello" +
		"\r\n\r\n" + inChunks + "3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nA: b\r\n\r\n" +
		"GET http://c/d HTTP/1.1\r\nHost: a\r\n\r\n" + last
	want := []string{
		`200 GET / a ""`, `200 POST /a?b b:80 "hello"`, `200 POST / a "hello"`, `200 GET http://c/d c ""`, `200 GET /last a ""`,
	}
	server, client := secure(t)
	for name, config := range map[string]*tls.Config{"plain": nil, "TLS": server} {
		w := serve(t, &Server{TLS: config, Handler: http.HandlerFunc(repeat)})
		for _, size := range []int{1, 2, 7, 40, len(text)} {
			conn := w.dial(t)
			if config != nil {
				conn = tls.Client(conn, client)
			}
			go func() {
				for piece := range slices.Chunk([]byte(text), size) {
					_, _ = conn.Write(piece)
				}
			}()
			if got := answersOn(t, conn); !slices.Equal(got, want) {
				t.Errorf("%s, in pieces of %d: %q", name, size, got)
			}
		}
	}
}

func TestABadRequestIsToldSoAndHarmsNoneBefore(t *testing.T) {
	w := serve(t, &Server{Handler: http.HandlerFunc(repeat)})
	for text, why := range map[string]string{
		"GET / HTTP/1.1\nHost: a\n\n":                              "no CRLF ends the line",
		"\x16\x03\x01":                                             "no method, a token and a space behind it, begins the request",
		"GET / HTTP/1.1\r\n\r\n":                                   "there is no Host",
		"PRI * HTTP/2.0\r\n\r\n\r\n\r\n\r\n":                       "the target is neither a path nor an http or https URL",
		"GET / HTTP/1.1\r\nHost: a\r\nX: y":                        "the head of the request breaks off",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n": "Content-Length is not a number",
	} {
		for _, good := range []string{"", plain} {
			conn := w.dial(t)
			send(t, conn, good+text)
			if strings.HasSuffix(text, "y") {
				_ = conn.(*net.TCPConn).CloseWrite()
			} else {
				send(t, conn, plain) // nobody looks at what stands behind it
			}
			want := []string{"400 400 Bad Request: " + why + "\n"}
			if good != "" {
				want = append([]string{`200 GET / a ""`}, want...)
			}
			if got := answersOn(t, conn); !slices.Equal(got, want) {
				t.Errorf("%q: %q", good+text, got)
			}
		}
	}
}

func TestABodyThatIsWrongIsReadUpToThere(t *testing.T) {
	for text, want := range map[string]string{
		"2\r\nab\r\nxyz": "ab, a chunk's size is not a hexadecimal number, bad",
		"2\r\nabcd\r\n":  "ab, a chunk is not as long as it says, bad",
		"2\r\nab\r\n2\r": "ab, unexpected EOF, gone",
	} {
		for _, size := range []int{1, 64, 4096} {
			w := serve(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var got []byte
				piece, n, err := make([]byte, size), 0, error(nil)
				for err == nil {
					n, err = r.Body.Read(piece)
					got = append(got, piece[:n]...)
				}
				_, again := r.Body.Read(piece)
				if again != err {
					t.Errorf("first %v, then %v", err, again)
				}
				kind := "gone"
				if errors.As(err, new(interface{ Malformed() })) {
					kind = "bad"
				}
				fmt.Fprintf(w, "%s, %v, %s", got, err, kind)
			})})
			conn := w.dial(t)
			send(t, conn, inChunks+text)
			_ = conn.(*net.TCPConn).CloseWrite()
			if got := answersOn(t, conn); !slices.Equal(got, []string{"200 " + want}) {
				t.Errorf("%q: %q", text, got)
			}
		}
	}
}

func TestItIsKnownWhetherTheRestOfABodyIsHere(t *testing.T) {
	const counted = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
	for _, test := range []struct {
		pieces []string
		want   []bool // before each read of a byte
	}{
		{[]string{counted + "hello"}, []bool{true, true, true, true, true, true}},
		{[]string{counted + "he", "llo"}, []bool{false, false, false, false, false, true}}, // what is not asked for is not read ahead
		{[]string{inChunks + "2\r\nhe\r\n0\r\n\r\n"}, []bool{true, true, true}},
		{[]string{inChunks + "2\r\nhe\r\n", "0\r\n\r\n"}, []bool{false, false, false, true}},
		{[]string{inChunks + "2\r\nhe\r\nx"}, []bool{false, false, false, false}},
		{[]string{strings.Replace(counted, "\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n", 1) + "hello"}, []bool{false, true, true, true, true, true}},
	} {
		var pieces [][]byte
		for _, p := range test.pieces {
			pieces = append(pieces, []byte(p))
		}
		var got []bool
		play(t, pieces, func(w http.ResponseWriter, r *http.Request) {
			body := r.Body.(interface{ Buffered() bool })
			got = append(got, body.Buffered())
			for err := error(nil); err == nil; {
				_, err = r.Body.Read(make([]byte, 1))
				got = append(got, body.Buffered())
			}
		})
		if !slices.Equal(got, test.want) {
			t.Errorf("%q: %t", test.pieces, got)
		}
	}
}

func TestAClosedBodyIsNotRead(t *testing.T) {
	play(t, [][]byte{[]byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")}, func(w http.ResponseWriter, r *http.Request) {
		_ = r.Body.Close()
		if n, err := r.Body.Read(make([]byte, 5)); n != 0 || err != http.ErrBodyReadAfterClose {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}

func TestAPrefaceOfHTTP2MayComeInPieces(t *testing.T) {
	w := serve(t, &Server{})
	conn := w.dial(t)
	for i := range greeting {
		send(t, conn, greeting[i:i+1])
	}
	var head frame
	if _, err := io.ReadFull(conn, head[:frameHead]); err != nil || head.kind() != settingsFrame {
		t.Errorf("a frame of kind %d, %v", head.kind(), err)
	}
}

func TestAPrefaceThatBreaksOffIsNoRequest(t *testing.T) {
	w := serve(t, &Server{})
	conn := w.dial(t)
	send(t, conn, preface[:len(preface)-1])
	_ = conn.(*net.TCPConn).CloseWrite()
	if said := closed(t, conn); said != "" {
		t.Errorf("%q", said)
	}
}

func TestAHeadMayHaveAsManyBytesAsTheLimitSays(t *testing.T) {
	const limit = 9 << 10
	w := serve(t, &Server{Limits: Limits{HeaderSize: limit}, Handler: http.HandlerFunc(repeat)})
	begin := "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: "
	for more, want := range map[int]string{0: "HTTP/1.1 200 ", 1: "HTTP/1.1 431 "} {
		conn := w.dial(t)
		send(t, conn, begin+strings.Repeat("x", limit+more-len(begin)-4)+"\r\n\r\n")
		if said := closed(t, conn); !strings.HasPrefix(said, want) {
			t.Errorf("%d bytes: %q", limit+more, said)
		}
	}
}

func TestASlowHeadAfterARequestIsCutOff(t *testing.T) {
	w := serve(t, &Server{Limits: Limits{HeaderTimeout: 50 * time.Millisecond}})
	conn := w.dial(t)
	ask(t, conn)
	send(t, conn, "GET / HTTP/1.1\r\nHost: ")
	if said := closed(t, conn); said != "" {
		t.Errorf("%q", said)
	}
}

func TestContinueIsSaidToWhoWaitsForItWhenTheBodyIsRead(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n"
	reads := http.HandlerFunc(repeat)
	refuses := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) })
	const goOn = "HTTP/1.1 100 Continue\r\n\r\n"
	for name, test := range map[string]struct {
		handler    http.Handler
		sends      string
		says       string
		then       string
		thenClosed bool
	}{
		"it is":                     {reads, head, goOn, "hello", false},
		"not to who did not wait":   {reads, strings.Replace(head, "Expect", "Suspect", 1) + "hello", "HTTP/1.1 200", "", false},
		"not over HTTP/1.0":         {reads, strings.Replace(head, "1.1", "1.0", 1) + "hello", "HTTP/1.0 200", "", true},
		"not when nobody reads it":  {refuses, head, "HTTP/1.1 403", "", true},
		"nothing else is expected":  {reads, strings.Replace(head, "100-Continue", "a miracle", 1), "HTTP/1.1 417", "", true},
		"a body that there is none": {reads, strings.Replace(head, ": 5", ": 0", 1), "HTTP/1.1 200", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := serve(t, &Server{Handler: test.handler})
			conn := w.dial(t)
			send(t, conn, test.sends)
			said := make([]byte, len(test.says))
			if _, err := io.ReadFull(conn, said); string(said) != test.says {
				t.Fatalf("%q, %v", said, err)
			}
			if test.then != "" {
				send(t, conn, test.then)
				answerOn(t, conn)
			}
			if !test.thenClosed {
				send(t, conn, last)
			}
			closed(t, conn)
		})
	}
}

func TestABodyThatNobodyReadHidesNoRequest(t *testing.T) {
	const hidden = plain
	for name, test := range map[string]struct {
		size    int
		chunked bool
		want    int // answers
	}{
		"short":             {1 << 10, false, 2},
		"short, in chunks":  {1 << 10, true, 2},
		"longest":           {mostUnread, false, 2},
		"too long":          {mostUnread + 1, false, 1},
		"long":              {4 << 20, false, 1},
		"long, in chunks":   {4 << 20, true, 1},
		"announced, absent": {0, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := serve(t, &Server{Limits: Limits{HeaderTimeout: time.Second}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusForbidden)
			})})
			body := strings.Repeat(hidden, test.size/len(hidden)+1)[:test.size]
			conn := w.dial(t)
			text := fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", max(test.size, 5), body)
			if test.chunked {
				text = fmt.Sprintf("%s%x\r\n%s\r\n0\r\n\r\n", inChunks, test.size, body)
			}
			if test.size > 0 {
				text += last
			}
			_, _ = io.WriteString(conn, text) // all of it, before the answer is looked at
			if got := answersOn(t, conn); len(got) != test.want || got[0] != "403 " {
				t.Errorf("%q", got)
			}
		})
	}
}

// call is a handler that does what the test says.
type call struct {
	w   http.ResponseWriter
	r   *http.Request
	run chan func()
}

// calls are those of a server, in their order.
type calls chan *call

func (c calls) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	one := &call{w, r, make(chan func())}
	c <- one
	for do := range one.run {
		do()
	}
}

// do lets the handler do something, and waits for it.
func (c *call) do(what func()) {
	done := make(chan struct{})
	c.run <- func() { what(); close(done) }
	<-done
}

// returns ends the handler, or with a panic.
func (c *call) returns()         { close(c.run) }
func (c *call) panics(value any) { c.run <- func() { panic(value) } }

func TestTheContextOfARequestEndsWithIt(t *testing.T) {
	all := make(calls)
	w := serve(t, &Server{Handler: all})
	conn := w.dial(t)
	send(t, conn, plain)
	first := <-all
	child, cancel := context.WithCancel(first.r.Context())
	defer cancel()
	if err := first.r.Context().Err(); err != nil {
		t.Fatal(err)
	}
	first.returns()
	answerOn(t, conn)
	<-child.Done()
	if err := first.r.Context().Err(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestTheContextOfARequestEndsWhenTheClientLeaves(t *testing.T) {
	server, client := secure(t)
	for _, config := range []*tls.Config{nil, server} {
		all, left, forgotten := make(calls), make(chan func(), 1), make(chan struct{})
		w := serve(t, &Server{TLS: config, Handler: all, Leaving: func(socket net.Conn, leaves func()) (forget func()) {
			if _, is := socket.(*net.TCPConn); !is {
				t.Errorf("a %T is watched", socket)
			}
			left <- leaves
			return func() { close(forgotten) }
		}})
		conn := w.dial(t)
		if config != nil {
			conn = tls.Client(conn, client)
		}
		send(t, conn, plain+plain)
		first := <-all
		(<-left)()
		<-first.r.Context().Done()
		first.returns()
		second := <-all // it had come before
		if second.r.Context().Err() == nil {
			t.Error("the next request does not know that the client has left")
		}
		second.returns()
		conn.Close()
		<-forgotten
	}
}

func TestTheContextOfARequestEndsWhenWritingFails(t *testing.T) {
	all := make(calls)
	w := serve(t, &Server{Handler: all})
	conn := w.dial(t)
	send(t, conn, plain)
	c := <-all
	_ = conn.(*net.TCPConn).SetLinger(0) // closes with a reset
	conn.Close()
	within5s(t, "writing fails", func() bool {
		var err error
		c.do(func() { _, err = c.w.Write(make([]byte, 64<<10)) })
		return err != nil
	})
	<-c.r.Context().Done()
	c.returns()
}

func TestARequestThatBeginsAfterTheEndHasNoTime(t *testing.T) {
	base, end := context.WithCancelCause(t.Context())
	why := errors.New("the router stops")
	all := make(calls)
	w := serve(t, &Server{Handler: all, BaseContext: base})
	conn := w.dial(t)
	end(why)
	send(t, conn, plain)
	c := <-all
	if err := context.Cause(c.r.Context()); err != why {
		t.Errorf("it ended because: %v", err)
	}
	c.returns()
}

func TestAReadOfTheBodyIsBrokenOffByADeadlineAndGoesOnAfterIt(t *testing.T) {
	all := make(calls)
	w := serve(t, &Server{Handler: all})
	conn := w.dial(t)
	send(t, conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
	c := <-all
	control, body := http.NewResponseController(c.w), make([]byte, 5)
	if n, err := c.r.Body.Read(body); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	broken := make(chan error)
	go func() {
		_, err := c.r.Body.Read(body[2:])
		broken <- err
	}()
	within5s(t, "somebody waits", func() bool {
		_ = control.SetReadDeadline(time.Now())
		select {
		case err := <-broken:
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("broken off with: %v", err)
			}
			return true
		default:
			return false
		}
	})
	if c.r.Context().Err() != nil {
		t.Error("the client is taken for gone")
	}
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		t.Error(err)
	}
	send(t, conn, "llo")
	if _, err := io.ReadFull(c.r.Body, body[2:]); string(body) != "hello" {
		t.Errorf("%q, %v", body, err)
	}
	c.returns()
	answerOn(t, conn)
	send(t, conn, plain)
	c = <-all
	c.returns()
	answerOn(t, conn)
}

func TestAReadThatADeadlineIsOverForReadsNothing(t *testing.T) {
	all := make(calls)
	w := serve(t, &Server{Handler: all})
	conn := w.dial(t)
	send(t, conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
	c := <-all
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Now().Add(-time.Second))
	send(t, conn, "hello")
	if n, err := c.r.Body.Read(make([]byte, 5)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d, %v", n, err)
	}
	c.returns()
}

func TestAReadThatOutlivesTheHandlerEnds(t *testing.T) {
	all := make(calls)
	w := serve(t, &Server{Handler: all, Limits: Limits{HeaderTimeout: time.Second}})
	conn := w.dial(t)
	send(t, conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
	c := <-all
	ended := make(chan error)
	go func() {
		_, err := io.Copy(io.Discard, c.r.Body)
		ended <- err
	}()
	c.returns()
	if err := <-ended; err == nil {
		t.Error("it read the whole body")
	}
	if _, err := c.r.Body.Read(make([]byte, 1)); err != http.ErrBodyReadAfterClose {
		t.Errorf("then: %v", err)
	}
	closed(t, conn)
}

func TestAWriteEndsWithItsDeadline(t *testing.T) {
	all := make(calls)
	w := serve(t, &Server{Handler: all})
	conn := w.dial(t)
	send(t, conn, plain)
	c := <-all
	var err error
	c.do(func() {
		_ = http.NewResponseController(c.w).SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		for err == nil {
			_, err = c.w.Write(make([]byte, 1<<20)) // nobody reads it
		}
	})
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	c.returns()
	if said := closed(t, conn); strings.HasSuffix(said, "0\r\n\r\n") {
		t.Error("the answer looks whole")
	}
}

func TestADeadlineIsNotThatOfTheNextRequest(t *testing.T) {
	all := make(calls)
	w := serve(t, &Server{Handler: all})
	conn := w.dial(t)
	for range 2 {
		send(t, conn, plain)
		c := <-all
		c.do(func() {
			if _, err := io.WriteString(c.w, "hello"); err != nil {
				t.Error(err)
			}
			_ = http.NewResponseController(c.w).Flush()
			_ = http.NewResponseController(c.w).SetWriteDeadline(time.Now().Add(time.Hour))
			_ = http.NewResponseController(c.w).SetReadDeadline(time.Now().Add(-time.Hour))
		})
		c.returns()
		if got := answerOn(t, conn); got != "hello" {
			t.Errorf("%q", got)
		}
	}
}

func TestADeadlineThatComesTooLateDoesNotReachTheNextRequest(t *testing.T) {
	all := make(calls)
	w := serve(t, &Server{Handler: all})
	conn := w.dial(t)
	send(t, conn, plain)
	first := <-all
	first.returns()
	answerOn(t, conn)
	send(t, conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
	second := <-all
	late := http.NewResponseController(first.w)
	if late.SetReadDeadline(time.Now()) == nil || late.SetWriteDeadline(time.Now()) == nil {
		t.Error("nobody is told that it is too late")
	}
	send(t, conn, "hello")
	if body, err := io.ReadAll(second.r.Body); string(body) != "hello" {
		t.Errorf("%q, %v", body, err)
	}
	second.returns()
}

func TestWhoTakesAConnectionOverHasWhatCameAlready(t *testing.T) {
	server, client := secure(t)
	for _, config := range []*tls.Config{nil, server} {
		all := make(calls)
		w := serve(t, &Server{TLS: config, Handler: all})
		conn := w.dial(t)
		if config != nil {
			conn = tls.Client(conn, client)
		}
		send(t, conn, plain+"early")
		c := <-all
		c.run <- func() {
			conn, buffered, err := http.NewResponseController(c.w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, _ = buffered.WriteString("go on\n")
			_ = buffered.Flush()
			got, err := io.ReadAll(io.LimitReader(buffered, int64(len("early, late"))))
			fmt.Fprintf(conn, "%s %v", got, err)
			if _, err := c.w.Write([]byte("x")); err != http.ErrHijacked {
				t.Errorf("writing besides: %v", err)
			}
		}
		if line, err := bufio.NewReader(io.LimitReader(conn, 6)).ReadString('\n'); line != "go on\n" {
			t.Errorf("%q, %v", line, err)
		}
		send(t, conn, ", late")
		if said := closed(t, conn); said != "early, late <nil>" {
			t.Errorf("%q", said)
		}
		c.returns()
	}
}

func TestWhoTookAConnectionOverHearsOfTheEnd(t *testing.T) {
	base, end := context.WithCancel(t.Context())
	all := make(calls)
	w := serve(t, &Server{Handler: all, BaseContext: base})
	conn := w.dial(t)
	send(t, conn, plain)
	c := <-all
	c.do(func() {
		conn, _, err := http.NewResponseController(c.w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		context.AfterFunc(c.r.Context(), func() { conn.Close() })
	})
	end()
	closed(t, conn)
	c.returns()
}

func TestAPanicOfAHandlerCutsItsAnswer(t *testing.T) {
	for _, test := range []struct {
		panics any
		logged bool
	}{{http.ErrAbortHandler, false}, {"a bug", true}} {
		all := make(calls)
		w := serve(t, &Server{Handler: all})
		conn := w.dial(t)
		send(t, conn, plain+plain)
		c := <-all
		c.do(func() {
			_, _ = io.WriteString(c.w, "first")
			_ = http.NewResponseController(c.w).Flush()
			_, _ = io.WriteString(c.w, ", second")
		})
		c.panics(test.panics)
		if got := answersOn(t, conn); !slices.Equal(got, []string{"200 first, second✂"}) {
			t.Errorf("%q", got)
		}
		if got := strings.Contains(w.log(), "a bug"); got != test.logged {
			t.Errorf("logged: %q", w.log())
		}
	}
}

func TestNothingIsWrittenAfterTheHandlerHasReturned(t *testing.T) {
	all := make(calls)
	w := serve(t, &Server{Handler: all})
	conn := w.dial(t)
	send(t, conn, plain)
	c := <-all
	c.returns()
	answerOn(t, conn)
	if _, err := c.w.Write(make([]byte, 8<<10)); err == nil {
		t.Error("it was")
	}
}

func TestShutdownAnswersWhoHasAskedAndLetsNobodyAskAgain(t *testing.T) {
	all := make(calls)
	w := serve(t, &Server{Handler: all})
	busy, idle := w.dial(t), w.dial(t)
	send(t, idle, plain)
	c := <-all
	c.returns()
	answerOn(t, idle)
	send(t, busy, plain+plain)
	c = <-all
	done := make(chan error, 1)
	go func() { done <- w.Shutdown(t.Context()) }()
	closed(t, idle)
	c.returns()
	response, err := http.ReadResponse(bufio.NewReader(busy), nil)
	if err != nil || !response.Close {
		t.Errorf("%+v, %v", response, err)
	}
	closed(t, busy)
	busy.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestHalfAHeadDoesNotHoldUpShutdown(t *testing.T) {
	w := serve(t, &Server{})
	fresh, kept := w.dial(t), w.dial(t)
	ask(t, kept)
	for _, conn := range []net.Conn{fresh, kept} {
		send(t, conn, "GET / HTTP/1.1\r\nHost: ")
	}
	soon, cancel := context.WithTimeout(t.Context(), 4*time.Second) // less than the header timeout
	defer cancel()
	if err := w.Shutdown(soon); err != nil {
		t.Error(err)
	}
}

func TestAClientThatAsksAndAsksAndTakesNothingIsLetGo(t *testing.T) {
	w := serve(t, &Server{
		Handler:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 4<<10)) }),
		patience: 200 * time.Millisecond,
	})
	conn := w.dial(t)
	_ = conn.SetWriteDeadline(time.Now().Add(20 * time.Second))
	asked := []byte(strings.Repeat(plain, 1000))

	var err error
	for err == nil {
		_, err = conn.Write(asked)
	}

	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is still open after 20 s")
	}
}

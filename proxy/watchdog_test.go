package proxy

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"proxima/router"
)

const keptAlive = ": keep-alive\n\n"

// streaming answers with a stream in pieces. A piece that is a time is waited for.
func streaming(header string, pieces ...string) action {
	return func(c *call) {
		c.read()
		c.write(head("200 OK", header, chunked))
		for _, piece := range pieces {
			if wait, err := time.ParseDuration(piece); err == nil {
				time.Sleep(wait)
			} else {
				c.write(chunk(piece))
			}
		}
		c.write(lastChunk)
	}
}

// company is a world where silent streams are kept alive and nothing stalls.
func company(t *testing.T, tell func(w *world)) {
	t.Helper()
	story(t, func(w *world) {
		w.settings.KeepAlive, w.settings.StallTimeout = 15*time.Second, 0
		tell(w)
	})
}

func TestASilentStreamIsKeptAlive(t *testing.T) {
	const one, two, three = "data: 1\n\n", "data: 2\n\n", "data: 3\n\n"
	for name, test := range map[string]struct {
		pieces []string
		want   string
	}{
		"silent for long":     {[]string{one, "46s", two}, one + keptAlive + keptAlive + keptAlive + two},
		"silent again":        {[]string{one, "16s", two, "16s", three}, one + keptAlive + two + keptAlive + three},
		"slow but not silent": {[]string{one, "14s", two, "14s", three}, one + two + three},
		"half an event":       {[]string{one, "10s", two[:5], "10s", two[5:]}, one + keptAlive + two},
		"commented already":   {[]string{one, "14s", ": ping\n\n", "14s", two}, one + ": ping\n\n" + two},
	} {
		t.Run(name, func(t *testing.T) {
			company(t, func(w *world) {
				w.endpoint("us-1", streaming(sse, test.pieces...))
				w.saw(w.chat(), test.want, false)
				w.want("attempts", w.attempts(), "us-1 served")
			})
		})
	}
}

func TestNothingIsSaidWhereACommentCannotStand(t *testing.T) {
	half := "data: " + strings.Repeat("x", relaySize)
	for name, test := range map[string]struct {
		header string
		pieces []string
	}{
		"before the first token": {sse, []string{"1m", "data: 1\n\n"}},
		"in lines of JSON":       {"Content-Type: application/x-ndjson", []string{"1\n", "1m", "2\n"}},
		"in text":                {"Content-Type: text/plain", []string{"1\n\n", "1m", "2\n\n"}},
		"in compressed events":   {sse + "\r\nContent-Encoding: gzip", []string{"1\n\n", "1m", "2\n\n"}},
		"within a long event":    {sse, []string{half, "1m", half + "\n\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			company(t, func(w *world) {
				w.endpoint("us-1", streaming(test.header, test.pieces...))
				want := strings.Replace(strings.Join(test.pieces, ""), "1m", "", 1)
				w.saw(w.chat(), want, false)
			})
		})
	}
}

func TestWithoutKeepAliveNothingIsSaid(t *testing.T) {
	company(t, func(w *world) {
		w.settings.KeepAlive = 0
		w.endpoint("us-1", streaming(sse, "data: 1\n\n", "1h", "data: 2\n\n"))
		w.saw(w.chat(), "data: 1\n\ndata: 2\n\n", false)
	})
}

func TestCommentsDoNotPutOffTheStall(t *testing.T) {
	company(t, func(w *world) {
		w.settings.KeepAlive, w.settings.StallTimeout = 12*time.Second, 30*time.Second
		us := w.endpoint("us-1", func(c *call) {
			c.read()
			c.write(head("200 OK", sse, chunked))
			c.event("1")
			c.untilLeft()
		})
		began := time.Now()
		got := w.chat()
		w.want("stream", strings.HasPrefix(got.body, "data: 1\n\n"+keptAlive+keptAlive+`data: {"error":{`), true)
		w.want("cut", got.cut, true)
		w.want("problem", w.record().Problem, "stream_stalled")
		w.want("time", time.Since(began), 30*time.Second)
		w.want("calls ended at us", us.hungUpOn(), 1)
	})
}

func TestTheEndpointsOwnCommentsPutOffTheStall(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", streaming(sse, "data: 1\n\n", "29s", ": ping\n\n", "29s", "data: 2\n\n"))
		w.saw(w.chat(), "data: 1\n\n: ping\n\ndata: 2\n\n", false)
	})
}

func TestAModelMayHaveAStallTimeoutOfItsOwn(t *testing.T) {
	story(t, func(w *world) {
		w.settings.Models = map[router.Model]Rules{"m": {StallTimeout: 5 * time.Second}}
		w.endpoint("us-1", func(c *call) { tongue{header: sse}.begin(c, []string{"data: 1\n\n"}); c.untilLeft() })
		began := time.Now()
		w.want("cut", w.chat().cut, true)
		w.want("attempts", w.attempts(), "us-1 stalled")
		w.want("time", time.Since(began), 5*time.Second)
	})
}

// reader is a client that reads when it is told to.
type reader struct {
	w    *world
	conn io.Closer
	in   *bufio.Reader
}

func (w *world) reader() *reader {
	w.t.Helper()
	w.open()
	conn, err := w.network.dial(w.t.Context(), "proxima.test:80", w.from)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, requestText("POST /v1/chat/completions", `{"model":"m"}`)); err != nil {
		w.t.Fatal(err)
	}
	return &reader{w: w, conn: conn, in: bufio.NewReaderSize(conn, 16)}
}

// readTo reads up to the first line with this text, and returns what came before.
func (r *reader) readTo(text string) string {
	r.w.t.Helper()
	var got strings.Builder
	for {
		line, err := r.in.ReadString('\n')
		got.WriteString(line)
		if err != nil || strings.Contains(line, text) {
			return got.String()
		}
	}
}

func TestTheClientsOwnSlownessIsNotTheEndpointsSilence(t *testing.T) {
	story(t, func(w *world) {
		w.settings.KeepAlive = 15 * time.Second
		w.endpoint("us-1", streaming(sse, "data: 1\n\n", "data: 2\n\n", "data: 3\n\n"))
		r := w.reader()
		r.readTo("data: 1")
		time.Sleep(50 * time.Second) // longer than an endpoint may be silent
		rest := r.readTo("data: 3")
		w.want("a comment", strings.Contains(rest, "keep-alive"), false)
		w.want("the end", strings.HasSuffix(r.readTo("no such text"), "0\r\n\r\n"), true)
		w.want("attempts", w.attempts(), "us-1 served")
	})
}

func TestAClientThatTakesNoCommentIsGoneAfterAWhile(t *testing.T) {
	story(t, func(w *world) {
		w.settings.KeepAlive = 12 * time.Second
		us := w.endpoint("us-1", func(c *call) { tongue{header: sse}.begin(c, []string{"data: 1\n\n"}); c.untilLeft() })
		r := w.reader()
		defer r.conn.Close()
		r.readTo("data: 1")
		r.readTo("\r\n") // the end of its chunk
		time.Sleep(w.settings.KeepAlive + 2*w.settings.StallTimeout + time.Second)
		w.want("held", w.inFlightAfter(us), 0)
		w.want("attempts", w.attempts(), "us-1 cancelled")
	})
}

// TestACommentNeverFollowsWhatWasJustSaid is about a piece that goes out between the
// moment when the client was found to have heard nothing for long, and the comment.
func TestACommentNeverFollowsWhatWasJustSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := httptest.NewRecorder()
		o := &outlet{control: http.NewResponseController(got), to: got, began: time.Now().Add(-time.Second)}
		o.remark([]byte("1"), time.Second, time.Now())
		if err := o.send([]byte("2"), time.Now()); err != nil {
			t.Fatal(err)
		}
		o.remark([]byte("3"), time.Second, time.Now())
		time.Sleep(time.Second)
		o.remark([]byte("4"), time.Second, time.Now())
		o.close()
		time.Sleep(time.Second)
		o.remark([]byte("5"), time.Second, time.Now())
		if got.Body.String() != "124" {
			t.Errorf("the client got %s", got.Body)
		}
	})
}

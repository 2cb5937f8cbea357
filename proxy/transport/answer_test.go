package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"testing"
)

func TestAnswers(t *testing.T) {
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
	long := strings.Repeat("x", 100_000)
	for name, test := range map[string]struct {
		method, text string
		status       int
		body         string
		trailer      string // its field A
		kept         bool
	}{
		"of known length":       {"GET", hello, 200, "hello", "", true},
		"long":                  {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + long, 200, long, "", true},
		"empty":                 {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", "", true},
		"in chunks":             {"GET", chunked + "\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", 200, "hello", "", true},
		"in long chunks":        {"GET", chunked + "\r\n186a0\r\n" + long + "\r\n0\r\n\r\n", 200, long, "", true},
		"in no chunks":          {"GET", chunked + "\r\n0\r\n\r\n", 200, "", "", true},
		"with a trailer":        {"GET", chunked + "Trailer: A\r\n\r\n1\r\nx\r\n0\r\nA: 1\r\n\r\n", 200, "x", "1", true},
		"with one unannounced":  {"GET", chunked + "\r\n0\r\na: 1\r\n\r\n", 200, "", "1", true},
		"until it ends":         {"GET", "HTTP/1.1 200 OK\r\n\r\nhello", 200, "hello", "", false},
		"that says it ends":     {"GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", "", false},
		"of HTTP/1.0":           {"GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", "", false},
		"of HTTP/1.0 that stay": {"GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", "", true},
		"to HEAD":               {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 200, "", "", true},
		"to HEAD, in chunks":    {"HEAD", chunked + "\r\n", 200, "", "", true},
		"without content":       {"GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", "", true},
		"not modified":          {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, "", "", true},
		"after interim ones":    {"GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + hello, 200, "hello", "", true},
		"with a long head":      {"GET", "HTTP/1.1 200 OK\r\nX: " + long + "\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", "", true},
		"of an odd status":      {"GET", "HTTP/1.1 999 What\r\nContent-Length: 5\r\n\r\nhello", 999, "hello", "", true},
		"with more than HEAD":   {"HEAD", hello, 200, "", "", false},
		"with more than 204":    {"GET", "HTTP/1.1 204 No Content\r\n\r\nx", 204, "", "", false},
		"with more than length": {"GET", hello + "x", 200, "hello", "", false},
		"with more than chunks": {"GET", chunked + "\r\n1\r\nx\r\n0\r\n\r\nx", 200, "x", "", false},
	} {
		for how, piece := range map[string]int{"at once": len(test.text), "in pieces of 7": 7, "in pieces of 5000": 5000} {
			if piece < 10 && len(test.text) > 1000 {
				continue // it would only take long
			}
			t.Run(name+", "+how, func(t *testing.T) {
				story(t, func(w *world) {
					w.does(func(c *call) {
						for c.hear() {
							for rest := test.text; rest != ""; {
								n := min(piece, len(rest))
								c.say(rest[:n])
								rest = rest[n:]
							}
							if !test.kept {
								return
							}
						}
					})
					got := w.ask(nil, test.method, "")
					if got.err != nil {
						w.t.Fatal(got.err)
					}
					w.want("status", got.StatusCode, test.status)
					w.want("body", got.body == test.body, true)
					w.want("trailer", got.Trailer.Get("A"), test.trailer)
					trip := &diary{}
					w.ask(trip, test.method, "")
					w.want("kept", strings.HasPrefix(trip.String(), "got kept"), test.kept)
				})
			})
		}
	}
}

// TestAnswersThatAreNone end their connection, and tell why.
func TestAnswersThatAreNone(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"silence":                  {"", "the endpoint closed the connection without an answer"},
		"half a head":              {"HTTP/1.1 200 OK\r\n", "unexpected EOF"},
		"another protocol":         {"SSH-2.0-OpenSSH\r\n", "the endpoint's answer is malformed: "},
		"two lengths":              {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "the endpoint's answer is malformed: "},
		"a length and chunks":      {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "the endpoint's answer is malformed: "},
		"too long a head":          {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", mostHead), "the answer's header is too long"},
		"too many interim answers": {strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", mostInterim+1), "the endpoint sent too many interim answers"},
		"half a body":              {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "unexpected EOF"},
		"half a chunk":             {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello", "unexpected EOF"},
		"no last chunk":            {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "unexpected EOF"},
		"chunks that are none":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n", "the endpoint's answer is malformed: a chunk's size is not a hexadecimal number"},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				w.does(func(c *call) { c.hear(); c.say(test.text) })
				got := w.ask(&diary{repeats: true}, "GET", "")
				w.want("error", got.err != nil && strings.HasPrefix(got.err.Error(), test.want), true)
				w.want("connections", w.connections(), 1)
				w.want("the client's doing", errors.As(got.err, new(interface{ Malformed() })), false)
			})
		})
	}
}

func TestWhatCameBeforeABodyBrokeOffIsBrought(t *testing.T) {
	for _, text := range []string{
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
	} {
		story(t, func(w *world) {
			w.does(func(c *call) { c.hear(); c.say(text) })
			got := w.ask(nil, "GET", "")
			w.want("body", got.body, "hello")
			w.want("broken", got.err != nil, true)
		})
	}
}

func TestInterimAnswersAreToldOf(t *testing.T) {
	story(t, func(w *world) {
		w.does(always("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + hello))
		trip := &diary{}
		w.want("answer", w.ask(trip, "GET", "").body, "hello")
		w.want("trip", trip.String(), "dial, got, sent, 103 map[Link:[a]], 102 map[]")
		w.want("status", w.ask(&diary{rejects: errLeft}, "GET", "").err, errLeft)
	})
}

func TestAnInterimAnswerIsToldOfAtOnce(t *testing.T) {
	story(t, func(w *world) {
		next := make(chan struct{})
		w.does(func(c *call) {
			c.hear()
			c.say("HTTP/1.1 103 Early Hints\r\n\r\n")
			<-next
			c.say(hello)
		})
		trip := &waits{next: next}
		w.want("answer", w.do(w.request(WithTrip(w.t.Context(), trip), nil, "GET", nil)).body, "hello")
	})
}

// waits is a Trip that lets the endpoint go on when it hears of an interim answer.
type waits struct {
	diary
	next chan struct{}
}

func (w *waits) Inform(int, textproto.MIMEHeader) error { close(w.next); return nil }

const switches = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"

func TestASwitchedConnectionGoesBothWays(t *testing.T) {
	story(t, func(w *world) {
		w.does(func(c *call) {
			c.hear()
			c.say(switches + "early ")
			_, _ = io.Copy(c, c.in)
		})
		response, err := w.RoundTrip(w.request(w.t.Context(), nil, "GET", nil))
		if err != nil {
			w.t.Fatal(err)
		}
		both := response.Body.(io.ReadWriteCloser)
		w.want("status", response.StatusCode, 101)
		w.want("protocol", response.Header.Get("Upgrade"), "echo")
		go io.WriteString(both, "hello")
		said := make([]byte, len("early hello"))
		_, err = io.ReadFull(both, said)
		w.want("said", string(said), "early hello")
		w.want("error", err, nil)
		both.Close()
		_, err = both.Read(said)
		w.want("after Close", err, http.ErrBodyReadAfterClose)
	})
}

// TestAfterASwitchTheWayOutMayOutliveTheWayIn is about an endpoint that says nothing
// more and listens on.
func TestAfterASwitchTheWayOutMayOutliveTheWayIn(t *testing.T) {
	onSockets(t, func(w *world) {
		heard := make(chan string)
		w.does(func(c *call) {
			c.hear()
			c.say(switches)
			_ = c.Conn.(*net.TCPConn).CloseWrite()
			rest, _ := io.ReadAll(c.in)
			heard <- string(rest)
		})
		response, err := w.RoundTrip(w.request(w.t.Context(), nil, "GET", nil))
		if err != nil {
			w.t.Fatal(err)
		}
		both := response.Body.(io.ReadWriteCloser)
		_, err = io.ReadAll(both)
		w.want("end", err, nil)
		_, _ = io.WriteString(both, "bye")
		both.Close()
		w.want("heard", <-heard, "bye")
	})
}

func TestAContextEndsASwitchedConnection(t *testing.T) {
	story(t, func(w *world) {
		w.does(func(c *call) { c.hear(); c.say(switches); c.untilLeft() })
		ctx, cancel := context.WithCancelCause(w.t.Context())
		response, err := w.RoundTrip(w.request(ctx, nil, "GET", nil))
		if err != nil {
			w.t.Fatal(err)
		}
		defer response.Body.Close()
		go cancel(errLeft)
		_, err = response.Body.Read(make([]byte, 1))
		w.want("error", err, errLeft)
	})
}

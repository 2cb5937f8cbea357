package edge

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// handlers write answers in all ways that there are.
var handlers = map[string]http.HandlerFunc{
	"nothing":        func(http.ResponseWriter, *http.Request) {},
	"a status":       func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) },
	"an unusual one": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(799) },
	"no content":     func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) },
	"not modified": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"a"`)
		w.WriteHeader(http.StatusNotModified)
	},
	"a text": func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") },
	"HTML":   func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>") },
	"compressed": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "br")
		io.WriteString(w, "<html>")
	},
	"a type": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "a/b")
		io.WriteString(w, "<html>")
	},
	"no type": func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = nil
		io.WriteString(w, "<html>")
	},
	"two texts": func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello, "); io.WriteString(w, "world") },
	"flushed between": func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello, ")
		flush(w)
		io.WriteString(w, "world")
	},
	"flushed before": func(w http.ResponseWriter, r *http.Request) { flush(w); io.WriteString(w, "hello") },
	"flushed only":   func(w http.ResponseWriter, r *http.Request) { flush(w) },
	"long":           func(w http.ResponseWriter, r *http.Request) { w.Write(bytes.Repeat([]byte("x"), 100_000)) },
	"medium and long": func(w http.ResponseWriter, r *http.Request) {
		w.Write(make([]byte, 2000))
		w.Write(make([]byte, 3000))
		w.Write(make([]byte, 50_000))
	},
	"many short": func(w http.ResponseWriter, r *http.Request) {
		for range 3000 {
			io.WriteString(w, "hello ")
		}
	},
	"its length": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "5")
		io.WriteString(w, "hello")
	},
	"length and flush": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "5")
		flush(w)
		io.WriteString(w, "hello")
	},
	"a long length": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "90000")
		w.Write(make([]byte, 90_000))
	},
	"less than said": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "6")
		io.WriteString(w, "hello")
	},
	"more than said": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "5")
		io.WriteString(w, "hello")
		if _, err := io.WriteString(w, "!"); err != http.ErrContentLength {
			panic(err)
		}
	},
	"a body that may not be": func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNoContent)
		if _, err := io.WriteString(w, "!"); err != http.ErrBodyNotAllowed {
			panic(err)
		}
	},
	"the last": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		io.WriteString(w, "hello")
	},
	"a connection": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "X")
		io.WriteString(w, "hello")
	},
	"many fields": func(w http.ResponseWriter, r *http.Request) {
		for i := range 200 {
			w.Header().Add(fmt.Sprintf("X-%d", i/2), strings.Repeat("y", 100))
		}
		io.WriteString(w, "hello")
	},
	"a late field": func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		w.Header().Set("X", "y")
		io.WriteString(w, "hello")
	},
	"an early field that goes": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X", "y")
		w.WriteHeader(200)
		w.Header().Del("X")
	},
	"a date":            func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Date", "today") },
	"a line in a value": func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X", "y\r\nZ: a") },
	"hints": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a>")
		w.WriteHeader(http.StatusEarlyHints)
		io.WriteString(w, "hello")
	},
	"an announced trailer": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum, content-length, X-Absent")
		io.WriteString(w, "hello")
		w.Header().Set("X-Sum", "5")
	},
	"a trailer": func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello")
		flush(w)
		w.Header().Set(http.TrailerPrefix+"X-Sum", "5")
	},
	"a body and no interest": func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") },
}

func flush(w http.ResponseWriter) { w.(http.Flusher).Flush() }

// requests of all kinds that get other answers.
var requests = map[string]string{
	"GET":                  "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"HEAD":                 "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST":                 "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
	"the last":             "GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n",
	"old":                  "GET / HTTP/1.0\r\n\r\n",
	"old and to be kept":   "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
	"old HEAD to be kept":  "HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
	"to be kept, needless": "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
}

// better are the answers to old requests that differ from net/http's, and why.
var better = map[string]string{
	"hints":        "HTTP/1.0 has no interim answers (RFC 9110 §15.2)",
	"a connection": "a client that wants to keep the connection is told that it may, whatever else Connection says",
}

// TestAnswersAreThoseOfNetHTTP compares the head, the body, the trailer and whether the
// connection goes on.
func TestAnswersAreThoseOfNetHTTP(t *testing.T) {
	for name, handler := range handlers {
		ours := serve(t, &Server{Handler: handler})
		theirs := httptest.NewServer(handler)
		for kind, request := range requests {
			want := converse(t, theirs.Listener.Addr().String(), request)
			got := converse(t, ours.at, request)
			if _, known := better[name]; got != want && !(known && strings.HasPrefix(kind, "old")) {
				t.Errorf("%s, %s:\n%s\nnet/http:\n%s", kind, name, got, want)
			}
		}
		theirs.Close()
	}
}

// converse sends a request twice and tells what came of it.
func converse(t *testing.T, at, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	method, _, _ := strings.Cut(request, " ")
	in := bufio.NewReader(conn)
	var story strings.Builder
	for range 2 {
		send(t, conn, request)
		for status := 100; status < 200; {
			response, err := http.ReadResponse(in, &http.Request{Method: method})
			if err != nil {
				fmt.Fprintln(&story, "the end")
				return story.String()
			}
			status = response.StatusCode
			body, err := io.ReadAll(response.Body)
			if response.Header.Get("Date") != "today" {
				response.Header.Del("Date")
			}
			if response.Close { // which HTTP/1.0 need not say
				response.Header.Del("Connection")
			}
			fmt.Fprintf(&story, "%s %d %d %s close=%t\n", response.Proto, response.StatusCode, response.ContentLength, response.TransferEncoding, response.Close)
			fmt.Fprintf(&story, "%s %d bytes %.20q %v %s\n", sorted(response.Header), len(body), body, err, sorted(response.Trailer))
		}
	}
	return story.String()
}

func sorted(h http.Header) (all []string) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		all = append(all, fmt.Sprintf("%s: %s", name, h[name]))
	}
	return all
}

// counting is a connection that counts what is written at once.
type counting struct {
	net.Conn
	writes *atomic.Int32
}

func (c counting) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// hands is a listener that has one connection.
func hands(conn net.Conn) net.Listener {
	return &broken{then: conn, closing: make(chan struct{})}
}

func TestTheHeadLeavesWithTheFirstPiece(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"that is all": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(200); io.WriteString(w, "hello") },
		"that is flushed": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			io.WriteString(w, "hello")
			flush(w)
			panic(http.ErrAbortHandler)
		},
		"of a certain length": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "5")
			io.WriteString(w, "hello")
			flush(w)
		},
	} {
		var writes atomic.Int32
		client, ours := net.Pipe()
		serveOn(t, &Server{Handler: handler}, hands(counting{ours, &writes}))
		send(t, client, last)
		if said := closed(t, client); !strings.Contains(said, "hello") || writes.Load() != 1 {
			t.Errorf("%s: %q in %d writes", name, said, writes.Load())
		}
	}
}

func TestAnswersNeedNoSocket(t *testing.T) {
	client, ours := net.Pipe()
	serveOn(t, &Server{Handler: handlers["long"]}, hands(ours))
	send(t, client, last)
	if said := closed(t, client); strings.Count(said, "x") != 100_000+1 { // and one in text/plain
		t.Errorf("%d bytes", len(said))
	}
}

func TestAHandlersMistakesAreLogged(t *testing.T) {
	for mistake, handler := range map[string]http.HandlerFunc{
		"404 after it has answered with 200": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusOK)
			w.WriteHeader(http.StatusNotFound)
		},
		`Content-Length is "many"`: func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", "many") },
		"answers with status 1000": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(1000) },
	} {
		w := serve(t, &Server{Handler: handler})
		conn := w.dial(t)
		send(t, conn, last)
		closed(t, conn)
		if !strings.Contains(w.log(), mistake) {
			t.Errorf("%s: %q", mistake, w.log())
		}
	}
}

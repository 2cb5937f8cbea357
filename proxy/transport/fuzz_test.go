package transport

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

// FuzzAnswer lets an endpoint answer with anything. An answer that is taken here and
// whole means what it means to net/http, but for spaces behind a field's name: net/http
// takes them for part of it, and RFC 9112 §5.1 has them taken away. Not all that net/http
// takes is taken here; what is not, and why, is said at http1.ParseResponse and
// http1.Chunks. A connection is kept only if nothing follows the answer.
func FuzzAnswer(f *testing.F) {
	log.SetOutput(io.Discard) // where net/http tells of what comes unasked
	f.Cleanup(func() { log.SetOutput(os.Stderr) })
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
	for _, text := range []string{
		hello, hello + hello, switches + "x", "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + hello, "HTTP/1.1 200 OK\r\n\r\nhello",
		chunked + "\r\n5\r\nhello\r\n0\r\n\r\n", chunked + "Trailer: A\r\n\r\n5;a=b\r\nhello\r\n0\r\nA: 1\r\nB: 2\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.0 200 OK\nContent-Length: 5\n\nhello",
		"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
		"HTTP/1.0 101\n\n0", "HTTP/1.1 200 OK\r\nA: b\r\n \r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\nA:\r\n  b\r\nContent-Length: 0\r\n\r\n",
	} {
		for method := range uint8(3) {
			f.Add(text, method, uint16(len(text)))
			f.Add(text, method, uint16(3))
		}
	}
	f.Fuzz(func(t *testing.T, text string, method uint8, piece uint16) {
		if strings.Contains(text, " :") || strings.Contains(text, "\t:") {
			t.Skip("spaces behind a name")
		}
		name := []string{http.MethodGet, http.MethodHead, http.MethodPost}[method%3]
		endpoint := func() *replay { return &replay{text: text, piece: max(1, int(piece)), asked: make(chan struct{})} }
		ours := &Transport{Dial: endpoint().dial}
		defer ours.CloseIdleConnections()
		theirs := ours.newStandard()
		theirs.DialContext = endpoint().dial
		defer theirs.CloseIdleConnections()
		here := meaningOf(ours, name)
		if here.failed {
			return
		}
		if there := meaningOf(theirs, name); !reflect.DeepEqual(here, there) {
			t.Errorf("%s %q means\n%+v, and to net/http\n%+v", name, text, here, there)
		}
		if rest := behind(text, name); len(text) < bufferSize && int(piece) >= len(text) && rest != "" && ours.pool.keeps() {
			t.Errorf("%s %q: the connection is kept, though %q came on it", name, text, rest)
		}
	})
}

// keeps reports whether anything was kept of late.
func (p *pool) keeps() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sweeping
}

// meaning is what an answer means to a transport.
type meaning struct {
	failed  bool // no whole answer came
	status  string
	header  http.Header
	length  int64
	body    string
	trailer http.Header
}

func meaningOf(carries http.RoundTripper, method string) meaning {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://endpoint.test/", http.NoBody)
	if err != nil {
		return meaning{failed: true}
	}
	response, err := carries.RoundTrip(r)
	if err != nil {
		return meaning{failed: true}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return meaning{failed: true}
	}
	return meaning{
		status: fmt.Sprint(response.Proto, " ", response.Status), header: trimmed(response.Header),
		length: response.ContentLength, body: string(body), trailer: trimmed(response.Trailer),
	}
}

// trimmed is a header with one space for several: folded lines (RFC 9112 §5.2) are joined
// by as many as they had here, and by one in net/http, also when the last one is empty. A trailer field that was announced and did not come has no values.
func trimmed(h http.Header) http.Header {
	all := http.Header{}
	for name, values := range h {
		all[name] = []string{}
		for _, value := range values {
			all[name] = append(all[name], strings.Join(strings.Fields(value), " "))
		}
	}
	return all
}

// behind is what net/http's reader leaves of a text when it has read one answer.
func behind(text, method string) string {
	in := bufio.NewReader(strings.NewReader(text))
	for {
		response, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return ""
		}
		if code := response.StatusCode; code >= 200 || code < 100 || code == http.StatusSwitchingProtocols {
			_, _ = io.Copy(io.Discard, response.Body)
			break
		}
	}
	rest, _ := io.ReadAll(in)
	return string(rest)
}

// replay is a connection to an endpoint that waits for a request, sends a text and closes.
type replay struct {
	net.Conn // nobody calls what is not below
	piece    int
	once     sync.Once
	asked    chan struct{} // closed at the first write, and at the end

	mu   sync.Mutex // guards what follows
	text string
}

func (r *replay) dial(context.Context, string, string) (net.Conn, error) { return r, nil }

func (r *replay) Read(p []byte) (int, error) {
	<-r.asked
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.text == "" {
		return 0, io.EOF
	}
	n := copy(p, r.text[:min(r.piece, len(r.text))])
	r.text = r.text[n:]
	return n, nil
}

func (r *replay) Write(p []byte) (int, error) {
	r.once.Do(func() { close(r.asked) })
	return len(p), nil
}

func (r *replay) Close() error {
	r.once.Do(func() { close(r.asked) })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text = ""
	return nil
}

func (r *replay) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (r *replay) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (r *replay) SetDeadline(time.Time) error      { return nil }
func (r *replay) SetReadDeadline(time.Time) error  { return nil }
func (r *replay) SetWriteDeadline(time.Time) error { return nil }

package edge

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// FuzzFront sends anything to the front and holds it to this: it does not panic. Each
// request is answered once, in its turn. After a 400 nothing comes any more. What is
// answered does not depend on how the bytes come. And every request that reaches the
// handler is one that net/http reads at the same place, with the same method, target,
// host, and body.
func FuzzFront(f *testing.F) {
	for _, text := range []string{
		plain + plain,
		"\r\n" + plain + "\x16",
		inChunks + "5;a=\"b\"\r\nhello\r\n0\r\nA: b\r\n\r\n" + plain,
		"POST http://b/ HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello" + plain,
		"POST / HTTP/1.1\r\nHost: a\r\nX: b\n\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello" + plain,
		"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + plain,
		"POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 44\r\n\r\n" + plain + plain + plain,
		"PUT /cut HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" + plain,
		preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00",
	} {
		f.Add([]byte(text), uint16(7))
	}
	f.Fuzz(func(t *testing.T, sent []byte, size uint16) {
		whole := told(t, sent, len(sent)+1)
		pieces := told(t, sent, max(int(size), 1))
		if !slices.Equal(whole.asked, pieces.asked) || !slices.Equal(whole.answered, pieces.answered) {
			t.Fatalf("at once %v, in pieces of %d %v", whole, size, pieces)
		}
		whole.agree(t, sent)
	})
}

// story is what became of what a client sent.
type story struct {
	asked    []asked // what reached the handler
	answered []int   // statuses
}

// told sends it in pieces to a server whose client does not wait.
func told(t *testing.T, sent []byte, size int) (s story) {
	said := play(t, slices.Collect(slices.Chunk(sent, size)), func(w http.ResponseWriter, r *http.Request) {
		s.asked = append(s.asked, askedBy(r))
		if r.Method == "PUT" {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprint(w, "answered")
	})
	s.answered = answersIn(t, said, s.asked)
	return s
}

// play has a client send some pieces, each of which is read at once, and returns what it is
// answered.
func play(t *testing.T, pieces [][]byte, handler http.HandlerFunc) []byte {
	conn := &script{left: pieces}
	server := &Server{ErrorLog: log.New(t.Output(), "", 0), Handler: handler}
	server.Turned = func(_ Reason, err error) { t.Errorf("turned away: %v", err) }
	server.prepare()
	_ = server.door.Close() // HTTP/2 is not listened to
	server.places <- struct{}{}
	server.serveHTTP1(server.newClient(conn), conn, nil)
	return conn.said.Bytes()
}

// asked is what a request says, up to where the body is wrong.
type asked struct {
	method, rest, body string
	whole              bool
}

// askedBy reads the bodies of most requests.
func askedBy(r *http.Request) asked {
	said := asked{method: r.Method, rest: r.RequestURI + " " + r.Host, whole: true}
	if strings.Contains(r.RequestURI, "refuse") {
		return said
	}
	body, err := io.ReadAll(r.Body)
	said.body, said.whole = string(body), err == nil
	return said
}

// answersIn reads all answers there are to what was asked.
func answersIn(t *testing.T, said []byte, requests []asked) (statuses []int) {
	in := bufio.NewReader(bytes.NewReader(said))
	for at := 0; ; {
		method := ""
		if at < len(requests) {
			method = requests[at].method
		}
		response, err := http.ReadResponse(in, &http.Request{Method: method})
		if errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			t.Fatalf("an answer that is none: %v in %q", err, said)
		}
		if response.StatusCode == http.StatusContinue {
			continue
		}
		_, err = io.Copy(io.Discard, response.Body)
		statuses = append(statuses, response.StatusCode)
		if last := len(statuses) > 0 && statuses[len(statuses)-1] != http.StatusOK; last || response.Close || err != nil {
			if rest, _ := io.ReadAll(in); len(rest) > 0 {
				t.Fatalf("after the last answer comes %q", rest)
			}
		}
		at++
	}
	if good := len(statuses) - count(statuses, http.StatusBadRequest) - count(statuses, http.StatusExpectationFailed) -
		count(statuses, http.StatusRequestHeaderFieldsTooLarge); good > len(requests) || len(requests) > good+1 {
		t.Fatalf("%d requests, answers %d", len(requests), statuses)
	}
	return statuses
}

func count(all []int, one int) (n int) {
	for _, each := range all {
		if each == one {
			n++
		}
	}
	return n
}

// agree reads the same with net/http.
func (s *story) agree(t *testing.T, sent []byte) {
	in := bufio.NewReader(bytes.NewReader(sent))
	for _, said := range s.asked {
		for range 2 {
			if next, _ := in.Peek(2); string(next) == "\r\n" {
				_, _ = in.Discard(2) // net/http does so after a POST only, and else refuses
			}
		}
		r, err := http.ReadRequest(in)
		if err != nil {
			t.Fatalf("%+v: net/http says %v", said, err)
		}
		theirs := askedBy(r)
		if !said.whole && strings.HasPrefix(theirs.body, said.body) {
			theirs.body, theirs.whole = said.body, false // it forgives more
		}
		if theirs != said {
			t.Fatalf("%+v: net/http reads %+v", said, theirs)
		}
		_, _ = io.Copy(io.Discard, r.Body)
	}
}

// script is a client that sends what it has to send and listens.
type script struct {
	net.Conn
	left [][]byte
	said bytes.Buffer
}

func (c *script) Read(p []byte) (int, error) {
	if len(c.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.left[0])
	if c.left[0] = c.left[0][n:]; len(c.left[0]) == 0 {
		c.left = c.left[1:]
	}
	return n, nil
}

func (c *script) Write(p []byte) (int, error)      { return c.said.Write(p) }
func (c *script) Close() error                     { return nil }
func (c *script) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *script) SetDeadline(time.Time) error      { return nil }
func (c *script) SetReadDeadline(time.Time) error  { return nil }
func (c *script) SetWriteDeadline(time.Time) error { return nil }

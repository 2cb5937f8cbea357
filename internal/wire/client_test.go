package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// patience is how long a client waits for anything to happen. Only what hangs
// takes that long.
const patience = 8 * time.Second

// heard is what a client got.
type heard struct {
	answers []answer // the final ones
	open    bool     // the connection lived on
}

type answer struct {
	status   int
	complete bool
}

func (h *heard) statuses() []int {
	var all []int
	for _, a := range h.answers {
		all = append(all, a.status)
	}
	return all
}

// sentinel is the path of a request that a client sends when it was answered: it is
// answered after everything that was hidden in what was sent before. It is also
// the content of its answer.
const sentinel = "/sentinel"

const sentinelRequest = "GET " + sentinel + " HTTP/1.1\r\nHost: edge.test\r\n\r\n"

// converse sends the segments over HTTP/1 and hears the answers until the
// connection is closed, or the sentinel was answered.
func (w *world) converse(t *testing.T, segments []segment) *heard {
	t.Helper()
	conn := w.dial(t)
	defer conn.Close()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		send(conn, segments)
	}()
	h := &heard{}
	in := bufio.NewReader(conn)
	for method, probed := methodOf(segments), false; ; {
		last, err := h.hear(in, method)
		if len(h.answers) > 0 {
			method = http.MethodGet
		}
		if err != nil {
			h.open = !isClosed(err)
			break
		}
		if !last && !probed {
			probed = true
			<-sent
			_, _ = io.WriteString(conn, sentinelRequest) // a closed connection shows when it is read
		}
	}
	conn.Close()
	<-sent
	return h
}

func send(conn *net.TCPConn, segments []segment) {
	for _, s := range segments {
		if s.HalfClose {
			_ = conn.CloseWrite()
		} else if s.writeTo(conn) != nil {
			return
		}
	}
}

var (
	errSentinel = errors.New("the sentinel was answered")
	errNoHTTP   = errors.New("what came is no answer over HTTP/1")
)

// hear reads one final answer, which the server may call its last.
func (h *heard) hear(in *bufio.Reader, method string) (last bool, err error) {
	response, err := final(in, method)
	if err != nil {
		return false, err
	}
	body, err := io.ReadAll(response.Body)
	if string(body) == sentinel {
		return false, errSentinel
	}
	h.answers = append(h.answers, answer{response.StatusCode, err == nil})
	return response.Close, err
}

// final skips what is said before an answer, such as 100 (RFC 9110 §15.2).
func final(in *bufio.Reader, method string) (*http.Response, error) {
	for {
		if begin, err := in.Peek(len("HTTP/")); err == nil && string(begin) != "HTTP/" {
			return nil, errNoHTTP
		}
		response, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil || response.StatusCode >= 200 || response.StatusCode == http.StatusSwitchingProtocols {
			return response, err
		}
	}
}

func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// methodOf is the method of the first request in what is sent. Answers to HEAD have
// no content.
func methodOf(segments []segment) string {
	method, _, _ := strings.Cut(string(segments[0].Bytes), " ")
	return method
}

// converseHTTP2 sends one request over HTTP/2, as it stands, and hears what becomes
// of it.
func (w *world) converseHTTP2(t *testing.T, s *segment) *heard {
	t.Helper()
	conn := w.dial(t)
	defer conn.Close()
	_, _ = io.WriteString(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	framer.AllowIllegalWrites = true
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = framer.WriteSettings()
	writeRequest(framer, s)
	h := &heard{open: true}
	for h.open && (len(h.answers) == 0 || !h.answers[0].complete) {
		frame, err := framer.ReadFrame()
		if err != nil {
			h.open = !isClosed(err)
			break
		}
		h.take(frame, framer)
	}
	return h
}

// take notes what a frame says about stream 1.
func (h *heard) take(frame http2.Frame, framer *http2.Framer) {
	ends := false
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			_ = framer.WriteSettingsAck()
		}
	case *http2.MetaHeadersFrame:
		status, _ := strconv.Atoi(f.PseudoValue("status"))
		if status >= 200 {
			h.answers = append(h.answers, answer{status: status})
		}
		ends = f.StreamEnded()
	case *http2.DataFrame:
		ends = f.StreamEnded()
	case *http2.RSTStreamFrame, *http2.GoAwayFrame:
		h.open = false
	}
	if ends && len(h.answers) > 0 {
		h.answers[0].complete = true
	}
}

func writeRequest(framer *http2.Framer, s *segment) {
	_ = framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: compress(s.Headers), EndHeaders: true, EndStream: s.Body == nil && s.Trailers == nil,
	})
	if s.Body != nil {
		_ = framer.WriteData(1, s.Trailers == nil, []byte(*s.Body))
	}
	if s.Trailers != nil {
		_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: compress(s.Trailers), EndHeaders: true, EndStream: true})
	}
}

func compress(fields [][2]octets) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range fields {
		_ = encoder.WriteField(hpack.HeaderField{Name: string(f[0]), Value: string(f[1])})
	}
	return block.Bytes()
}

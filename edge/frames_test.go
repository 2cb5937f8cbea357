package edge

import (
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// h2 makes a frame.
func h2(kind, flags byte, stream uint32, payload string) string {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return string(binary.BigEndian.AppendUint32(b, stream)) + payload
}

const (
	endStream  = 0x1
	endHeaders = 0x4

	settingsFrame     = 0x4
	pingFrame         = 0x6
	continuationFrame = 0x9
)

// getHead is GET / of http://edge.test, in HPACK (RFC 7541 Appendix A).
const getHead = "\x82\x86\x84\x41\x09edge.test"

const greeting = preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// talk connects and greets, and takes what the server says, until it closes. Then
// the channel has the frames it sent.
func (w *world) talk(t *testing.T) (net.Conn, <-chan []frame) {
	t.Helper()
	conn := w.dial(t)
	send(t, conn, greeting)
	said := make(chan []frame, 1)
	go func() {
		var all []frame
		var found scanner
		piece := make([]byte, 4<<10)
		for {
			n, err := conn.Read(piece)
			found.frames(piece[:n], func(f frame) bool {
				all = append(all, f)
				return true
			})
			if err != nil {
				said <- all
				return
			}
		}
	}()
	return conn, said
}

// flood sends pieces until the server closes the connection, at most so many.
func flood(t *testing.T, conn net.Conn, most int, piece func(i int) string) {
	t.Helper()
	for i := range most {
		if _, err := io.WriteString(conn, piece(i)); err != nil {
			return
		}
	}
}

// streams makes the ids of many, a few at a time so that a write is worth while.
func streams(i int, each func(id uint32) string) string {
	var b strings.Builder
	for k := range 100 {
		b.WriteString(each(uint32(2*(100*i+k) + 1)))
	}
	return b.String()
}

func TestAFloodEndsAnHTTP2Connection(t *testing.T) {
	for name, piece := range map[string]func(i int) string{
		"PING":     func(int) string { return strings.Repeat(h2(pingFrame, 0, 0, "12345678"), 100) },
		"SETTINGS": func(int) string { return strings.Repeat(h2(settingsFrame, 0, 0, ""), 100) },
		"PRIORITY": func(int) string { return strings.Repeat(h2(0x2, 0, 1, "\x00\x00\x00\x00\x01"), 100) },
		"WINDOW_UPDATE": func(int) string {
			return strings.Repeat(h2(windowUpdateFrame, 0, 0, "\x00\x00\x00\x01"), 100)
		},
		"unknown": func(int) string { return strings.Repeat(h2(0x77, 0, 0, ""), 100) },
		"empty DATA": func(i int) string {
			if i == 0 {
				return h2(headersFrame, endHeaders, 1, "\x83\x86\x84\x41\x09edge.test")
			}
			return strings.Repeat(h2(dataFrame, 0, 1, ""), 100)
		},
		"reset": func(i int) string {
			return streams(i, func(id uint32) string {
				return h2(headersFrame, endHeaders|endStream, id, getHead) + h2(rstStreamFrame, 0, id, "\x00\x00\x00\x08")
			})
		},
		"mistakes that the server resets": func(i int) string {
			return streams(i, func(id uint32) string {
				return h2(headersFrame, endHeaders|endStream, id, getHead) + h2(windowUpdateFrame, 0, id, "\x00\x00\x00\x00")
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := serve(t, &Server{})
			conn, said := w.talk(t)
			flood(t, conn, 1000, piece) // 100,000 frames or more
			<-said
			within5s(t, "it is counted", func() bool { return w.turnedAway(Flood) == 1 })
			ask(t, w.dial(t))
		})
	}
}

func TestAnEndlessHeadEndsAnHTTP2Connection(t *testing.T) {
	fields := strings.Repeat("\x00\x01x\x03yyy", 16<<10/7) // literals that no table takes up
	for name, first := range map[string]string{
		"many small fields": h2(headersFrame, endStream, 1, getHead),
		"one long field":    h2(headersFrame, endStream, 1, getHead+"\x00\x01x\x7f\xff\xff\xff\x1f"),
		"no bytes at all":   "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var served atomic.Int32
			w := serve(t, &Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served.Add(1) })})
			conn, said := w.talk(t)
			more := h2(continuationFrame, 0, 1, fields)
			if first == "" {
				first, more = h2(headersFrame, endStream, 1, getHead), strings.Repeat(h2(continuationFrame, 0, 1, ""), 100)
			}
			send(t, conn, first)
			flood(t, conn, 64<<20/len(more), func(int) string { return more })
			<-said
			if served.Load() > 0 {
				t.Error("a request was made of it")
			}
		})
	}
}

func TestWhatAHeadDecompressesToIsBounded(t *testing.T) {
	w := serve(t, &Server{})
	conn, said := w.talk(t)
	// a field of 4,000 bytes goes into the table, and 1,000 times out of it
	bomb := getHead + "\x40\x01x\x7f\xa1\x1e" + strings.Repeat("y", 4000) + strings.Repeat("\xbe", 1000)
	send(t, conn, h2(headersFrame, endHeaders|endStream, 1, bomb)+h2(0x7, 0, 0, strings.Repeat("\x00", 8)))
	kinds := kindsOf(<-said)
	if !slices.Contains(kinds, headersFrame) { // 431
		t.Fatalf("frames %v", kinds)
	}
}

func TestAMalformedRequestOverHTTP2ReachesNobody(t *testing.T) {
	var served atomic.Int32
	w := serve(t, &Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served.Add(1) })})
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	r := requestTo(t, "http://"+w.at)
	r.Host = "edge.test,other.test"
	answer, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusBadRequest || served.Load() > 0 {
		t.Fatalf("status %d, %d served", answer.StatusCode, served.Load())
	}
}

func kindsOf(all []frame) []byte {
	var kinds []byte
	for _, f := range all {
		kinds = append(kinds, f.kind())
	}
	return kinds
}

func TestRapidResetKeepsFewHandlersBusy(t *testing.T) {
	var running, most atomic.Int32
	release := make(chan struct{})
	w := serve(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 1 {
			return
		}
		n := running.Add(1)
		defer running.Add(-1)
		for was := most.Load(); n > was && !most.CompareAndSwap(was, n); was = most.Load() {
		}
		<-release // a handler that does not notice at once
	})})
	conn, said := w.talk(t)
	flood(t, conn, 200, func(i int) string { // 20,000
		return streams(i, func(id uint32) string {
			return h2(headersFrame, endHeaders|endStream, id, getHead) + h2(rstStreamFrame, 0, id, "\x00\x00\x00\x08")
		})
	})
	<-said
	ask(t, w.dial(t))
	close(release)
	if n := most.Load(); n == 0 || n > 250 {
		t.Fatalf("%d requests at once", n)
	}
}

func TestBusyClientsAreNoFlood(t *testing.T) {
	server, client := secure(t)
	w := serve(t, &Server{TLS: server, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		for range 16 {
			w.Write(make([]byte, 64<<10))
		}
	})})
	transport := &http.Transport{TLSClientConfig: client, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	done := make(chan error, 4)
	for range cap(done) {
		go func() {
			r := requestTo(t, "https://"+w.at)
			r.Method, r.Body = http.MethodPost, io.NopCloser(io.LimitReader(zeros{}, 1<<20))
			answer, err := transport.RoundTrip(r)
			if err == nil {
				_, err = io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
			}
			done <- err
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := w.turnedAway(Flood); n > 0 {
		t.Errorf("%d connections were cut", n)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestCancellingEveryStreamIsNoFlood(t *testing.T) {
	w := serve(t, &Server{})
	conn, _ := w.talk(t)
	var once strings.Builder
	for id := range uint32(250) {
		once.WriteString(h2(headersFrame, endHeaders|endStream, 2*id+1, getHead))
	}
	for id := range uint32(250) {
		once.WriteString(h2(rstStreamFrame, 0, 2*id+1, "\x00\x00\x00\x08"))
	}
	send(t, conn, once.String())
	ask(t, w.dial(t))
	if n := w.turnedAway(Flood); n > 0 {
		t.Error("the connection was cut")
	}
}

// FuzzFrames checks that frames are found whatever pieces they come in.
func FuzzFrames(f *testing.F) {
	f.Add([]byte(h2(pingFrame, 0, 0, "12345678")+h2(rstStreamFrame, 0, 1, "\x00\x00\x00\x08")), uint8(3))
	f.Add([]byte(h2(dataFrame, endStream, 1, "hello")+h2(rstStreamFrame, 0, 1, "\x00\x00")), uint8(1))
	f.Fuzz(func(t *testing.T, stream []byte, size uint8) {
		find := func(size int) (found []frame) {
			var s scanner
			for piece := range slices.Chunk(stream, size) {
				s.frames(piece, func(f frame) bool {
					found = append(found, f)
					return true
				})
			}
			return found
		}
		whole, pieces := find(len(stream)+1), find(int(size)+1)
		if !slices.EqualFunc(whole, pieces, same) {
			t.Fatalf("%v at once, %v in pieces of %d", whole, pieces, size+1)
		}
	})
}

// same compares what belongs to the frames: behind a head may be what is left of
// the RST_STREAM before.
func same(a, b frame) bool {
	heads := [frameHead]byte(a[:frameHead]) == [frameHead]byte(b[:frameHead])
	return heads && (a.kind() != rstStreamFrame || a.blames() == b.blames())
}

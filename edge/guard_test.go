package edge

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// pieces is a client that sends some bytes, as many at a time as it likes, and ends.
type pieces struct {
	net.Conn
	left []string
}

func (c *pieces) Read(p []byte) (int, error) {
	for len(c.left) > 0 && c.left[0] == "" {
		c.left = c.left[1:]
	}
	if len(c.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.left[0])
	c.left[0] = c.left[0][n:]
	return n, nil
}

func (c *pieces) Close() error { return nil }

// splittings of a text: whole, byte by byte, and in two everywhere.
func splittings(text string) [][]string {
	var bytewise []string
	all := [][]string{{text}}
	for at := range len(text) {
		bytewise = append(bytewise, text[at:at+1])
		all = append(all, []string{text[:at], text[at:]})
	}
	return append(all, bytewise)
}

// handedOn is what net/http gets of what a client sends, with how it ends.
func handedOn(h2c bool, sent []string) (got string, end error) {
	all, err := io.ReadAll(newGuard(&pieces{left: sent}, h2c))
	if err == nil {
		err = io.EOF
	}
	return string(all), err
}

const plain = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

// inChunks is a request in chunks, up to the first chunk.
const inChunks = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

func TestGoodRequestsPassUnchanged(t *testing.T) {
	for _, text := range []string{
		"",
		plain,
		plain + plain,
		"\r\n\r\n" + plain + "\r\n" + plain,
		"GET / HTTP/1.0\r\n\r\n" + plain,
		"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
		"GET /a;b=c/%2F?d=e|f&g={h} HTTP/1.1\r\nhost:a.b:80\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET http://b HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET HTTPS://b:443/c HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET http://[::1]?c HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
		"plain!#$ / HTTP/1.1\r\nHOST: \t a_b \t\r\nX:\r\nY:\t \r\nZ: \xff\t\"caf\xe9\"\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a.\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + plain,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\na\r\n\x00b" + plain,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:005 \r\n\r\nhello" + plain,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" + plain,
		"POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\na" + plain,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n" + plain,
		inChunks + "5\r\nhello\r\n0006\r\n world\r\n0\r\n\r\n" + plain,
		inChunks + "0\r\nX-Sum: 1\r\nHost: b\r\nContent-Length: 2\r\n\r\n" + plain,
		"POST / HTTP/1.1\r\nHost: a\r\nTRANSFER-ENCODING:\tChunked \r\n\r\nfF;a\r\n" + strings.Repeat("x", 255) + "\r\n0;b=c\r\n\r\n" + plain,
		inChunks + "1;a;b=c;d=\"e\\\";\t\xff\" ; f = g;h =\t\"\"\r\nx\r\n0\r\n\r\n" + plain,
		inChunks + "7fffffffffffffff\r\nx",
	} {
		for _, sent := range splittings(text) {
			if got, end := handedOn(true, sent); got != text || end != io.EOF {
				t.Fatalf("of %q in %d pieces %q is handed on, then %v", text, len(sent), got, end)
			}
		}
	}
}

// TestTheFirstBadByteIsNotHandedOn marks it with a pilcrow.
func TestTheFirstBadByteIsNotHandedOn(t *testing.T) {
	for _, text := range []string{
		// The request line.
		"G¶(ET / HTTP/1.1\r\n", "GET¶\t/ HTTP/1.1\r\n", "GET¶\v/ HTTP/1.1\r\n", "GET¶\r\n", "GET ¶ / HTTP/1.1\r\n", "GET ¶\r\n",
		"GET /¶\r\n", "GET / ¶\r\n", "GET / ¶ HTTP/1.1\r\n", "GET / HTTP/1.1¶\n", "GET / HTTP/1.1¶ \r\n", "GET / HTTP/1.1\r¶\r\n",
		"GET / ¶http/1.1\r\n", "GET / HTTP/1¶\r\n", "GET / HTTP/1.1¶0\r\n", "GET / HTTP/¶2.0\r\n", "GET / HTTP/¶4294967297.1\r\n", "GET / HTTP/1.¶x\r\n",
		"GET /¶\x01 HTTP/1.1\r\n", "GET /¶\x7f HTTP/1.1\r\n", "GET /¶\xff HTTP/1.1\r\n", "GET /¶#a HTTP/1.1\r\n", "GET /a¶\\b HTTP/1.1\r\n",
		"GET ¶a HTTP/1.1\r\n", "GET ¶* HTTP/1.1\r\n", "GET ¶file:///a HTTP/1.1\r\n", "GET http:¶a HTTP/1.1\r\n", "GET https:/¶a HTTP/1.1\r\n",
		"GET http://¶/ HTTP/1.1\r\n", "GET http://a¶@b/ HTTP/1.1\r\n", "GET http://a:70000¶/ HTTP/1.1\r\n", "GET http://a¶#b HTTP/1.1\r\n",
		"GET http://" + strings.Repeat("a", maxToken+1) + "¶/ HTTP/1.1\r\n", "OPTIONS *¶a HTTP/1.1\r\n",
		"CONNECT¶ a:443 HTTP/1.1\r\n", "connect ¶a:443 HTTP/1.1\r\n", "PRI ¶* HTTP/2.0\r\n\r\nSM\r\n\n", "P¶\r\n",
		// What begins no request: one byte goes out, see handOn.
		"\x16¶\x03\x01\x00", "\n¶", " ¶" + plain, "\r¶" + plain, "\r\n\r\n¶\r\n" + plain, plain + "\x00¶" + plain, plain + "\n¶" + plain,
		// Fields.
		"GET / HTTP/1.1\r\n¶ Host: a\r\n", "GET / HTTP/1.1\r\nHost: a\r\n¶\tb\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n¶ \r\n\r\n",
		"GET / HTTP/1.1\r\n¶: a\r\n", "GET / HTTP/1.1\r\nHost¶ : a\r\n", "GET / HTTP/1.1\r\nHost¶\t: a\r\n", "GET / HTTP/1.1\r\nA¶(: a\r\n",
		"GET / HTTP/1.1\r\nA¶\x00: a\r\n", "GET / HTTP/1.1\r\nA¶\x85: a\r\n", "GET / HTTP/1.1\r\nA¶\r\n", "GET / HTTP/1.1\r\n¶\nHost: a\r\n",
		"GET / HTTP/1.1\r\nA: b¶\x00\r\n", "GET / HTTP/1.1\r\nA: b¶\x01c\r\n", "GET / HTTP/1.1\r\nA: b¶\x7f\r\n", "GET / HTTP/1.1\r\nA: b¶\nC: d\r\n",
		"GET / HTTP/1.1\r\nA: b\r¶c\r\n", "GET / HTTP/1.1\r\nA: b\r¶\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r¶\r\n", "GET / HTTP/1.1\r\nHost: a\r\n¶\n",
		// Hosts.
		"GET / HTTP/1.1\r\n¶\r\n", "GET / HTTP/1.1\r\nHost: a\r\nhOST¶: a\r\n\r\n", "GET / HTTP/1.1\r\nHost:¶\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a, b¶\r\n", "GET / HTTP/1.1\r\nHost: a b¶\r\n", "GET / HTTP/1.1\r\nHost: a@b¶\r\n", "GET / HTTP/1.1\r\nHost: a¶\x00.b\r\n",
		"GET / HTTP/1.1\r\nHost: a:65536¶\r\n", "GET / HTTP/1.1\r\nHost: a:b¶\r\n", "GET / HTTP/1.1\r\nHost: :80¶\r\n", "GET / HTTP/1.1\r\nHost: a/b¶\r\n",
		"GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]¶\r\n", "GET / HTTP/1.1\r\nHost: [::1¶\r\n", "GET / HTTP/1.1\r\nHost: [1.2.3.4]¶\r\n", "GET / HTTP/1.1\r\nHost: [::1]a¶\r\n",
		"GET / HTTP/1.1\r\nHost: [::1]:a¶\r\n", "GET / HTTP/1.1\r\nHost: " + strings.Repeat("a", maxToken+1) + "¶\r\n",
		// Content-Length.
		"POST / HTTP/1.1\r\nContent-Length: ¶-5\r\n", "POST / HTTP/1.1\r\nContent-Length: ¶+5\r\n", "POST / HTTP/1.1\r\nContent-Length: 0¶x5\r\n",
		"POST / HTTP/1.1\r\nContent-Length: 0¶_5\r\n", "POST / HTTP/1.1\r\nContent-Length: 5¶.0\r\n", "POST / HTTP/1.1\r\nContent-Length: 1 ¶0\r\n",
		"POST / HTTP/1.1\r\nContent-Length: 5¶, 5\r\n", "POST / HTTP/1.1\r\nContent-Length: ¶\xd9\xa5\r\n", "POST / HTTP/1.1\r\nContent-Length:¶\r\n 5\r\n",
		"POST / HTTP/1.1\r\nContent-Length: 922337203685477580¶8\r\n", "POST / HTTP/1.1\r\nContent-Length: 5\r\ncontent-length¶: 5\r\n", "POST / HTTP/1.1\r\nContent-Length¶ 5\r\n",
		"POST / HTTP/1.1\r\nContent_Length¶: 5\r\n",
		// Transfer-Encoding.
		"POST / HTTP/1.1\r\nTransfer-Encoding: ¶xchunked\r\n", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked¶, identity\r\n", "POST / HTTP/1.1\r\nTransfer-Encoding: ¶, chunked\r\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding: ¶\"chunked\"\r\n", "POST / HTTP/1.1\r\nTransfer-Encoding: ¶\vchunked\r\n", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked¶\x00\r\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunk¶\r\n", "POST / HTTP/1.1\r\nTransfer-Encoding:¶\r\n chunked\r\n", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r¶\r\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\ntransfer-encoding¶: chunked\r\n", "POST / HTTP/1.0\r\nTransfer-Encoding¶: chunked\r\n",
		"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding¶: chunked\r\n", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length¶: 5\r\n",
		"POST / HTTP/1.1\r\nTransfer_Encoding¶: chunked\r\n", "POST / HTTP/1.1\r\nTransfer-Encoding¶ : chunked\r\n",
		// Chunks.
		inChunks + "¶\r\nhello", inChunks + "¶INVALID\r\n", inChunks + "¶+0\r\n", inChunks + "0¶x5\r\n", inChunks + "5¶ \r\n", inChunks + "5¶\nhello", inChunks + "5\r¶hello", inChunks + "5¶ ;a\r\n",
		inChunks + "1000000000000000¶0\r\n", inChunks + "800000000000000¶0\r\n", inChunks + "0000000000000000¶5\r\n",
		inChunks + "5\r\nhello¶\n0\r\n\r\n", inChunks + "5\r\nhello¶!!\r\n0\r\n\r\n", inChunks + "5\r\nhello\r¶0\r\n\r\n",
		inChunks + "5;¶\r\n", inChunks + "5; ¶\r\n", inChunks + "5;¶=a\r\n", inChunks + "5;a=¶\r\n", inChunks + "5;a ¶\r\n", inChunks + "5;a=b ¶\r\n", inChunks + "5;a=b ¶c\r\n", inChunks + "5;a=\"b\" ¶\r\n",
		inChunks + "5;a=¶\x00\r\n", inChunks + "5;a¶\nhello", inChunks + "5;¶\nxx", inChunks + "5;a=\"¶\r\n", inChunks + "5;a=\"\\¶\n", inChunks + "5;a=\"b\"¶c\r\n", inChunks + "5;a=b¶=c\r\n", inChunks + "5;a\r¶\r\n", inChunks + "5;¶;a\r\n",
		// Trailers.
		inChunks + "0\r\njunk¶\r\n", inChunks + "0\r\n¶ a: b\r\n", inChunks + "0\r\nA: b¶\n\r\n", inChunks + "0\r\n\r¶a", inChunks + "0\r\n¶\n", inChunks + "0\r\nA¶ : b\r\n",
	} {
		good, bad, _ := strings.Cut(text, "¶")
		for _, sent := range splittings(good + bad) {
			got, end := handedOn(true, sent)
			if got != good || !errors.As(end, new(malformed)) {
				t.Fatalf("of %q in %d pieces %q is handed on, then %v", text, len(sent), got, end)
			}
		}
	}
}

func TestABadRequestDoesNoHarmToTheOneBefore(t *testing.T) {
	for _, bad := range []string{"GET / HTTP/1.1\nHost: a\n\n", "\x00", "\n"} {
		g := newGuard(&pieces{left: []string{plain + bad}}, false)
		p := make([]byte, 4096)
		if n, err := g.Read(p); string(p[:n]) != plain || err != nil {
			t.Fatalf("%q, %v", p[:n], err)
		}
		if n, err := g.Read(p[:1]); n != 1 || err != nil { // as net/http does while it serves
			t.Errorf("before %q: %d bytes, %v", bad, n, err)
		}
		if _, err := io.ReadAll(g); !errors.As(err, new(malformed)) {
			t.Errorf("after %q: %v", bad, err)
		}
	}
}

func TestHTTP2PassesWhereItMayBeginLikeThat(t *testing.T) {
	text := preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	for _, sent := range splittings(text) {
		if got, end := handedOn(true, sent); got != text || end != io.EOF {
			t.Fatalf("in %d pieces: %q, then %v", len(sent), got, end)
		}
	}
	if got, end := handedOn(false, []string{text}); got != "PRI " || !errors.As(end, new(malformed)) {
		t.Errorf("where it may not: %q, then %v", got, end)
	}
}

func TestNothingOfAPrefaceIsHandedOnThatBreaksOff(t *testing.T) {
	got, end := handedOn(true, []string{preface[:len(preface)-1]})
	if got != "" || end != io.EOF {
		t.Errorf("%q, then %v", got, end)
	}
}

func TestAfterASwitchOfProtocolsEverythingPasses(t *testing.T) {
	const frame = "\x81\x00\n\x00"
	for _, early := range []string{"", frame} { // some send before they are told that they may
		client := &pieces{left: []string{plain + early}}
		g := newGuard(client, false)
		p := make([]byte, 4096)
		if n, err := g.Read(p); string(p[:n]) != plain || err != nil {
			t.Fatalf("%q, %v", p[:n], err)
		}
		n, _ := g.Read(p[:1]) // net/http reads ahead
		ahead := string(p[:n])
		follow(g, http.StateHijacked)
		client.left = append(client.left, frame, frame)
		got, err := io.ReadAll(g)
		if ahead+string(got) != early+frame+frame || err != nil {
			t.Errorf("%q %q, %v", ahead, got, err)
		}
	}
}

func TestATimeoutIsNotTheEnd(t *testing.T) {
	client := &pieces{}
	slow := &stutters{pieces: client}
	g := newGuard(slow, true)
	var got []byte
	for _, sent := range []string{"PO", "ST / HTTP/1.1\r\nHost: a\r\n\r\n", plain} {
		client.left = []string{sent}
		for {
			p := make([]byte, 7)
			n, err := g.Read(p)
			got = append(got, p[:n]...)
			if errors.Is(err, errStutter) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if want := "POST / HTTP/1.1\r\nHost: a\r\n\r\n" + plain; string(got) != want {
		t.Errorf("%q", got)
	}
}

// stutters times out where pieces would end.
type stutters struct{ *pieces }

var errStutter = errors.New("not yet")

func (s *stutters) Read(p []byte) (int, error) {
	n, err := s.pieces.Read(p)
	if err == io.EOF {
		err = errStutter
	}
	return n, err
}

// FuzzGuard holds the guard to two things. What it hands on does not depend on how
// the bytes come. And net/http, where it takes what is handed on for requests, sees
// them end where the guard does.
func FuzzGuard(f *testing.F) {
	for _, text := range []string{
		plain + plain,
		"\r\n" + plain + "\x16",
		inChunks + "5;a=\"b\"\r\nhello\r\n0\r\nA: b\r\n\r\n" + plain,
		"POST http://b/ HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello" + plain,
		"POST / HTTP/1.1\r\nHost: a\r\nX: b\n\r\n\r\n",
	} {
		f.Add([]byte(text), uint16(7))
	}
	f.Fuzz(func(t *testing.T, sent []byte, size uint16) {
		whole, ends, end := follows(sent)
		var cut []string
		for piece := range slices.Chunk(sent, max(int(size), 1)) {
			cut = append(cut, string(piece))
		}
		if got, other := handedOn(false, cut); got != whole || other != end {
			t.Fatalf("at once %q is handed on, then %v; in pieces of %d %q, then %v", whole, end, size, got, other)
		}
		agrees(t, whole, ends)
	})
}

// follows is what is handed on of what comes in one piece, where the requests in it
// end, and how it all ends.
func follows(sent []byte) (whole string, ends []int, end error) {
	g := newGuard(&pieces{left: []string{string(sent)}}, false)
	p := make([]byte, len(sent)+1)
	for {
		n, err := g.Read(p)
		if err != nil {
			return whole, ends, err
		}
		whole += string(p[:n])
		if g.request.over {
			ends = append(ends, len(whole))
		}
	}
}

// agrees holds net/http to where the guard sees requests end. A request that
// net/http refuses ends its connection, so that what follows means nothing.
func agrees(t *testing.T, whole string, ends []int) {
	from := strings.NewReader(whole)
	in := bufio.NewReader(from)
	for {
		for skipped := 0; skipped < 2 && strings.HasPrefix(peek(in), "\r\n"); skipped++ {
			_, _ = in.Discard(2) // net/http does so after a POST only, and else refuses
		}
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		at := len(whole) - from.Len() - in.Buffered()
		if len(ends) == 0 || ends[0] != at {
			t.Fatalf("net/http sees a request end at %d of %q, the guard at %v", at, whole, ends)
		}
		ends = ends[1:]
	}
}

func peek(in *bufio.Reader) string {
	next, _ := in.Peek(2)
	return string(next)
}

// BenchmarkGuard is about a request of 1 KiB, half of it its head.
func BenchmarkGuard(b *testing.B) {
	head := "POST /v1/chat/completions HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: OpenAI/Python 1.99.0\r\n" +
		"Accept: application/json\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nContent-Type: application/json\r\n" +
		"Authorization: Bearer sk-proj-" + strings.Repeat("k", 120) + "\r\nX-Stainless-Lang: python\r\nX-Stainless-Runtime: CPython\r\n" +
		"Content-Length: 512\r\n\r\n"
	text := head + strings.Repeat("x", 512)
	again := &again{text: text}
	g := newGuard(again, false)
	p := make([]byte, 4096)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		n, err := g.Read(p)
		if n != len(text) || err != nil {
			b.Fatal(n, err)
		}
	}
}

// again is a client that sends the same over and over.
type again struct {
	net.Conn
	text string
}

func (a *again) Read(p []byte) (int, error) { return copy(p, a.text), nil }

func TestHTTP2RequestsThatHTTP1CannotSay(t *testing.T) {
	good := func() *http.Request {
		return &http.Request{Method: "GET", RequestURI: "/a?b", Host: "a:80", Header: http.Header{"Content-Length": {"5"}, "Host": {"A:80"}}}
	}
	for name, change := range map[string]func(*http.Request){
		"":                           func(*http.Request) {},
		"a server as a whole":        func(r *http.Request) { r.Method, r.RequestURI = "OPTIONS", "*" },
		"nobody's host":              func(r *http.Request) { r.Host = ""; delete(r.Header, "Host") },
		"CONNECT":                    func(r *http.Request) { r.Method, r.RequestURI = "CONNECT", "a:443" },
		"bad: method":                func(r *http.Request) { r.Method = "GET /" },
		"bad: no path":               func(r *http.Request) { r.RequestURI = "a" },
		"bad: URL":                   func(r *http.Request) { r.RequestURI = "http://a/" },
		"bad: asterisk":              func(r *http.Request) { r.RequestURI = "*" },
		"bad: space":                 func(r *http.Request) { r.RequestURI = "/a HTTP/1.1" },
		"bad: fragment":              func(r *http.Request) { r.RequestURI = "/a#b" },
		"bad: user":                  func(r *http.Request) { r.Host = "a@b" },
		"bad: two hosts":             func(r *http.Request) { r.Header["Host"] = []string{"a:80", "a:80"} },
		"bad: another host":          func(r *http.Request) { r.Header["Host"] = []string{"b"} },
		"bad: two lengths":           func(r *http.Request) { r.Header.Add("Content-Length", "5") },
		"bad: length, underlined":    func(r *http.Request) { r.Header.Set("content_length", "5") },
		"bad: coding, underlined":    func(r *http.Request) { r.Header.Set("transfer_encoding", "chunked") },
		"bad: path beyond ASCII":     func(r *http.Request) { r.RequestURI = "/\xff" },
		"bad: path with a backslash": func(r *http.Request) { r.RequestURI = `/a\b` },
	} {
		r := good()
		change(r)
		if err := checkHTTP2(r); (err != nil) != strings.HasPrefix(name, "bad") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

package http1

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
)

func TestAnswersAreReadWithTheirSloppiness(t *testing.T) {
	for text, want := range map[string]http.Response{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n": {
			Status: "200 OK", StatusCode: 200, ContentLength: 5, Header: http.Header{"Content-Length": {"5"}},
		},
		"HTTP/1.1 200\ncontent-length : 5\n\n": {
			Status: "200", StatusCode: 200, ContentLength: 5, Header: http.Header{"Content-Length": {"5"}},
		},
		"HTTP/1.1  404  Not  Found \r\nX-Note: a\r\n\t b\r\n \r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n": {
			Status: "404  Not  Found ", StatusCode: 404, ContentLength: 5, Header: http.Header{"Content-Length": {"5"}, "X-Note": {"a    b"}},
		},
		"HTTP/1.1 200 OK\r\nConnection: X-Hop, Close\r\nTransfer-Encoding: Chunked\r\nTrailer: x-sum\r\nA: 1\r\na: 2\r\n\r\n": {
			Status: "200 OK", StatusCode: 200, ContentLength: -1, Close: true, TransferEncoding: []string{"chunked"},
			Trailer: http.Header{"X-Sum": nil}, Header: http.Header{"Connection": {"X-Hop, Close"}, "A": {"1", "2"}},
		},
	} {
		want.Proto, want.ProtoMajor, want.ProtoMinor = "HTTP/1.1", 1, 1
		for _, pieces := range splittings(text + "rest") {
			in := &incoming{left: pieces}
			end, err := in.head(false)
			if err != nil || end != len(text) {
				t.Fatalf("%q in %d pieces: %d, %v", text, len(pieces), end, err)
			}
			var got http.Response
			if err := ParseResponse(in.b[:end], http.MethodPost, &got); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("%q: %+v, %v", text, got, err)
			}
		}
	}
}

// TestWhereAnAnswerEnds is about the rules of RFC 9112 §6.3 and §9.3.
func TestWhereAnAnswerEnds(t *testing.T) {
	const length, chunked = "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"
	for _, c := range []struct {
		method, head string
		length       int64
		close        bool
	}{
		{"GET", "HTTP/1.1 200 OK\r\n" + length, 5, false},
		{"GET", "HTTP/1.1 200 OK\r\n" + chunked, -1, false},
		{"GET", "HTTP/1.1 200 OK\r\n", -1, true},
		{"GET", "HTTP/1.1 200 OK\r\nConnection: close\r\n" + length, 5, true},
		{"GET", "HTTP/1.1 200 OK\r\nConnection: clo\u017fe\r\n" + length, 5, false},
		{"GET", "HTTP/1.0 200 OK\r\n" + length, 5, true},
		{"GET", "HTTP/1.0 200 OK\r\nConnection: a ,Keep-Alive\r\n" + length, 5, false},
		{"HEAD", "HTTP/1.1 200 OK\r\n" + length, 5, false},
		{"HEAD", "HTTP/1.1 200 OK\r\n" + chunked, -1, false},
		{"HEAD", "HTTP/1.1 200 OK\r\n", -1, false},
		{"GET", "HTTP/1.1 204 No Content\r\n" + length, 0, false},
		{"GET", "HTTP/1.1 304 Not Modified\r\n" + length, 0, false},
		{"GET", "HTTP/1.1 103 Early Hints\r\n", 0, false},
		{"GET", "HTTP/1.1 101 Switching Protocols\r\n", 0, false},
	} {
		var r http.Response
		err := ParseResponse([]byte(c.head+"\r\n"), c.method, &r)
		if err != nil || r.ContentLength != c.length || r.Close != c.close {
			t.Errorf("%s: %q: length %d, close %v, %v", c.method, c.head, r.ContentLength, r.Close, err)
		}
	}
}

func TestAnswersInDoubtAreRefused(t *testing.T) {
	for _, text := range []string{
		"SSH-2.0-OpenSSH_9.2\r\n", "H\n", "ICY 200 OK\r\n", "\r\nHTTP/1.1 200 OK\r\n", "HTTP/2.0 200 OK\r\n", "HTTP/1.x 200 OK\r\n", "HTTP/1.10 200 OK\r\n", "HTTP/1.1\r\n",
		"HTTP/1.1 \r\n", "HTTP/1.1 20 OK\r\n", "HTTP/1.1 2000 OK\r\n", "HTTP/1.1 +20 OK\r\n", "HTTP/1.1 099 OK\r\n", "HTTP/1.1\t200 OK\r\n", "HTTP/1.1 200\x00OK\r\n", "HTTP/1.1 200 O\rK\r\n",
		ok + " A: b\r\n", ok + "A\r\n", ok + ": a\r\n", ok + "A B: c\r\n", ok + "A(: b\r\n", ok + "A: b\x00\r\n", ok + "A: b\rc\r\n", ok + "A\r\n : b\r\n",
		ok + "Content-Length: 5\r\nContent-Length: 6\r\n", ok + "Content-Length: -1\r\n", ok + "Content-Length: 5, 5\r\n", ok + "Content-Length:\r\n", ok + "Content-Length: 1\r\n 2\r\n",
		ok + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", ok + "Transfer-Encoding: chunked\r\nContent-Length : 5\r\n",
		ok + "Transfer-Encoding: gzip, chunked\r\n", ok + "Transfer-Encoding: identity\r\n", ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
		"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n", ok + "Transfer-Encoding: chunked\r\nTrailer: Transfer-Encoding\r\n",
	} {
		head := []byte(text + "\r\n")
		end, err := Head(head, 0, false)
		if err == nil && end != len(head) {
			t.Errorf("%q ends at %d", text, end)
			continue
		}
		if err == nil {
			err = ParseResponse(head, http.MethodGet, new(http.Response))
		}
		mustBeMalformed(t, text, err)
	}
}

// ok is an answer up to its fields.
const ok = "HTTP/1.1 200 OK\r\n"

func TestNobodyWaitsForTheRestOfWhatIsNoAnswer(t *testing.T) {
	for _, text := range []string{"S", "HTTP/2", "\r\n", "HTTP 200 OK"} {
		_, err := Head([]byte(text), 0, false)
		mustBeMalformed(t, text, err)
	}
}

func TestAHeadWithoutItsEndIsRefused(t *testing.T) {
	for cut := range len(usualRequest) {
		head := []byte(usualRequest[:cut])
		mustBeMalformed(t, string(head), ParseRequest(head, new(http.Request)))
	}
	for cut := range len(usualResponse) {
		head := []byte(usualResponse[:cut])
		mustBeMalformed(t, string(head), ParseResponse(head, http.MethodGet, new(http.Response)))
	}
	both := []byte(strings.Repeat(plain, 2))
	mustBeMalformed(t, "two heads", ParseRequest(both, new(http.Request)))
}

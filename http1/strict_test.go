package http1

import (
	"io"
	"slices"
	"strings"
	"testing"
)

const plain = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

// post is a request up to its further fields.
const post = "POST / HTTP/1.1\r\nHost: a\r\n"

// inChunks is a request in chunks, up to the first chunk.
const inChunks = post + "Transfer-Encoding: chunked\r\n\r\n"

// TestWellFormedRequestsAreTaken marks with a pilcrow where each ends.
func TestWellFormedRequestsAreTaken(t *testing.T) {
	for _, text := range []string{
		"",
		plain + "¶",
		plain + "¶" + plain + "¶",
		"\r\n\r\n" + plain + "¶\r\n" + plain + "¶",
		"GET / HTTP/1.0\r\n\r\n¶" + plain + "¶",
		"GET / HTTP/1.2\r\nHost: a\r\n\r\n¶",
		"GET /a;b=c/%2F?d=e|f&g={h} HTTP/1.1\r\nhost:a.b:80\r\n\r\n¶",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n¶",
		"GET http://b HTTP/1.1\r\nHost: a\r\n\r\n¶",
		"GET HTTPS://b:443/c HTTP/1.1\r\nHost: a\r\n\r\n¶",
		"GET http://[::1]?c HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n¶",
		"plain!#$ / HTTP/1.1\r\nHOST: \t a_b \t\r\nX:\r\nY:\t \r\nZ: \xff\t\"caf\xe9\"\r\n\r\n¶",
		"GET / HTTP/1.1\r\nHost: a.\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n¶" + plain + "¶",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\na\r\n\x00b¶" + plain + "¶",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:005 \r\n\r\nhello¶" + plain + "¶",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n¶" + plain + "¶",
		"POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\na¶" + plain + "¶",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n" + plain,
		inChunks + "5\r\nhello\r\n0006\r\n world\r\n0\r\n\r\n¶" + plain + "¶",
		inChunks + "0\r\nX-Sum: 1\r\nHost: b\r\nContent-Length: 2\r\n\r\n¶" + plain + "¶",
		"POST / HTTP/1.1\r\nHost: a\r\nTRANSFER-ENCODING:\tChunked \r\n\r\nfF;a\r\n" + strings.Repeat("x", 255) + "\r\n0;b=c\r\n\r\n¶" + plain + "¶",
		inChunks + "1;a;b=c;d=\"e\\\";\t\xff\" ; f = g;h =\t\"\"\r\nx\r\n0\r\n\r\n¶" + plain + "¶",
		inChunks + "7fffffffffffffff\r\nx",
	} {
		sent := strings.ReplaceAll(text, "¶", "")
		for _, pieces := range splittings(sent) {
			got := converse(pieces)
			if marked := got.marked(sent); marked != text || got.end != io.EOF && got.end != io.ErrUnexpectedEOF {
				t.Fatalf("of %q in %d pieces %q is taken, then %v", text, len(pieces), marked, got.end)
			}
		}
	}
}

// marked is what was sent, with a pilcrow at the end of each request.
func (c conversation) marked(sent string) string {
	var b strings.Builder
	at := 0
	for _, r := range c.asked {
		b.WriteString(sent[at:r.ends] + "¶")
		at = r.ends
	}
	return b.String() + sent[at:]
}

// malformed are requests with something wrong, at the pilcrow or right before it.
var malformed = []string{
	// The request line.
	"G¶(ET / HTTP/1.1\r\n", "GET¶\t/ HTTP/1.1\r\n", "GET¶\v/ HTTP/1.1\r\n", "GET¶\r\n", "GET ¶ / HTTP/1.1\r\n", "GET ¶\r\n",
	"GET /¶\r\n", "GET / ¶\r\n", "GET / ¶ HTTP/1.1\r\n", "GET / HTTP/1.1¶\n", "GET / HTTP/1.1¶ \r\n", "GET / HTTP/1.1\r¶\r\n",
	"GET / ¶http/1.1\r\n", "GET / HTTP/1¶\r\n", "GET / HTTP/1.1¶0\r\n", "GET / HTTP/¶2.0\r\n", "GET / HTTP/¶4294967297.1\r\n", "GET / HTTP/1.¶x\r\n",
	"GET /¶\x01 HTTP/1.1\r\n", "GET /¶\x7f HTTP/1.1\r\n", "GET /¶\xff HTTP/1.1\r\n", "GET /¶#a HTTP/1.1\r\n", "GET /a¶\\b HTTP/1.1\r\n",
	"GET ¶a HTTP/1.1\r\n", "GET ¶* HTTP/1.1\r\n", "GET ¶file:///a HTTP/1.1\r\n", "GET http:¶a HTTP/1.1\r\n", "GET https:/¶a HTTP/1.1\r\n",
	"GET http://¶/ HTTP/1.1\r\n", "GET http://a¶@b/ HTTP/1.1\r\n", "GET http://a:70000¶/ HTTP/1.1\r\n", "GET http://a¶#b HTTP/1.1\r\n",
	"GET http://" + strings.Repeat("a", maxHost+1) + "¶/ HTTP/1.1\r\n", "OPTIONS *¶a HTTP/1.1\r\n", "GET http¶ſ://a/ HTTP/1.1\r\n",
	"CONNECT¶ a:443 HTTP/1.1\r\n", "connect ¶a:443 HTTP/1.1\r\n", "PRI ¶* HTTP/2.0\r\n\r\nSM\r\n\n", "P¶\r\n",
	// What begins no request.
	"¶\x16\x03\x01\x00", "¶\n", "¶ " + plain, "\r¶" + plain, "\r\n\r\n¶\r\n" + plain, plain + "¶\x00" + plain, plain + "¶\n" + plain,
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
	"GET / HTTP/1.1\r\nHost: [::1]:a¶\r\n", "GET / HTTP/1.1\r\nHost: " + strings.Repeat("a", maxHost+1) + "¶\r\n",
	// Content-Length.
	post + "Content-Length: ¶-5\r\n", post + "Content-Length: ¶+5\r\n", post + "Content-Length: 0¶x5\r\n",
	post + "Content-Length: 0¶_5\r\n", post + "Content-Length: 5¶.0\r\n", post + "Content-Length: 1 ¶0\r\n",
	post + "Content-Length: 5¶, 5\r\n", post + "Content-Length: ¶\xd9\xa5\r\n", post + "Content-Length:¶\r\n 5\r\n",
	post + "Content-Length: 922337203685477580¶8\r\n", post + "Content-Length: 5\r\ncontent-length¶: 5\r\n", post + "Content-Length¶ 5\r\n",
	post + "Content_Length¶: 5\r\n",
	// Transfer-Encoding.
	post + "Transfer-Encoding: ¶xchunked\r\n", post + "Transfer-Encoding: chunked¶, identity\r\n", post + "Transfer-Encoding: ¶, chunked\r\n",
	post + "Transfer-Encoding: ¶\"chunked\"\r\n", post + "Transfer-Encoding: ¶\vchunked\r\n", post + "Transfer-Encoding: chunked¶\x00\r\n",
	post + "Transfer-Encoding: chunk¶\r\n", post + "Transfer-Encoding:¶\r\n chunked\r\n", post + "Transfer-Encoding: chunked\r¶\r\n",
	post + "Transfer-Encoding: chunked\r\ntransfer-encoding¶: chunked\r\n", "POST / HTTP/1.0\r\nTransfer-Encoding¶: chunked\r\n",
	post + "Content-Length: 5\r\nTransfer-Encoding¶: chunked\r\n", post + "Transfer-Encoding: chunked\r\nContent-Length¶: 5\r\n",
	post + "Transfer_Encoding¶: chunked\r\n", post + "Transfer-Encoding¶ : chunked\r\n", post + "Transfer-Encoding: chun¶\u212aed\r\n",
	// Chunks.
	inChunks + "¶\r\nhello", inChunks + "¶INVALID\r\n", inChunks + "¶+0\r\n", inChunks + "0¶x5\r\n", inChunks + "5¶ \r\n", inChunks + "5¶\nhello", inChunks + "5\r¶hello", inChunks + "5¶ ;a\r\n",
	inChunks + "1000000000000000¶0\r\n", inChunks + "800000000000000¶0\r\n", inChunks + "0000000000000000¶5\r\n",
	inChunks + "5\r\nhello¶\n0\r\n\r\n", inChunks + "5\r\nhello¶!!\r\n0\r\n\r\n", inChunks + "5\r\nhello\r¶0\r\n\r\n",
	inChunks + "5;¶\r\n", inChunks + "5; ¶\r\n", inChunks + "5;¶=a\r\n", inChunks + "5;a=¶\r\n", inChunks + "5;a ¶\r\n", inChunks + "5;a=b ¶\r\n", inChunks + "5;a=b ¶c\r\n", inChunks + "5;a=\"b\" ¶\r\n",
	inChunks + "5;a=¶\x00\r\n", inChunks + "5;a¶\nhello", inChunks + "5;¶\nxx", inChunks + "5;a=\"¶\r\n", inChunks + "5;a=\"\\¶\n", inChunks + "5;a=\"b\"¶c\r\n", inChunks + "5;a=b¶=c\r\n", inChunks + "5;a\r¶\r\n", inChunks + "5;¶;a\r\n",
	// Trailers.
	inChunks + "0\r\njunk¶\r\n", inChunks + "0\r\n¶ a: b\r\n", inChunks + "0\r\nA: b¶\n\r\n", inChunks + "0\r\n\r¶a", inChunks + "0\r\n¶\n", inChunks + "0\r\nA¶ : b\r\n",
}

// malformedAsAWhole are requests of which no line is wrong by itself.
var malformedAsAWhole = []string{
	"GET / HTTP/1.1\r\nX: a\r\n¶",
	"GET /%¶zz HTTP/1.1\r\nHost: a\r\n", "GET http://a/%¶1 HTTP/1.1\r\nHost: a\r\n",
	post + "Transfer-Encoding: chunked\r\nTrailer: a,¶content-length\r\n",
}

func TestWhatIsWrongWithARequestIsRefused(t *testing.T) {
	for _, text := range slices.Concat(malformed, malformedAsAWhole) {
		good, bad, _ := strings.Cut(text, "¶")
		before := strings.Count(good, "\r\n\r\n") // requests in front of the bad one, or its head
		for _, pieces := range splittings(good + bad + "\r\n\r\n") {
			got := converse(pieces)
			if !isMalformed(got.end) || len(got.asked) > before {
				t.Fatalf("of %q in %d pieces %d requests are taken, then %v", text, len(pieces), len(got.asked), got.end)
			}
		}
	}
}

// TestNobodyWaitsForTheRestOfABadRequest leaves the requests as they are, without an end.
func TestNobodyWaitsForTheRestOfABadRequest(t *testing.T) {
	for _, text := range malformed {
		sent := strings.ReplaceAll(text, "¶", "")
		if got := converse([]string{sent}); !isMalformed(got.end) {
			t.Errorf("%q: %v", text, got.end)
		}
	}
}

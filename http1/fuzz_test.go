package http1

import (
	"bufio"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

// FuzzRequest holds requests to two things. What comes of them does not depend on the
// pieces in which they come. And net/http reads whatever is taken here, ends it at the
// same byte, and takes it for the same, but for what ours differs in.
func FuzzRequest(f *testing.F) {
	for _, text := range []string{
		plain + plain,
		"\r\n" + plain + "\x16",
		inChunks + "5;a=\"b\"\r\nhello\r\n0\r\nA: b\r\n\r\n" + plain,
		"POST http://b/ HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello" + plain,
		post + "X: b\n\r\n\r\n",
		"GET /a!%41?b?c HTTP/1.1\r\nHost: a\r\nPragma: no-cache\r\nconnection: a, Close\r\nX: 1\r\nx: 2\r\n\r\n",
		post + "Transfer-Encoding: chunked\r\nTrailer: a, b\r\ntrailer: c\r\n\r\n0\r\nb: 1\r\n\r\n",
		"GET /? HTTP/1.0\r\nConnection: Keep-Alive\r\nTrailer: a\r\n\r\n",
		usualRequest,
	} {
		f.Add([]byte(text), uint16(7))
	}
	f.Fuzz(func(t *testing.T, sent []byte, size uint16) {
		whole, cut := converse([]string{string(sent)}), converse(inPiecesOf(int(size), sent))
		if !reflect.DeepEqual(whole.asked, cut.asked) || (whole.end == io.EOF) != (cut.end == io.EOF) {
			t.Fatalf("of %q at once %d requests are taken, then %v; in pieces of %d %d, then %v",
				sent, len(whole.asked), whole.end, size, len(cut.asked), cut.end)
		}
		at := 0
		for _, r := range whole.asked {
			agreesOnRequest(t, string(sent[at:r.ends]), r)
			at = r.ends
		}
	})
}

// agreesOnRequest reads what was taken for one request with net/http.
func agreesOnRequest(t *testing.T, text string, ours request) {
	t.Helper()
	text = strings.TrimPrefix(strings.TrimPrefix(text, "\r\n"), "\r\n") // net/http takes them after a POST only
	from := strings.NewReader(text)
	in := bufio.NewReader(from)
	theirs, err := http.ReadRequest(in)
	if err != nil {
		t.Fatalf("%q: net/http: %v", text, err)
	}
	body, err := io.ReadAll(theirs.Body)
	if err != nil && differsInBounds(ours.Request) {
		return
	}
	if left := from.Len() + in.Buffered(); err != nil || left > 0 || string(body) != ours.body {
		t.Fatalf("%q: net/http has the body %q, then %v, and leaves %d bytes", text, body, err, left)
	}
	theirs.Body = nil
	withoutPragma(ours.Header, theirs.Header)
	if !reflect.DeepEqual(ours.Request, theirs) {
		t.Fatalf("%q:\n%+v\nnet/http:\n%+v", text, ours.Request, theirs)
	}
}

// differsInBounds: net/http has a bufio.Reader of 4 KiB, into which a trailer must fit
// together with what came before it.
func differsInBounds(r *http.Request) bool { return len(r.Trailer) > 0 }

// withoutPragma takes out what net/http adds: a Cache-Control where there is Pragma
// alone. A router passes on what it got; the endpoint can read Pragma itself.
func withoutPragma(ours, theirs http.Header) {
	if ours["Cache-Control"] == nil && len(ours["Pragma"]) > 0 && ours["Pragma"][0] == "no-cache" {
		delete(theirs, "Cache-Control")
	}
}

// FuzzTarget holds the short way to a URL to net/url.
func FuzzTarget(f *testing.F) {
	for _, target := range []string{"/", "/a?b", "/?", "/a??", "/a!b", "/%41", "/%zz", "//a/b", "/:@&=+$,;?%", "*", "http://a", "https://a:80?b", "HTTP://[::1]/a"} {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		if target == "" || span(target, inTarget) < len(target) {
			t.Skip("no request line has it")
		}
		ours, err := parseTarget(target)
		theirs, refused := url.ParseRequestURI(target)
		if (err != nil) != (refused != nil) || err == nil && !reflect.DeepEqual(&ours, theirs) {
			t.Errorf("%q: %+v, %v; net/url: %+v, %v", target, ours, err, theirs, refused)
		}
	})
}

// FuzzResponse holds the reading of answers to net/http's, both ways, but for what
// ours differs in.
func FuzzResponse(f *testing.F) {
	for _, text := range []string{
		usualResponse,
		"HTTP/1.0 200\nContent-Length: 5\n\n",
		"HTTP/1.1 404  Not Found\r\nConnection: close, a\r\nContent-Length: 5\r\ncontent-length: 5\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n",
		"HTTP/1.1 204 No Content\r\nX-Note: a\r\n\tb\r\n c\r\nContent-Length: 5\r\n\r\n",
		"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nX : 1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: a, b\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\nConnection: Upgrade\r\n\r\n",
		"HTTP/1.1 +20 a\r\n\r\n", "HTTP/2.0 200 OK\r\nA: b\rc\r\n\r\n", "HTTP/1.1 200 OK\r\n A: b\r\n\r\n", "HTTP/1.1 200 OK\r\nA B: c\r\n\r\n",
	} {
		f.Add([]byte(text), false)
		f.Add([]byte(text), true)
	}
	f.Fuzz(func(t *testing.T, sent []byte, head bool) {
		asked := &http.Request{Method: http.MethodPost}
		if head {
			asked.Method = http.MethodHead
		}
		end, err := Head(sent, 0, false)
		if err != nil || end == 0 {
			return
		}
		text := string(sent[:end])
		theirs, refused := http.ReadResponse(bufio.NewReader(strings.NewReader(text)), asked)
		ours := &http.Response{}
		switch err := ParseResponse(sent[:end], asked.Method, ours); {
		case err != nil && refused == nil && !stricter[err]:
			t.Fatalf("%q: %v; net/http takes it", text, err)
		case err == nil && refused != nil && !looser(text):
			t.Fatalf("%q: net/http: %v", text, refused)
		case err == nil && refused == nil && !looser(text):
			agreesOnResponse(t, text, ours, theirs)
		}
	})
}

// stricter is what net/http's client takes and we do not.
var stricter = map[error]bool{
	errVersion:    true, // HTTP/2.0, in a line of text
	errStatusCode: true, // +20, or below 100, which no server can write
	errReason:     true, // a control in the reason, which would reach logs
	errFraming:    true, // Transfer-Encoding beside Content-Length or in HTTP/1.0: where is the end?
	errNoName:     true, // a space within a name; net/http's server would leave the field out
}

// looser reports whether a head has what net/http's client stumbles over: lines that are
// continued by spaces alone, and spaces behind a name, which RFC 9112 §5.1 wants taken away
// and net/http takes for a part of it.
func looser(head string) bool {
	for line := range strings.SplitSeq(head, "\n") {
		name, _, _ := strings.Cut(line, ":")
		if strings.TrimRight(name, " \t") != name || strings.Trim(line, " \t\r") == "" && strings.Trim(line, "\r") != "" {
			return true
		}
	}
	return false
}

func agreesOnResponse(t *testing.T, text string, ours, theirs *http.Response) {
	t.Helper()
	theirs.Body, theirs.Request = nil, nil
	withoutPragma(ours.Header, theirs.Header)
	if ours.Close && theirs.Header["Connection"] == nil {
		delete(ours.Header, "Connection") // net/http's client takes it out, with the names of fields that may stand in it
	}
	for _, header := range []http.Header{ours.Header, theirs.Header} {
		for _, values := range header {
			for i := range values { // of a continued line net/http leaves one space
				values[i] = strings.Join(strings.FieldsFunc(values[i], func(c rune) bool { return c == ' ' || c == '\t' }), " ")
			}
		}
	}
	if !reflect.DeepEqual(ours, theirs) {
		t.Fatalf("%q:\n%+v\nnet/http:\n%+v", text, ours, theirs)
	}
}

// FuzzChunks holds what comes of a body in chunks to two things: it does not depend on
// the pieces in which the body comes, and net/http reads the same of whatever is taken here.
func FuzzChunks(f *testing.F) {
	for _, text := range []string{
		"5\r\nhello\r\n6;a=\"b\"\r\n world\r\n0\r\n\r\nrest",
		"0\r\na: b\r\nA: c\r\n\r\n",
		"1\r\na\r\n1\r\nb\r\n00;c\r\n\r\n",
		"5\r\nhello\r\n0\r\nA: b\n\r\n",
		"fffffffffffffffff\r\n",
	} {
		f.Add([]byte(text), uint16(3))
	}
	f.Fuzz(func(t *testing.T, sent []byte, size uint16) {
		whole, cut := &incoming{b: []byte(string(sent))}, &incoming{left: inPiecesOf(int(size), sent)}
		data, trailer, err := whole.chunks(nil)
		other, otherTrailer, otherErr := cut.chunks(nil)
		if data != other || err != otherErr || !reflect.DeepEqual(trailer, otherTrailer) {
			t.Fatalf("%q is at once %q, %v, %v; in pieces of %d %q, %v, %v", sent, data, trailer, err, size, other, otherTrailer, otherErr)
		}
		if err != nil {
			return
		}
		from := strings.NewReader("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + string(sent))
		in := bufio.NewReaderSize(from, 64<<10) // into which a trailer must fit
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := io.ReadAll(r.Body)
		left := from.Len() + in.Buffered()
		if err != nil || string(theirs) != data || left != len(sent)-whole.read || !reflect.DeepEqual(r.Trailer, trailer) {
			t.Fatalf("%q is %q, %v; net/http: %q, %v, %v", sent, data, trailer, theirs, r.Trailer, err)
		}
	})
}

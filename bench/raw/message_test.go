package raw

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestAChatIsAWholeRequest(t *testing.T) {
	for name, chat := range map[string]Chat{
		"whole":    {Client: "198.51.100.7", BodyBytes: 1024},
		"streamed": {Client: "198.51.100.7", BodyBytes: 1024, Every: 25 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(chat.Bytes())))
			if err != nil {
				t.Fatal(err)
			}

			var body struct{ Stream bool }
			if err := json.NewDecoder(request.Body).Decode(&body); err != nil {
				t.Fatal(err)
			}

			if request.ContentLength != 1024 || request.Header.Get("X-Forwarded-For") != "198.51.100.7" {
				t.Errorf("%d bytes, %v", request.ContentLength, request.Header)
			}
			if body.Stream != (chat.Every > 0) || (request.Header.Get(everyField) == "25ms") != body.Stream {
				t.Errorf("streamed: %v, %v", body.Stream, request.Header)
			}
		})
	}
}

func TestAnAnswerIsWhatItSays(t *testing.T) {
	response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(wholeAnswer())), nil)
	if err != nil {
		t.Fatal(err)
	}

	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}

	if len(body) != answerBytes || !json.Valid(body) {
		t.Errorf("%d bytes: %s", len(body), body)
	}
}

func TestATokenIsAChunkWithTheTime(t *testing.T) {
	sentAt := time.Unix(1700000000, 123456789)
	stream := streamHead + string(newToken().at(sentAt)) + "0\r\n\r\n"

	response, err := http.ReadResponse(bufio.NewReader(strings.NewReader(stream)), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}

	event, is := bytes.CutPrefix(body, []byte("data: "))
	if at, _, found := sent(body); !is || !json.Valid(event) || !found || !at.Equal(sentAt) {
		t.Errorf("sent at %v: %s", at, body)
	}
}

func TestATornTokenIsFoundWhenTheRestComes(t *testing.T) {
	one := string(newToken().at(time.Unix(1700000000, 1)))
	stream := one + one
	for cut := range stream {
		var begun []byte
		found := 0
		for _, piece := range []string{stream[:cut], stream[cut:]} {
			rest := append(begun, piece...)
			for more := true; more; {
				var at time.Time
				if at, rest, more = sent(rest); more {
					found++
					if at.UnixNano() != 1700000000_000000001 {
						t.Errorf("cut at %d: sent at %v", cut, at)
					}
				}
			}
			begun = rest
		}
		if found != 2 {
			t.Errorf("cut at %d: %d tokens", cut, found)
		}
	}
}

func TestTimesThatAreNoneAreNoTokens(t *testing.T) {
	if at, _, found := sent([]byte("@17000000\r\n5\r\n000001 and @1700000000000000001")); !found || at.UnixNano() != 1700000000000000001 {
		t.Errorf("sent at %v, found: %v", at, found)
	}
}

func TestAMessageIsAsLongAsItsBody(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\n"
	for name, c := range map[string]struct {
		text string
		want int
	}{
		"no head yet":           {head, 0},
		"no body":               {head + "\r\n", len(head) + 2},
		"with a length":         {head + "content-LENGTH: 2\r\n\r\nabc", len(head) + 23},
		"body not all there":    {head + "Content-Length: 4\r\n\r\nabc", 0},
		"chunks":                {head + "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nb", len(head) + 30 + 11},
		"chunks that are none":  {head + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", len(head) + 30 + 5},
		"chunks, not all there": {head + "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			if _, length := message([]byte(c.text)); length != c.want {
				t.Errorf("%d bytes, want %d", length, c.want)
			}
		})
	}
}

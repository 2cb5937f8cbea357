package transport

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
)

// TestTheLastBytesComeWithTheEnd: who copies an answer need not ask once more.
func TestTheLastBytesComeWithTheEnd(t *testing.T) {
	for name, text := range map[string]string{
		"length": "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello|world",
		"chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n|5\r\nworld\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				next := make(chan struct{})
				w.does(func(c *call) {
					c.hear()
					first, second, _ := strings.Cut(text, "|")
					c.say(first)
					<-next
					c.say(second)
					c.untilLeft()
				})
				response, err := w.RoundTrip(w.request(w.t.Context(), nil, "GET", nil))
				if err != nil {
					w.t.Fatal(err)
				}
				defer response.Body.Close()
				room := make([]byte, 100)
				n, err := response.Body.Read(room)
				w.want("first", string(room[:n]), "hello")
				w.want("error", err, nil)
				close(next)
				n, err = response.Body.Read(room)
				w.want("second", string(room[:n]), "world")
				w.want("end", err, io.EOF)
				n, err = response.Body.Read(room)
				w.want("more", n, 0)
				w.want("end", err, io.EOF)
			})
		})
	}
}

func TestSmallReadsBringTheSame(t *testing.T) {
	for _, text := range []string{hello, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nhello"} {
		story(t, func(w *world) {
			w.does(func(c *call) {
				c.hear()
				for i := range len(text) {
					c.say(text[i : i+1])
				}
			})
			response, err := w.RoundTrip(w.request(w.t.Context(), nil, "GET", nil))
			if err != nil {
				w.t.Fatal(err)
			}
			defer response.Body.Close()
			got, err := io.ReadAll(iotest.OneByteReader(response.Body))
			w.want("body", string(got), "hello")
			w.want("error", err, nil)
		})
	}
}

func TestABodyThatIsLeftEndsItsConnection(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		kept bool
	}{
		"with more to come":    {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", false},
		"with all of it there": {hello, true},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				w.does(always(test.text))
				response, err := w.RoundTrip(w.request(w.t.Context(), nil, "GET", nil))
				if err != nil {
					w.t.Fatal(err)
				}
				response.Body.Close()
				response.Body.Close()
				_, err = response.Body.Read(make([]byte, 1))
				w.want("read after Close", err, http.ErrBodyReadAfterClose)
				trip := &diary{}
				response, err = w.RoundTrip(w.request(w.t.Context(), trip, "GET", nil))
				if err != nil {
					w.t.Fatal(err)
				}
				response.Body.Close()
				w.want("kept", strings.HasPrefix(trip.String(), "got kept"), test.kept)
			})
		})
	}
}

func TestCloseEndsAReadThatIsUnderWay(t *testing.T) {
	onPipes(t, func(w *world) {
		w.does(func(c *call) {
			c.hear()
			c.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
			c.untilLeft()
		})
		response, err := w.RoundTrip(w.request(w.t.Context(), nil, "GET", nil))
		if err != nil {
			w.t.Fatal(err)
		}
		ended := make(chan error)
		go func() {
			_, err := response.Body.Read(make([]byte, 1))
			ended <- err
		}()
		synctest.Wait()
		go response.Body.Close()
		w.want("ended with an error", <-ended != nil, true)
	})
}

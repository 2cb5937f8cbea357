package transport

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
)

// asked returns what an endpoint got of a request, byte for byte.
func (w *world) asked(r *http.Request) string {
	w.t.Helper()
	heard := make(chan string, 2)
	w.does(func(c *call) {
		if c.hear() {
			c.say("HTTP/1.1 204 \r\nConnection: close\r\n\r\n")
		}
		heard <- c.text.String()
	})
	if err := w.do(r).err; err != nil {
		w.t.Fatal(err)
	}
	return strings.ReplaceAll(<-heard, "\r\n", "\n")
}

func TestWhatARequestIsOnTheWire(t *testing.T) {
	for name, test := range map[string]struct {
		method, url, body string
		more              func(r *http.Request)
		want              string
	}{
		"with nothing":      {"GET", "/", "", nil, "GET / HTTP/1.1\nHost: endpoint.test\n\n"},
		"without a method":  {"GET", "/", "", func(r *http.Request) { r.Method = "" }, "GET / HTTP/1.1\nHost: endpoint.test\n\n"},
		"with a body":       {"POST", "/v1/a?b=c&d", "hello", nil, "POST /v1/a?b=c&d HTTP/1.1\nHost: endpoint.test\nContent-Length: 5\n\nhello"},
		"with an empty one": {"POST", "/", "", nil, "POST / HTTP/1.1\nHost: endpoint.test\nContent-Length: 0\n\n"},
		"of no body and no length": {
			"GET", "/", "", func(r *http.Request) { r.Body, r.ContentLength = nil, -1 },
			"GET / HTTP/1.1\nHost: endpoint.test\n\n",
		},
		"whose length nobody tells": {
			"PUT", "/", "hello", func(r *http.Request) { r.ContentLength = 0 },
			"PUT / HTTP/1.1\nHost: endpoint.test\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n",
		},
		"whose length is unknown": {
			"PUT", "/", "hello", func(r *http.Request) { r.ContentLength = -1 },
			"PUT / HTTP/1.1\nHost: endpoint.test\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n",
		},
		"with a field": {
			"GET", "/", "", func(r *http.Request) { r.Header = http.Header{"X-A": {"1", "2"}} },
			"GET / HTTP/1.1\nHost: endpoint.test\nX-A: 1\nX-A: 2\n\n",
		},
		"with another host":         {"GET", "/", "", func(r *http.Request) { r.Host = "other.test:8" }, "GET / HTTP/1.1\nHost: other.test:8\n\n"},
		"the last":                  {"GET", "/", "", func(r *http.Request) { r.Close = true }, "GET / HTTP/1.1\nHost: endpoint.test\nConnection: close\n\n"},
		"for the server as a whole": {"OPTIONS", "/", "", func(r *http.Request) { r.URL.Path = "*" }, "OPTIONS * HTTP/1.1\nHost: endpoint.test\n\n"},
		"of an encoded path":        {"GET", "/a%2Fb%20c", "", nil, "GET /a%2Fb%20c HTTP/1.1\nHost: endpoint.test\n\n"},
		"of a path to encode":       {"GET", "/", "", func(r *http.Request) { r.URL.Path = "/a b" }, "GET /a%20b HTTP/1.1\nHost: endpoint.test\n\n"},
		"of no path":                {"GET", "", "", nil, "GET / HTTP/1.1\nHost: endpoint.test\n\n"},
		"of an empty query":         {"GET", "/a?", "", nil, "GET /a? HTTP/1.1\nHost: endpoint.test\n\n"},
		"with an agent": {
			"GET", "/", "", func(r *http.Request) { r.Header = http.Header{"User-Agent": {"sdk"}} },
			"GET / HTTP/1.1\nHost: endpoint.test\nUser-Agent: sdk\n\n",
		},
		"with none on purpose": {
			"GET", "/", "", func(r *http.Request) { r.Header = http.Header{"User-Agent": {""}} },
			"GET / HTTP/1.1\nHost: endpoint.test\n\n",
		},
		"whose header says where it ends": {"POST", "/", "hello", func(r *http.Request) {
			r.Header = http.Header{
				"Content-Length": {"4"}, "content-length": {"3"}, "Transfer-Encoding": {"chunked"}, "transfer-Encoding": {"gzip"},
				"Host": {"a"}, "host": {"b"}, "Trailer": {"c"}, "trailer": {"d"},
			}
		}, "POST / HTTP/1.1\nHost: endpoint.test\nContent-Length: 5\n\nhello"},
		"whose header holds another request": {"GET", "/", "", func(r *http.Request) {
			r.Header = http.Header{"X-A": {"1\r\n\r\nGET /b HTTP/1.1\r\n"}, "X\r\nX": {"1"}}
		}, "GET / HTTP/1.1\nHost: endpoint.test\nX-A: 1    GET /b HTTP/1.1  \n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			onPipes(t, func(w *world) {
				r, err := http.NewRequestWithContext(w.t.Context(), test.method, "http://endpoint.test"+test.url, strings.NewReader(test.body))
				if err != nil {
					w.t.Fatal(err)
				}
				if test.more != nil {
					test.more(r)
				}
				w.want("request", w.asked(r), test.want)
			})
		})
	}
}

func TestATargetThatWouldBeTwoIsRefused(t *testing.T) {
	onPipes(t, func(w *world) {
		for _, query := range []string{"a HTTP/1.1", "a\r\nX: 1", "a\x7f"} {
			r := w.request(w.t.Context(), nil, "GET", nil)
			r.URL = &url.URL{Scheme: "http", Host: w.host, Path: "/", RawQuery: query}
			w.does(always(hello))
			w.want(query, w.do(r).err, errTarget)
		}
	})
}

func TestBodiesComeOutAsTheyWentIn(t *testing.T) {
	for _, length := range []int{1, 4096, atOnce - 1, atOnce, atOnce + 1, 2 * atOnce, 1 << 20} {
		content := strings.Repeat("0123456789abcde", length/15+1)[:length]
		for name, more := range map[string]func(r *http.Request){
			"at hand":      func(*http.Request) {},
			"that comes":   func(r *http.Request) { r.GetBody = nil },
			"of no length": func(r *http.Request) { r.GetBody, r.ContentLength = nil, -1 },
			"in pieces":    func(r *http.Request) { r.GetBody, r.Body = nil, io.NopCloser(iotest.HalfReader(r.Body)) },
			"with its end": func(r *http.Request) { r.GetBody, r.Body = nil, io.NopCloser(iotest.DataErrReader(r.Body)) },
		} {
			t.Run(name, func(t *testing.T) {
				story(t, func(w *world) {
					heard := make(chan string, 2)
					w.does(func(c *call) {
						for {
							r, err := http.ReadRequest(c.in)
							if err != nil {
								return
							}
							body, _ := io.ReadAll(r.Body)
							heard <- string(body)
							c.say(hello)
						}
					})
					first, second := &diary{}, &diary{}
					r := w.request(w.t.Context(), first, "POST", strings.NewReader(content))
					more(r)
					w.want("answer", w.do(r).body, "hello")
					w.want("body", <-heard == content, true)
					w.want("trip", first.String(), "dial, got, sent")
					w.ask(second, "GET", "")
					w.want("next trip", second.String(), "got kept, sent")
				})
			})
		}
	}
}

// TestABodyThatFailsIsNoWholeRequest for the endpoint, and its error is what the
// caller gets.
func TestABodyThatFailsIsNoWholeRequest(t *testing.T) {
	broken := errors.New("broken")
	long := strings.Repeat("x", 2*atOnce)
	none := func() io.Reader { return nil }
	for name, test := range map[string]struct {
		body   func() io.Reader
		length int64
		want   error
	}{
		"shorter than it says":      {func() io.Reader { return strings.NewReader("hello") }, 6, errShort},
		"longer than it says":       {func() io.Reader { return strings.NewReader("hello") }, 4, errLong},
		"none where one is said":    {none, 4, errShort},
		"long and shorter":          {func() io.Reader { return strings.NewReader(long) }, int64(len(long) + 1), errShort},
		"long and longer":           {func() io.Reader { return strings.NewReader(long) }, int64(len(long) - 1), errLong},
		"broken":                    {func() io.Reader { return iotest.ErrReader(broken) }, 4, broken},
		"broken midway":             {func() io.Reader { return io.MultiReader(strings.NewReader(long), iotest.ErrReader(broken)) }, 4 * atOnce, broken},
		"broken, of unknown length": {func() io.Reader { return io.MultiReader(strings.NewReader(long), iotest.ErrReader(broken)) }, -1, broken},
	} {
		for _, atHand := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				story(t, func(w *world) {
					whole := make(chan bool, 1)
					w.does(func(c *call) { whole <- c.hear() })
					r := w.request(w.t.Context(), nil, "POST", test.body())
					r.ContentLength = test.length
					if r.GetBody = nil; atHand {
						r.GetBody = func() (io.ReadCloser, error) { return r.Body, nil }
					}
					w.want("error", w.do(r).err, test.want)
					w.want("the endpoint got a whole request", <-whole, false)
				})
			})
		}
	}
}

func TestAnAnswerMayComeBeforeTheWholeRequest(t *testing.T) {
	story(t, func(w *world) {
		w.does(func(c *call) {
			r, err := http.ReadRequest(c.in)
			if err != nil {
				return
			}
			c.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n")
			rest, _ := io.ReadAll(r.Body)
			c.say("4\r\n" + string(rest) + "\r\n0\r\n\r\n")
			always(hello)(c)
		})
		in, out := io.Pipe()
		response, err := w.RoundTrip(w.request(w.t.Context(), nil, "POST", in))
		if err != nil {
			w.t.Fatal(err)
		}
		defer response.Body.Close()
		early := make([]byte, 5)
		_, err = io.ReadFull(response.Body, early)
		w.want("early", string(early), "early")
		w.want("error", err, nil)
		_, _ = io.WriteString(out, "late")
		out.Close()
		rest, err := io.ReadAll(response.Body)
		w.want("rest", string(rest), "late")
		w.want("error", err, nil)
		trip := &diary{}
		w.do(w.request(w.t.Context(), trip, "GET", nil))
		w.want("trip", strings.HasPrefix(trip.String(), "got kept"), true)
	})
}

func TestABodyThatFailsLateIsWhatEndsTheAnswer(t *testing.T) {
	story(t, func(w *world) {
		w.does(func(c *call) {
			_, _ = http.ReadRequest(c.in)
			c.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello")
			c.untilLeft()
		})
		in, out := io.Pipe()
		response, err := w.RoundTrip(w.request(w.t.Context(), nil, "POST", in))
		if err != nil {
			w.t.Fatal(err)
		}
		defer response.Body.Close()
		broken := errors.New("broken")
		out.CloseWithError(broken)
		_, err = io.ReadAll(response.Body)
		w.want("error", err, broken)
	})
}

// TestAnAnswerToHalfARequestEndsTheConnection: the rest of the request would be taken for
// the next one.
func TestAnAnswerToHalfARequestEndsTheConnection(t *testing.T) {
	story(t, func(w *world) {
		w.does(func(c *call) {
			_, _ = http.ReadRequest(c.in)
			c.say(hello)
			c.untilLeft()
		})
		in, out := io.Pipe()
		defer out.Close()
		got := w.do(w.request(w.t.Context(), nil, "POST", in))
		w.want("answer", got.body, "hello")
		w.want("error", got.err, nil)
		var err error
		for err == nil { // the transport finds out as it writes
			_, err = io.WriteString(out, "late")
		}
		w.want("the body was closed", err, io.ErrClosedPipe)
		trip := &diary{}
		w.ask(trip, "GET", "")
		w.want("trip", trip.String(), "dial, got, sent")
	})
}

// TestAnEndpointThatHangsUpOnABodyIsHeard says why it does not want it.
func TestAnEndpointThatHangsUpOnABodyIsHeard(t *testing.T) {
	onSockets(t, func(w *world) {
		w.does(func(c *call) {
			_, _ = http.ReadRequest(c.in)
			c.say("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
			_ = c.Conn.(*net.TCPConn).CloseWrite()
			_, _ = io.CopyN(io.Discard, c.in, 100<<10)
		})
		for _, atHand := range []bool{true, false} {
			r := w.request(w.t.Context(), nil, "POST", strings.NewReader(strings.Repeat("x", 32<<20)))
			if !atHand {
				r.GetBody = nil
			}
			got := w.do(r)
			if got.err != nil {
				w.t.Fatal(got.err)
			}
			w.want("status", got.StatusCode, 413)
		}
	})
}

func TestASwitchBeforeTheWholeRequestIsRefused(t *testing.T) {
	story(t, func(w *world) {
		w.does(func(c *call) {
			_, _ = http.ReadRequest(c.in)
			c.say(switches)
			c.untilLeft()
		})
		in, out := io.Pipe()
		defer out.Close()
		w.want("error", w.do(w.request(w.t.Context(), nil, "POST", in)).err, errEarlySwitch)
	})
}

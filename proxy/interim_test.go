package proxy

import (
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const hint = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"

// interim answers with other answers before its own.
func interim(before string, act action) action {
	return func(c *call) { c.write(before); act(c) }
}

// statuses are those of all answers that a client got, one after the other.
func (a answer) statuses() string {
	var all []string
	for line := range strings.Lines(a.text) {
		if version, rest, is := strings.Cut(line, " "); is && strings.HasPrefix(version, "HTTP/") {
			all = append(all, rest[:3])
		}
	}
	return strings.Join(all, " ")
}

func TestAnInterimAnswerIsPassedOnAtOnce(t *testing.T) {
	story(t, func(w *world) {
		next := make(chan struct{})
		w.endpoint("us-1", func(c *call) {
			c.read()
			c.write("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-Proxima-Region: mars\r\n\r\n")
			<-next
			answers("200 OK", "hello", "X-Own: 1")(c)
		})
		c := w.begin(asked)
		w.want("before the answer", c.sees(), "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
		close(next)
		got := c.waits()
		w.want("statuses", got.statuses(), "103 200")
		w.want("the hint again", strings.Count(got.text, "Link:"), 1)
		w.want("X-Own", strings.Contains(got.text, "X-Own: 1"), true)
		w.want("answer", strings.HasSuffix(got.text, "hello"), true)
		w.want("attempts", w.attempts(), "us-1 served")
	})
}

func TestInterimAnswersInARow(t *testing.T) {
	for name, test := range map[string]struct{ before, want string }{
		"several":               {hint + hint + "HTTP/1.1 102 Processing\r\n\r\n", "103 103 102 200"},
		"one that nobody knows": {"HTTP/1.1 199 What\r\n\r\n", "199 200"},
		"to go on":              {"HTTP/1.1 100 Continue\r\n\r\n", "200"}, // this router's to say
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				w.endpoint("us-1", interim(test.before, says("hello")))
				w.want("statuses", w.chat().statuses(), test.want)
				w.want("attempts", w.attempts(), "us-1 served")
			})
		})
	}
}

func TestOverHTTP10ThereAreNoInterimAnswers(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", interim(hint, says("hello")))
		c := w.connect()
		c.send("GET /a HTTP/1.0\r\n\r\n")
		got := c.waits()
		w.want("statuses", got.statuses(), "200")
		w.want("the hint", strings.Contains(got.text, "Link"), false)
		w.want("answer", got.body, "hello")
	})
}

func TestOverHTTP2AnInterimAnswerIsPassedOnToo(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", interim(hint, says("hello")))
		var codes []int
		trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error { codes = append(codes, code); return nil }}
		ask, _ := http.NewRequestWithContext(httptrace.WithClientTrace(w.t.Context(), trace), http.MethodGet, "http://proxima.test/a", http.NoBody)
		response, err := w.http2().Do(ask)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		got, _ := io.ReadAll(response.Body)
		w.want("answer", string(got), "hello")
		w.want("interim answers", len(codes) == 1 && codes[0] == 103, true)
	})
}

func TestAfterAnInterimAnswerAnotherEndpointMayAnswer(t *testing.T) {
	for name, act := range map[string]action{"broken": breaks, "failed": answers("503 Off", "off", "X-Own: us")} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				w.endpoint("us-1", interim(hint, act))
				w.endpoint("eu-1", interim("HTTP/1.1 102 Processing\r\n\r\n", says("hallo")))
				got := w.chat()
				w.want("statuses", got.statuses(), "103 102 200")
				w.want("answer", strings.HasSuffix(got.text, "hallo"), true)
				w.want("X-Own", strings.Contains(got.text, "X-Own"), false)
				w.want("attempts", w.attempts(), "us-1 "+name+", eu-1 served")
			})
		})
	}
}

func TestAfterAnInterimAnswerTheRouterMayAnswer(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", interim(hint, breaks))
		got := w.chat()
		w.want("statuses", got.statuses(), "103 502")
		w.want("problem", strings.Contains(got.text, `"code":"endpoint_broke"`), true)
	})
}

// TestNoInterimAnswerFollowsTheFinalOne is about a transport that tells of one late.
func TestNoInterimAnswerFollowsTheFinalOne(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", func(c *call) { tongue{header: sse}.begin(c, []string{"data: 1\n\n"}); c.untilLeft() })
		w.open()
		var inform func(code int, header textproto.MIMEHeader) error
		w.handler.Failover.Next = carrier(func(r *http.Request) (*http.Response, error) {
			inform = r.Context().Value(exchangeKey{}).(*exchange).attempt.Inform
			return w.transport.RoundTrip(r)
		})
		c := w.begin(asked)
		synctest.Wait()
		w.want("error", inform(103, textproto.MIMEHeader{"Link": {"x"}}), nil)
		got := parse(c.sees(), "POST")
		w.want("statuses", got.statuses(), "200")
		w.want("body", got.body, "data: 1\n\n")
	})
}

func TestAnInterimAnswerIsNoSignOfLife(t *testing.T) {
	story(t, func(w *world) {
		w.settings.FirstByteTimeout = 5 * time.Second
		w.endpoint("us-1", interim(hint, freezes))
		w.endpoint("eu-1", says("hallo"))
		began := time.Now()
		w.want("statuses", w.chat().statuses(), "103 200")
		w.want("time", time.Since(began), 5*time.Second)
		w.want("attempts", w.attempts(), "us-1 late, eu-1 served")
	})
}

func TestAHedgedRequestMayBeInformedByBoth(t *testing.T) {
	hedging(t, func(w *world, us, eu *endpoint) {
		us.act = interim(hint, freezes)
		eu.act = interim(hint, says("hallo"))
		w.want("statuses", w.chat(nearby).statuses(), "103 103 200")
		w.want("attempts", w.attempts(), "us-1 lost, eu-1 served")
	})
}

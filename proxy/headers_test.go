package proxy

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"proxima/router"
)

const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// TestWhatAnEndpointIsSent is the whole request, byte for byte but for line ends.
func TestWhatAnEndpointIsSent(t *testing.T) {
	story(t, func(w *world) {
		w.from = "10.1.2.3:5000" // a trusted proxy
		us := w.endpoint("us-1", says("hello"))
		us.prefix = "/base"
		w.ask("POST /v1/chat/completions?a=1&b=%2F;c", `{"model":"m"}`,
			"X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: api.example.com",
			"X-Request-Id: req-1", "Traceparent: "+trace, "Tracestate: a=1", "Via: 1.0 front", "Cdn-Loop: front",
			"Authorization: Bearer key", "User-Agent: sdk/1", "Accept: text/event-stream", "Content-Type: application/json",
			"Keep-Alive: timeout=5", "Te: trailers, deflate", "Proxy-Authorization: secret", "X-Proxima-Session: s", "X-Proxima-Model: m", "X-Proxima-Priority: batch")
		w.want("request", us.last(), `POST /base/v1/chat/completions?a=1&b=%2F;c HTTP/1.1
Accept: text/event-stream
Authorization: Bearer key
Cdn-Loop: front, proxima; id=here
Content-Length: 13
Content-Type: application/json
Host: us-1.test:80
Te: trailers
Traceparent: `+trace+`
Tracestate: a=1
User-Agent: sdk/1
Via: 1.0 front, 1.1 proxima
X-Forwarded-For: 203.0.113.9, 10.1.2.3
X-Forwarded-Host: api.example.com
X-Forwarded-Proto: https
X-Request-Id: req-1

{"model":"m"}`)
		w.want("client", w.record().Client.String(), "203.0.113.9")
		w.want("id", w.record().ID, "req-1")
	})
}

func TestWhatAnEndpointIsSentOfAnUntrustedClient(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", says("hello"))
		w.ask("GET /a", "",
			"X-Forwarded-For: 1.1.1.1", "Forwarded: for=1.1.1.1", "X-Real-IP: 1.1.1.1", "CF-Connecting-IP: 1.1.1.1", "True-Client-IP: 1.1.1.1",
			"X-Client-IP: 1.1.1.1", "X-Cluster-Client-IP: 1.1.1.1", "X-Forwarded-Host: evil", "X-Forwarded-Proto: https", "X-Forwarded-Port: 1",
			"X-Request-Id: chosen", "Traceparent: 00-zz-zz-00", "Tracestate: a=1", "X-Proxima-Endpoint: eu-1", "Connection: X-Private", "X-Private: 1")
		request := us.last()
		id := w.record().ID
		_, after, _ := strings.Cut(request, "\nTraceparent: ")
		made, _, _ := strings.Cut(after, "\n")
		w.want("trace", validTraceparent(made), true)
		w.want("id", len(id), 16)
		w.want("request", request, `GET /a HTTP/1.1
Cdn-Loop: proxima; id=here
Host: us-1.test:80
Traceparent: `+made+`
Via: 1.1 proxima
X-Forwarded-For: 198.51.100.7
X-Forwarded-Host: proxima.test
X-Forwarded-Proto: http
X-Request-Id: `+id+`

`)
		w.want("client", w.record().Client.String(), "198.51.100.7")
	})
}

// TestWhatAClientIsSent is the whole answer, byte for byte but for line ends.
func TestWhatAClientIsSent(t *testing.T) {
	story(t, func(w *world) {
		w.from = "10.1.2.3:5000"
		w.endpoint("us-1", answers("201 Created", `{"ok":true}`,
			"Content-Type: application/json", "Server: vllm", "Server-Timing: model;dur=12", "Via: 1.1 sidecar", "X-Request-Id: mine",
			"X-Proxima-Region: mars", "X-Proxima-Secret: 1", "Connection: keep-alive, X-Hop", "X-Hop: 1", "Keep-Alive: timeout=5",
			"Proxy-Authenticate: Basic", "Set-Cookie: a=1", "Set-Cookie: b=2", "Upgrade: h2c", "X-Accel-Buffering: no"))
		got := w.ask("POST /v1/chat/completions", `{"model":"m"}`, "X-Request-Id: req-1")
		w.want("answer", got.plain(), `HTTP/1.1 201 Created
Content-Length: 11
Content-Type: application/json
Server: vllm
Server-Timing: model;dur=12
Server-Timing: geo;dur=0.000, pick;dur=0.000, connect;dur=0.000, ttfb;dur=0.000
Set-Cookie: a=1
Set-Cookie: b=2
Via: 1.1 sidecar, 1.1 proxima
X-Accel-Buffering: no
X-Proxima-Attempts: 1
X-Proxima-Endpoint: us-1
X-Proxima-Region: us
X-Request-Id: req-1
Date: Sat, 01 Jan 2000 00:00:00 GMT
Connection: close

{"ok":true}`)
	})
}

// TestOneFieldsValuesAreNotWrittenOverAnothers is about headers whose values all lie in
// one array.
func TestOneFieldsValuesAreNotWrittenOverAnothers(t *testing.T) {
	all := []string{"model;dur=12", "a=1", "b=2"}
	h := http.Header{"Server-Timing": all[:1], "Set-Cookie": all[1:]}
	out := newFields(h, 1)
	out.add("Server-Timing", "geo;dur=1.000")
	out.set("Via", "1.1 proxima") // as many as there is room for
	out.set("X-Request-Id", "req-1")
	h.Add("Via", "1.1 other")
	want := http.Header{
		"Server-Timing": {"model;dur=12", "geo;dur=1.000"}, "Set-Cookie": {"a=1", "b=2"},
		"Via": {"1.1 proxima", "1.1 other"}, "X-Request-Id": {"req-1"},
	}
	if !reflect.DeepEqual(h, want) {
		t.Errorf("%v, want %v", h, want)
	}
}

func TestTimesAreToldToTheMicrosecond(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0.000", 1499: "0.001", 1500: "0.002", 45_067 * time.Microsecond: "45.067", 999_999_600: "1000.000", -1: "0.000", time.Hour: "3600000.000",
	} {
		if got := string(appendMs(nil, d)); got != want {
			t.Errorf("%d ns: %s, want %s", d, got, want)
		}
	}
}

func TestNoContentTypeIsGuessed(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", says("<html>"))
		_, given := w.ask("GET /a", "").header["Content-Type"]
		w.want("Content-Type", given, false)
	})
}

func TestWhatAClientIsSentWhenNobodyCanAnswer(t *testing.T) {
	story(t, func(w *world) {
		w.from = "10.1.2.3:5000"
		w.endpoint("us-1", refuses)
		w.want("answer", w.chat("X-Request-Id: req-1").plain(), `HTTP/1.1 503 Service Unavailable
Content-Type: application/json
Retry-After: 1
Server-Timing: geo;dur=0.000, pick;dur=0.000, connect;dur=0.000, ttfb;dur=0.000
X-Proxima-Attempts: 1
X-Proxima-Endpoint: us-1
X-Proxima-Region: us
X-Request-Id: req-1
Date: Sat, 01 Jan 2000 00:00:00 GMT
Content-Length: 148
Connection: close

{"error":{"message":"No endpoint could be reached; 1 tried. Try again shortly.","type":"server_error","param":null,"code":"no_endpoint_available"}}
`)
	})
}

func TestTheTargetReachesTheEndpointAsTheClientWroteIt(t *testing.T) {
	for _, test := range []struct{ prefix, line, want string }{
		{"", "GET /a%2Fb?x=%20", "GET /a%2Fb?x=%20"},
		{"", "GET /a//b/../c", "GET /a//b/../c"},
		{"", "GET //a/b", "GET //a/b"},
		{"", "GET http://elsewhere.test/a", "GET /a"},
		{"", "GET http://elsewhere.test", "GET /"},
		{"", "GET /a?", "GET /a?"},
		{"", "OPTIONS *", "OPTIONS *"},
		{"/base", "OPTIONS *", "OPTIONS *"},
		{"/base/", "GET /a%2Fb", "GET /base/a%2Fb"},
		{"/my base", "GET /a%2Fb", "GET /my%20base/a%2Fb"},
		{"/base", "GET http://elsewhere.test", "GET /base"},
	} {
		story(t, func(w *world) {
			us := w.endpoint("us-1", says("hello"))
			us.prefix = test.prefix
			w.ask(test.line, "")
			line, _, _ := strings.Cut(us.last(), " HTTP/1.1\n")
			w.want(test.prefix+" and "+test.line, line, test.want)
			w.want("host", strings.Contains(us.last(), "\nHost: us-1.test:80\n"), true)
		})
	}
}

func TestRequestIDsAreFitForALog(t *testing.T) {
	for id, want := range map[string]bool{
		"req-1": true, strings.Repeat("a", 128): true, strings.Repeat("a", 129): false, "": false, "a b": false, "a\"b": false,
		"a\\b": false, "a\x7fb": false, "ä": false, "\x1b[31m": false,
	} {
		if got := fitForLog(id); got != want {
			t.Errorf("%q: %v", id, got)
		}
	}
}

func TestTraceparentsAreChecked(t *testing.T) {
	for value, want := range map[string]bool{
		trace:                  true,
		"":                     false,
		"ff" + trace[2:]:       false, // no version 255
		strings.ToUpper(trace): false,
		"00-00000000000000000000000000000000-b7ad6b7169203331-01": false,
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01": false,
		trace + "-more": false,
	} {
		if got := validTraceparent(value); got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
}

func TestALoopIsStopped(t *testing.T) {
	for _, line := range []string{"proxima; id=here", "other, proxima; id=here", `"open, proxima; id=here`, "proxima; id=here, other"} {
		story(t, func(w *world) {
			us := w.endpoint("us-1", says("never asked"))
			got := w.chat("CDN-Loop: first", "CDN-Loop: "+line)
			w.want(line, got.status, 508)
			w.want(line, got.problem(), "loop_detected")
			w.want("us saw", us.last(), "none")
		})
	}
	story(t, func(w *world) {
		w.endpoint("us-1", says("hello"))
		w.want("another router", w.chat("CDN-Loop: proxima; id=there").status, 200)
	})
}

func TestAnEndpointThatLeadsBackHereIsFound(t *testing.T) {
	story(t, func(w *world) {
		back := w.endpoint("us-1", refuses)
		back.host = "proxima.test:80"
		w.want("status", w.chat().status, 508)
	})
}

func TestTargetsThatAreRefused(t *testing.T) {
	for line, want := range map[string]string{
		"CONNECT elsewhere.test:443":    "method_not_allowed",
		"GET *":                         "invalid_target",
		"POST http:v1/chat/completions": "invalid_target",
		"GET file:///etc/passwd":        "invalid_target",
		"GET ftp://elsewhere.test/a":    "invalid_target",
	} {
		story(t, func(w *world) {
			us := w.endpoint("us-1", says("never asked"))
			w.want(line, w.ask(line, "").problem(), want)
			w.want("us saw", us.last(), "none")
		})
	}
}

func TestAClientWithoutAnAddressIsUnknown(t *testing.T) {
	story(t, func(w *world) {
		w.from = "@"
		us := w.endpoint("us-1", says("hello"))
		w.want("answer", w.chat().body, "hello")
		w.want("said", strings.Contains(us.last(), "\nX-Forwarded-For: unknown\n"), true)
	})
}

func TestOutcomesAreToldInTheContractsShape(t *testing.T) {
	story(t, func(w *world) {
		w.from = "203.0.113.9:4000" // in Berlin
		w.steering.Residency = []router.Residency{{Name: "eu", Countries: []string{"DE"}, Regions: []router.RegionID{"eu"}}}
		us := w.endpoint("us-1", says("never asked"))
		w.endpoint("eu-1", says("hallo"), "m")
		got := w.chat()
		w.want("within the rule", got.body, "hallo")
		got = w.ask("POST /v1/chat/completions", `{"model":"other"}`)
		w.want("no region left", got.status, 451)
		w.want("no region left", got.problem(), "residency_unavailable")
		w.want("us saw", us.last(), "none")
	})
	story(t, func(w *world) {
		w.endpoint("us-1", says("never asked"), "m")
		got := w.ask("POST /v1/chat/completions", `{"model":"<b>"}`)
		w.want("unknown model", got.status, 404)
		w.want("unknown model", got.body,
			`{"error":{"message":"The model \"\u003cb\u003e\" does not exist here. GET /v1/models lists those that do.",`+
				`"type":"invalid_request_error","param":"model","code":"model_not_found"}}`+"\n")
	})
	story(t, func(w *world) {
		us := w.endpoint("us-1", says("never asked"))
		w.open()
		if err := w.live.DrainEndpoint("us-1", true); err != nil {
			t.Fatal(err)
		}
		got := w.chat()
		w.want("all drained", got.status, 503)
		w.want("all drained", got.problem(), "no_endpoint_available")
		w.want("Retry-After", got.header.Get("Retry-After"), "1")
		w.want("us saw", us.last(), "none")
	})
}

func TestResidencyHoldsInFailoverToo(t *testing.T) {
	story(t, func(w *world) {
		w.from = "203.0.113.9:4000"
		w.steering.Residency = []router.Residency{{Name: "eu", Countries: []string{"DE"}, Regions: []router.RegionID{"eu"}}}
		w.endpoint("eu-1", refuses)
		us := w.endpoint("us-1", says("never asked"))
		w.want("status", w.chat().status, 503)
		w.want("attempts", w.attempts(), "eu-1 refused")
		w.want("us saw", us.last(), "none")
	})
}

func TestABugCostsOneRequest(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", says("hello"))
		w.open()
		places := w.handler.Locate
		w.handler.Locate = nil
		got := w.chat()
		w.want("status", got.status, 500)
		w.want("problem", got.problem(), "internal_error")
		w.want("cut", got.cut, false)
		w.want("told", len(w.bugs), 1)
		w.bugs = nil
		w.handler.Locate = places
		w.want("the next", w.chat().body, "hello")
	})
}

func TestABugAfterTheCommitPointCutsTheAnswer(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", says("hello"))
		w.open()
		w.handler.Failover.Next = carrier(func(r *http.Request) (*http.Response, error) {
			response, err := w.transport.RoundTrip(r)
			response.Trailer = nil
			response.Body = &buggy{rest: response.Body}
			return response, err
		})
		got := w.chat()
		w.want("cut", got.cut, true)
		w.want("told", len(w.bugs), 1)
		w.bugs = nil
	})
}

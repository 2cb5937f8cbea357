package edge

import (
	"net/http"
	"strings"
	"testing"
)

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

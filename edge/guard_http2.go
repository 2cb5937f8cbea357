package edge

import (
	"net/http"
	"strings"
)

// checkHTTP2 holds a request that came over HTTP/2 to what guard asks of one over
// HTTP/1, as far as net/http does not: it is passed on over HTTP/1, and there must
// be read as it was meant here (RFC 9113 §8.3.1, §10.3). CONNECT is the handler's.
func checkHTTP2(r *http.Request) error {
	switch h := r.Header; {
	case r.Method == http.MethodConnect:
	case !all(r.Method, inToken):
		return malformed("the method is not a token")
	case !all(r.RequestURI, inTarget), !strings.HasPrefix(r.RequestURI, "/") && (r.RequestURI != "*" || r.Method != http.MethodOptions):
		return malformed("the path is none, or holds a byte that no URL may")
	case r.Host != "" && !validHost([]byte(r.Host)):
		return errHost
	case len(h["Host"]) > 1, len(h["Host"]) == 1 && !strings.EqualFold(h["Host"][0], r.Host):
		return malformed("Host and :authority differ")
	case len(h["Content-Length"]) > 1:
		return errFraming
	case h["Content_length"] != nil, h["Transfer_encoding"] != nil:
		return errUnderscore
	}
	return nil
}

func all(text string, of class) bool { return span([]byte(text), of) == len(text) }

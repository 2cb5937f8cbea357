package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"golang.org/x/time/rate"
)

// tokenBytes is the shortest token accepted: with 16 random characters guessing
// is hopeless at any rate.
const tokenBytes = 16

// ParseToken takes a token from the text of a file, whose last line may end. The
// error never shows the token.
func ParseToken(text []byte) (string, error) {
	token := strings.TrimRight(string(text), "\r\n")
	if len(token) < tokenBytes {
		return "", fmt.Errorf("the token has %d characters: use at least %d, such as those of openssl rand -hex 16",
			len(token), tokenBytes)
	}
	for i, c := range []byte(token) {
		if c <= ' ' || c > '~' {
			return "", fmt.Errorf("character %d of the token cannot be sent in a header: use printable ASCII without spaces", i+1)
		}
	}
	return token, nil
}

// guard lets operators in and nobody else. With a token set, whoever sends it is
// an operator. Without one, whoever connects from this machine is, as long as
// the name they ask for is this machine's own: a web page elsewhere whose name
// was made to resolve to 127.0.0.1 still sends its own name.
//
// Refusals are bounded by a rate for everybody together, not by account or
// address, which a stranger could use to lock an operator out or to fill memory.
// Beyond the rate they are answered 429 and not audited; the right token passes
// at any time.
type guard struct {
	server   *Server
	token    [sha256.Size]byte
	cross    *http.CrossOriginProtection
	refusals *rate.Limiter
}

const (
	refusalsPerSecond = 10
	refusalsAtOnce    = 100
)

func newGuard(s *Server) *guard {
	return &guard{
		server:   s,
		token:    sha256.Sum256([]byte(s.Token)),
		cross:    http.NewCrossOriginProtection(),
		refusals: rate.NewLimiter(refusalsPerSecond, refusalsAtOnce),
	}
}

// operator serves only operators, and changes nothing at the wish of a web page
// from elsewhere.
func (g *guard) operator(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refusal := g.admit(r)
		if refusal == nil {
			refusal = g.sameSite(r)
		}
		if refusal != nil {
			g.refuse(w, r, refusal)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// page serves what holds no secret and must be there before a token can be
// asked for: the live page itself.
func (g *guard) page(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.server.Token == "" {
			if refusal := local(r); refusal != nil {
				g.refuse(w, r, refusal)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// admit says why whoever asks is no operator; nil when they are one.
func (g *guard) admit(r *http.Request) *Problem {
	if g.server.Token == "" {
		return local(r)
	}
	token, err := bearer(r.Header)
	if err != nil {
		return unauthorised(err.Error())
	}
	sent := sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare(sent[:], g.token[:]) != 1 {
		return unauthorised("the token is not the one of this router")
	}
	return nil
}

// bearer returns the token of the only Authorization header (RFC 6750 §2.1).
func bearer(h http.Header) (string, error) {
	sent := h.Values("Authorization")
	if len(sent) == 0 {
		return "", errors.New("a token is required")
	}
	scheme, token, _ := strings.Cut(sent[0], " ")
	if len(sent) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", errors.New("the Authorization header is not one bearer token")
	}
	return token, nil
}

func unauthorised(detail string) *Problem {
	return &Problem{
		Status: http.StatusUnauthorized,
		Detail: detail,
		Hint:   "send the header Authorization: Bearer TOKEN with the token of admin.token_file; a token in a URL is never looked at",
	}
}

// local refuses whoever is not on this machine, or does not ask for it by name.
func local(r *http.Request) *Problem {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() {
		return &Problem{
			Status: http.StatusForbidden,
			Detail: "without a token only this machine is let in",
			Hint:   "set admin.token_file to ask from elsewhere",
		}
	}
	if !loopbackName(r.Host) {
		return &Problem{
			Status: http.StatusForbidden,
			Detail: "without a token only requests for localhost or a loopback address are answered",
			Hint:   "use http://127.0.0.1 with the admin port, or set admin.token_file",
		}
	}
	return nil
}

// loopbackName reports whether a Host header names this machine itself.
func loopbackName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return err == nil && addr.Unmap().IsLoopback()
}

// sameSite refuses changes that a browser asks for on behalf of another site.
func (g *guard) sameSite(r *http.Request) *Problem {
	if g.cross.Check(r) == nil {
		return nil
	}
	return &Problem{
		Status: http.StatusForbidden,
		Detail: "a web page from another origin asked for a change",
		Hint:   "use this router's own page, or a program that sends no Origin header",
	}
}

func (g *guard) refuse(w http.ResponseWriter, r *http.Request, p *Problem) {
	if !g.refusals.AllowN(g.server.now(), 1) {
		w.Header().Set("Retry-After", "1")
		answerProblem(w, Problem{
			Status: http.StatusTooManyRequests,
			Detail: "too many requests were refused lately",
			Hint:   "the right token is let in at any time",
		})
		return
	}
	g.server.audit("refused", r, p.Detail)
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="proxima"`)
	}
	answerProblem(w, *p)
}

// What an operator may send at most. Nothing here has a body worth reading.
const (
	bodyBytes  = 64 << 10
	queryBytes = 4 << 10
)

// bounded refuses what is too large and tells browsers to trust nothing but what
// this server sent: no script, style or connection from elsewhere, no frame
// around it, no guess at a type, no copy on disk.
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "+
			"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		if len(r.URL.RawQuery) > queryBytes {
			answerProblem(w, Problem{
				Status: http.StatusRequestURITooLong,
				Detail: fmt.Sprintf("the query has %d bytes, at most %d are read", len(r.URL.RawQuery), queryBytes),
			})
			return
		}
		if r.ContentLength > bodyBytes {
			answerProblem(w, Problem{
				Status: http.StatusRequestEntityTooLarge,
				Detail: fmt.Sprintf("the body has %d bytes, at most %d are read", r.ContentLength, bodyBytes),
			})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, bodyBytes)
		next.ServeHTTP(w, r)
	})
}

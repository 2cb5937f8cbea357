package admin

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const goodToken = "0123456789abcdef0123456789abcdef"

// private is every URL that only an operator may use, with a method it knows.
var private = map[string]string{
	"/metrics":                       "GET",
	"/v1/status":                     "GET",
	"/v1/explain?client=203.0.113.7": "GET",
	"/v1/requests":                   "GET",
	"/v1/config":                     "GET",
	"/v1/reload":                     "POST",
	"/v1/endpoints/eu-1/drain":       "PUT",
	"/v1/endpoints/us-east1/10.0.0.1:8000/drain": "DELETE",
	"/v1/regions/europe-west1/drain":             "PUT",
}

func TestWithoutTheTokenNobodyIsLetIn(t *testing.T) {
	s := newServer(t)
	s.Token = goodToken
	reloads := 0
	s.Reload = countReloads(&reloads)
	handler := s.Handler()
	before := s.Live.Snapshot()
	for path, method := range private {
		for name, header := range map[string][]string{
			"none":           nil,
			"empty":          {""},
			"no token":       {"Bearer "},
			"wrong":          {"Bearer fedcba9876543210fedcba9876543210"},
			"short":          {"Bearer 0123456789abcdef"},
			"long":           {"Bearer " + goodToken + "0"},
			"huge":           {"Bearer " + strings.Repeat("a", 8000)},
			"basic":          {"Basic " + goodToken},
			"bare":           {goodToken},
			"two":            {"Bearer " + goodToken, "Bearer " + goodToken},
			"another's case": {"Bearer " + strings.ToUpper(goodToken)},
		} {
			r := fromHere(method, path)
			r.Header["Authorization"] = header
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != 401 {
				t.Errorf("%s %s with token %q answered %d", method, path, name, w.Code)
			}
			isProblem(t, w)
		}
		withQuery := fromHere(method, path+"?token="+goodToken+"&access_token="+goodToken)
		if w := s.send(withQuery); w.Code != 401 {
			t.Errorf("%s %s with the token in its URL answered %d", method, path, w.Code)
		}
	}
	if s.Live.Snapshot() != before || reloads > 0 {
		t.Error("something was changed")
	}
}

func TestTheTokenLetsIn(t *testing.T) {
	for path, method := range private {
		s := newServer(t)
		s.Token = goodToken
		r := fromHere(method, path)
		r.RemoteAddr, r.Host = "198.51.100.9:40000", "router.example:9090"
		r.Header.Set("Authorization", "bearer "+goodToken)
		if w := s.send(r); w.Code != 200 {
			t.Errorf("%s %s answered %d: %s", method, path, w.Code, w.Body)
		}
	}
}

func TestA401SaysHowToAuthorise(t *testing.T) {
	s := newServer(t)
	s.Token = goodToken
	w := s.do("GET", "/v1/status")
	if w.Header().Get("WWW-Authenticate") != `Bearer realm="proxima"` {
		t.Errorf("WWW-Authenticate is %q", w.Header().Get("WWW-Authenticate"))
	}
	if p := isProblem(t, w); !strings.Contains(p.Hint, "admin.token_file") {
		t.Errorf("the hint is %q", p.Hint)
	}
	if got := strings.Join(s.events, "\n"); got != "refused: a token is required" {
		t.Errorf("the audit has %q", got)
	}
}

func TestHealthAndThePageNeedNoToken(t *testing.T) {
	s := newServer(t)
	s.Token = goodToken
	for _, path := range []string{"/livez", "/readyz", "/", "/dashboard/app.js", "/dashboard/style.css"} {
		r := fromHere("GET", path)
		r.RemoteAddr, r.Host = "198.51.100.9:40000", "router.example"
		if w := s.send(r); w.Code != 200 {
			t.Errorf("%s answered %d", path, w.Code)
		}
	}
}

func TestWithoutATokenOnlyThisMachineIsLetIn(t *testing.T) {
	private := map[string]string{"/": "GET", "/dashboard/app.js": "GET", "/v1/status": "GET", "/v1/reload": "POST", "/v1/regions/lab/drain": "PUT"}
	for path, method := range private {
		for _, world := range []struct {
			peer, host string
			want       int
		}{
			{"127.0.0.1:50000", "127.0.0.1:9090", 200},
			{"127.9.9.9:50000", "127.9.9.9", 200},
			{"[::1]:50000", "[::1]:9090", 200},
			{"[::1]:50000", "[::1]", 200},
			{"[::ffff:127.0.0.1]:50000", "LocalHost:9090", 200},
			{"198.51.100.9:50000", "127.0.0.1:9090", 403},
			{"[2001:db8::1]:50000", "localhost", 403},
			{"@", "localhost", 403},
			{"127.0.0.1:50000", "attacker.example:9090", 403},
			{"127.0.0.1:50000", "localhost.attacker.example", 403},
			{"127.0.0.1:50000", "127.0.0.1.attacker.example:9090", 403},
			{"127.0.0.1:50000", "0.0.0.0:9090", 403},
			{"127.0.0.1:50000", "192.168.0.1:9090", 403},
			{"127.0.0.1:50000", "", 403},
		} {
			s := newServer(t)
			r := fromHere(method, path)
			r.RemoteAddr, r.Host = world.peer, world.host
			if w := s.send(r); w.Code != world.want {
				t.Errorf("%s %s from %s for %q answered %d, want %d", method, path, world.peer, world.host, w.Code, world.want)
			}
		}
	}
}

func TestAWebPageElsewhereChangesNothing(t *testing.T) {
	for name, headers := range map[string]map[string]string{
		"fetch metadata":     {"Sec-Fetch-Site": "cross-site"},
		"a sister site":      {"Sec-Fetch-Site": "same-site"},
		"an old browser":     {"Origin": "http://attacker.example"},
		"another port":       {"Origin": "http://127.0.0.1:8080"},
		"a sandboxed frame":  {"Origin": "null"},
		"a lie about itself": {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:9090"},
	} {
		for _, token := range []string{"", goodToken} {
			s := newServer(t)
			s.Token = token
			reloads := 0
			s.Reload = countReloads(&reloads)
			handler := s.Handler()
			before := s.Live.Snapshot()
			for path, method := range private {
				if method == "GET" {
					continue
				}
				r := fromHere(method, path)
				r.Header.Set("Authorization", "Bearer "+goodToken)
				for key, value := range headers {
					r.Header.Set(key, value)
				}
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, r)
				if w.Code != 403 {
					t.Errorf("%s: %s %s answered %d", name, method, path, w.Code)
				}
			}
			if s.Live.Snapshot() != before || reloads > 0 {
				t.Errorf("%s: something was changed", name)
			}
		}
	}
}

func TestItsOwnPageMayChange(t *testing.T) {
	s := newServer(t)
	for _, headers := range []map[string]string{
		{},
		{"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:9090"},
		{"Origin": "http://127.0.0.1:9090"},
	} {
		r := fromHere("PUT", "/v1/endpoints/eu-1/drain")
		for key, value := range headers {
			r.Header.Set(key, value)
		}
		if w := s.send(r); w.Code != 200 {
			t.Errorf("with %v answered %d: %s", headers, w.Code, w.Body)
		}
	}
}

func TestAFloodOfGuessesIsCutOffButTheTokenStillOpens(t *testing.T) {
	s := newServer(t)
	s.Token = goodToken
	handler := s.Handler()
	codes := map[int]int{}
	ask := func(token string) int {
		r := fromHere("GET", "/v1/status")
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code
	}
	for i := range 1000 {
		codes[ask(fmt.Sprintf("guess-%028d", i))]++
	}
	if codes[401] != refusalsAtOnce || codes[429] != 1000-refusalsAtOnce {
		t.Errorf("1,000 guesses at one instant were answered %v", codes)
	}
	if len(s.events) != refusalsAtOnce {
		t.Errorf("the audit has %d lines", len(s.events))
	}
	if code := ask(goodToken); code != 200 {
		t.Errorf("the right token was answered %d", code)
	}
	s.Now = always(noon.Add(time.Second))
	if code := ask("wrong"); code != 401 {
		t.Errorf("a second later a guess was answered %d", code)
	}
}

func TestWhatIsTooLargeIsRefused(t *testing.T) {
	s := newServer(t)
	if w := s.do("GET", "/v1/explain?client="+strings.Repeat("1", 5000)); w.Code != 414 {
		t.Errorf("a long query was answered %d", w.Code)
	}
	r := fromHere("POST", "/v1/reload")
	r.ContentLength = 1 << 20
	if w := s.send(r); w.Code != 413 {
		t.Errorf("a large body was answered %d", w.Code)
	}
	if limit := s.HTTP(nil).MaxHeaderBytes; limit > 64<<10 {
		t.Errorf("headers may have %d bytes", limit)
	}
}

func TestBrowsersAreToldToTrustNothingElse(t *testing.T) {
	s := newServer(t)
	for _, path := range []string{"/", "/v1/status", "/nowhere", "/v1/config", "/livez"} {
		h := s.do("GET", path).Header()
		csp := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: the policy %q lacks %q", path, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe") {
			t.Errorf("%s: the policy is %q", path, csp)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: headers are %v", path, h)
		}
	}
}

func TestATokenIsCheckedWhenRead(t *testing.T) {
	if token, err := ParseToken([]byte(goodToken + "\r\n")); token != goodToken || err != nil {
		t.Errorf("got %q, %v", token, err)
	}
	for text, want := range map[string]string{
		"":                            "the token has 0 characters",
		"\n":                          "the token has 0 characters",
		"short-secret":                "the token has 12 characters",
		"0123456789abcdef 0123456789": "character 17 of the token cannot be sent",
		"0123456789abcdef\n012345678": "character 17 of the token cannot be sent",
		"0123456789abcdefü0123456789": "character 17 of the token cannot be sent",
		" 0123456789abcdef0123456789": "character 1 of the token cannot be sent",
	} {
		_, err := ParseToken([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
			continue
		}
		if token := strings.TrimSpace(text); token != "" && strings.Contains(err.Error(), token) {
			t.Errorf("the error shows the token: %v", err)
		}
	}
}

func always(t time.Time) func() time.Time { return func() time.Time { return t } }

func countReloads(count *int) func(context.Context, bool) (Reload, error) {
	return func(context.Context, bool) (Reload, error) {
		*count++
		return Reload{}, nil
	}
}

package admin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestTheClientAsksEverything(t *testing.T) {
	s := newServer(t)
	s.Token = goodToken
	c, ctx := s.client(goodToken), t.Context()
	good, bad := servedRecord("good"), failedRecord("bad")
	s.Recent.Add(&good)
	s.Recent.Add(&bad)

	status, err := c.Status(ctx)
	if err != nil || len(status.Regions) != 3 || status.Config.Hash != "5eed" {
		t.Errorf("status %v, %v", status, err)
	}
	x, err := c.Explain(ctx, Question{Client: addr("203.0.113.7"), Model: "llama", Down: nil})
	if err != nil || x.Chosen == nil || x.Chosen.Endpoint != "eu-1" {
		t.Errorf("explain %v, %v", x, err)
	}
	last, err := c.Requests(ctx, 10, true)
	if err != nil || ids(last) != "bad" {
		t.Errorf("requests %v, %v", last, err)
	}
	config, err := c.Config(ctx)
	if err != nil || string(config) != "version: 1\n" {
		t.Errorf("config %q, %v", config, err)
	}
	s.Reload = func(_ context.Context, force bool) (Reload, error) { return Reload{Changed: force}, nil }
	done, err := c.Reload(ctx, true)
	if err != nil || !done.Changed {
		t.Errorf("reload %v, %v", done, err)
	}
}

func TestTheClientDrainsAndUndrains(t *testing.T) {
	s := newServer(t)
	c, ctx := s.client(""), t.Context()
	drained := func() map[string]bool {
		is := map[string]bool{}
		for at, e := range s.Live.Snapshot().Table.Endpoints {
			if s.Live.Snapshot().IsDrained(at) {
				is[string(e.ID)] = true
			}
		}
		return is
	}
	if err := c.DrainEndpoint(ctx, "us-east1/10.0.0.1:8000", true); err != nil || !drained()["us-east1/10.0.0.1:8000"] {
		t.Errorf("drained are %v, %v", drained(), err)
	}
	if err := c.DrainEndpoint(ctx, "us-east1/10.0.0.1:8000", false); err != nil || len(drained()) > 0 {
		t.Errorf("drained are %v, %v", drained(), err)
	}
	if err := c.DrainRegion(ctx, "europe-west1", true); err != nil || !drained()["eu-1"] {
		t.Errorf("drained are %v, %v", drained(), err)
	}
	err := c.DrainEndpoint(ctx, "a/../b%2Fc?x", true)
	if err == nil || !strings.Contains(err.Error(), `no endpoint "a/../b%2Fc?x"`) {
		t.Errorf("an odd identity does not arrive as it is: %v", err)
	}
}

func TestTheClientTellsWhyItFailed(t *testing.T) {
	s := newServer(t)
	s.Token = goodToken
	s.Reload = func(context.Context, bool) (Reload, error) {
		return Reload{}, errors.New("proxima.yaml:3:5: regions.x: unknown\nproxima.yaml:9:1: listen: missing")
	}
	answers := func(status int, mediaType, body string) *Client {
		return &Client{Base: base(), HTTP: &http.Client{Transport: carry(func(*http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: status, Status: http.StatusText(status),
				Header: http.Header{"Content-Type": {mediaType}}, Body: io.NopCloser(strings.NewReader(body)),
			}, nil
		})}}
	}
	gone := &Client{Base: base(), HTTP: &http.Client{Transport: carry(func(*http.Request) (*http.Response, error) {
		return nil, context.DeadlineExceeded
	})}}

	for name, world := range map[string]struct {
		client       *Client
		unreachable  bool
		unauthorised bool
		says         string
	}{
		"nobody answers": {gone, true, false, "not reachable: Post "},
		"no token":       {s.client(""), false, true, "a token is required\nhint: send the header Authorization"},
		"wrong token":    {s.client(goodToken + "0"), false, true, "the token is not the one of this router"},
		"bad file":       {s.client(goodToken), false, false, "proxima.yaml:3:5: regions.x: unknown\nproxima.yaml:9:1: listen: missing\nhint: the previous"},
		"another server": {answers(404, "text/html", "<h1>nginx</h1>"), false, false, "http://127.0.0.1:9090 answered Not Found, which is not the admin listener"},
		"an odd server":  {answers(200, "text/html", "<h1>hello</h1>"), false, false, "something else than JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := world.client.Reload(t.Context(), false)
			if err == nil || !strings.Contains(err.Error(), world.says) {
				t.Fatalf("it says %v, want %q", err, world.says)
			}
			if errors.Is(err, ErrUnreachable) != world.unreachable || errors.Is(err, ErrUnauthorised) != world.unauthorised {
				t.Errorf("unreachable %v, unauthorised %v: %v", errors.Is(err, ErrUnreachable), errors.Is(err, ErrUnauthorised), err)
			}
			if strings.Contains(err.Error(), goodToken) {
				t.Errorf("the error shows the token: %v", err)
			}
		})
	}
	if _, err := gone.Status(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the cause is lost: %v", err)
	}
}

func base() *url.URL { return &url.URL{Scheme: "http", Host: "127.0.0.1:9090"} }

// client is one that reaches the server without a socket.
func (s *testServer) client(token string) *Client {
	return &Client{Base: base(), Token: token, HTTP: &http.Client{Transport: carry(func(r *http.Request) (*http.Response, error) {
		r.RemoteAddr = "127.0.0.1:50000"
		if r.Body == nil {
			r.Body = http.NoBody
		}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		return w.Result(), nil
	})}}
}

type carry func(*http.Request) (*http.Response, error)

func (c carry) RoundTrip(r *http.Request) (*http.Response, error) { return c(r) }

package admin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"

	"proxima/router"
)

// ErrUnreachable is what every error of a Client is when no router answered.
var ErrUnreachable = errors.New("not reachable")

// Client asks a running router. Its errors are ErrUnreachable when nobody
// answered, else a *Problem when the router said what is wrong, which is an
// ErrUnauthorised when it did not let the client in.
type Client struct {
	Base  *url.URL     // of the admin listener, "http://127.0.0.1:9090"
	Token string       // "": none is sent
	HTTP  *http.Client // nil: http.DefaultClient, which waits as long as the context does
}

// Status asks for all that is believed and measured.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var status Status
	return status, c.ask(ctx, http.MethodGet, nil, &status, "v1", "status")
}

// Explain asks for the decision that the router would make now.
func (c *Client) Explain(ctx context.Context, q Question) (Explanation, error) {
	var x Explanation
	return x, c.ask(ctx, http.MethodGet, q.values(), &x, "v1", "explain")
}

// Requests asks for the last requests, the newest first.
func (c *Client) Requests(ctx context.Context, limit int, onlyFailed bool) ([]Request, error) {
	v := url.Values{"limit": {strconv.Itoa(limit)}, "failed": {strconv.FormatBool(onlyFailed)}}
	var last Requests
	err := c.ask(ctx, http.MethodGet, v, &last, "v1", "requests")
	return last.Requests, err
}

// Config asks for the configuration in use, as YAML without secrets.
func (c *Client) Config(ctx context.Context) ([]byte, error) {
	return c.do(ctx, http.MethodGet, nil, "v1", "config")
}

// Reload makes the router load its configuration again.
func (c *Client) Reload(ctx context.Context, force bool) (Reload, error) {
	v := url.Values{}
	if force {
		v.Set("force", "true")
	}
	var done Reload
	return done, c.ask(ctx, http.MethodPost, v, &done, "v1", "reload")
}

// DrainEndpoint takes an endpoint out for new requests, or gives it back.
func (c *Client) DrainEndpoint(ctx context.Context, id router.EndpointID, drain bool) error {
	return c.ask(ctx, drainMethod(drain), nil, &Drain{}, "v1", "endpoints", url.PathEscape(string(id)), "drain")
}

// DrainRegion takes a region out for new requests, or gives it back.
func (c *Client) DrainRegion(ctx context.Context, id router.RegionID, drain bool) error {
	return c.ask(ctx, drainMethod(drain), nil, &Drain{}, "v1", "regions", url.PathEscape(string(id)), "drain")
}

func drainMethod(drain bool) string {
	if drain {
		return http.MethodPut
	}
	return http.MethodDelete
}

func (c *Client) ask(ctx context.Context, method string, v url.Values, to any, path ...string) error {
	text, err := c.do(ctx, method, v, path...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, to); err != nil {
		return c.stranger("200 with something else than JSON")
	}
	return nil
}

// answerBytes bounds what is read of an answer.
const answerBytes = 16 << 20

func (c *Client) do(ctx context.Context, method string, v url.Values, path ...string) ([]byte, error) {
	to := c.Base.JoinPath(path...)
	to.RawQuery = v.Encode()
	r, err := http.NewRequestWithContext(ctx, method, to.String(), nil)
	if err != nil {
		return nil, err
	}
	if c.Token != "" {
		r.Header.Set("Authorization", "Bearer "+c.Token)
	}
	response, err := cmp.Or(c.HTTP, http.DefaultClient).Do(r)
	if err != nil {
		return nil, unreachable(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, answerBytes+1))
	switch {
	case err != nil:
		return nil, unreachable(err)
	case len(text) > answerBytes:
		return nil, c.stranger("more than 16 MiB")
	case response.StatusCode == http.StatusOK:
		return text, nil
	}
	return nil, c.problem(response, text)
}

// unreachable keeps the cause: context.DeadlineExceeded stays one.
func unreachable(err error) error { return fmt.Errorf("%w: %w", ErrUnreachable, err) }

func (c *Client) problem(response *http.Response, text []byte) error {
	mediaType, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	var p Problem
	if mediaType != problemType || json.NewDecoder(bytes.NewReader(text)).Decode(&p) != nil {
		return c.stranger(response.Status)
	}
	p.Status = response.StatusCode
	return &p
}

// stranger is an answer that no router gives.
func (c *Client) stranger(answered string) error {
	return fmt.Errorf("%s answered %s, which is not the admin listener of a Proxima router: is the port right?",
		c.Base.Redacted(), answered)
}

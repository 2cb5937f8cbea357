package wire

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// verdict is what is to be said about a case: how it went, and why so.
type verdict struct {
	word string // pass, warn or fail
	why  string
}

func pass() verdict { return verdict{word: "pass"} }

func warn(form string, values ...any) verdict { return verdict{"warn", fmt.Sprintf(form, values...)} }

func fail(form string, values ...any) verdict { return verdict{"fail", fmt.Sprintf(form, values...)} }

// seen is what the endpoints have seen altogether.
type seen struct {
	requests []*asked
	raw      string
}

func (s *seen) complete() []*asked {
	return slices.DeleteFunc(slices.Clone(s.requests), func(r *asked) bool { return !r.complete })
}

// judgeRequest is about what a client sent. What reached an endpoint comes first:
// that is where harm is done.
func (c *Case) judgeRequest(h *heard, s *seen) verdict {
	if v := c.judgeWire(s); v != pass() {
		return v
	}
	if arrived := s.complete(); len(arrived) > 0 {
		return c.judgeForwarded(arrived, s.raw)
	}
	return c.judgeRejected(h)
}

// judgeWire holds what endpoints saw to what must never be there.
func (c *Case) judgeWire(s *seen) verdict {
	for _, r := range s.requests {
		path, _, _ := strings.Cut(r.target, "?")
		if slices.Contains(c.Upstream.NeverTargets, path) {
			return fail("SMUGGLED: a request for %s reached an endpoint", path)
		}
		for _, fault := range r.faults {
			if fault != incomplete {
				return fail("an endpoint got what is no HTTP: %s", fault)
			}
		}
	}
	if n := len(s.complete()); n > c.Upstream.MaxRequests {
		return fail("%d requests reached endpoints", n)
	}
	for _, part := range c.Upstream.ForbidBytes {
		if containsFold(s.raw, part) {
			return fail("%.80q was forwarded", part)
		}
	}
	for _, part := range c.Upstream.ForbidBytesCase {
		if strings.Contains(s.raw, string(part)) {
			return fail("%.80q was forwarded", part)
		}
	}
	return pass()
}

func containsFold(text string, part octets) bool {
	return bytes.Contains(bytes.ToLower([]byte(text)), bytes.ToLower([]byte(part)))
}

// judgeForwarded is about a request that reached an endpoint whole.
func (c *Case) judgeForwarded(arrived []*asked, raw string) verdict {
	if !c.allows("forward") && !c.allows("normalise") {
		return fail("it was forwarded")
	}
	for _, part := range slices.Concat(c.Upstream.RequireBytes, c.Upstream.RequireBytesToo) {
		if !containsFold(raw, part) {
			return fail("%.80q was not forwarded", part)
		}
	}
	if want := c.Upstream.Body; want != nil && arrived[0].body != string(*want) {
		return fail("the body arrived as %.80q", arrived[0].body)
	}
	if want := c.Expect.ClientIP; want != "" {
		if got := strings.Join(arrived[0].values("X-Forwarded-For"), ","); got != want {
			return fail("the client is taken for %.80q", got)
		}
	}
	if c.Allow[0] == "reject" {
		return warn("forwarded in clean form")
	}
	return pass()
}

// judgeRejected is about a request of which no endpoint saw the end.
func (c *Case) judgeRejected(h *heard) verdict {
	statuses := h.statuses()
	switch {
	case len(statuses) == 0 && h.open && c.Client.NoAnswerOK:
		return pass()
	case len(statuses) == 0 && h.open:
		return warn("no answer, and the connection stays open")
	case !c.allows("reject"):
		return fail("rejected with %v", statuses)
	case c.Allow[0] != "reject":
		return warn("rejected with %v", statuses)
	case len(statuses) > 0 && !slices.Contains(c.Client.RejectStatus, statuses[0]):
		return warn("answered with %v", statuses)
	case c.Client.CloseAfterReject && h.open && c.Proto != "h2":
		return warn("the connection stays open")
	}
	return pass()
}

// judgeResponse is about what an endpoint answered to a GET.
func (c *Case) judgeResponse(h *heard) verdict {
	if len(h.answers) > 1 {
		return fail("a second answer was delivered")
	}
	outcome := h.outcome()
	switch {
	case c.allows(outcome), outcome == "forward" && c.allows("normalise"):
		return pass()
	case outcome == "forward" && c.allows("truncate"):
		return fail("a cut answer ended as if it were whole")
	case outcome == "reject" && c.allows("truncate"), outcome == "truncate" && c.allows("reject"):
		return warn("the outcome is %s", outcome)
	case outcome == "hang" && c.Allow[0] != "forward":
		return warn("no answer, and the connection stays open")
	}
	return fail("the outcome is %s", outcome)
}

func (h *heard) outcome() string {
	switch {
	case len(h.answers) == 0 && h.open:
		return "hang"
	case len(h.answers) == 0, h.answers[0].status >= 500:
		return "reject"
	case !h.answers[0].complete:
		return "truncate"
	}
	return "forward"
}

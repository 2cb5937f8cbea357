package wire

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"proxima/router"
)

// TestNoRequestHidesInABodyThatNobodyRead is about requests that are refused while
// their body is still coming, each followed by a second one: the connection is
// closed, or the body is read to its end first (CVE-2025-4366).
func TestNoRequestHidesInABodyThatNobodyRead(t *testing.T) {
	for _, refusal := range []struct {
		status       int
		path, header string
	}{
		{413, "/v1/completions", "Content-Type: application/json"}, // the model does not come soon enough
		{404, "/case", "X-Proxima-Model: unknown"},
		{508, "/case", "Cdn-Loop: proxima; id=wire"},
	} {
		for _, size := range []int{10 << 10, 200 << 10, 2 << 20} {
			for _, chunked := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d after %d bytes, chunked %t", refusal.status, size, chunked), func(t *testing.T) {
					t.Parallel()
					as := usual()
					as.models = []router.Model{"known"}
					as.proxy.ReplayLimit = 1 << 10
					w := newWorld(t, as)
					h := w.converse(t, text(hiding(refusal.path, refusal.header, size, chunked), "GET /second HTTP/1.1\r\nHost: edge.test\r\n\r\n"))
					refused(t, refusal.status, h, w.end(t))
				})
			}
		}
	}
}

// hiding is a request whose body is full of others.
func hiding(path, header string, size int, chunked bool) string {
	const hidden = "\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: edge.test\r\n\r\n"
	body := `{"a": [` + strings.Repeat("1, ", 1000) + strings.Repeat(hidden, size/len(hidden))
	head := "POST " + path + " HTTP/1.1\r\nHost: edge.test\r\n" + header + "\r\n"
	if !chunked {
		return fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(body), body)
	}
	return fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", head, len(body), body)
}

func refused(t *testing.T, status int, h *heard, s *seen) {
	t.Helper()
	var targets []string
	for _, r := range s.requests {
		targets = append(targets, r.target)
	}
	var want []string
	statuses := []int{status}
	if h.open {
		want, statuses = []string{"/second"}, []int{status, 200}
	}
	if !slices.Equal(targets, want) || !slices.Equal(h.statuses(), statuses) {
		t.Errorf("endpoints saw %q, the client %v; the connection is open: %t", targets, h.statuses(), h.open)
	}
}

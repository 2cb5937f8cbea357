package wire

import (
	"context"
	"crypto/tls"
	"encoding/xml"
	"maps"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"proxima/edge"
)

// h2spec, a tool of go.mod, holds a server to RFC 7540 and RFC 7541.
// https://github.com/summerwind/h2spec

// h2specTests is how many tests it has. Were there fewer, some would not have run.
const h2specTests = 146

// unmet are the tests that fail, by section and title, with the reason why they may.
var unmet = map[string]string{
	"http2/6.5.3 Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE": "net/http hangs up on a frame that sets a parameter twice, " +
		"which RFC 9113 §6.5.3 allows. It does so on purpose, and no client sends such a frame.",
	"http2/8.1.2.2 Sends a HEADERS frame that contains the connection-specific header field":                     answeredInstead,
	`http2/8.1.2.2 Sends a HEADERS frame that contains the TE header field with any value other than "trailers"`: answeredInstead,
}

const answeredInstead = "The stream ends with the answer 400 and not with a reset. RFC 9113 §8.1.1 allows the answer; " +
	"net/http gives it and does not ask a handler, so nothing reaches an endpoint."

// unmetWithoutTLS are those that fail besides where the port speaks HTTP/1 too.
var unmetWithoutTLS = map[string]string{
	"http2/3.5 Sends invalid connection preface": "What is not the preface is taken for HTTP/1. It is answered with 400 before the connection is closed.",
}

func TestWithoutTLSHTTP2IsWhatH2specExpects(t *testing.T) {
	t.Parallel()
	at, stop := frontForH2spec(t, nil)
	defer stop()

	failed := h2spec(t, at)

	want := maps.Clone(unmet)
	maps.Copy(want, unmetWithoutTLS)
	judgeH2spec(t, failed, want)
}

func TestOverTLSHTTP2IsWhatH2specExpects(t *testing.T) {
	t.Parallel()
	lender := httptest.NewTLSServer(nil)
	lender.Close()
	at, stop := frontForH2spec(t, &tls.Config{Certificates: lender.TLS.Certificates})
	defer stop()

	failed := h2spec(t, at, "--tls", "--insecure")

	judgeH2spec(t, failed, unmet)
}

// frontForH2spec opens a world to clients. One test asks for more than the router
// serves at once. For that it must be quicker with its requests than endpoints are
// with the answers, so these take a moment, and few are enough.
func frontForH2spec(t *testing.T, secured *tls.Config) (at string, stop func()) {
	t.Helper()
	if testing.Short() {
		t.Skip("h2spec takes 20 s, most of them to wait for what does not come")
	}
	as := usual()
	as.script = []segment{{HangMS: 20}, {Bytes: "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nregion"}}
	w := newWorld(t, as)
	server := &edge.Server{Handler: w.server.Handler, ErrorLog: w.server.ErrorLog, TLS: secured, Limits: edge.Limits{Streams: 20}}
	door, served := listen(t), make(chan error, 1)
	go func() { served <- server.Serve(door) }()
	return door.Addr().String(), func() {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Errorf("requests are under way when every client has gone: %v", err)
		}
		<-served
		w.end(t)
	}
}

// h2spec returns the tests that failed, with what would have been right and what
// came.
func h2spec(t *testing.T, at string, flags ...string) (failed map[string]string) {
	t.Helper()
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "h2spec.xml")
	args := append([]string{"tool", "h2spec", "--strict", "--timeout", "5", "--host", host, "--port", port, "--junit-report", file}, flags...)
	said, _ := exec.CommandContext(t.Context(), "go", args...).CombinedOutput() // status 1: some tests failed
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("h2spec left no report: %v\n%s", err, said)
	}
	var report struct {
		Sections []struct {
			Tests []struct {
				Section string `xml:"package,attr"`
				Title   string `xml:"classname,attr"`
				Wrong   string `xml:"error"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(text, &report); err != nil {
		t.Fatalf("h2spec's report: %v", err)
	}
	failed = map[string]string{}
	tests := 0
	for _, section := range report.Sections {
		tests += len(section.Tests)
		for _, test := range section.Tests {
			if test.Wrong != "" {
				failed[test.Section+" "+test.Title] = test.Wrong
			}
		}
	}
	if tests != h2specTests {
		t.Fatalf("h2spec ran %d tests, want %d\n%s", tests, h2specTests, said)
	}
	t.Logf("%d of %d tests passed", tests-len(failed), tests)
	return failed
}

// judgeH2spec compares what failed with what may.
func judgeH2spec(t *testing.T, failed, unmet map[string]string) {
	t.Helper()
	for test, wrong := range failed {
		if _, known := unmet[test]; !known {
			t.Errorf("%s: it wants one of these, and the last is what came:\n%s", test, wrong)
		}
	}
	for test, why := range unmet {
		if _, still := failed[test]; !still {
			t.Errorf("%s: passes, so that the exception has no reason any more: %s", test, why)
		}
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"proxima/bench/load"
	"proxima/bench/peers"
	"proxima/internal/modelserver"
)

func TestMain(m *testing.M) {
	if was, err := peers.ModelServer(context.Background()); was {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func TestALoadIsReportedAsATable(t *testing.T) {
	url := serve(t, modelserver.New(modelserver.Settings{Region: "texas"}))

	code, stdout, stderr := bench(t, false, "--url", url, "--rate", "2000", "--duration", "10ms")

	if code != 0 || stderr != "" {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
	for _, part := range []string{"20 requests", "20 complete, 0 failed", "first byte", "texas", "p99.9"} {
		if !strings.Contains(stdout, part) {
			t.Errorf("the table lacks %q:\n%s", part, stdout)
		}
	}
}

func TestALoadIsReportedAsJSON(t *testing.T) {
	url := serve(t, modelserver.New(modelserver.Settings{Region: "texas"}))
	var report load.Report

	code, stdout, _ := bench(t, false, "--url", url, "--rate", "1000", "--duration", "10ms",
		"--stream", "--posts", "1", "--body-bytes", "2048", "--forwarded-for", "192.0.2.1", "-o", "json")

	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatal(err)
	}
	if code != 0 || report.Complete != 10 || report.Regions[0].Region != "texas" {
		t.Errorf("exit %d, report %+v", code, report)
	}
}

func TestFailedRequestsAreToldAndExitWithOne(t *testing.T) {
	url := serve(t, http.NotFoundHandler())

	code, stdout, _ := bench(t, false, "--url", url, "--rate", "1000", "--duration", "3ms")

	if code != 1 || !strings.Contains(stdout, "0 complete, 3 failed") || !strings.Contains(stdout, "failed: status 3") {
		t.Errorf("exit %d:\n%s", code, stdout)
	}
}

func TestProgressGoesToATerminalOnly(t *testing.T) {
	url := serve(t, modelserver.New(modelserver.Settings{}))

	_, _, watched := bench(t, true, "--url", url, "--rate", "1000", "--duration", "3ms")

	if !strings.Contains(watched, "3 of 3 requests, 0 failed") {
		t.Errorf("a terminal saw %q", watched)
	}
}

func TestSenselessFlagsExitWithTwoAndSayWhatToWrite(t *testing.T) {
	for _, c := range []struct{ args, hint string }{
		{"--rate 0", "rate must be above 0"},
		{"--url 127.0.0.1:80", "such as http://"},
		{"--posts 2", "from 0 to 1"},
		{"-o yaml", "table and json"},
		{"200", "--rate 200"},
		{"--fast", "-fast"},
	} {
		t.Run(c.args, func(t *testing.T) {
			code, _, stderr := bench(t, false, strings.Fields(c.args)...)

			if code != 2 || !strings.Contains(stderr, c.hint) {
				t.Errorf("exit %d, stderr %q", code, stderr)
			}
		})
	}
}

func bench(t *testing.T, watched bool, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs, watched)
	return code, out.String(), errs.String()
}

func serve(t *testing.T, handler http.Handler) (url string) {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

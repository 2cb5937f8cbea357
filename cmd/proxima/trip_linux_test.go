package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
)

// tellsTrips is a server that answers each request with the round trip to its client.
func tellsTrips(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, clientTrip(r))
	}))
	server.Config.ConnContext = withVisitor
	t.Cleanup(server.Close)
	return server
}

// trip asks for it, on a connection that was there or on a new one.
func trip(t *testing.T, client *http.Client, url string) time.Duration {
	t.Helper()
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	d, err := time.ParseDuration(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestTheKernelKnowsTheRoundTripAndIsAskedOnceAMinute(t *testing.T) {
	for _, protocol := range []string{"TCP", "TLS", "PROXY"} {
		t.Run(protocol, func(t *testing.T) {
			server := tellsTrips(t)
			switch protocol {
			case "TLS":
				server.EnableHTTP2 = true
				server.StartTLS()
			case "PROXY": // without its header
				server.Listener = &proxyproto.Listener{Listener: server.Listener, ConnPolicy: skips}
				server.Start()
			default:
				server.Start()
			}
			if got := trip(t, server.Client(), server.URL); got <= 0 || got > longestTrip {
				t.Errorf("over loopback the round trip is %v", got)
			}
			if got := trip(t, server.Client(), server.URL); got != 0 {
				t.Errorf("asked again at once, it is %v", got)
			}
		})
	}
}

func skips(proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) { return proxyproto.SKIP, nil }

func TestAConnectionIsAskedAgainAfterAMinute(t *testing.T) {
	var v visitor
	noon := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for _, step := range []struct {
		after time.Duration
		due   bool
	}{{0, true}, {0, false}, {59 * time.Second, false}, {time.Minute, true}, {61 * time.Second, false}, {-time.Hour, true}} {
		if got := v.due(noon.Add(step.after)); got != step.due {
			t.Errorf("after %v due is %v", step.after, got)
		}
	}
}

func TestTheRoundTripToAProxyIsNotTheClients(t *testing.T) {
	server := tellsTrips(t)
	server.Listener = &proxyproto.Listener{Listener: server.Listener}
	server.Start()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "PROXY TCP4 198.51.100.7 192.0.2.1 4000 80\r\nGET / HTTP/1.0\r\n\r\n")
	if got, _ := io.ReadAll(conn); !strings.HasSuffix(string(got), "\r\n\r\n0s") {
		t.Errorf("answered %q", got)
	}
}

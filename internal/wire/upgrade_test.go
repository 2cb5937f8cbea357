package wire

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

const upgrade = "GET /case HTTP/1.1\r\nHost: edge.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

// frame is one of WebSocket, and no HTTP.
const frame = "\x82\x04\n\x00\r\n"

func TestAWebSocketIsNotTakenForHTTP(t *testing.T) {
	as := usual()
	as.script = text("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", frame)
	w := newWorld(t, as)
	conn := w.dial(t)
	defer conn.Close()
	_, _ = io.WriteString(conn, upgrade)
	in := bufio.NewReader(conn)
	response, err := http.ReadResponse(in, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%+v, %v", response, err)
	}
	_, _ = io.WriteString(conn, frame+frame)
	_ = conn.CloseWrite()
	got, err := io.ReadAll(in)
	if string(got) != frame || err != nil {
		t.Errorf("the client got %q, %v", got, err)
	}
	if raw := w.end(t).raw; !strings.HasSuffix(raw, "\r\n\r\n"+frame+frame) {
		t.Errorf("the endpoint got %q", raw)
	}
}

// TestWhatFollowsADeclinedUpgradeIsHTTP is about an endpoint that answers as if
// nobody had asked to switch, and a client that did not wait for the answer.
func TestWhatFollowsADeclinedUpgradeIsHTTP(t *testing.T) {
	for early, want := range map[string]int{
		"GET /second HTTP/1.1\r\nHost: edge.test\r\n\r\n":         2,
		"GET /second HTTP/1.1\nHost: edge.test\n\n":               1,
		frame + "GET /second HTTP/1.1\r\nHost: edge.test\r\n\r\n": 1,
	} {
		w := newWorld(t, usual())
		h := w.converse(t, text(upgrade, early))
		if got := len(w.end(t).requests); got != want || h.open != (want == 2) || len(h.answers) == 0 || h.answers[0].status != 200 {
			t.Errorf("with %q behind it endpoints got %d requests, the client %v; the connection is open: %t", early, got, h.statuses(), h.open)
		}
	}
}

func TestOverHTTP10ACutAnswerEndsWithAReset(t *testing.T) {
	as := usual()
	as.script = append(text("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), segment{Close: true})
	w := newWorld(t, as)
	conn := w.dial(t)
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET /case HTTP/1.0\r\n\r\n")
	if got, err := io.ReadAll(conn); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%q ends with %v, as a whole answer does", got, err)
	}
	w.end(t)
}

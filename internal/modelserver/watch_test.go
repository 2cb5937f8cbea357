package modelserver

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheLastRequestsAreShownAsTheyCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{Faults: true})
		client := start(t, server)
		server.Break(Fault{Mode: Busy, Status: 429})
		request := client.request(t.Context(), "POST", "/v1/completions", "{}")
		request.Header["X-Forwarded-For"] = []string{"192.0.2.1", "198.51.100.2"}
		request.Header.Set("X-Request-Id", "abc")
		if _, err := client.http.Do(request); err != nil {
			t.Fatal(err)
		}
		client.get("/health").Body.Close()
		var shown []Request

		decode(t, client.get("/sim/requests"), &shown)

		want := Request{Path: "/v1/completions", ForwardedFor: "192.0.2.1, 198.51.100.2", RequestID: "abc", Body: "{}", Size: 2}
		if len(shown) != 1 || shown[0] != want {
			t.Errorf("shown %+v", shown)
		}
	})
}

func TestOnlySoMuchOfSoManyRequestsIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{Faults: true})
		client := start(t, server)
		for i := range keptRequests + 1 {
			client.post(fmt.Sprintf("/v1/%d", i), strings.Repeat("a", keptBody+i)).Body.Close()
		}

		kept := server.Requests()

		if len(kept) != keptRequests || kept[0].Path != "/v1/1" || kept[99].Path != "/v1/100" {
			t.Fatalf("kept %d, from %s", len(kept), kept[0].Path)
		}
		if last := kept[99]; len(last.Body) != keptBody || last.Size != keptBody+100 {
			t.Errorf("of %d bytes are kept %d", last.Size, len(last.Body))
		}
	})
}

func TestNothingIsKeptOrShownUnlessAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{})
		client := start(t, server)
		client.chat(hello, "")

		response := client.get("/sim/requests")
		response.Body.Close()

		if kept := server.Requests(); response.StatusCode != 404 || len(kept) != 0 {
			t.Errorf("answered %s, kept %v", response.Status, kept)
		}
	})
}

func TestOpenConnectionsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{})
		client := start(t, server)
		body(t, client.get("/health"))
		idle := server.Stats().Connections
		server.Break(Fault{Mode: Reset})
		_, err := client.http.Post("http://region/v1/completions", "", strings.NewReader("{}"))
		synctest.Wait()
		reset := server.Stats().Connections
		server.Mend()
		body(t, client.get("/health"))

		time.Sleep(keepAlive)
		synctest.Wait()

		if left := server.Stats().Connections; idle != 1 || err == nil || reset != 0 || left != 0 {
			t.Errorf("idle %d, after a reset (%v) %d, after the keep-alive time %d", idle, err, reset, left)
		}
	})
}

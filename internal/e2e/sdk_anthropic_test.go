package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"proxima/internal/modelserver"
)

// messageEvents are a message as Anthropic documents it, in the events of a stream.
// https://docs.anthropic.com/en/docs/build-with-claude/streaming
var messageEvents = []string{
	messageEvent("message_start", `"message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": [], `+
		`"stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 9, "output_tokens": 1}}`),
	messageEvent("content_block_start", `"index": 0, "content_block": {"type": "text", "text": ""}`),
	messageEvent("ping", ""),
	messageEvent("content_block_delta", `"index": 0, "delta": {"type": "text_delta", "text": "It was"}`),
	messageEvent("content_block_delta", `"index": 0, "delta": {"type": "text_delta", "text": " a dark night."}`),
	messageEvent("content_block_stop", `"index": 0`),
	messageEvent("message_delta", `"delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 6}`),
	messageEvent("message_stop", ""),
}

// overloaded is how Anthropic ends a message that it cannot go on with.
var overloaded = messageEvent("error", `"error": {"type": "overloaded_error", "message": "Overloaded"}`)

func messageEvent(kind, more string) string {
	if more != "" {
		more = ", " + more
	}
	return fmt.Sprintf("event: %s\ndata: {\"type\": %[1]q%s}\n\n", kind, more)
}

// scripted is a region whose endpoint answers with what is written down here.
type scripted struct {
	events []string // then it breaks off, unless they are an answer to their end
	asked  atomic.Int64
}

// ServeHTTP answers probes too.
func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/v1/messages" {
		return
	}
	s.asked.Add(1)
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "text/event-stream")
	for _, event := range s.events {
		_, _ = io.WriteString(w, event)
		_ = http.NewResponseController(w).Flush()
	}
	if last := s.events[len(s.events)-1]; last != overloaded && last != messageEvents[len(messageEvents)-1] {
		panic(http.ErrAbortHandler)
	}
}

// addScripted adds a region.
func (w *World) addScripted(name string, s *scripted) *Region {
	server := httptest.NewServer(s)
	w.t.Cleanup(server.Close)
	r := &Region{t: w.t, Name: name, server: modelServer{Address: server.Listener.Addr().String()}}
	w.Regions = append(w.Regions, r)
	return r
}

func TestTheAnthropicClientSeesAWholeMessageOrThrows(t *testing.T) {
	const request = `{"model": "claude", "max_tokens": 64, "messages": [{"role": "user", "content": "tell me a story"}]}`
	message := sight{
		Text: "It was a dark night.", IDs: []string{"msg_1"}, Finish: []string{"end_turn"},
		Usage: map[string]any{"input_tokens": 9., "output_tokens": 6.},
	}
	for _, c := range []struct {
		name   string
		events []string // of europe-west1
		moves  bool     // to us-east1
		text   string
		thrown string // the type of the error
	}{
		{"whole", messageEvents, false, message.Text, ""},
		{"an error first", []string{overloaded}, true, message.Text, ""},
		{"cut before its content", messageEvents[:1], true, message.Text, ""},
		{"cut midway", messageEvents[:4], false, "It was", "api_error"},
		{"cut before its end", messageEvents[:6], false, message.Text, "api_error"},
		{"an error midway", append(messageEvents[:4:4], overloaded), false, "It was", "overloaded_error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			world := newWorld(t, modelserver.Settings{})
			first, next := &scripted{events: c.events}, &scripted{events: messageEvents}
			world.addScripted("europe-west1", first)
			world.addScripted("us-east1", next).Bias = 5 * time.Second
			router := serve(t, world.Config(goingOn))
			app := newApp(t)

			got := app.ask(router.URL, "message", request)

			if moved := next.asked.Load() == 1; first.asked.Load() != 1 || moved != c.moves {
				t.Errorf("europe-west1 was asked %d times, us-east1 %d times", first.asked.Load(), next.asked.Load())
			}
			if c.thrown == "" {
				got.mustEqual(t, message)
				return
			}
			got.mustHaveThrown(t, "APIError", "", c.thrown)
			if got.Text != c.text {
				t.Errorf("before that it got %q, want %q", got.Text, c.text)
			}
		})
	}
}

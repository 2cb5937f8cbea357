package modelserver

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheSameQuestionGetsTheSameTextInEveryRegion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		texas := start(t, New(Settings{Region: "texas"}))
		tokyo := start(t, New(Settings{Region: "tokyo", FirstToken: time.Second}))

		here, there := texas.chat(hello, ""), tokyo.chat(hello, "")
		other := texas.chat(`[{"role":"user","content":"goodbye"}]`, "")

		if here.text == "" || here.text != there.text {
			t.Errorf("texas says %q, tokyo says %q", here.text, there.text)
		}
		if here.text == other.text {
			t.Errorf("two questions got the same text %q", here.text)
		}
		if here.region != "texas" || there.region != "tokyo" || there.fingerprint != "simulated-tokyo" {
			t.Errorf("regions %q and %q, fingerprint %q", here.region, there.region, there.fingerprint)
		}
	})
}

func TestAStreamTellsTheSameAsTheWholeAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := start(t, New(Settings{Region: "texas"}))

		whole := client.chat(hello, "")
		streamed := client.chat(hello, `,"stream":true,"stream_options":{"include_usage":true}`)

		if streamed.text != whole.text || streamed.finish != "stop" || !streamed.done {
			t.Errorf("streamed %+v, whole %+v", streamed, whole)
		}
		if streamed.usage != whole.usage || whole.usage.Completion == 0 {
			t.Errorf("streamed usage %+v, whole usage %+v", streamed.usage, whole.usage)
		}
	})
}

func TestMaxTokensCutsTheSameTextShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := start(t, New(Settings{}))

		full := client.chat(hello, "")
		short := client.chat(hello, `,"max_tokens":3`)

		if short.usage.Completion != 3 || short.finish != "length" || !strings.HasPrefix(full.text, short.text) {
			t.Errorf("3 tokens of %q are %+v", full.text, short)
		}
	})
}

func TestMinTokensDrawsTheSameTextOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := start(t, New(Settings{}))

		usual := client.chat(hello, "")
		long := client.chat(hello, `,"min_tokens":1000`)

		if long.usage.Completion != 1000 || long.finish != "stop" || !strings.HasPrefix(long.text, usual.text) {
			t.Errorf("1000 tokens of %q are %+v", usual.text, long)
		}
	})
}

func TestTokensComeAtTheSetPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := start(t, New(Settings{
			FirstToken: 200 * time.Millisecond, PerToken: 10 * time.Millisecond, Network: 50 * time.Millisecond,
		}))
		began := time.Now()

		client.chat(hello, `,"max_tokens":11,"stream":true`)

		if took := time.Since(began); took != 350*time.Millisecond {
			t.Errorf("11 tokens took %v, want 50 + 200 + 10·10 ms", took)
		}
	})
}

func TestJitterIsTheSameForTheSameQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := start(t, New(Settings{FirstToken: 200 * time.Millisecond, Jitter: 100 * time.Millisecond}))
		took := func(messages string) time.Duration {
			began := time.Now()
			client.chat(messages, "")
			return time.Since(began)
		}

		first, again, other := took(hello), took(hello), took(`[{"role":"user","content":"goodbye"}]`)

		if first != again || first == other || first < 100*time.Millisecond || first > 300*time.Millisecond {
			t.Errorf("took %v, again %v, another question %v", first, again, other)
		}
	})
}

func TestMoreQuestionsThanSlotsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{FirstToken: time.Second, Slots: 2})
		client := start(t, server)
		began := time.Now()
		took := make(chan time.Duration, 3)
		for range 3 {
			go func() {
				client.chat(hello, "")
				took <- time.Since(began)
			}()
		}
		synctest.Wait()
		stats := server.Stats()

		first, second, third := <-took, <-took, <-took

		if stats.InFlight != 3 || stats.Waiting != 1 || stats.Executions != 2 {
			t.Errorf("with 2 slots and 3 questions: %+v", stats)
		}
		if first != time.Second || second != time.Second || third != 2*time.Second {
			t.Errorf("took %v, %v, %v", first, second, third)
		}
	})
}

func TestBadQuestionsAreRefusedInOpenAIsShape(t *testing.T) {
	for name, c := range map[string]struct {
		path, body string
		status     int
		code       string
	}{
		"unknown model":       {"/v1/chat/completions", `{"model":"other","messages":[]}`, 404, "model_not_found"},
		"unknown path":        {"/v1/pictures", `{}`, 404, "unknown_url"},
		"not JSON":            {"/v1/chat/completions", `hello`, 400, "invalid_json"},
		"text after the JSON": {"/v1/chat/completions", `{"model":"llama-3-8b","messages":[]} x`, 400, "invalid_json"},
		"no model":            {"/v1/completions", `{"prompt":"hi"}`, 400, "invalid_request"},
		"no messages":         {"/v1/chat/completions", `{"model":"llama-3-8b"}`, 400, "invalid_request"},
		"no input":            {"/v1/embeddings", `{"model":"llama-3-8b"}`, 400, "invalid_request"},
		"no tokens wanted":    {"/v1/completions", `{"model":"llama-3-8b","prompt":"a","max_tokens":0}`, 400, "invalid_request"},
		"both ways to go on":  {"/v1/chat/completions", ask(hello, `,"continue_final_message":true,"add_generation_prompt":true`), 400, "invalid_request"},
		"both by default":     {"/v1/chat/completions", ask(hello, `,"continue_final_message":true`), 400, "invalid_request"},
		"too large a body":    {"/v1/completions", strings.Repeat("a", bodyLimit+1), 413, "body_too_large"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := start(t, New(Settings{Models: []string{"llama-3-8b"}}))
				var answer struct {
					Error struct{ Message, Type, Code string } `json:"error"`
				}

				response := client.post(c.path, c.body)
				decode(t, response, &answer)

				if response.StatusCode != c.status || answer.Error.Code != c.code || answer.Error.Message == "" {
					t.Errorf("answered %d %+v, want %d %s", response.StatusCode, answer, c.status, c.code)
				}
			})
		})
	}
}

func TestOtherPathsOfTheAPIAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := start(t, New(Settings{Region: "texas", Models: []string{"llama-3-8b"}}))
		var list struct{ Data []struct{ ID string } }
		var vectors struct {
			Data []struct{ Embedding []float64 }
		}
		var completion struct{ Choices []struct{ Text string } }

		decode(t, client.get("/v1/models"), &list)
		decode(t, client.post("/v1/embeddings", `{"model":"llama-3-8b","input":["a","b","a"]}`), &vectors)
		decode(t, client.post("/v1/completions", `{"model":"llama-3-8b","prompt":"Once"}`), &completion)

		if len(list.Data) != 1 || list.Data[0].ID != "llama-3-8b" {
			t.Errorf("models %+v", list)
		}
		if v := vectors.Data; len(v) != 3 || v[0].Embedding[0] != v[2].Embedding[0] || v[0].Embedding[0] == v[1].Embedding[0] {
			t.Errorf("embeddings of a, b, a: %+v", v)
		}
		if completion.Choices[0].Text == "" {
			t.Error("the completion is empty")
		}
		for path, want := range map[string]string{"/health": "ok", "/": "makes up text"} {
			if text := body(t, client.get(path)); !strings.Contains(text, want) {
				t.Errorf("GET %s says %q", path, text)
			}
		}
	})
}

func TestAClientThatLeavesIsCountedAndFreesItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{Slots: 1, PerToken: time.Second})
		client := start(t, server)
		ctx, leave := context.WithCancel(t.Context())
		request := client.request(ctx, "POST", "/v1/chat/completions", ask(hello, `,"stream":true`))
		response, err := client.http.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2500 * time.Millisecond)

		leave()
		synctest.Wait()

		stats := server.Stats()
		if stats.Cancelled != 1 || stats.InFlight != 0 || stats.Executions != 1 {
			t.Errorf("after the client left: %+v", stats)
		}
		response.Body.Close()
		if next := client.chat(hello, ""); next.text == "" {
			t.Error("the slot was not given back")
		}
	})
}

func TestServeLetsAnswersFinishAndBreaksOffFrozenOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{FirstToken: time.Second})
		network := listen()
		client := clientOf(t, network)
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- server.Serve(ctx, network) }()
		finished := make(chan string, 1)
		go func() { finished <- client.chat(hello, "").text }()
		synctest.Wait()
		server.Break(Fault{Mode: Freeze})
		go client.http.Do(client.request(t.Context(), "GET", "/", ""))
		synctest.Wait()
		began := time.Now()

		stop()

		if err := <-served; err != nil {
			t.Error(err)
		}
		if text := <-finished; text == "" {
			t.Error("the answer under way was lost")
		}
		if took := time.Since(began); took != grace {
			t.Errorf("stopped after %v, want %v", took, grace)
		}
	})
}

func TestServeSaysWhenTheListenerFails(t *testing.T) {
	network := listen()
	network.Close()

	err := New(Settings{Region: "texas"}).Serve(t.Context(), network)

	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("served and said %v", err)
	}
}

const hello = `[{"role":"user","content":"hello"}]`

func ask(messages, more string) string {
	return `{"model":"llama-3-8b","messages":` + messages + more + `}`
}

// wire is a network in memory, on which waiting is durable for synctest.
type wire struct {
	dialled chan net.Conn
	closed  chan struct{}
}

func listen() *wire { return &wire{make(chan net.Conn), make(chan struct{})} }

func (w *wire) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case w.dialled <- far:
		return near, nil
	case <-w.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (w *wire) Accept() (net.Conn, error) {
	select {
	case conn := <-w.dialled:
		return conn, nil
	case <-w.closed:
		return nil, net.ErrClosed
	}
}

func (w *wire) Close() error {
	select {
	case <-w.closed:
	default:
		close(w.closed)
	}
	return nil
}

func (w *wire) Addr() net.Addr { return &net.IPAddr{} }

// start serves on a network in memory until the test ends.
func start(t *testing.T, server *Server) client {
	network := listen()
	serve(t, server, network)
	return clientOf(t, network)
}

func serve(t *testing.T, server *Server, listener net.Listener) {
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

type client struct {
	t    *testing.T
	http *http.Client
}

func clientOf(t *testing.T, network *wire) client {
	transport := &http.Transport{DialContext: network.Dial}
	t.Cleanup(transport.CloseIdleConnections)
	return client{t, &http.Client{Transport: transport}}
}

func (c client) request(ctx context.Context, method, path, body string) *http.Request {
	request, err := http.NewRequestWithContext(ctx, method, "http://region"+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	return request
}

func (c client) get(path string) *http.Response        { return c.do("GET", path, "") }
func (c client) post(path, body string) *http.Response { return c.do("POST", path, body) }

func (c client) do(method, path, body string) *http.Response {
	response, err := c.http.Do(c.request(c.t.Context(), method, path, body))
	if err != nil {
		c.t.Error(err)
		return &http.Response{Header: http.Header{}, Body: http.NoBody}
	}
	return response
}

// told is what a client understood of an answer, streamed or whole.
type told struct {
	text, finish, region, fingerprint, id string

	usage  usage
	tokens []string // of a stream
	failed string   // the message of an error event
	events int
	done   bool  // [DONE] came
	err    error // the answer broke off
}

func (c client) chat(messages, more string) told {
	return c.hear(c.post("/v1/chat/completions", ask(messages, more)))
}

func (c client) completion(prompt, more string) told {
	return c.hear(c.post("/v1/completions", `{"model":"llama-3-8b","prompt":`+string(encode(prompt))+more+`}`))
}

func (c client) hear(response *http.Response) told {
	defer response.Body.Close()
	said := told{region: response.Header.Get(RegionHeader)}
	if !strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		text, err := io.ReadAll(response.Body)
		said.err = err
		said.hear(text)
		return said
	}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		event, found := strings.CutPrefix(lines.Text(), "data: ")
		switch {
		case event == "[DONE]":
			said.done = true
		case found:
			said.events++
			said.hear([]byte(event))
		}
	}
	said.err = lines.Err()
	return said
}

func (s *told) hear(document []byte) {
	var heard struct {
		ID          string
		Fingerprint string `json:"system_fingerprint"`
		Choices     []struct {
			Text           string
			Message, Delta struct{ Content string }
			Finish         string `json:"finish_reason"`
		}
		Usage usage
		Error struct{ Message string }
	}
	if json.Unmarshal(document, &heard) != nil {
		return // broken off
	}
	if heard.Error.Message != "" {
		s.failed = heard.Error.Message
		return
	}
	s.id, s.fingerprint = heard.ID, heard.Fingerprint
	if heard.Usage.Total > 0 {
		s.usage = heard.Usage
	}
	for _, choice := range heard.Choices {
		said := choice.Text + choice.Message.Content + choice.Delta.Content
		s.text += said
		s.finish = choice.Finish
		if said != "" {
			s.tokens = append(s.tokens, said)
		}
	}
}

func body(t *testing.T, response *http.Response) string {
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

func decode(t *testing.T, response *http.Response, into any) {
	if err := json.Unmarshal([]byte(body(t, response)), into); err != nil {
		t.Error(err)
	}
}

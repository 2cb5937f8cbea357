package transport

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestNoAnswerIsAnothersHoweverTheyEnd lets many ask at once who leave at any moment,
// of an endpoint that hangs up, says too much or too little, and answers early. Whoever gets
// a whole answer must get his own.
func TestNoAnswerIsAnothersHoweverTheyEnd(t *testing.T) {
	const askers, each = 16, 50
	onSockets(t, func(w *world) {
		w.does(misbehaves)
		var all sync.WaitGroup
		for asker := range askers {
			all.Go(func() {
				luck := rand.New(rand.NewPCG(1, uint64(asker)))
				for n := range each {
					w.askForOwn(luck, fmt.Sprintf("%d/%d", asker, n))
				}
			})
		}
		all.Wait()
		if n := w.connections(); n >= askers*each {
			t.Errorf("%d connections for %d requests: none is kept", n, askers*each)
		}
	})
}

// askForOwn makes a request that has its name in it, of any kind, and perhaps leaves.
func (w *world) askForOwn(luck *rand.Rand, name string) {
	ctx, cancel := context.WithCancelCause(w.t.Context())
	defer cancel(nil)
	if luck.IntN(3) == 0 {
		leave := time.AfterFunc(time.Duration(luck.IntN(2000))*time.Microsecond, func() { cancel(errLeft) })
		defer leave.Stop()
	}
	content := name + "\n" + strings.Repeat("x", []int{0, 1000, 100_000}[luck.IntN(3)])
	r := w.request(ctx, &diary{repeats: luck.IntN(2) == 0}, "POST", strings.NewReader(content))
	if luck.IntN(3) == 0 {
		r.GetBody, r.ContentLength = nil, -1
	}
	response, err := w.RoundTrip(r)
	if err != nil {
		return
	}
	defer response.Body.Close()
	if luck.IntN(10) == 0 {
		return
	}
	body, err := io.ReadAll(response.Body)
	if own := "of " + name + strings.Repeat(".", 10); err == nil && string(body) != own {
		w.t.Errorf("%s was answered with %q", name, body)
	}
}

// misbehaves answers each request with its name, and does what it should not.
func misbehaves(c *call) {
	luck := rand.New(rand.NewPCG(2, uint64(c.number)))
	const unasked = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nunasked"
	for {
		r, err := http.ReadRequest(c.in)
		if err != nil {
			return
		}
		in := bufio.NewReader(r.Body)
		name, _ := in.ReadString('\n')
		answer := "of " + strings.TrimSpace(name) + ".........."
		kind := luck.IntN(12)
		if kind != 0 { // else it answers early, and what is still to come is the next request's beginning if nobody takes care
			_, _ = io.Copy(io.Discard, in)
		}
		text := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer)
		switch kind {
		case 1, 2, 3:
			text = fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", answer[:5], len(answer)-5, answer[5:])
		case 4:
			c.say(text + unasked)
			continue
		case 5:
			c.say(text[:len(text)-3])
			return
		case 6:
			return
		case 7:
			c.say(text[:len(text)-3])
			time.Sleep(time.Millisecond)
			text = text[len(text)-3:]
		}
		c.say(text)
	}
}

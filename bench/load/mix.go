package load

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
)

// Mix makes the usual load of a router for models: chats, and between them small
// GETs. The i-th request is the same in every run.
type Mix struct {
	Posts        float64  // share of chats among the requests, 0 to 1; the others are GETs
	Streams      float64  // share of streamed ones among the chats, 0 to 1
	GetPath      string   // path of the GETs; "": /
	Model        string   // the model that the chats ask
	Tokens       int      // of an answer: max_tokens, and vLLM's min_tokens; 0: the request does not say
	BodyBytes    int      // a chat is padded to this many bytes
	ForwardedFor []string // each request claims to come from one of them; empty: it claims nothing
}

// Request returns the i-th request.
func (m Mix) Request(i int) Request {
	header := http.Header{}
	if len(m.ForwardedFor) > 0 {
		// At random, so that an address is not tied to every second request, and so to the POSTs.
		header.Set("X-Forwarded-For", m.ForwardedFor[rand.New(rand.NewPCG(uint64(i), 0)).IntN(len(m.ForwardedFor))])
	}
	posts := chosen(i, m.Posts)
	if posts == chosen(i-1, m.Posts) {
		return Request{Method: http.MethodGet, Path: "/" + strings.TrimPrefix(m.GetPath, "/"), Header: header}
	}
	header.Set("Content-Type", "application/json")
	streamed := chosen(posts, m.Streams) != chosen(posts-1, m.Streams)
	return Request{
		Method: http.MethodPost, Path: "/v1/chat/completions",
		Header: header, Body: m.chat(i, streamed), Stream: streamed,
	}
}

// chosen is how many of the requests 0 to i are chosen when a share of all is,
// as evenly as can be.
func chosen(i int, share float64) int { return int(math.Round(float64(i+1) * share)) }

func (m Mix) chat(i int, streamed bool) []byte {
	var settings string
	if m.Tokens > 0 {
		settings += fmt.Sprintf(`,"max_tokens":%d,"min_tokens":%[1]d`, m.Tokens)
	}
	if streamed {
		settings += `,"stream":true`
	}
	const form = `{"model":%q,"messages":[{"role":"user","content":"question %d %s"}]%s}`
	bare := fmt.Sprintf(form, m.Model, i, "", settings)
	padding := strings.Repeat("x", max(0, m.BodyBytes-len(bare)))
	return fmt.Appendf(nil, form, m.Model, i, padding, settings)
}

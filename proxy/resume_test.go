package proxy

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"proxima/router"
)

// words are the tokens of the story that every narrator tells.
var words = []string{"Once", " \"upon\"", " a t", "im\u00e9\n", "\U0001f600", " the", " end."}

const (
	asked = `{"model":"m","stream":true,"messages":[{"role":"user","content":"A story."}]}`
	whole = "<us-1><assistant>Once \"upon\" a tim\u00e9\n\U0001f600 the end.|stop|[DONE]"
	inEU  = "{proxima: resumed in eu, 2 endpoints in all}"
)

// resumed is a whole story with the comments that it went on elsewhere.
func resumed(comments string) string { return strings.Replace(whole, "[DONE]", comments+"[DONE]", 1) }

// narrator is a model server that tells the story from wherever its request has come
// to, some tokens of it or all; then it does something else, if it is told what.
func narrator(tokens int, then action) action {
	return func(c *call) {
		n := newNarration(c)
		c.write(head("200 OK", sse, chunked))
		c.event(n.chunk(`"role":"assistant","content":""`, "null"))
		for _, word := range n.words[:min(tokens, len(n.words))] {
			c.event(n.token(word))
		}
		if then != nil {
			then(c)
			return
		}
		c.event(n.chunk("", `"`+n.reason+`"`))
		if n.Options.Usage {
			c.event(fmt.Sprintf(`{"id":"%s","choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":%d}}`, c.id, 10+n.told, len(n.words)))
		}
		c.event("[DONE]")
		c.write(lastChunk)
	}
}

const all = 1000

// narration is what a narrator has to tell.
type narration struct {
	Messages []struct{ Content string }
	Continue bool `json:"continue_final_message"`
	Most     *int `json:"max_tokens"`
	Options  struct {
		Usage bool `json:"include_usage"`
	} `json:"stream_options"`

	id     string
	told   int // tokens before
	words  []string
	reason string
}

func newNarration(c *call) *narration {
	n := &narration{id: c.id, words: words, reason: "stop"}
	if err := json.Unmarshal([]byte(c.read()), n); err != nil {
		panic(err)
	}
	if n.Continue {
		n.goOn(n.Messages[len(n.Messages)-1].Content)
	}
	if n.Most != nil && *n.Most < len(n.words) {
		n.words, n.reason = n.words[:*n.Most], "length"
	}
	return n
}

// goOn leaves out what was told already.
func (n *narration) goOn(begun string) {
	for begun != "" && strings.HasPrefix(begun, n.words[0]) {
		begun = begun[len(n.words[0]):]
		n.words = n.words[1:]
		n.told++
	}
	if begun != "" {
		n.words = slices.Concat([]string{strings.TrimPrefix(n.words[0], begun)}, n.words[1:])
	}
}

func (n *narration) token(word string) string {
	text, _ := json.Marshal(word)
	return n.chunk(`"content":`+string(text), "null")
}

func (n *narration) chunk(delta, reason string) string {
	return fmt.Sprintf(`{"id":%q,"choices":[{"index":0,"delta":{%s},"finish_reason":%s}]}`, n.id, delta, reason)
}

// The ways in which a narrator breaks off.
var (
	dies   action = (*call).hangUp
	stalls action = (*call).untilLeft

	admits action = func(c *call) {
		c.event(`{"error":{"message":"out of memory","type":"server_error","code":"oom"}}`)
		c.event("[DONE]")
		c.write(lastChunk)
	}

	closes action = func(c *call) { c.write(lastChunk) } // as if that were all
)

// tale is what a chat client reads in a stream: the text, and among it <ids where they
// change>, <who speaks>, |why it ends|, (usage), {comments} and !errors.
func tale(stream string) string {
	var told strings.Builder
	id := ""
	for event := range strings.SplitSeq(stream, "\n\n") {
		data, isData := strings.CutPrefix(event, "data: ")
		comment, isComment := strings.CutPrefix(event, ": ")
		var chunk struct {
			ID      string
			Choices []struct {
				Delta  struct{ Role, Content string }
				Reason string `json:"finish_reason"`
			}
			Usage *struct {
				Prompt     int `json:"prompt_tokens"`
				Completion int `json:"completion_tokens"`
			}
			Error struct{ Code string }
		}
		switch {
		case isComment:
			told.WriteString("{" + comment + "}")
			continue
		case !isData, json.Unmarshal([]byte(data), &chunk) != nil:
			told.WriteString(strings.TrimPrefix(event, "data: "))
			continue
		case chunk.Error.Code != "":
			told.WriteString("!" + chunk.Error.Code)
			continue
		case chunk.ID != id:
			id = chunk.ID
			told.WriteString("<" + id + ">")
		}
		for _, choice := range chunk.Choices {
			if choice.Delta.Role != "" {
				told.WriteString("<" + choice.Delta.Role + ">")
			}
			told.WriteString(choice.Delta.Content)
			if choice.Reason != "" {
				told.WriteString("|" + choice.Reason + "|")
			}
		}
		if chunk.Usage != nil {
			fmt.Fprintf(&told, "(%d+%d)", chunk.Usage.Prompt, chunk.Usage.Completion)
		}
	}
	return told.String()
}

// tale asks for the story.
func (w *world) tale(body string, header ...string) answer {
	w.t.Helper()
	got := w.ask("POST /v1/chat/completions", body, header...)
	got.body = tale(got.body)
	return got
}

// begin asks for the story as well, but does not wait for its end.
func (w *world) begin(body string) *client {
	w.t.Helper()
	c := w.connect()
	c.send(requestText("POST /v1/chat/completions", body))
	return c
}

// resuming tells a story in a world where streams are resumed.
func resuming(t *testing.T, tell func(w *world)) {
	t.Helper()
	story(t, func(w *world) {
		w.settings.Resume = true
		tell(w)
	})
}

func TestAStreamGoesOnElsewhereWhereverItBreaks(t *testing.T) {
	for k := 1; k <= len(words); k++ {
		resuming(t, func(w *world) {
			w.endpoint("us-1", narrator(k, dies))
			w.endpoint("eu-1", narrator(all, nil))
			got := w.tale(asked)
			w.want(fmt.Sprintf("after %d tokens", k), got.body, resumed(inEU))
			w.want("cut", got.cut, false)
			w.want("attempts", w.attempts(), "us-1 cut, eu-1 served")
			w.want("heard", w.heard(), "us-1 served, us-1 cut, eu-1 served")
			w.want("resumed", w.record().Resumed, 1)
			w.want("complete", w.record().Complete, true)
		})
	}
}

func TestAStreamThatBreaksWithinAnEventTearsNothing(t *testing.T) {
	n := narration{id: "us-1"}
	event := "data: " + n.token(words[1]) + "\n\n"
	for cut := range event {
		resuming(t, func(w *world) {
			w.endpoint("us-1", narrator(1, func(c *call) { c.write(chunk(event[:cut+1])); c.hangUp() }))
			w.endpoint("eu-1", narrator(all, nil))
			w.want(fmt.Sprintf("after %q", event[:cut+1]), w.tale(asked).body, resumed(inEU))
		})
	}
}

func TestBeforeTheFirstTokenThereIsNothingToResume(t *testing.T) {
	resuming(t, func(w *world) {
		w.endpoint("us-1", narrator(0, dies))
		w.endpoint("eu-1", narrator(all, nil))
		w.want("told", w.tale(asked).body, strings.Replace(whole, "us-1", "eu-1", 1))
		w.want("attempts", w.attempts(), "us-1 broken, eu-1 served")
		w.want("resumed", w.record().Resumed, 0)
	})
}

func TestEveryWayToBreakOffIsResumed(t *testing.T) {
	for name, test := range map[string]struct {
		then action
		us   string
	}{
		"the connection ends": {dies, "cut"},
		"it falls silent":     {stalls, "stalled"},
		"it admits an error":  {admits, "cut"},
		"it ends too soon":    {closes, "cut"},
		"no chunk":            {func(c *call) { c.write("no chunk\r\n"); c.hangUp() }, "cut"},
	} {
		t.Run(name, func(t *testing.T) {
			resuming(t, func(w *world) {
				w.endpoint("us-1", narrator(3, test.then))
				w.endpoint("eu-1", narrator(all, nil))
				got := w.tale(asked)
				w.want("told", got.body, resumed(inEU))
				w.want("cut", got.cut, false)
				w.want("attempts", w.attempts(), "us-1 "+test.us+", eu-1 served")
			})
		})
	}
}

func TestAStreamSurvivesTwoEndpoints(t *testing.T) {
	resuming(t, func(w *world) {
		w.endpoint("us-1", narrator(2, dies))
		w.endpoint("eu-1", narrator(2, stalls))
		w.endpoint("asia-1", narrator(all, nil))
		w.want("told", w.tale(asked).body, resumed("{proxima: resumed in asia, 3 endpoints in all}"))
		w.want("attempts", w.attempts(), "us-1 cut, eu-1 stalled, asia-1 served")
		w.want("resumed", w.record().Resumed, 2)
	})
}

func TestAStreamThatBreaksTooOftenEndsWithAnError(t *testing.T) {
	resuming(t, func(w *world) {
		for _, id := range []string{"us-1", "eu-1", "asia-1", "asia-2"} {
			w.endpoint(id, narrator(1, dies))
		}
		got := w.tale(asked)
		w.want("told", got.body, `<us-1><assistant>Once "upon" a t!stream_cut`)
		w.want("cut", got.cut, true)
		w.want("attempts", len(w.record().Attempts), 3)
		w.want("problem", w.record().Problem, "stream_cut")
		w.want("complete", w.record().Complete, false)
	})
}

func TestAResumeDrawsOnTheRetryBudget(t *testing.T) {
	resuming(t, func(w *world) {
		w.settings.RetryFloor, w.settings.RetryRatio = 1, 0
		w.endpoint("us-1", narrator(1, dies))
		eu := w.endpoint("eu-1", narrator(all, nil))
		w.want("the first stream", w.tale(asked).body, resumed(inEU))
		w.want("retries left", w.handler.Failover.RetriesLeft(), 0.0)
		got := w.tale(asked)
		w.want("the second one", got.body, "<us-1><assistant>Once!stream_cut")
		w.want("cut", got.cut, true)
		w.want("eu was asked", len(eu.requests()), 1)
	})
}

func TestWhatTheNextEndpointIsAsked(t *testing.T) {
	resuming(t, func(w *world) {
		w.from = "10.0.0.1:1"
		w.endpoint("us-1", narrator(4, dies))
		eu := w.endpoint("eu-1", narrator(all, nil))
		w.tale(`{"model":"m", "stream":true, "max_tokens":20, "messages":[{"role":"user","content":"A story."}],`+
			` "stream_options":{"include_usage":true}, "seed":7}`,
			"X-Request-Id: anna", "Traceparent: 00-00000000000000000000000000000001-0000000000000001-00", "Authorization: Bearer k", "X-Forwarded-For: 198.51.100.7")
		w.want("eu saw", eu.last(), `POST /v1/chat/completions HTTP/1.1
Authorization: Bearer k
Cdn-Loop: proxima; id=here
Content-Length: 257
Host: eu-1.test:80
Traceparent: 00-00000000000000000000000000000001-0000000000000001-00
Via: 1.1 proxima
X-Forwarded-For: 198.51.100.7, 10.0.0.1
X-Forwarded-Host: proxima.test
X-Forwarded-Proto: http
X-Request-Id: anna

{"model":"m","stream":true,"max_tokens":17,"messages":[{"role":"user","content":"A story."},`+
			`{"role":"assistant","content":"Once \"upon\" a timé"}],"stream_options":{"include_usage":true},"seed":7,`+
			`"add_generation_prompt":false,"continue_final_message":true}`)
	})
}

func TestUsageIsOfTheWholeStream(t *testing.T) {
	resuming(t, func(w *world) {
		w.endpoint("us-1", narrator(4, dies))
		w.endpoint("eu-1", narrator(all, nil))
		got := w.tale(`{"stream":true,"messages":[{"role":"user","content":"A story."}],"stream_options":{"include_usage":true}}`)
		w.want("told", got.body, resumed("(10+7)"+inEU))
	})
}

func TestAStreamThatHasSaidEverythingNeedsNoOtherEndpoint(t *testing.T) {
	limited := `{"stream":true,"max_tokens":2,"messages":[{"role":"user","content":"A story."}]}`
	for name, test := range map[string]struct {
		body string
		then action
		want string
	}{
		"it said why it ends": {asked, func(c *call) { c.event((&narration{id: c.id}).chunk("", `"stop"`)); c.hangUp() }, whole},
		"max_tokens came":     {limited, dies, `<us-1><assistant>Once "upon"|length|[DONE]`},
	} {
		t.Run(name, func(t *testing.T) {
			resuming(t, func(w *world) {
				w.endpoint("us-1", narrator(all, test.then))
				eu := w.endpoint("eu-1", narrator(all, nil))
				got := w.tale(test.body)
				w.want("told", got.body, test.want)
				w.want("cut", got.cut, false)
				w.want("complete", w.record().Complete, true)
				w.want("eu saw", eu.last(), "none")
			})
		})
	}
}

func TestAStreamThatNeedsNoThirdEndpointSaysItHadTwo(t *testing.T) {
	resuming(t, func(w *world) {
		w.endpoint("us-1", narrator(1, dies))
		w.endpoint("eu-1", narrator(all, dies))
		got := w.tale(`{"stream":true,"max_tokens":2,"messages":[{"role":"user","content":"A story."}]}`)
		w.want("told", got.body, `<us-1><assistant>Once "upon"`+inEU+"|length|[DONE]")
		w.want("cut", got.cut, false)
		w.want("attempts", w.attempts(), "us-1 cut, eu-1 cut")
	})
}

func TestWhatCannotGoOnElsewhereEndsWithAnError(t *testing.T) {
	for name, body := range map[string]string{
		"tools":    `{"stream":true,"tools":[{"type":"function"}],"messages":[{"role":"user","content":"A story."}]}`,
		"choices":  `{"stream":true,"n":2,"messages":[{"role":"user","content":"A story."}]}`,
		"logprobs": `{"stream":true,"logprobs":true,"messages":[{"role":"user","content":"A story."}]}`,
		"grammar":  `{"stream":true,"guided_regex":"a*","messages":[{"role":"user","content":"A story."}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			resuming(t, func(w *world) {
				w.endpoint("us-1", narrator(3, dies))
				eu := w.endpoint("eu-1", narrator(all, nil))
				got := w.tale(body)
				w.want("told", got.body, `<us-1><assistant>Once "upon" a t!stream_cut`)
				w.want("cut", got.cut, true)
				w.want("eu saw", eu.last(), "none")
			})
		})
	}
}

func TestAStreamThatCallsAToolIsNotResumed(t *testing.T) {
	resuming(t, func(w *world) {
		calls := func(c *call) {
			c.event(`{"id":"us-1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0}]},"finish_reason":null}]}`)
			c.hangUp()
		}
		w.endpoint("us-1", narrator(1, calls))
		eu := w.endpoint("eu-1", narrator(all, nil))
		w.want("told", w.tale(asked).body, "<us-1><assistant>Once!stream_cut")
		w.want("eu saw", eu.last(), "none")
	})
}

func TestAStreamWithAnEventTooLongToHoldIsNotResumed(t *testing.T) {
	resuming(t, func(w *world) {
		n := narration{id: "us-1"}
		w.endpoint("us-1", narrator(1, func(c *call) { c.event(long(n.token(" upon"))); c.hangUp() }))
		eu := w.endpoint("eu-1", narrator(all, nil))
		w.want("told", w.tale(asked).body, "<us-1><assistant>Once upon!stream_cut")
		w.want("eu saw", eu.last(), "none")
	})
}

func TestResumeIsAskedForModelByModel(t *testing.T) {
	story(t, func(w *world) {
		own := w.settings.Rules
		own.Resume = true
		w.settings.Models = map[router.Model]Rules{"m": own}
		w.endpoint("us-1", narrator(1, dies))
		w.endpoint("eu-1", narrator(all, nil))
		w.want("the model that has it", w.tale(asked).body, resumed(inEU))
		w.want("another one", w.tale(strings.Replace(asked, `"m"`, `"n"`, 1)).body, "<us-1><assistant>Once!stream_cut")
	})
}

func TestAnEndpointThatDoesNotGoOnIsPassedOver(t *testing.T) {
	for name, act := range map[string]action{
		"400":               answers("400 No", `{"error":{"message":"continue_final_message?"}}`, "Content-Type: application/json"),
		"503":               answers("503 Off", "off"),
		"429":               answers("429 Many", "busy", "Retry-After: 7"),
		"not a stream":      answers("200 OK", `{"choices":[]}`, "Content-Type: application/json"),
		"in another coding": answers("200 OK", "data: x\n\n", sse, "Content-Encoding: gzip"),
		"refused":           refuses,
		"an error first":    narrator(0, admits),
		"silent":            narrator(0, stalls),
	} {
		t.Run(name, func(t *testing.T) {
			resuming(t, func(w *world) {
				w.endpoint("us-1", narrator(1, dies))
				w.endpoint("eu-1", act)
				w.endpoint("asia-1", narrator(all, nil))
				w.want("told", w.tale(asked).body, resumed("{proxima: resumed in asia, 2 endpoints in all}"))
			})
			resuming(t, func(w *world) {
				w.endpoint("us-1", narrator(1, dies))
				w.endpoint("eu-1", act)
				got := w.tale(asked)
				w.want("with no third one", got.body, "<us-1><assistant>Once!stream_cut")
				w.want("cut", got.cut, true)
			})
		})
	}
}

func TestWhatTheNextEndpointSaysBesideTextIsPassedOn(t *testing.T) {
	resuming(t, func(w *world) {
		w.endpoint("us-1", narrator(1, dies))
		w.endpoint("eu-1", func(c *call) {
			c.read()
			c.write(head("200 OK", sse, chunked))
			c.event(`{"id":"eu-1","choices":[{"index":0,"delta":{"content":" upon","reasoning":"hm"},"finish_reason":null}]}`)
			c.event(`{"id":"eu-1","choices":[{"index":0,"delta":{"content":"!"},"finish_reason":"stop"}]}`)
			c.hangUp()
		})
		got := w.tale(asked)
		w.want("told", got.body, "<us-1><assistant>Once upon!|stop|"+inEU+"[DONE]")
		w.want("cut", got.cut, false)
	})
}

func TestTheEndpointsOwnErrorIsToldWhenNoOtherGoesOn(t *testing.T) {
	resuming(t, func(w *world) {
		w.endpoint("us-1", narrator(1, admits))
		w.endpoint("eu-1", refuses)
		got := w.tale(asked)
		w.want("told", got.body, "<us-1><assistant>Once!oom")
		w.want("cut", got.cut, true)
		w.want("attempts", w.attempts(), "us-1 cut, eu-1 refused")
	})
}

func TestAClientThatLeavesWhileItsStreamIsResumedEndsThatToo(t *testing.T) {
	resuming(t, func(w *world) {
		w.endpoint("us-1", narrator(1, dies))
		eu := w.endpoint("eu-1", freezes)
		c := w.begin(asked)
		w.want("at eu", w.inFlightAfter(eu), 1)
		began := time.Now()
		c.leave()
		w.want("calls ended at eu", eu.hungUpOn(), 1)
		w.want("time", time.Since(began), time.Duration(0))
		w.want("attempts", w.attempts(), "us-1 cut, eu-1 cancelled")
	})
}

func TestAClientThatLeavesAfterTheResumeEndsTheSecondCall(t *testing.T) {
	resuming(t, func(w *world) {
		w.endpoint("us-1", narrator(1, dies))
		eu := w.endpoint("eu-1", narrator(1, stalls))
		c := w.begin(asked)
		w.want("so far", tale(c.content()), `<us-1><assistant>Once "upon"`)
		c.leave()
		w.want("calls ended at eu", eu.hungUpOn(), 1)
		w.want("attempts", w.attempts(), "us-1 cut, eu-1 cancelled")
	})
}

// TestAClientThatLeavesAtTheVeryEndIsNoBug is about an end that cannot be sent.
func TestAClientThatLeavesAtTheVeryEndIsNoBug(t *testing.T) {
	resuming(t, func(w *world) {
		die := make(chan struct{})
		w.endpoint("us-1", narrator(all, func(c *call) {
			c.event((&narration{id: c.id}).chunk("", `"stop"`))
			<-die
			c.hangUp()
		}))
		c := w.begin(asked)
		synctest.Wait()
		c.leave()
		close(die)
		w.want("complete", w.record().Complete, false)
	})
}

func TestTheClientIsKeptCompanyWhileAnotherEndpointIsAsked(t *testing.T) {
	resuming(t, func(w *world) {
		w.settings.KeepAlive = 15 * time.Second
		w.endpoint("us-1", narrator(1, dies))
		w.endpoint("eu-1", func(c *call) { time.Sleep(40 * time.Second); narrator(all, nil)(c) })
		want := strings.Replace(resumed(inEU), "Once", "Once{keep-alive}{keep-alive}", 1)
		w.want("told", w.tale(asked).body, want)
	})
}

func TestAResumeIsInTimeOrNotAtAll(t *testing.T) {
	resuming(t, func(w *world) {
		w.settings.FirstByteTimeout = 5 * time.Second
		w.endpoint("us-1", narrator(1, dies))
		w.endpoint("eu-1", freezes)
		w.endpoint("asia-1", narrator(all, nil))
		began := time.Now()
		w.want("told", w.tale(asked).body, resumed("{proxima: resumed in asia, 2 endpoints in all}"))
		w.want("time", time.Since(began), 5*time.Second)
		w.want("attempts", w.attempts(), "us-1 cut, eu-1 late, asia-1 served")
	})
}

func TestAResumeMovesOnWhenItsEndpointIsFoundDown(t *testing.T) {
	resuming(t, func(w *world) {
		w.endpoint("us-1", narrator(1, dies))
		eu := w.endpoint("eu-1", freezes)
		w.endpoint("asia-1", narrator(all, nil))
		c := w.begin(asked)
		w.want("at eu", w.inFlightAfter(eu), 1)
		w.findDown(eu)
		w.want("told", tale(c.waits().body), resumed("{proxima: resumed in asia, 2 endpoints in all}"))
	})
}

func TestACompletionGoesOnElsewhereToo(t *testing.T) {
	text := func(id, text, reason string) string {
		return fmt.Sprintf(`data: {"id":%q,"choices":[{"index":0,"text":%q,"finish_reason":%s}]}`+"\n\n", id, text, reason)
	}
	resuming(t, func(w *world) {
		w.endpoint("us-1", writes(head("200 OK", sse, chunked), chunk(text("us-1", " upon", "null"))))
		eu := w.endpoint("eu-1", writes(head("200 OK", sse, chunked), chunk(text("eu-1", " a time", `"stop"`)+"data: [DONE]\n\n"), lastChunk))
		got := w.ask("POST /v1/completions", `{"stream":true,"max_tokens":9,"prompt":"Once"}`)
		w.want("stream", got.body, text("us-1", " upon", "null")+
			": proxima: resumed in eu, 2 endpoints in all\n\n"+text("us-1", " a time", `"stop"`)+"data: [DONE]\n\n")
		_, body, _ := strings.Cut(eu.last(), "\n\n")
		w.want("eu was asked", body, `{"stream":true,"max_tokens":8,"prompt":"Once upon"}`)
	})
}

func TestOverHTTP2AStreamIsResumedToo(t *testing.T) {
	resuming(t, func(w *world) {
		w.endpoint("us-1", narrator(3, dies))
		w.endpoint("eu-1", narrator(all, nil))
		response, err := w.http2().Post("http://proxima.test/v1/chat/completions", "application/json", strings.NewReader(asked))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		got, err := io.ReadAll(response.Body)
		w.want("error", err, nil)
		w.want("told", tale(string(got)), resumed(inEU))
		w.want("protocol", response.Proto, "HTTP/2.0")
	})
}

func TestOverHTTP2AStreamThatCannotBeResumedIsReset(t *testing.T) {
	resuming(t, func(w *world) {
		w.endpoint("us-1", narrator(1, dies))
		response, err := w.http2().Post("http://proxima.test/v1/chat/completions", "application/json", strings.NewReader(asked))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		got, err := io.ReadAll(response.Body)
		w.want("error", err != nil && strings.Contains(err.Error(), "INTERNAL_ERROR"), true)
		w.want("told", tale(string(got)), "<us-1><assistant>Once!stream_cut")
	})
}

func TestEveryTokenOfAResumedStreamComesAtOnce(t *testing.T) {
	resuming(t, func(w *world) {
		next := make(chan struct{})
		w.endpoint("us-1", narrator(1, dies))
		w.endpoint("eu-1", func(c *call) {
			n := newNarration(c)
			c.write(head("200 OK", sse, chunked))
			for _, word := range n.words {
				c.event(n.token(word))
				<-next
			}
			c.hangUp()
		})
		c := w.begin(asked)
		for k := range words[1:] {
			w.want("so far", tale(c.content()), "<us-1><assistant>"+strings.Join(words[:k+2], ""))
			next <- struct{}{}
		}
	})
}

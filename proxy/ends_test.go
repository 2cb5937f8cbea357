package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// tongue is how the streams of one API look.
type tongue struct {
	path, header string
	begins       string // who speaks; "" where nobody says so
	says         string // a token
	finishes     string // that the text is complete; "" where only the last event says so
	last         string
	fails        string // the endpoint's own error
	cut          string // the router's, for a stream that broke off
}

const brokeOff = "The endpoint broke off in the midst of the answer. What came is incomplete."

var tongues = map[string]tongue{
	"chat completions": {
		path: "/v1/chat/completions", header: sse,
		begins:   `data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}` + "\n\n",
		says:     `data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}` + "\n\n",
		finishes: `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n",
		last:     "data: [DONE]\n\n",
		fails:    `data: {"error":{"message":"out of memory","code":500}}` + "\n\n",
		cut:      `data: {"error":{"message":"` + brokeOff + `","type":"server_error","param":null,"code":"stream_cut"}}` + "\n\n",
	},
	"completions": {
		path: "/v1/completions", header: sse,
		says:     `data: {"choices":[{"index":0,"text":"a","finish_reason":null}]}` + "\n\n",
		finishes: `data: {"choices":[{"index":0,"text":"","finish_reason":"length"}]}` + "\n\n",
		last:     "data: [DONE]\n\n",
		fails:    `data: {"error":{"message":"out of memory","code":500}}` + "\n\n",
		cut:      `data: {"error":{"message":"` + brokeOff + `","type":"server_error","param":null,"code":"stream_cut"}}` + "\n\n",
	},
	"responses": {
		path: "/v1/responses", header: sse,
		begins: `event: response.created` + "\n" + `data: {"type":"response.created","response":{"status":"in_progress"}}` + "\n\n",
		says:   `event: response.output_text.delta` + "\n" + `data: {"type":"response.output_text.delta","delta":"a"}` + "\n\n",
		last:   `event: response.completed` + "\n" + `data: {"type":"response.completed","response":{"status":"completed"}}` + "\n\n",
		fails:  `event: error` + "\n" + `data: {"type":"error","code":"oom","message":"out of memory"}` + "\n\n",
		cut:    `event: error` + "\n" + `data: {"type":"error","code":"stream_cut","message":"` + brokeOff + `","param":null,"sequence_number":0}` + "\n\n",
	},
	"messages": {
		path: "/v1/messages", header: sse,
		begins:   `event: message_start` + "\n" + `data: {"type":"message_start","message":{"role":"assistant"}}` + "\n\n",
		says:     `event: content_block_delta` + "\n" + `data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"a"}}` + "\n\n",
		finishes: `event: message_delta` + "\n" + `data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}` + "\n\n",
		last:     `event: message_stop` + "\n" + `data: {"type":"message_stop"}` + "\n\n",
		fails:    `event: error` + "\n" + `data: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}` + "\n\n",
		cut:      `event: error` + "\n" + `data: {"type":"error","error":{"type":"api_error","message":"` + brokeOff + `"}}` + "\n\n",
	},
	"lines of JSON": {
		path: "/api/generate", header: "Content-Type: application/x-ndjson",
		says:  `{"model":"m","response":"a","done":false}` + "\n",
		last:  `{"model":"m","response":"","done":true,"done_reason":"stop"}` + "\n",
		fails: `{"error":"out of memory"}` + "\n",
		cut:   `{"error":"` + brokeOff + `"}` + "\n",
	},
}

// inEveryTongue tells a story once for each API.
func inEveryTongue(t *testing.T, tell func(w *world, in tongue)) {
	for name, in := range tongues {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) { tell(w, in) })
		})
	}
}

// streams answers with a stream whose framing says that it is complete.
func (in tongue) streams(text ...string) action {
	return func(c *call) { in.begin(c, text); c.write(lastChunk) }
}

// breaks answers with a stream whose connection breaks.
func (in tongue) breaks(text ...string) action {
	return func(c *call) { in.begin(c, text); c.hangUp() }
}

func (in tongue) begin(c *call, text []string) {
	c.read()
	c.write(head("200 OK", in.header, chunked))
	for _, piece := range text {
		if piece != "" {
			c.write(chunk(piece))
		}
	}
}

func (in tongue) ask(w *world) answer {
	w.t.Helper()
	return w.ask("POST "+in.path, `{"model":"m","stream":true}`)
}

// saw checks that the client got a stream, whole or visibly cut.
func (w *world) saw(got answer, stream string, cut bool) {
	w.t.Helper()
	w.want("stream", got.body, stream)
	w.want("cut", got.cut, cut)
	w.want("complete", w.record().Complete, !cut)
}

func TestAWholeStreamIsPassedOnAsItCame(t *testing.T) {
	inEveryTongue(t, func(w *world, in tongue) {
		w.endpoint("us-1", in.streams(in.begins, in.says, in.finishes, in.last))
		w.saw(in.ask(w), in.begins+in.says+in.finishes+in.last, false)
		w.want("attempts", w.attempts(), "us-1 served")
	})
}

func TestABrokenStreamEndsWithAnErrorInItsOwnTongue(t *testing.T) {
	inEveryTongue(t, func(w *world, in tongue) {
		w.endpoint("us-1", in.breaks(in.begins, in.says))
		w.saw(in.ask(w), in.begins+in.says+in.cut, true)
		w.want("attempts", w.attempts(), "us-1 cut")
		w.want("problem", w.record().Problem, "stream_cut")
	})
}

func TestAStreamThatEndsWithoutItsLastEventIsNotComplete(t *testing.T) {
	inEveryTongue(t, func(w *world, in tongue) {
		w.endpoint("us-1", in.streams(in.begins, in.says))
		w.saw(in.ask(w), in.begins+in.says+in.cut, true)
		w.want("attempts", w.attempts(), "us-1 cut")
		w.want("heard", w.heard(), "us-1 served, us-1 cut")
	})
}

func TestTheEndpointsOwnErrorMidwayIsPassedOnAndNothingAfterIt(t *testing.T) {
	inEveryTongue(t, func(w *world, in tongue) {
		w.endpoint("us-1", in.streams(in.begins, in.says, in.says+in.fails+in.last))
		w.saw(in.ask(w), in.begins+in.says+in.says+in.fails, true)
		w.want("attempts", w.attempts(), "us-1 cut")
		w.want("heard", w.heard(), "us-1 served, us-1 cut")
	})
}

func TestAnErrorBeforeAnyContentIsAnotherEndpointsTurn(t *testing.T) {
	inEveryTongue(t, func(w *world, in tongue) {
		w.endpoint("us-1", in.streams(in.begins, in.fails))
		w.endpoint("eu-1", in.streams(in.begins, in.says, in.last))
		w.saw(in.ask(w), in.begins+in.says+in.last, false)
		w.want("attempts", w.attempts(), "us-1 failed, eu-1 served")
		w.want("heard", w.heard(), "us-1 failed, eu-1 served")
	})
}

func TestAnErrorFirstFromEverybodyIsTheClientsToRead(t *testing.T) {
	inEveryTongue(t, func(w *world, in tongue) {
		w.endpoint("us-1", in.streams(in.begins, in.fails))
		w.endpoint("eu-1", in.streams(in.begins, in.fails))
		w.saw(in.ask(w), in.begins+in.fails, true)
		w.want("attempts", w.attempts(), "us-1 failed, eu-1 failed")
		w.want("heard", w.heard(), "")
	})
}

func TestAStreamThatEndsBeforeAnyContentIsAnotherEndpointsTurn(t *testing.T) {
	for _, ends := range []func(tongue, ...string) action{tongue.breaks, tongue.streams} {
		inEveryTongue(t, func(w *world, in tongue) {
			if in.begins == "" {
				return // an empty stream is nobody's
			}
			w.endpoint("us-1", ends(in, in.begins))
			w.endpoint("eu-1", in.streams(in.begins, in.says, in.last))
			w.saw(in.ask(w), in.begins+in.says+in.last, false)
			w.want("attempts", w.attempts(), "us-1 broken, eu-1 served")
			w.want("heard", w.heard(), "us-1 broken, eu-1 served")
		})
	}
}

func TestSilenceBeforeAnyContentIsAnotherEndpointsTurn(t *testing.T) {
	inEveryTongue(t, func(w *world, in tongue) {
		w.endpoint("us-1", func(c *call) { in.begin(c, []string{in.begins, in.says[:5]}); c.untilLeft() })
		w.endpoint("eu-1", in.streams(in.begins, in.says, in.last))
		began := time.Now()
		w.saw(in.ask(w), in.begins+in.says+in.last, false)
		w.want("attempts", w.attempts(), "us-1 stalled, eu-1 served")
		w.want("time", time.Since(began), w.settings.StallTimeout)
	})
}

func TestAFinishedTextNeedsNoLastEvent(t *testing.T) {
	inEveryTongue(t, func(w *world, in tongue) {
		if in.finishes == "" {
			return
		}
		w.endpoint("us-1", in.streams(in.begins, in.says, in.finishes))
		w.saw(in.ask(w), in.begins+in.says+in.finishes, false)
		w.want("attempts", w.attempts(), "us-1 served")
	})
}

func TestAFinishedTextWhoseStreamBreaksGetsItsLastEvent(t *testing.T) {
	inEveryTongue(t, func(w *world, in tongue) {
		if in.finishes == "" {
			return
		}
		w.endpoint("us-1", in.breaks(in.begins, in.says, in.finishes, in.last[:5]))
		w.saw(in.ask(w), in.begins+in.says+in.finishes+in.last, false)
		w.want("attempts", w.attempts(), "us-1 served")
	})
}

func TestAStreamThatBreaksAfterItsLastEventIsComplete(t *testing.T) {
	inEveryTongue(t, func(w *world, in tongue) {
		w.endpoint("us-1", in.breaks(in.begins, in.says, in.finishes, in.last))
		w.saw(in.ask(w), in.begins+in.says+in.finishes+in.last, false)
	})
}

func TestTheLastEventMayLackItsEmptyLine(t *testing.T) {
	inEveryTongue(t, func(w *world, in tongue) {
		stream := strings.TrimSuffix(in.begins+in.says+in.finishes+in.last, "\n")
		w.endpoint("us-1", in.streams(stream))
		w.saw(in.ask(w), stream, false)
	})
}

func TestEveryChoiceHasToFinish(t *testing.T) {
	story(t, func(w *world) {
		in := tongues["chat completions"]
		w.endpoint("us-1", in.streams(in.begins, in.says, in.finishes))
		got := w.ask("POST "+in.path, `{"model":"m","stream":true,"n":2}`)
		w.saw(got, in.begins+in.says+in.finishes+in.cut, true)
	})
}

func TestOnlyWholeEventsGoOut(t *testing.T) {
	inEveryTongue(t, func(w *world, in tongue) {
		next := make(chan struct{})
		w.endpoint("us-1", func(c *call) {
			half := len(in.says) / 2
			in.begin(c, []string{in.begins, in.says, in.says[:half]})
			<-next
			c.write(chunk(in.says[half:] + in.says[:half]))
			<-next
			c.hangUp()
		})
		c := w.connect()
		c.send(requestText("POST "+in.path, `{"model":"m","stream":true}`))
		w.want("first", c.content(), in.begins+in.says)
		next <- struct{}{}
		w.want("second", c.content(), in.begins+in.says+in.says)
		next <- struct{}{}
		w.saw(c.waits(), in.begins+in.says+in.says+in.cut, true)
	})
}

// long makes an event longer than can be held.
func long(event string) string {
	return strings.Replace(event, `":`, `":`+strings.Repeat(" ", 3*relaySize), 1)
}

func TestALongEventIsPassedOnInPieces(t *testing.T) {
	inEveryTongue(t, func(w *world, in tongue) {
		event := long(in.says)
		next := make(chan struct{})
		w.endpoint("us-1", func(c *call) {
			in.begin(c, []string{in.begins, in.says, event[:2*relaySize]})
			<-next
			c.write(chunk(event[2*relaySize:]+in.says) + chunk(in.finishes+in.last) + lastChunk)
		})
		c := w.connect()
		c.send(requestText("POST "+in.path, `{"model":"m","stream":true}`))
		so := len(c.content()) - len(in.begins+in.says)
		w.want("much of it is there", so >= relaySize, true)
		close(next)
		w.saw(c.waits(), in.begins+in.says+event+in.says+in.finishes+in.last, false)
	})
}

func TestALongEventMayBeTheLast(t *testing.T) {
	inEveryTongue(t, func(w *world, in tongue) {
		last := in.last
		if strings.Contains(last, "{") { // Responses repeats the whole answer there
			last = strings.Replace(last, `"}`, `"`+strings.Repeat(" ", 3*relaySize)+"}", 1)
		}
		w.endpoint("us-1", in.streams(in.begins, in.says, last))
		w.saw(in.ask(w), in.begins+in.says+last, false)
		w.want("attempts", w.attempts(), "us-1 served")
	})
}

func TestALongEventThatIsTornIsNoEnd(t *testing.T) {
	for _, end := range []string{"broken", "closed"} {
		inEveryTongue(t, func(w *world, in tongue) {
			half := long(in.last)
			if !strings.Contains(half, "{") {
				half = long(in.says)
			}
			half = half[:2*relaySize]
			act := in.streams(in.begins, in.says, half)
			if end == "broken" {
				act = in.breaks(in.begins, in.says, half)
			}
			w.endpoint("us-1", act)
			w.saw(in.ask(w), in.begins+in.says+half+"\n\n"+in.cut, true)
			w.want("attempts", w.attempts(), "us-1 cut")
		})
	}
}

func TestNothingGoodFollowsALongError(t *testing.T) {
	inEveryTongue(t, func(w *world, in tongue) {
		longer := strings.NewReplacer("memory", strings.Repeat("memory", relaySize), "Over", strings.Repeat("Over", relaySize))
		fails := longer.Replace(in.fails)
		w.endpoint("us-1", in.streams(in.begins, in.says, fails+in.last))
		w.saw(in.ask(w), in.begins+in.says+fails+in.cut, true)
	})
}

func TestEventsThatNobodyUnderstandsEndWithTheirFraming(t *testing.T) {
	const ask = "POST /v1/audio/speech"
	for name, stream := range map[string]string{
		"whole":                 "data: 1\n\nevent: error\ndata: 2\n\n",
		"no end":                "data: 1\n\ndata: 2",
		"comments":              ": hello\n\n",
		"empty":                 "",
		"with carriage returns": "data: 1\r\n\r\ndata: 2\r\r",
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				w.endpoint("us-1", tongue{header: sse}.streams(stream))
				w.saw(w.ask(ask, `{"model":"m"}`), stream, false)
			})
		})
	}
	story(t, func(w *world) {
		w.endpoint("us-1", tongue{header: sse}.breaks("data: 1\n\ndata: 2"))
		w.saw(w.ask(ask, `{"model":"m"}`), "data: 1\n\n"+tongues["completions"].cut, true)
	})
}

func TestAStreamOfAnotherAPIOnAKnownPathEndsWithItsFraming(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", tongue{header: sse}.streams("data: 1\n\n", "data: 2\n\n"))
		w.saw(w.chat(), "data: 1\n\ndata: 2\n\n", false)
	})
}

func TestManySmallAndLargeEventsInAnyPiecesComeOutAsTheyWentIn(t *testing.T) {
	in := tongues["chat completions"]
	stream := in.begins + strings.Repeat(in.says+long(in.says)+in.says, 3) + in.finishes + in.last
	for _, size := range []int{1000, 7919, relaySize - 1, relaySize, relaySize + 1, len(stream)} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			story(t, func(w *world) {
				w.endpoint("us-1", func(c *call) {
					c.read()
					c.write(head("200 OK", in.header, fmt.Sprintf("Content-Length: %d", len(stream))))
					for rest := stream; rest != ""; {
						n := min(size, len(rest))
						c.write(rest[:n])
						rest = rest[n:]
						time.Sleep(time.Millisecond)
					}
				})
				w.saw(in.ask(w), stream, false)
			})
		})
	}
}

package proxy

import (
	"testing"
	"time"
)

const deadly = `{"model":"m","prompt":"POISON"}`

// crashes is an endpoint whose engine dies of one text and answers every other.
func crashes(c *call) {
	if c.read() == deadly {
		c.hangUp()
		return
	}
	c.write(head("200 OK", "Content-Length: 4") + "well")
}

func TestARequestThatBreaksTwoEndpointsIsSentToNoThird(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", crashes)
		w.endpoint("eu-1", crashes)
		asia := w.endpoint("asia-1", crashes)
		got := w.ask("POST /v1/completions", deadly)
		w.want("status", got.status, 502)
		w.want("problem", got.problem(), "endpoint_broke")
		w.want("attempts", w.attempts(), "us-1 broken, eu-1 broken")
		w.want("asia saw", asia.last(), "none")
		w.want("told", w.heard(), "")
		w.want("others", w.chat().body, "well")
	})
}

func TestATextThatBrokeEndpointsTwiceIsSentToNobodyForAMinute(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", crashes)
		w.endpoint("eu-1", crashes)
		for range 2 {
			w.want("problem", w.ask("POST /v1/completions", deadly).problem(), "endpoint_broke")
		}
		asked := len(us.requests())
		got := w.ask("POST /v1/completions", deadly)
		w.want("status", got.status, 502)
		w.want("problem", got.problem(), "request_breaks_endpoints")
		w.want("us saw", len(us.requests()), asked)
		w.want("another text", w.chat().body, "well")
		time.Sleep(poisonMemory + time.Second)
		w.want("after a minute", w.ask("POST /v1/completions", deadly).problem(), "endpoint_broke")
	})
}

func TestWhatIsRememberedOfPoisonIsBounded(t *testing.T) {
	var p poison
	now := time.Now()
	for i := range poisonMost + 100 {
		x := &exchange{body: body{kept: []byte{byte(i), byte(i >> 8), 1}}}
		p.note(x, now)
	}
	if n := p.known.Load(); n != poisonMost {
		t.Errorf("%d texts are remembered, at most %d should be", n, poisonMost)
	}
	p.note(&exchange{body: body{kept: []byte("late")}}, now.Add(2*poisonMemory))
	if n := p.known.Load(); n != 1 {
		t.Errorf("%d texts are remembered after all but one are long ago", n)
	}
}

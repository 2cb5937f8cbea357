package proxy

import (
	"testing"
	"time"

	"proxima/router"
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

func TestATextThatBrokeTwoEndpointsIsSentToNobodyForAWhile(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", crashes)
		w.endpoint("eu-1", crashes)
		deny := func(when string) {
			t.Helper()
			asked := len(us.requests())
			got := w.ask("POST /v1/completions", deadly)
			w.want(when, got.problem(), "request_breaks_endpoints")
			w.want("status", got.status, 502)
			w.want("us saw", len(us.requests()), asked)
		}
		w.want("first", w.ask("POST /v1/completions", deadly).problem(), "endpoint_broke")
		deny("at once")
		w.want("another text", w.chat().body, "well")
		time.Sleep(poisonMoment + time.Second)
		w.want("again", w.ask("POST /v1/completions", deadly).problem(), "endpoint_broke")
		time.Sleep(poisonMoment + time.Second)
		deny("a moment later")
		time.Sleep(poisonMemory)
		w.want("after a minute", w.ask("POST /v1/completions", deadly).problem(), "endpoint_broke")
	})
}

func TestARequestIsNotTakenForTheReasonWhyEndpointsWereBrokenBefore(t *testing.T) {
	story(t, func(w *world) {
		dead := func(c *call) {
			c.read()
			c.hangUp()
		}
		w.endpoint("us-1", dead)
		w.endpoint("eu-1", dead)
		w.endpoint("asia-1", says("well"))
		w.want("the poison", w.ask("POST /v1/completions", deadly).problem(), "endpoint_broke")
		w.want("another", w.chat().body, "well")
		w.want("attempts", w.attempts(), "us-1 broken, eu-1 broken, asia-1 served")
	})
}

func TestAnEndpointThatHasServedIsBrokenAnew(t *testing.T) {
	var p poison
	at := func(seconds int) time.Time { return time.Unix(int64(seconds), 0) }
	attempt := func(started int) *router.Attempt { return &router.Attempt{Endpoint: "us-1", Started: at(started)} }
	if !p.broke(attempt(0), at(10)) {
		t.Error("the first to be broken off is no suspect")
	}
	if !p.broke(attempt(5), at(10)) {
		t.Error("one that was there too is no suspect")
	}
	if p.broke(attempt(10), at(11)) {
		t.Error("one that came later is a suspect")
	}
	p.served("us-1")
	if !p.broke(attempt(10), at(11)) {
		t.Error("the first after a served one is no suspect")
	}
	if !p.broke(attempt(12), at(20)) {
		t.Error("the first after a long time is no suspect")
	}
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

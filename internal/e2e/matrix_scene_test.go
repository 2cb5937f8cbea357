package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"proxima/internal/modelserver"
)

// Models of the matrix. Each has rules of its own for failing over, and the gates have
// one each that is nobody else's nearby.
const (
	plain       = "llama-3-8b"
	resumed     = "llama-3-8b-resumed"
	hasty       = "llama-3-8b-hasty" // a first byte within 700 ms
	wary        = "llama-3-8b-wary"  // no silence of more than 1 s
	waryResumed = "llama-3-8b-wary-resumed"
	gated       = "gated"
	secured     = "secured"
)

// forMatrix lets probes find and forget a fault within a second or so.
const forMatrix = `
client: {trusted_proxies: [127.0.0.0/8]}
health: {interval: 300ms, timeout: 300ms, rise: 1, passive: {eject: 300ms, eject_max: 600ms}, slow_start: 0s}
geo: {overrides: [{cidr: 198.51.100.0/24, lat: 52.5, lon: 13.4, country: DE}]}
tls: {endpoint_ca: %s}
failover:
  models:
    llama-3-8b-resumed: {resume: true}
    llama-3-8b-hasty: {first_byte_timeout: 700ms}
    llama-3-8b-wary: {stall_timeout: 1s}
    llama-3-8b-wary-resumed: {stall_timeout: 1s, resume: true}
  %s
`

// generous are retries for every row however few requests there were before.
const generous = "retry_budget: {floor: 100}"

// matrix is one router and the regions that it serves from: three of real processes,
// and two behind gates. Clients are in Berlin, where europe-west1 is the nearest of the
// three, and both gates are nearer than us-east1.
type matrix struct {
	t         *testing.T
	world     *World
	router    *Router
	authority string // of the secured gate
	gate      *gate  // europe-west3
	tlsGate   *gate  // europe-west4
	questions int    // so far
	rows      []string
}

func newMatrix(t *testing.T) *matrix {
	as := modelserver.Settings{FirstToken: 5 * time.Millisecond, PerToken: 5 * time.Millisecond}
	m := &matrix{t: t, world: newWorld(t, as, "europe-west1", "us-east1", "asia-northeast1")}
	m.tell("fault", "client saw", "outcome", "next region", "ejected")
	secure, authority := certificate(t)
	m.authority = authority
	m.gate, m.tlsGate = m.world.AddGate("europe-west3", nil), m.world.AddGate("europe-west4", secure)
	m.region("europe-west1").Models = strings.Join([]string{plain, resumed, hasty, wary, waryResumed}, ", ")
	m.region("europe-west3").Models, m.region("europe-west4").Models = gated, secured
	// Whatever this machine's load does to serve times.
	m.region("us-east1").Bias, m.region("asia-northeast1").Bias = 10*time.Second, 20*time.Second
	m.router = serve(t, m.config(generous))
	return m
}

func (m *matrix) config(failover string) string {
	return m.world.Config(fmt.Sprintf(forMatrix, m.authority, failover))
}

func (m *matrix) region(name string) *Region { return m.world.Region(name) }

// processes are the regions that are no gates.
func (m *matrix) processes() []*Region { return m.world.Regions[:3] }

// nearest is the region that a client in Berlin gets for a model when all is well.
func nearest(model string) string {
	switch model {
	case gated:
		return "europe-west3"
	case secured:
		return "europe-west4"
	}
	return "europe-west1"
}

// run is t.Run with everything of the matrix reporting to the row's own test.
func (m *matrix) run(fault string, row func()) {
	m.t.Run(strings.ReplaceAll(fault, " ", "_"), func(t *testing.T) {
		defer m.reportTo(m.reportTo(t))
		row()
	})
}

func (m *matrix) reportTo(t *testing.T) (before *testing.T) {
	before = m.t
	m.t, m.router.t, m.world.t, m.gate.t, m.tlsGate.t = t, t, t, t, t
	for _, r := range m.world.Regions {
		r.t = t
	}
	return before
}

// tell adds a line to the table that the matrix prints at its end.
func (m *matrix) tell(fault, saw, outcome, next, ejected string) {
	if ejected == "" {
		ejected = "no"
	}
	m.rows = append(m.rows, strings.Join([]string{fault, saw, outcome, next, ejected}, " | "))
}

func (m *matrix) print() { m.t.Logf("\n%s", strings.Join(m.rows, "\n")) }

// rest mends whatever is broken and waits until the router knows, and sends requests
// for a model to the nearest region again.
func (m *matrix) rest(model string) {
	for _, r := range m.processes() {
		if r.process == nil {
			r.Start()
		}
		r.Thaw()
		r.Revive()
	}
	m.gate.Turn(letIn)
	m.tlsGate.Turn(letIn)
	eventually(m.t, "every endpoint is up again", 20*time.Second, func() bool {
		for _, health := range m.router.Health() {
			if health != "up" {
				return false
			}
		}
		return true
	})
	eventually(m.t, "the nearest region answers again", 20*time.Second, func() bool {
		got := m.router.chat(berlin, model)
		return got.region() == nearest(model) && got.attempts() == "1"
	})
	m.quiet()
}

// quiet waits until the gauges say that nothing is under way.
func (m *matrix) quiet() {
	eventually(m.t, "nothing is in flight", 10*time.Second, func() bool {
		return m.router.inFlight() == 0 && m.router.Metric("streams_open") == 0
	})
}

// question is one that nobody has asked before, for a stream of this many tokens.
func (m *matrix) question(model string, tokens int) string {
	m.questions++
	return asks(m.questions, model, tokens)
}

// outcome waits until the metrics say one of these, and returns what they say.
func (m *matrix) outcome(before tally, these ...string) string {
	deadline := time.Now().Add(3 * time.Second)
	for {
		said := m.router.tally().since(before)
		if slices.Contains(these, said) || time.Now().After(deadline) {
			return said
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// saw says what a client saw of a stream, compared with what it would have got from a
// region alone.
func saw(got, whole *story) string {
	parts := []string{fmt.Sprint(got.Status)}
	add := func(so bool, text string) {
		if so {
			parts = append(parts, text)
		}
	}
	switch rest, is := strings.CutPrefix(whole.Text, got.Text); {
	case got.Text == whole.Text:
		add(true, "whole text")
		add(got.Finish != whole.Finish || got.Usage != whole.Usage, "other end: "+got.Finish+" "+got.Usage)
	case is && got.Status == 200:
		add(true, fmt.Sprintf("%d tokens", tokens(got.Text)))
	case got.Status == 200:
		add(true, fmt.Sprintf("wrong text, instead of %q", rest))
	}
	add(len(got.IDs) > 1, fmt.Sprintf("%d ids", len(got.IDs)))
	add(got.Roles > 1, fmt.Sprintf("%d roles", got.Roles))
	add(got.Failure != "", got.Failure)
	add(got.Done > 0, strings.TrimSpace(strings.Repeat("[DONE] ", got.Done)))
	add(got.Broken != nil, "cut off")
	add(got.Status != 200, errorCode(got.Strange))
	add(got.Status == 200 && got.Broken == nil && got.Done == 0, "ended as if whole")
	add(slices.ContainsFunc(got.Notes, func(note string) bool { return strings.Contains(note, "proxima: resumed in") }), "noted as resumed")
	return strings.Join(parts, ", ")
}

// errorCode is the code of an error that is the whole answer.
func errorCode(lines []string) string {
	var problem struct{ Error struct{ Code string } }
	if err := json.Unmarshal([]byte(strings.Join(lines, "")), &problem); err != nil {
		return "no error in OpenAI's shape"
	}
	return problem.Error.Code
}

// tokens counts those of a text of the simulated model: each begins with a space, or
// is a mark.
func tokens(text string) int {
	return strings.Count(text, " ") + strings.Count(text, ",") + strings.Count(text, ".")
}

// next says what the regions that are not the nearest got for a question.
func (m *matrix) next(question string, whole *story) string {
	var got []string
	for _, r := range m.processes()[1:] {
		for _, request := range r.Requests() {
			if chatOf(request.Body).Messages[0] == chatOf(question).Messages[0] {
				got = append(got, r.Name+": "+compare(request.Body, question, whole))
			}
		}
	}
	if got == nil {
		return "nothing"
	}
	return strings.Join(got, ", ")
}

// compare says what a region was asked instead of a question.
func compare(got, question string, whole *story) string {
	if got == question {
		return "the same request"
	}
	before, now := chatOf(question), chatOf(got)
	said := now.Messages[len(now.Messages)-1]
	done := tokens(said.Content)
	switch {
	case len(now.Messages) != len(before.Messages)+1, said.Role != "assistant", !strings.HasPrefix(whole.Text, said.Content),
		!now.Continue, now.Begin == nil, *now.Begin, now.Model != before.Model, !now.Stream,
		now.Most != before.Most-done, now.Least != before.Least-done:
		return "a wrong continuation: " + got
	}
	return fmt.Sprintf("the rest after %d tokens", done)
}

// asked is what matters of a chat request.
type asked struct {
	Model    string
	Stream   bool
	Messages []message
	Most     int   `json:"max_tokens"`
	Least    int   `json:"min_tokens"`
	Continue bool  `json:"continue_final_message"`
	Begin    *bool `json:"add_generation_prompt"`
}

type message struct{ Role, Content string }

// chatOf reads a request; what is no chat has one message, an empty one.
func chatOf(body string) (chat asked) {
	if json.Unmarshal([]byte(body), &chat) != nil || len(chat.Messages) == 0 {
		chat.Messages = []message{{}}
	}
	return chat
}

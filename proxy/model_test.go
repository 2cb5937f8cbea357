package proxy

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"proxima/router"
)

// TestTheModelIsFound tells what a request is for, from all that it says. Where
// it says two things, nobody is asked.
func TestTheModelIsFound(t *testing.T) {
	const chat, other = "POST /v1/chat/completions", "POST /v1/files"
	long := strings.Repeat("m", maxModel)
	for name, test := range map[string]struct {
		line, content, header string
		want                  string // "model m", or the problem
	}{
		"in the body":                     {chat, `{"model":"m"}`, "", "model m"},
		"in the body, late":               {chat, ` { "messages" : [ {"model":"x"} ] , "model" : "m" } `, "", "model m"},
		"in the header":                   {chat, `{"prompt":"a"}`, "X-Proxima-Model: m", "model m"},
		"in header and body":              {chat, `{"model":"m"}`, "X-Proxima-Model: m", "model m"},
		"in the path of OpenAI":           {"GET /v1/models/org/m", "", "", "model org/m"},
		"in the path of KServe":           {"POST /v1/models/m:predict", "[1]", "Content-Type: text/plain", "invalid_body"},
		"in the path of KServe, explain":  {"POST /v1/models/m:explain", `{}`, "", "model m"},
		"in the path of Triton":           {"POST /v2/models/m/versions/1/infer", `{"inputs":[]}`, "", "model m"},
		"in the path of Azure":            {"POST /openai/deployments/m/chat/completions", `{}`, "", "model m"},
		"in the path of Gemini":           {"POST /v1beta/models/m:generateContent", `{}`, "", "model m"},
		"escaped in the path":             {"GET /v1/models/org%2Fm", "", "", "model org/m"},
		"escaped in the body":             {chat, `{"\u006dodel":"\u006D"}`, "", "model m"},
		"beyond the basic plane":          {chat, `{"model":"\ud83d\ude00"}`, "", "model 😀"},
		"in another body":                 {other, `{"model":"m"}`, "Content-Type: application/json", "model m"},
		"in a body of another JSON":       {other, `{"model":"m"}`, "Content-Type: application/x+json; charset=utf-8", "model m"},
		"in a body of a broken type":      {other, `{"model":"m"}`, "Content-Type: application/json; charset", "model m"},
		"in what is no JSON":              {other, `{"model":"m"}`, "Content-Type: text/plain", "model "},
		"in what says it is no JSON":      {chat, `{"model":"m"}`, "Content-Type: text/plain", "model m"},
		"in what says it is a form":       {chat, `{"model":"m"}`, "Content-Type: multipart/form-data; boundary=a", "model m"},
		"in a form":                       {chat, "--a\r\n", "Content-Type: multipart/form-data; boundary=a", "model_required"},
		"in a form, and told":             {chat, "--a\r\n", "Content-Type: multipart/form-data; boundary=a\r\nX-Proxima-Model: m", "model m"},
		"of a message in a thread":        {"POST /v1/threads/a/messages", `hello`, "", "model "},
		"of a message":                    {"POST /v1/messages", `{"model":"m"}`, "", "model m"},
		"as long as can be":               {chat, `{"model":"` + long + `"}`, "", "model " + long},
		"nowhere, and no body":            {chat, "", "", "model "},
		"identity is no compression":      {chat, `{"model":"m"}`, "Content-Encoding: identity", "model m"},
		"nowhere":                         {chat, `{"prompt":"a"}`, "", "model_required"},
		"nowhere, elsewhere":              {other, `{"prompt":"a"}`, "Content-Type: application/json", "model "},
		"in header and body, differently": {chat, `{"model":"n"}`, "X-Proxima-Model: m", "model_conflict"},
		"in header and path, differently": {"POST /v2/models/m/infer", `{}`, "X-Proxima-Model: n", "model_conflict"},
		"in path and body, differently":   {"POST /v2/models/m/infer", `{"model":"n"}`, "", "model_conflict"},
		"twice":                           {chat, `{"model":"m","model":"m"}`, "", "invalid_body"},
		"twice, once escaped":             {chat, `{"model":"m","mode\u006c":"n"}`, "", "invalid_body"},
		"twice, once in capitals":         {chat, `{"model":"m","Model":"n"}`, "", "invalid_body"},
		"in capitals":                     {chat, `{"MODEL":"m"}`, "", "invalid_body"},
		"as a number":                     {chat, `{"model":1}`, "", "invalid_body"},
		"as null":                         {chat, `{"model":null}`, "", "invalid_body"},
		"empty":                           {chat, `{"model":""}`, "", "invalid_body"},
		"half a character":                {chat, `{"model":"\ud83d"}`, "", "invalid_body"},
		"too long":                        {chat, `{"model":"` + long + `m"}`, "", "invalid_body"},
		"too long in the header":          {chat, `{}`, "X-Proxima-Model: " + long + "m", "invalid_model"},
		"not JSON":                        {chat, `model=m`, "", "invalid_body"},
		"an array":                        {chat, `[{"model":"m"}]`, "", "invalid_body"},
		"cut JSON":                        {chat, `{"model":"m"`, "", "invalid_body"},
		"JSON and more":                   {chat, `{"model":"m"}{"model":"n"}`, "", "invalid_body"},
		"UTF-16":                          {chat, "{\x00\"\x00m\x00", "", "invalid_body"},
		"a byte order mark":               {chat, "\xef\xbb\xbf{}", "", "invalid_body"},
		"compressed":                      {chat, "\x1f\x8b", "Content-Encoding: gzip", "unsupported_encoding"},
		"compressed, and told":            {chat, "\x1f\x8b", "Content-Encoding: gzip\r\nX-Proxima-Model: m", "unsupported_encoding"},
		"nested too deep":                 {chat, `{"a":` + strings.Repeat("[", maxNesting) + strings.Repeat("]", maxNesting) + `}`, "", "invalid_body"},
	} {
		t.Run(name, func(t *testing.T) {
			story(t, func(w *world) {
				us := w.endpoint("us-1", says("hello"))
				w.endpoint("eu-1", says("never asked"), "something else") // so that models matter
				var header []string
				if test.header != "" {
					header = append(header, test.header)
				}
				got := w.ask(test.line, test.content, header...)
				if got.status != 200 {
					w.want("problem", got.problem(), test.want)
					w.want("us saw", us.last(), "none")
					return
				}
				w.want("found", "model "+string(w.record().Model), test.want)
				_, passed, _ := strings.Cut(us.requests()[0], "\r\n\r\n")
				w.want("passed on", passed, test.content)
			})
		})
	}
}

// TestABodyThatIsHereIsReadWithoutDeadlines counts them: each may cost a system call.
func TestABodyThatIsHereIsReadWithoutDeadlines(t *testing.T) {
	for _, test := range []struct {
		name string
		body io.ReadCloser
		want bool
	}{
		{"here", &atHand{*strings.NewReader(asked)}, false},
		{"to come", io.NopCloser(strings.NewReader(asked)), true},
	} {
		deadlines := 0
		x := exchange{handler: &Handler{}, settings: &Settings{ReplayLimit: 1 << 20, Rules: Rules{StallTimeout: time.Second}}, ctx: t.Context()}
		x.in = &http.Request{Body: test.body, ContentLength: int64(len(asked))}
		x.control = *http.NewResponseController(&patient{ResponseWriter: httptest.NewRecorder(), deadlines: &deadlines})
		if err := x.keepBody(); err != nil || string(x.body.kept) != asked || !x.body.whole() {
			t.Errorf("%s: %q, %v", test.name, x.body.kept, err)
		}
		if (deadlines > 0) != test.want {
			t.Errorf("%s: %d deadlines", test.name, deadlines)
		}
	}
}

// patient counts the deadlines that are set for reads.
type patient struct {
	http.ResponseWriter
	deadlines *int
}

func (p *patient) SetReadDeadline(time.Time) error { *p.deadlines++; return nil }

func TestWhereModelsDoNotMatterAnyBodyPasses(t *testing.T) {
	for _, content := range []string{`{"model":"m"}`, `{"model":"m","Model":"n"}`, "model=m", "\x1f\x8b"} {
		story(t, func(w *world) {
			us := w.endpoint("us-1", says("hello"))
			w.want("answer", w.ask("POST /v1/chat/completions", content, "X-Proxima-Model: q").body, "hello")
			_, passed, _ := strings.Cut(us.requests()[0], "\r\n\r\n")
			w.want("passed on", passed, content)
		})
	}
}

func TestTheModelDecidesTheRegion(t *testing.T) {
	story(t, func(w *world) {
		w.endpoint("us-1", says("hello"), "m")
		w.endpoint("eu-1", says("hallo"), "n")
		w.want("m", w.ask("POST /v1/completions", `{"model":"m"}`).body, "hello")
		w.want("n", w.ask("POST /v1/completions", `{"model":"n"}`).body, "hallo")
	})
}

// longBody has its model at the beginning, or the end, of more than is kept.
func longBody(before, after string) string {
	return "{" + before + `"prompt":"` + strings.Repeat("long ", 2000) + `"` + after + "}"
}

func TestTheModelOfALongBodyMustComeEarly(t *testing.T) {
	story(t, func(w *world) {
		w.settings.ReplayLimit = 1000
		us := w.endpoint("us-1", says("hello"), "m")
		w.want("early", w.ask("POST /v1/completions", longBody(`"model":"m",`, "")).body, "hello")
		seen := len(us.requests())
		got := w.ask("POST /v1/completions", longBody("", `,"model":"m"`))
		w.want("late", got.status, 413)
		w.want("late", got.problem(), "body_too_large")
		got = w.ask("POST /v1/completions", longBody("", `,"model":"m"`), "X-Proxima-Model: m")
		w.want("late, but told", got.problem(), "body_too_large")
		w.want("us saw", len(us.requests()), seen)
	})
}

func TestASecondModelHiddenInALongBodyBreaksTheRequestOff(t *testing.T) {
	for _, hidden := range []string{`,"model":"n"`, `,"mod\u0065l":"n"`, `,"Model":"n"`, `,,`} {
		story(t, func(w *world) {
			w.settings.ReplayLimit = 1000
			var got []byte
			us := w.endpoint("us-1", func(c *call) {
				got = []byte(c.read())
				c.hangUp()
			}, "m")
			w.endpoint("eu-1", says("never asked"), "m", "n")
			answer := w.ask("POST /v1/completions", longBody(`"model":"m",`, hidden))
			w.want("status", answer.status, 400)
			w.want("problem", answer.problem(), "invalid_body")
			w.want("attempts", w.attempts(), "us-1 cancelled")
			w.want("us saw the end", strings.Contains(string(got), hidden), false)
			w.want("us saw one request", len(us.requests()), 1)
		})
	}
}

func TestTheListOfModelsIsTheUnionOverHealthyRegions(t *testing.T) {
	story(t, func(w *world) {
		own := func(ids ...string) action {
			var entries []string
			for _, id := range ids {
				entries = append(entries, fmt.Sprintf(`{"id":%q,"object":"model","root":"own"}`, id))
			}
			return answers("200 OK", `{"object":"list","data":[`+strings.Join(entries, ",")+`,{"object":"model"},7]}`)
		}
		us := w.endpoint("us-1", own("b", "a"))
		w.endpoint("us-2", own("b", "c"))
		w.endpoint("us-3", answers("500 Oops", "bad"))
		w.endpoint("us-4", says("no list"))
		w.endpoint("us-5", freezes)
		w.endpoint("us-6", breaks)
		w.endpoint("us-7", refuses)
		w.endpoint("eu-1", says("never asked"), "d", "a")
		down := w.endpoint("asia-1", says("never asked"), "e")
		w.open()
		w.believe(down, router.Down)
		got := w.ask("GET /v1/models", "", "Accept-Encoding: gzip", "Authorization: Bearer key", "If-None-Match: x", "Range: bytes=0-1")
		w.want("status", got.status, 200)
		w.want("list", got.body, `{"data":[{"id":"a","object":"model","root":"own"},{"id":"b","object":"model","root":"own"},`+
			`{"id":"c","object":"model","root":"own"},{"created":0,"id":"d","object":"model","owned_by":"proxima"}],"object":"list"}`+"\n")
		w.want("bytes", w.record().Bytes, int64(len(got.body)))
		w.want("asked in the client's name", strings.Contains(us.last(), "Authorization: Bearer key"), true)
		for _, gone := range []string{"Encoding", "None-Match", "Range"} {
			w.want(gone, strings.Contains(us.last(), gone), false)
		}
	})
}

func TestTheListOfModelsHonoursResidency(t *testing.T) {
	story(t, func(w *world) {
		w.from = "203.0.113.9:4000"
		w.steering.Residency = []router.Residency{{Name: "eu", Countries: []string{"DE"}, Regions: []router.RegionID{"eu"}}}
		us := w.endpoint("us-1", says("never asked"))
		w.endpoint("us-2", says("never asked"), "theirs")
		w.endpoint("eu-1", says("never asked"), "ours")
		got := w.ask("GET /v1/models", "")
		w.want("ours", strings.Contains(got.body, `"ours"`), true)
		w.want("theirs", strings.Contains(got.body, `"theirs"`), false)
		w.want("us saw", us.last(), "none")
	})
}

func TestTheListOfModelsAsksAFewEndpointsOnly(t *testing.T) {
	story(t, func(w *world) {
		for i := range listEndpoints + 5 {
			w.endpoint(fmt.Sprintf("us-%d", i), says(`{"data":[]}`))
		}
		got := w.ask("GET /v1/models", "")
		w.want("list", got.body, `{"data":[],"object":"list"}`+"\n")
		asked := 0
		for _, e := range w.endpoints {
			asked += len(e.requests())
		}
		w.want("asked", asked, listEndpoints)
	})
}

func TestAClientThatLeavesTheListOfModelsEndsIt(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", freezes)
		c := w.connect()
		c.send(requestText("GET /v1/models", ""))
		w.want("asked", len(us.requests()), 1)
		c.leave()
		w.want("calls ended at us", us.hungUpOn(), 1)
		w.want("status", w.record().Status, 499)
	})
}

package admin

import (
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"proxima/geo"
	"proxima/router"
)

// Explanation is the answer of /v1/explain: a decision with every term that made
// it, so that anybody can recompute it.
type Explanation struct {
	Client     From        `json:"client"`
	Model      string      `json:"model"`  // "": the request names none
	Chosen     *Choice     `json:"chosen"` // null: nobody may serve it, see Reason
	Reason     string      `json:"reason"` // why nobody may; "" when somebody does
	FailOpen   bool        `json:"fail_open"`
	BandMs     *float64    `json:"band_ms"`    // what a candidate may cost for the key to decide; null: nobody may serve it
	RunnerUp   *RunnerUp   `json:"runner_up"`  // null: nobody else may serve it
	Otherwise  *Otherwise  `json:"otherwise"`  // null: nobody may serve it
	Candidates []Candidate `json:"candidates"` // the deciding tier, cheapest first
	Rejected   []Rejected  `json:"rejected"`   // all the others, in the order of the configuration
}

// From is where a client was found to be. Lat and Lon are null for one that
// could not be placed.
type From struct {
	Address string   `json:"address"`
	Country string   `json:"country"`
	Lat     *float64 `json:"lat"`
	Lon     *float64 `json:"lon"`
	Source  string   `json:"source"`
}

// Choice is where the request goes.
type Choice struct {
	Endpoint string  `json:"endpoint"`
	Region   string  `json:"region"`
	CostMs   float64 `json:"cost_ms"`
}

// RunnerUp is where the request would go if the chosen endpoint were not there.
type RunnerUp struct {
	Choice
	Tier   int    `json:"tier"`
	Reason string `json:"reason"` // why it lost, in words
}

// Otherwise is the same question under the other setting of steering.by, with costs
// by its idea of the network.
type Otherwise struct {
	By           string  `json:"by"`
	Chosen       Choice  `json:"chosen"`        // what it would choose
	Ours         Priced  `json:"ours"`          // what is chosen now
	DifferenceMs float64 `json:"difference_ms"` // what ours costs more
}

// Priced is a cost alone.
type Priced struct {
	CostMs float64 `json:"cost_ms"`
}

// Candidate is an endpoint that competed.
type Candidate struct {
	Endpoint string `json:"endpoint"`
	Region   string `json:"region"`
	Terms
}

// Terms are those of a cost: net + serve·(1+load³) + wait − warm + bias.
type Terms struct {
	Tier    int     `json:"tier"` // 0 ready, 1 full, 2 in doubt, 3 down: the lowest with a candidate decides
	NetMs   float64 `json:"net_ms"`
	ServeMs float64 `json:"serve_ms"`
	Load    float64 `json:"load"`
	WaitMs  float64 `json:"wait_ms"` // prefill of the prompts that come before
	WarmMs  float64 `json:"warm_ms"`
	BiasMs  float64 `json:"bias_ms"`
	CostMs  float64 `json:"cost_ms"`
}

// Rejected is an endpoint that did not compete, and why: a code, a colon, and the
// same in words.
type Rejected struct {
	Endpoint string `json:"endpoint"`
	Region   string `json:"region"`
	Reason   string `json:"reason"`
}

// NewExplanation renders an explanation of the query of a client. Numbers are
// rounded here and nowhere else.
func NewExplanation(client netip.Addr, q router.Query, x router.Explanation) Explanation {
	shown := Explanation{
		Client:     from(client, q),
		Model:      string(q.Model),
		Reason:     string(x.Decision.Reason),
		FailOpen:   x.Decision.FailOpen(),
		Candidates: make([]Candidate, 0, len(x.Candidates)),
		Rejected:   make([]Rejected, 0, len(x.Rejected)),
	}
	shown.choose(&x)
	for _, c := range x.Candidates {
		shown.Candidates = append(shown.Candidates, Candidate{string(c.Endpoint), string(c.Region), terms(&c)})
	}
	for _, r := range x.Rejected {
		reason := string(r.Reason)
		if r.Detail != "" {
			reason += ": " + r.Detail
		}
		shown.Rejected = append(shown.Rejected, Rejected{string(r.Endpoint), string(r.Region), reason})
	}
	return shown
}

// choose renders what there is only when somebody may serve the request.
func (shown *Explanation) choose(x *router.Explanation) {
	if !x.Decision.Found() {
		return
	}
	chosen, band := choice(&x.Decision.Chosen), round(x.BandMs)
	shown.Chosen, shown.BandMs = &chosen, &band
	if r := &x.RunnerUp; r.Found {
		shown.RunnerUp = &RunnerUp{choice(&r.Candidate), int(r.Tier), r.Detail}
	}
	if o := &x.Otherwise; o.Found {
		shown.Otherwise = &Otherwise{
			By: o.By.String(), Chosen: choice(&o.Chosen), Ours: Priced{round(o.Ours.CostMs)},
			DifferenceMs: round(o.Ours.CostMs - o.Chosen.CostMs),
		}
	}
}

func choice(c *router.Candidate) Choice {
	return Choice{Endpoint: string(c.Endpoint), Region: string(c.Region), CostMs: round(c.CostMs)}
}

func from(client netip.Addr, q router.Query) From {
	f := From{Address: client.String(), Country: q.From.Country, Source: string(q.From.Source)}
	if q.From.Placed {
		lat, lon := round(q.From.Lat), round(q.From.Lon)
		f.Lat, f.Lon = &lat, &lon
	}
	return f
}

// terms rounds to a microsecond. The load keeps six decimals, because its cube
// multiplies seconds: with three, the sum could be off by a fifth of a millisecond.
func terms(c *router.Candidate) Terms {
	return Terms{
		Tier:    int(c.Tier),
		NetMs:   round(c.NetMs),
		ServeMs: round(c.ServeMs),
		Load:    decimals(c.Load, 1e6),
		WaitMs:  round(c.WaitMs),
		WarmMs:  round(c.WarmMs),
		BiasMs:  round(c.BiasMs),
		CostMs:  round(c.CostMs),
	}
}

// WithDown returns the snapshot as it would be with regions down, to ask what
// would happen. An unknown region is an error.
func WithDown(s *router.Snapshot, regions []router.RegionID) (*router.Snapshot, error) {
	status := slices.Clone(s.Status)
	for _, region := range regions {
		if _, there := s.Table.RegionPosition(region); !there {
			return nil, fmt.Errorf("no region %q", region)
		}
		for at := range s.Table.Endpoints {
			if s.Table.Endpoints[at].Region == region {
				status[at].Health, status[at].Cause = router.Down, "taken to be down, to see what would happen"
			}
		}
	}
	return router.NewSnapshot(s.Table, status, s.Drained), nil
}

// explain answers GET /v1/explain. Its parameters are those of Question.
func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	question, problem := parseQuestion(r.URL.RawQuery)
	if problem != nil {
		answerProblem(w, *problem)
		return
	}
	now := s.Live.Snapshot()
	load := now.Measure(nil, s.now())
	supposed, err := WithDown(now, question.Down)
	if err != nil {
		answerProblem(w, Problem{Status: http.StatusBadRequest, Detail: err.Error(), Hint: regionsOf(now.Table)})
		return
	}
	query := question.Query(s.Locate(question.Client))
	s.recall(&query, question.Client)
	answer(w, NewExplanation(question.Client, query, supposed.Explain(query, load)))
}

// recall adds to a query what the router remembers of clients from there, and of the
// session: a prompt that is at least as long as the session's last one was.
func (s *Server) recall(q *router.Query, client netip.Addr) {
	q.Learned = s.Live.Cells.Find(client, q.From.Country)
	if q.Sticky {
		q.Warm = s.Live.Warm(q.Key, math.Inf(1), s.now())
	}
}

// Question is what /v1/explain is asked about.
type Question struct {
	Client  netip.Addr
	Model   router.Model      // "": the request names none
	Prefer  router.RegionID   // as in X-Proxima-Prefer-Region
	Session string            // as in X-Proxima-Session; "": a request without one
	Down    []router.RegionID // taken to be down
}

// Query is the question as the router understands it, from a client who is there.
// What the router has learned of such clients and of the session is not in it.
func (q Question) Query(there geo.Location) router.Query {
	return router.Query{From: there, Model: q.Model, Prefer: q.Prefer, Key: router.SessionKey(q.Model, q.Session), Sticky: q.Session != ""}
}

// values writes the question as /v1/explain reads it.
func (q Question) values() url.Values {
	v := url.Values{"client": {q.Client.String()}}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("model", string(q.Model))
	set("prefer_region", string(q.Prefer))
	set("session", q.Session)
	set("down", strings.Join(texts(q.Down), ","))
	return v
}

// parameters are what a question may have.
const parameters = "client=IP, model, prefer_region, session and down=REGION,…"

func parseQuestion(raw string) (Question, *Problem) {
	wrong := func(format string, about ...any) (Question, *Problem) {
		return Question{}, &Problem{Status: http.StatusBadRequest, Detail: fmt.Sprintf(format, about...), Hint: "the parameters are " + parameters}
	}
	v, err := url.ParseQuery(raw)
	if err != nil {
		return wrong("the query is not well formed: %s", cleaned(err.Error(), errorBytes))
	}
	for name, values := range v {
		if len(values) > 1 {
			return wrong("parameter %q stands twice", cleaned(name, modelBytes))
		}
		if !slices.Contains([]string{"client", "model", "prefer_region", "session", "down"}, name) {
			return wrong("parameter %q is not known", cleaned(name, modelBytes))
		}
	}
	client, err := netip.ParseAddr(v.Get("client"))
	if err != nil {
		return wrong("client %q is not an IP address, such as 203.0.113.7", cleaned(v.Get("client"), modelBytes))
	}
	q := Question{
		Client:  client.Unmap().WithZone(""),
		Model:   router.Model(v.Get("model")),
		Prefer:  router.RegionID(v.Get("prefer_region")),
		Session: v.Get("session"),
	}
	for region := range strings.SplitSeq(v.Get("down"), ",") {
		if region = strings.TrimSpace(region); region != "" {
			q.Down = append(q.Down, router.RegionID(region))
		}
	}
	return q, nil
}

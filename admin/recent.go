package admin

import (
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"proxima/router"
)

// recentEach is how many requests Recent keeps of either kind, and as many of
// their attempts as recentAttempts.
const (
	recentEach     = 512
	recentAttempts = 8
)

// Recent remembers the last requests: those that went well and those that did not
// apart, so that a failure is still there when thousands have gone well since. It
// holds at most 512 of each, copied to plain text and numbers: no record, snapshot
// or request body stays alive because of it. The zero value is ready, and all
// methods are safe for concurrent use.
type Recent struct {
	mu     sync.Mutex // guards all below
	added  uint64
	well   ring
	failed ring
}

// ring holds the last requests of one kind. It grows to its full size once and
// then writes over the oldest, whose memory it uses again.
type ring struct {
	kept []kept
	next int
}

// kept is a request in a ring. The texts that a stranger chose are copies, of
// bounded length and clean.
type kept struct {
	order    uint64
	started  time.Time
	elapsed  time.Duration
	wait     time.Duration
	bytes    int64
	status   int
	complete bool
	chosen   router.Candidate
	endpoint router.EndpointID
	region   router.RegionID
	attempts []keptAttempt

	id, client, country, method, path, model, problem []byte
}

type keptAttempt struct {
	endpoint router.EndpointID
	outcome  router.Outcome
	status   int
	took     time.Duration
	failure  []byte
}

// Bounds of the texts that are kept, in bytes.
const (
	idBytes      = 64
	modelBytes   = 64
	methodBytes  = 16
	pathBytes    = 160
	problemBytes = 64
	errorBytes   = 200
	auditBytes   = 1000
)

// Add remembers a finished request.
func (l *Recent) Add(r *router.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	to := &l.well
	if failed(r) {
		to = &l.failed
	}
	slot := to.slot()
	l.added++
	slot.order = l.added
	slot.fill(r)
}

// failed reports whether a client was told of an error or got less than the whole
// answer, unless it left by itself.
func failed(r *router.Record) bool {
	if last := r.Last(); last != nil && last.Outcome == router.Cancelled {
		return false
	}
	return r.Status >= http.StatusBadRequest || !r.Complete
}

// slot returns the place for the next request, what was there included.
func (l *ring) slot() *kept {
	if len(l.kept) < recentEach {
		l.kept = append(l.kept, kept{})
		return &l.kept[len(l.kept)-1]
	}
	oldest := &l.kept[l.next]
	l.next = (l.next + 1) % recentEach
	return oldest
}

// newest returns the request that so many others came after; nil when it is gone.
func (l *ring) newest(after int) *kept {
	n := len(l.kept)
	if after >= n {
		return nil
	}
	return &l.kept[(l.next+n-1-after)%n]
}

func (k *kept) fill(r *router.Record) {
	k.started, k.elapsed, k.wait = r.Started, r.Elapsed, r.FirstByte()
	k.bytes, k.status, k.complete = r.Bytes, r.Status, r.Complete
	k.chosen = r.Decision.Chosen
	k.endpoint, k.region = "", ""
	if last := r.Last(); last != nil {
		k.endpoint, k.region = last.Endpoint, last.Region
	}
	k.id = clean(k.id[:0], r.ID, idBytes)
	k.client = r.Client.AppendTo(k.client[:0])
	k.country = clean(k.country[:0], r.From.Country, methodBytes)
	k.method = clean(k.method[:0], r.Method, methodBytes)
	k.path = clean(k.path[:0], r.Path, pathBytes)
	k.model = clean(k.model[:0], string(r.Model), modelBytes)
	k.problem = clean(k.problem[:0], r.Problem, problemBytes)
	k.fillAttempts(r)
}

func (k *kept) fillAttempts(r *router.Record) {
	made := r.Attempts[:min(len(r.Attempts), recentAttempts)]
	k.attempts = slices.Grow(k.attempts[:0], len(made))[:len(made)]
	for i := range made {
		a, to := &made[i], &k.attempts[i]
		over := r.Started.Add(r.Elapsed)
		if i+1 < len(r.Attempts) {
			over = r.Attempts[i+1].Started
		}
		to.endpoint, to.outcome, to.status, to.took = a.Endpoint, a.Outcome, a.Status, over.Sub(a.Started)
		to.failure = to.failure[:0]
		if a.Err != nil {
			to.failure = clean(to.failure, a.Err.Error(), errorBytes)
		}
	}
}

// clean appends at most so many bytes of a text, without what could forge a line,
// move a terminal's cursor or turn the writing direction. What is cut off shows
// as an ellipsis.
func clean(to []byte, text string, most int) []byte {
	const ellipsis = "…"
	if len(text) <= most && plain(text) {
		return append(to, text...)
	}
	start, cut := len(to), len(to)
	for _, c := range text {
		if !unicode.IsPrint(c) {
			c = utf8.RuneError
		}
		if len(to)-start+utf8.RuneLen(c) > most {
			return append(to[:cut], ellipsis...)
		}
		to = utf8.AppendRune(to, c)
		if len(to)-start <= most-len(ellipsis) {
			cut = len(to)
		}
	}
	return to
}

// plain reports whether a text is printable ASCII, as nearly every one is.
func plain(text string) bool {
	for _, c := range []byte(text) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

func cleaned(text string, most int) string { return string(clean(nil, text, most)) }

// Requests is the answer of /v1/requests.
type Requests struct {
	Requests []Request `json:"requests"` // the last one to end comes first
}

// Request is one finished request: who asked, what was decided, what happened.
type Request struct {
	ID        string    `json:"id"`
	Time      time.Time `json:"time"` // when it came
	Client    string    `json:"client"`
	Country   string    `json:"country"`
	Method    string    `json:"method"`
	Path      string    `json:"path"` // without its query
	Model     string    `json:"model"`
	Status    int       `json:"status"`   // what the client was told; 0: nothing
	Problem   string    `json:"problem"`  // the code of the error it was told
	Region    string    `json:"region"`   // of the last attempt; "": none was made
	Endpoint  string    `json:"endpoint"` // likewise
	Attempts  []Attempt `json:"attempts"` // the first 8
	Decision  *Terms    `json:"decision"` // the last one's; null: no endpoint was chosen
	TTFBMs    float64   `json:"ttfb_ms"`  // until the first byte of content; 0: none came
	ElapsedMs float64   `json:"elapsed_ms"`
	Bytes     int64     `json:"bytes"`
	Complete  bool      `json:"complete"`
}

// Attempt is one try at one endpoint.
type Attempt struct {
	Endpoint string  `json:"endpoint"`
	Outcome  string  `json:"outcome"`
	Status   int     `json:"status"` // what the endpoint answered; 0: nothing
	Ms       float64 `json:"ms"`     // until the next attempt, or the end
	Error    string  `json:"error"`
}

// List returns the last requests to end, the newest first, at most limit of them.
func (l *Recent) List(limit int, onlyFailed bool) []Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	shown := make([]Request, 0, min(limit, 2*recentEach))
	for well, failed := 0, 0; len(shown) < limit; {
		next, good := l.failed.newest(failed), l.well.newest(well)
		if good != nil && !onlyFailed && (next == nil || good.order > next.order) {
			next = good
			well++
		} else {
			failed++
		}
		if next == nil {
			break
		}
		shown = append(shown, next.request())
	}
	return shown
}

func (k *kept) request() Request {
	r := Request{
		ID:        string(k.id),
		Time:      k.started.UTC().Truncate(time.Millisecond),
		Client:    string(k.client),
		Country:   string(k.country),
		Method:    string(k.method),
		Path:      string(k.path),
		Model:     string(k.model),
		Status:    k.status,
		Problem:   string(k.problem),
		Region:    string(k.region),
		Endpoint:  string(k.endpoint),
		Attempts:  make([]Attempt, len(k.attempts)),
		TTFBMs:    milliseconds(k.wait),
		ElapsedMs: milliseconds(k.elapsed),
		Bytes:     k.bytes,
		Complete:  k.complete,
	}
	for i, a := range k.attempts {
		r.Attempts[i] = Attempt{string(a.endpoint), a.outcome.String(), a.status, milliseconds(a.took), string(a.failure)}
	}
	if k.chosen.Endpoint != "" {
		decision := terms(&k.chosen)
		r.Decision = &decision
	}
	return r
}

// requestsShown is how many requests are listed when nobody says how many.
const requestsShown = 100

// requests answers GET /v1/requests.
func (s *Server) requests(w http.ResponseWriter, r *http.Request) {
	limit := requestsShown
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 2*recentEach {
			answerProblem(w, Problem{
				Status: http.StatusBadRequest,
				Detail: "limit " + strconv.Quote(cleaned(text, modelBytes)) + " is not a number of requests",
				Hint:   "use 1 to " + strconv.Itoa(2*recentEach),
			})
			return
		}
		limit = n
	}
	onlyFailed, err := trueOrFalse(r, "failed")
	if err != nil {
		answerProblem(w, Problem{Status: http.StatusBadRequest, Detail: err.Error(), Hint: "use ?failed=true or nothing"})
		return
	}
	answer(w, Requests{s.Recent.List(limit, onlyFailed)})
}

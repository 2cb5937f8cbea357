package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"proxima/bench/load"
	"proxima/internal/modelserver"
)

// crowded lets streams of one model go on elsewhere, and tells the clients of others.
//
// A region that dies with S streams needs S retries at once, and one more for each
// request that it has. The budget allows ratio × the requests of the last 10 s + floor:
// at 100 requests a second that is 0.2 × 1000 + 3 = 203 by default, and enough for 50
// streams. Where answers are long, streams are many and requests few; then the floor
// has to be what one region may have under way. Here the 200 requests before the fault
// make 43, so it is that. A region that falls silent is found by the first byte that
// does not come, before its probes have failed.
const crowded = `
client: {trusted_proxies: [127.0.0.0/8]}
health: {interval: 500ms, timeout: 300ms}
geo: {overrides: [{cidr: 198.51.100.0/24, lat: 52.5, lon: 13.4, country: DE}]}
failover:
  first_byte_timeout: 800ms
  stall_timeout: 2s
  retry_budget: {floor: 100}
  models: {llama-3-8b: {resume: true}}
`

func TestARegionIsLostUnderACrowd(t *testing.T) {
	t.Run("killed", func(t *testing.T) { loseRegion(t, (*Region).Kill, "stream_cut") })
	t.Run("frozen", func(t *testing.T) { loseRegion(t, (*Region).Freeze, "stream_stalled") })
}

// loseRegion loses the nearest region in the midst of 300 GETs, 300 POSTs and 100
// streams. Half of those are of a model whose streams are resumed.
func loseRegion(t *testing.T, lose func(*Region), code string) {
	world := newWorld(t, modelserver.Settings{FirstToken: 20 * time.Millisecond, PerToken: 100 * time.Millisecond},
		"us-east1", "europe-west1", "asia-northeast1")
	// Whatever this machine's load does to serve times.
	world.Region("us-east1").Bias, world.Region("asia-northeast1").Bias = time.Second, 2*time.Second
	router := serve(t, world.Config(crowded))
	mix := load.Mix{Posts: 0.5, Model: "llama-3-8b", Tokens: 2, BodyBytes: 1024, ForwardedFor: []string{berlin}}
	var resumed, told []*listener
	for i := range 50 {
		resumed = append(resumed, router.listen(asks(i, "llama-3-8b", 70), nil))
		told = append(told, router.listen(asks(i, "mistral-7b", 70), nil))
		if i%5 == 4 { // a few at a time: a busy machine is late to connect a hundred, and some would go elsewhere
			eventually(t, "the streams begin", 10*time.Second, func() bool { return haveEvents(1, resumed, told) })
		}
	}
	traffic := router.send(load.Plan{Rate: 100, Duration: 6 * time.Second, Request: mix.Request})
	eventually(t, "every stream is well on its way", 15*time.Second, func() bool {
		return traffic.Now() > 2*time.Second && haveEvents(10, resumed, told)
	})

	began := traffic.Now()
	lose(world.Region("europe-west1"))
	eventually(t, "the region is known to be slow", 10*time.Second, func() bool { return router.Health()["europe-west1"] != "up" })
	known := traffic.Now()

	report := traffic.Wait()
	wantNoFailure(t, "a region is lost", report)
	whole, lost := wholeOf(t, resumed), begunIn("europe-west1", resumed)
	codes, clean := endsOf(begunIn("europe-west1", told))
	before, after := around(report, began, known)
	figures(t, map[string]any{
		"requests": report.Requests, "failed": report.Failed, "known_after_s": (known - began).Seconds(),
		"p99_ms": report.Total.P99, "p99_until_known_ms": before.P99, "p99_once_known_ms": after.P99, "requests_once_known": after.n,
		"sent_late_p99_ms": report.Lag.P99,
		"streams_whole":    whole, "streams_lost_and_resumed": len(lost), "streams_lost_and_told": codes, "clean_ends": clean,
	})
	if whole != 50 || len(lost) < 45 {
		t.Errorf("%d streams of 50 are whole, %d of which lost their region", whole, len(lost))
	}
	if codes[code] < 45 || len(codes) != 1 || clean != 0 {
		t.Errorf("streams that are not resumed ended with %v, and %d of them as if whole", codes, clean)
	}
	switch {
	case report.Lag.P99 > 100:
		t.Log("this machine was too busy to send requests in time, so their latencies say little")
	case after.P99 >= 1000:
		t.Errorf("once the region was known to be slow, 99 %% of requests took up to %v ms", after.P99)
	}
	if n := router.Metric("streams_resumed_total"); n != float64(len(lost)) {
		t.Errorf("streams_resumed_total is %v", n)
	}
	eventually(t, "no request is in flight", 10*time.Second, func() bool { return router.inFlight() == 0 })
}

// haveEvents reports whether so many events have come of every stream.
func haveEvents(n int, groups ...[]*listener) bool {
	for _, streams := range groups {
		if slices.ContainsFunc(streams, func(l *listener) bool { return len(l.events()) < n }) {
			return false
		}
	}
	return true
}

// begunIn are the streams that began in a region. On a busy machine one may all the
// same have begun in another.
func begunIn(region string, streams []*listener) []*listener {
	return slices.DeleteFunc(slices.Clone(streams), func(l *listener) bool { return l.Wait().Region != region })
}

// wholeOf is how many streams have told exactly what they would have without a fault.
func wholeOf(t *testing.T, streams []*listener) (whole int) {
	for _, l := range streams {
		if how := l.Wait().differs(alone(t, "", l.Question)); how != "" {
			t.Errorf("a stream that is resumed: %s", how)
			continue
		}
		whole++
	}
	return whole
}

// endsOf are the codes of the errors that streams ended with, and how many of them looked
// as if whole.
func endsOf(streams []*listener) (codes map[string]int, clean int) {
	codes = map[string]int{}
	for _, l := range streams {
		s := l.Wait()
		codes[s.Failure]++
		if s.Broken == nil || s.Done > 0 {
			clean++
		}
	}
	return codes, clean
}

// latencies are those of some requests.
type latencies struct {
	load.Latency
	n int
}

// around are the latencies of requests that were due between a fault and its being
// known, and after that.
func around(report load.Report, fault, known time.Duration) (until, since latencies) {
	var early, late []time.Duration
	for _, r := range report.Results {
		switch {
		case r.Due >= known:
			late = append(late, r.Total)
		case r.Due >= fault:
			early = append(early, r.Total)
		}
	}
	return latencies{load.LatencyOf(early), len(early)}, latencies{load.LatencyOf(late), len(late)}
}

// tearing lets every stream meet the same two bad regions. Each tear is a retry: 200
// streams in a few seconds need up to 400.
const tearing = `
client: {trusted_proxies: [127.0.0.0/8]}
health: {passive: {trip_after: 0}}
geo: {overrides: [{cidr: 198.51.100.0/24, lat: 52.5, lon: 13.4, country: DE}]}
failover: {resume: true, retry_budget: {floor: 400}}
`

func TestStreamsThatAreTornAnywhereGoOnWithoutASeam(t *testing.T) {
	world := newWorld(t, modelserver.Settings{PerToken: time.Millisecond}, "asia-northeast1")
	first, second := newShears(0, "europe-west1"), newShears(1, "us-east1")
	world.AddInside("europe-west1", first)
	world.AddInside("us-east1", second)
	world.Region("us-east1").Bias, world.Region("asia-northeast1").Bias = time.Second, 2*time.Second
	router := serve(t, world.Config(tearing))
	const streams, atOnce = 200, 20
	chance := rand.New(rand.NewPCG(4, 51))
	var found seams

	for begun := 0; begun < streams; begun += atOnce {
		var listeners []*listener
		for i := begun; i < begun+atOnce; i++ {
			question := asks(i, "llama-3-8b", 0)
			length := alone(t, "europe-west1", question).Bytes
			at := fmt.Sprintf("%d,%d,%d", i, 1+chance.IntN(length-1), 1+chance.IntN(2*length))
			listeners = append(listeners, router.listen(question, http.Header{"X-Tear": {at}}))
		}
		for i, l := range listeners {
			l.Wait()
			if _, again := second.tear(begun + i); again {
				found.twice++
			}
			tear, torn := first.tear(begun + i)
			if !torn {
				t.Errorf("stream %d was not torn", begun+i)
			}
			found.judge(t, l, tear)
		}
	}

	delay := load.LatencyOf(found.added)
	figures(t, map[string]any{
		"streams": streams, "recovered": found.recovered, "cut_and_told": found.told, "torn_twice": found.twice,
		"without_usage": found.withoutUsage, "added_p50_ms": delay.P50, "added_p99_ms": delay.P99, "seams_timed": len(found.added),
	})
	if found.recovered*100 < streams*99 {
		t.Errorf("%d of %d streams were recovered", found.recovered, streams)
	}
	if found.withoutUsage*10 > streams {
		t.Errorf("%d of %d streams have lost their usage", found.withoutUsage, streams)
	}
}

// seams are what became of streams that were torn.
type seams struct {
	recovered    int
	withoutUsage int // of those
	told         int // that they are cut
	twice        int // torn
	added        []time.Duration
}

// judge takes in a stream, which is either as it would have been alone, or the beginning
// of that and an error.
func (s *seams) judge(t *testing.T, l *listener, tear tear) {
	t.Helper()
	got, want := l.Wait(), alone(t, "europe-west1", l.Question)
	if got.Usage == "" && got.Finish != "" { // torn between the two: nobody else knows it
		s.withoutUsage++
		want.Usage = ""
	}
	switch how := got.differs(want); {
	case how == "":
		s.recovered++
		if events := l.events(); tear.events < len(events) {
			s.added = append(s.added, events[tear.events].Sub(tear.at))
		}
	case got.Failure != "" && got.Done == 0 && strings.HasPrefix(want.Text, got.Text):
		s.told++
	default:
		t.Errorf("torn after %d events: %s", tear.events, how)
	}
}

// shears are a region whose answers break off after so many bytes, be it in the midst
// of a token. The client says where, for the first region that it meets and for the
// second, in X-Tear: number,bytes,bytes.
type shears struct {
	region http.Handler
	turn   int

	mu    sync.Mutex // guards tears
	tears map[int]tear
}

// tear is where an answer was broken off.
type tear struct {
	at     time.Time
	events int // whole ones that were sent before
}

func newShears(turn int, name string) *shears {
	settings := modelserver.Settings{Region: name, PerToken: time.Millisecond}
	return &shears{region: modelserver.New(settings), turn: turn, tears: map[int]tear{}}
}

func (s *shears) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if said := strings.Split(r.Header.Get("X-Tear"), ","); len(said) == 3 {
		number, _ := strconv.Atoi(said[0])
		left, _ := strconv.Atoi(said[1+s.turn])
		w = &torn{ResponseWriter: w, left: left, note: func(events int) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.tears[number] = tear{time.Now(), events}
		}}
	}
	s.region.ServeHTTP(w, r)
}

// tear is what became of the stream with a number.
func (s *shears) tear(number int) (tear, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, torn := s.tears[number]
	return at, torn
}

// torn is an answer that breaks off.
type torn struct {
	http.ResponseWriter
	left   int // bytes
	events int
	note   func(events int)
}

func (w *torn) Write(p []byte) (int, error) {
	part := p[:min(len(p), w.left)]
	w.left -= len(part)
	w.events += strings.Count(string(part), "\n\n")
	n, err := w.ResponseWriter.Write(part)
	if w.left > 0 {
		return n, err
	}
	_ = http.NewResponseController(w.ResponseWriter).Flush()
	w.note(w.events)
	panic(http.ErrAbortHandler)
}

// Unwrap is for net/http, which flushes what is below.
func (w *torn) Unwrap() http.ResponseWriter { return w.ResponseWriter }

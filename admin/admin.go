// Package admin is what operators ask and tell a running router over HTTP: its
// status, why it would decide as it does, what happened lately, drains, reloads
// and the live page. Every URL stands in Server.Handler. The package decides
// nothing about requests: it shows router's snapshot and hands orders on.
//
// Start at Server.Handler; guard.go says who is let in, client.go is the other
// end that the command line uses.
package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"log"
	"net/http"
	"net/netip"
	"time"

	"proxima/geo"
	"proxima/router"
)

// Server answers operators. Its fields are set before Handler is called and not
// changed afterwards.
type Server struct {
	Live    *router.Live
	Version string
	Config  func() ConfigInfo // what is in use now

	// Reload loads the configuration again. Unchanged bytes are not an error. An
	// error has one line for each problem; one that wraps ErrNeedsForce says that
	// force would do. nil: this router has nothing to reload.
	Reload func(ctx context.Context, force bool) (Reload, error)

	Locate  func(netip.Addr) geo.Location
	Ready   func() error // nil: clients may be sent here; else why not, for anybody to read
	Metrics http.Handler // answers scrapes
	Recent  *Recent

	Suspicion func() *SelfSuspicion // what speaks against this router's own network; nil: nobody looks
	Compared  *Comparison           // with the other steering.by; nil: nobody compares

	// Token lets in whoever sends it; see ParseToken. Empty: only this machine is
	// let in, and nobody needs a token.
	Token string

	// Audit is told of every drain, undrain and reload, and of requests refused,
	// the latter at a bounded rate. detail holds no control characters. nil: nobody
	// is told.
	Audit func(event string, r *http.Request, detail string)

	Attribution Attribution      // shown on the page
	Now         func() time.Time // nil: time.Now
}

// ConfigInfo is the configuration in use.
type ConfigInfo struct {
	Hash     string
	LoadedAt time.Time
	Text     []byte // YAML without secrets
	Refused  *Refusal
}

// Refusal is why the newest configuration is not the one in use.
type Refusal struct {
	At  time.Time `json:"at"`
	Why string    `json:"why"` // a line for each problem
}

// Attribution names whose data the router shows, with a link. The zero value
// shows none.
type Attribution struct{ Text, URL string }

// Handler answers every admin URL.
func (s *Server) Handler() http.Handler {
	g := newGuard(s)
	mux := http.NewServeMux()

	mux.Handle("/livez", methods{"GET": s.livez})
	mux.Handle("/readyz", methods{"GET": s.readyz})

	mux.Handle("/{$}", g.page(methods{"GET": s.page()}))
	mux.Handle("/dashboard/app.js", g.page(methods{"GET": asset("app.js", "text/javascript; charset=utf-8")}))
	mux.Handle("/dashboard/style.css", g.page(methods{"GET": asset("style.css", "text/css; charset=utf-8")}))

	mux.Handle("/metrics", g.operator(methods{"GET": s.Metrics.ServeHTTP}))
	mux.Handle("/v1/status", g.operator(methods{"GET": s.status}))
	mux.Handle("/v1/explain", g.operator(methods{"GET": s.explain}))
	mux.Handle("/v1/requests", g.operator(methods{"GET": s.requests}))
	mux.Handle("/v1/config", g.operator(methods{"GET": s.config}))
	mux.Handle("/v1/reload", g.operator(methods{"POST": s.reload}))
	mux.Handle("/v1/endpoints/{drain...}", g.operator(methods{"PUT": s.drainEndpoint, "DELETE": s.drainEndpoint}))
	mux.Handle("/v1/regions/{drain...}", g.operator(methods{"PUT": s.drainRegion, "DELETE": s.drainRegion}))
	mux.Handle("/", g.operator(http.HandlerFunc(nothingHere)))
	return bounded(mux)
}

// HTTP returns the server to listen with: Handler within bounds on time and on
// the size of headers. Nothing it serves takes longer than a reload may.
func (s *Server) HTTP(errors *log.Logger) *http.Server {
	return &http.Server{
		Handler:           s.Handler(),
		ErrorLog:          errors,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      2 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
}

func (s *Server) livez(w http.ResponseWriter, _ *http.Request) { answerText(w, "ok\n") }

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := s.Ready(); err != nil {
		answerProblem(w, Problem{Status: http.StatusServiceUnavailable, Detail: err.Error()})
		return
	}
	answerText(w, "ready\n")
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	snapshot := s.Live.Snapshot()
	status := Describe(snapshot, snapshot.Measure(nil, s.now()), s.Version, s.Config())
	if s.Suspicion != nil {
		status.SelfSuspicion = s.Suspicion()
	}
	if s.Compared != nil {
		status.Steering.Otherwise = s.Compared.with(snapshot.Table.Steering.By)
	}
	answer(w, status)
}

func (s *Server) config(w http.ResponseWriter, _ *http.Request) {
	config := s.Config()
	w.Header().Set("Content-Type", "application/yaml") // RFC 9512
	if config.Hash != "" {
		w.Header().Set("ETag", `"`+config.Hash+`"`)
	}
	w.Write(config.Text)
}

func nothingHere(w http.ResponseWriter, r *http.Request) {
	answerProblem(w, Problem{
		Status: http.StatusNotFound,
		Detail: "nothing is served at " + cleaned(r.URL.Path, pathBytes),
		Hint: "the URLs are /, /livez, /readyz, /metrics, /v1/status, /v1/explain, /v1/requests, /v1/config, /v1/reload, " +
			"/v1/endpoints/{id}/drain and /v1/regions/{id}/drain",
	})
}

func (s *Server) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

func (s *Server) audit(event string, r *http.Request, detail string) {
	if s.Audit != nil {
		s.Audit(event, r, detail)
	}
}

// answer writes JSON for people and programs.
func answer(w http.ResponseWriter, body any) { answerJSON(w, http.StatusOK, "application/json", body) }

func answerJSON(w http.ResponseWriter, status int, mediaType string, body any) {
	var text bytes.Buffer
	encode := json.NewEncoder(&text)
	encode.SetIndent("", "  ")
	if err := encode.Encode(body); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.WriteHeader(status)
	w.Write(text.Bytes())
}

func answerText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write([]byte(text))
}

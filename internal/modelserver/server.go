// Package modelserver is a simulated model server; it makes up text. It speaks
// enough of the OpenAI API for a router, a demonstration or a load test to meet
// what a real one does: it queues, it thinks before the first token, it streams,
// and on request it breaks in the ways in which model servers break.
//
// The text depends only on the model and on what was asked, never on the region,
// so the same request gets the same answer everywhere. Where an answer comes from
// is told by the header X-Simulated-Region and by system_fingerprint.
//
// Like a real one it goes on with a text that it is given the beginning of: the
// answer to a question and part of its answer is the rest of the answer, in the
// same tokens.
//
// Start at Server.ServeHTTP. completion.go reads a request and sets the answer's
// pace, text.go makes the answer up, continue.go finds how much of it was said
// before, respond.go writes it. fault.go names what can be wrong, break.go does
// it, and watch.go shows what came and what was done.
package modelserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// RegionHeader is the response header that names the region of the simulated
// model server that answered.
const RegionHeader = "X-Simulated-Region"

const (
	bodyLimit = 32 << 20        // bytes of a request that are read; more is answered with 413
	keepAlive = 5 * time.Second // for an idle connection, as uvicorn does, which serves vLLM's API
	grace     = 2 * time.Second // for requests under way when Serve is told to stop
)

// Settings say what a simulated model server is like. The zero value answers
// every model at once, without limit and without delay.
type Settings struct {
	Region     string        // named in a header and in system_fingerprint
	Models     []string      // the models it answers to; empty: every name
	FirstToken time.Duration // mean time from a free slot to the first token
	Jitter     time.Duration // the first token comes up to this much earlier or later; the same request always jitters alike
	PerToken   time.Duration // between two tokens
	Slots      int           // answers made at once, more wait in a queue; 0: no limit
	Network    time.Duration // a round trip added to every answer, as if the region were that far away
	Faults     bool          // also switch faults for whoever asks over HTTP, POST /sim/fault?mode=…, and keep and show requests, GET /sim/requests
}

// Server is one simulated model server. All its methods may be called at any
// time from any goroutine.
type Server struct {
	settings Settings
	paths    *http.ServeMux
	slots    chan struct{} // nil: no limit

	counters
	requests requestLog

	mu       sync.Mutex // guards fault, restarts and changed
	fault    Fault
	restarts time.Time     // down until then, after a crash
	changed  chan struct{} // closed as soon as one of the others changes
}

// New returns a simulated model server that has nothing wrong with it.
func New(settings Settings) *Server {
	s := &Server{settings: settings, paths: http.NewServeMux(), changed: make(chan struct{})}
	if settings.Slots > 0 {
		s.slots = make(chan struct{}, settings.Slots)
	}
	s.paths.HandleFunc("GET /{$}", s.greet)
	s.paths.HandleFunc("GET "+healthPath, s.health)
	s.paths.HandleFunc("GET /v1/models", s.models)
	s.paths.HandleFunc("POST /v1/chat/completions", s.complete)
	s.paths.HandleFunc("POST /v1/completions", s.complete)
	s.paths.HandleFunc("POST /v1/embeddings", s.embed)
	s.paths.HandleFunc("/v1/", unknownPath)
	s.paths.HandleFunc("GET /sim/stats", s.showStats)
	if settings.Faults {
		s.paths.HandleFunc("POST /sim/fault", s.switchFault)
		s.paths.HandleFunc("GET /sim/requests", s.showRequests)
	}
	return s
}

// ServeHTTP answers one request, or breaks as the present fault says. A
// connection is broken the way net/http does it: by a panic with
// http.ErrAbortHandler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(RegionHeader, s.settings.Region)
	if strings.HasPrefix(r.URL.Path, "/sim/") { // whoever breaks it must be able to mend it
		s.paths.ServeHTTP(w, r)
		return
	}
	number := s.count(r)
	s.inFlight.Add(1)
	defer s.inFlight.Add(-1)

	// Only after the whole body is read does net/http notice that a client leaves.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		refuse(w, http.StatusRequestEntityTooLarge, "body_too_large", err.Error())
		return
	}
	if err != nil {
		s.abandon()
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	s.keep(r, body)
	if s.breaks(w, r, number) {
		return
	}
	s.pause(r.Context(), s.settings.Network)
	s.paths.ServeHTTP(w, r)
}

// Serve answers on a listener until ctx ends, then lets requests under way
// finish for a moment before it breaks them off. It closes the listener and
// returns nil after a stop that ctx asked for.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: keepAlive, ConnState: s.countConnection}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	select {
	case err := <-served:
		return fmt.Errorf("simulated model server of %s: %w", s.settings.Region, err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := server.Shutdown(stop)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	<-served
	return err
}

// pause lets time pass. It leaves the handler, and with it the connection, when
// the client is gone or the region goes down meanwhile.
func (s *Server) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		changed := s.notDown()
		if ctx.Err() != nil {
			s.abandon()
		}
		select {
		case <-timer.C:
			return
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// abandon leaves the handler because the client has left.
func (s *Server) abandon() {
	s.cancelled.Add(1)
	panic(http.ErrAbortHandler)
}

// occupy waits for a slot, and leaves the handler as pause does. The caller gives
// the slot back with release.
func (s *Server) occupy(ctx context.Context) (release func()) {
	if s.slots == nil {
		return func() {}
	}
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	for {
		changed := s.notDown()
		select {
		case s.slots <- struct{}{}:
			return func() { <-s.slots }
		case <-changed:
		case <-ctx.Done():
			s.abandon()
		}
	}
}

// notDown breaks the connection off when the region is down. Otherwise whoever
// waits asks again when the channel is closed.
func (s *Server) notDown() (changed <-chan struct{}) {
	fault, changed := s.situation()
	if fault.Mode == Down {
		panic(http.ErrAbortHandler)
	}
	return changed
}

func (s *Server) greet(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "simulated model server in %s; it makes up text\n", s.settings.Region)
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, "ok")
}

package modelserver

import (
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// counters are what Stats shows.
type counters struct {
	received, probes, executions, resumed, cancelled, tokens atomic.Int64
	inFlight, waiting, connections                           atomic.Int64
}

// Stats is what has happened at a simulated model server so far.
type Stats struct {
	Region      string `json:"region"`
	Fault       string `json:"fault"`       // as POST /sim/fault takes it
	Received    int64  `json:"received"`    // requests, without health probes
	Probes      int64  `json:"probes"`      // requests for /health
	Executions  int64  `json:"executions"`  // answers that it began to make up
	Resumed     int64  `json:"resumed"`     // of those, the ones that went on with a text: asked to, or a prompt that held part of its own answer
	Tokens      int64  `json:"tokens"`      // of text, made up and sent; continuations count the new ones
	Cancelled   int64  `json:"cancelled"`   // requests whose client left before the end of the answer
	InFlight    int64  `json:"in_flight"`   // requests here now, probes too
	Waiting     int64  `json:"waiting"`     // of those, the ones without a slot
	Connections int64  `json:"connections"` // open now, of those that Serve accepted
}

// Stats returns the counters as they are now.
func (s *Server) Stats() Stats {
	return Stats{
		Region:      s.settings.Region,
		Fault:       s.Fault().String(),
		Received:    s.received.Load(),
		Probes:      s.probes.Load(),
		Executions:  s.executions.Load(),
		Resumed:     s.resumed.Load(),
		Tokens:      s.tokens.Load(),
		Cancelled:   s.cancelled.Load(),
		InFlight:    s.inFlight.Load(),
		Waiting:     s.waiting.Load(),
		Connections: s.connections.Load(),
	}
}

func (s *Server) showStats(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Stats()) }

// count returns the request's number; probes and other requests are numbered apart.
func (s *Server) count(r *http.Request) int64 {
	if r.URL.Path == healthPath {
		return s.probes.Add(1)
	}
	return s.received.Add(1)
}

func (s *Server) countConnection(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.connections.Add(1)
	case http.StateHijacked, http.StateClosed:
		s.connections.Add(-1)
	}
}

const (
	keptRequests = 100
	keptBody     = 64 << 10 // bytes of each
)

// Request is what came to a simulated model server.
type Request struct {
	Path         string `json:"path"`
	ForwardedFor string `json:"forwarded_for"` // X-Forwarded-For, several joined by commas
	RequestID    string `json:"request_id"`    // X-Request-Id
	Body         string `json:"body"`          // its first 64 KiB
	Size         int    `json:"size"`          // bytes of the whole body
}

// requestLog holds the last requests, the oldest first.
type requestLog struct {
	mu   sync.Mutex
	kept []Request
}

// Requests returns the last 100 requests, the oldest first, without probes and
// whatever a fault then did to them. Only with Settings.Faults are there any.
func (s *Server) Requests() []Request {
	s.requests.mu.Lock()
	defer s.requests.mu.Unlock()
	return append([]Request{}, s.requests.kept...)
}

// keep remembers a request whose body has come whole.
func (s *Server) keep(r *http.Request, body []byte) {
	if !s.settings.Faults || r.URL.Path == healthPath {
		return
	}
	came := Request{
		Path:         r.URL.Path,
		ForwardedFor: strings.Join(r.Header.Values("X-Forwarded-For"), ", "),
		RequestID:    r.Header.Get("X-Request-Id"),
		Body:         string(body[:min(len(body), keptBody)]),
		Size:         len(body),
	}
	s.requests.mu.Lock()
	defer s.requests.mu.Unlock()
	if len(s.requests.kept) == keptRequests {
		s.requests.kept = slices.Delete(s.requests.kept, 0, 1)
	}
	s.requests.kept = append(s.requests.kept, came)
}

func (s *Server) showRequests(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Requests()) }

package modelserver

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A fault acts in these places: breaks, before anything is done for a request;
// isPoisoned, when a question has been read; think, while a token is made up;
// breaksFirst, before the first event of a stream; breaksAt, before each token;
// pace and send in respond.go, for how slowly it comes. Where net/http would end
// an answer too politely, the connection is taken from it.

const (
	healthPath = "/health"
	poison     = "POISON"               // the word that does it
	restart    = 300 * time.Millisecond // from a crash until it answers again
)

// Break replaces the present fault. Requests that are held by the old one go on.
func (s *Server) Break(fault Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault, s.restarts = fault, time.Time{}
	s.wake()
}

// Mend takes the present fault away.
func (s *Server) Mend() { s.Break(Fault{}) }

// Fault returns the present fault.
func (s *Server) Fault() Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}

// crash breaks off everything under way, and everything that comes until the
// server has restarted.
func (s *Server) crash() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.restarts = time.Now().Add(restart)
	s.wake()
}

// wake lets everybody look again who waits for a change. The caller holds mu.
func (s *Server) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// situation returns the fault that acts at this moment: while the server restarts
// it is down, whatever else is wrong with it.
func (s *Server) situation() (fault Fault, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Now().Before(s.restarts) {
		return Fault{Mode: Down}, s.changed
	}
	return s.fault, s.changed
}

// breaks lets the present fault act on a request before its answer begins and
// reports whether the fault has answered it.
func (s *Server) breaks(w http.ResponseWriter, r *http.Request, number int64) bool {
	fault, changed := s.situation()
	probe := r.URL.Path == healthPath
	text := r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/v1/")
	switch {
	case fault.HealthOnly && !probe:
		return false
	case fault.Mode == Down:
		panic(http.ErrAbortHandler)
	case fault.Mode == Reset:
		reset(w)
	case fault.Mode == Freeze:
		s.hold(r.Context(), changed)
		return s.breaks(w, r, number)
	case fault.Mode == Slow, fault.Mode == SlowFirst && text:
		s.pause(r.Context(), fault.Delay)
	case fault.Mode == Status, fault.Mode == Busy && text:
		s.refuseAs(w, fault)
		return true
	case fault.Mode == ErrorRate && !probe && misfortune(number) < fault.Rate:
		s.refuseAs(w, Fault{Status: http.StatusInternalServerError})
		return true
	}
	return false
}

// misfortune is between 0 and 1. The n-th request fares the same in every run.
func misfortune(number int64) float64 {
	return rand.New(rand.NewPCG(uint64(number), 0)).Float64()
}

func (s *Server) refuseAs(w http.ResponseWriter, fault Fault) {
	if fault.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(fault.RetryAfter.Seconds())))
	}
	refuse(w, fault.Status, faultCode, fmt.Sprintf("%s simulates status %d", s.settings.Region, fault.Status))
}

const faultCode = "simulated_fault"

// isPoisoned lets a poisoned question act; it reports whether that has answered it.
func (s *Server) isPoisoned(w http.ResponseWriter, in input) bool {
	fault, _ := s.situation()
	if fault.Mode != Poison || !in.holds(poison) {
		return false
	}
	if fault.Status == 0 {
		s.crash()
		reset(w)
	}
	s.refuseAs(w, fault)
	return true
}

// breaksFirst lets the present fault act on a stream before its first event and
// reports whether the fault has ended it.
func (s *Server) breaksFirst(w http.ResponseWriter, r *http.Request) (ended bool) {
	fault, _ := s.situation()
	switch fault.Mode {
	case HeadFirst:
		w.WriteHeader(http.StatusOK)
		flush(w)
		s.pause(r.Context(), fault.Delay)
	case ErrorFirst:
		s.fail(w, r)
		return true
	}
	return false
}

// breaksAt lets the present fault act on an answer of which some tokens are
// written and reports whether the fault has ended it.
func (s *Server) breaksAt(w http.ResponseWriter, r *http.Request, written int, stream bool) (ended bool) {
	for {
		fault, changed := s.situation()
		if !fault.stops(written, stream) {
			return false
		}
		switch fault.Mode {
		case CutAfter:
			panic(http.ErrAbortHandler)
		case ResetAfter:
			reset(w)
		case BadChunkAfter:
			garble(w)
		case EOFAfter:
			return true
		case ErrorAfter:
			s.fail(w, r)
			return true
		}
		s.hold(r.Context(), changed)
	}
}

// think lets time pass until the next token is made up. A wedged server never
// gets there.
func (s *Server) think(ctx context.Context, d time.Duration) {
	s.pause(ctx, d)
	for {
		fault, changed := s.situation()
		if fault.Mode != Wedged {
			return
		}
		s.hold(ctx, changed)
	}
}

// hold is silent until another fault, or none, replaces the one that holds.
func (s *Server) hold(ctx context.Context, changed <-chan struct{}) {
	select {
	case <-changed:
		s.pause(ctx, 0)
	case <-ctx.Done():
		s.abandon()
	}
}

// fail ends a stream with an error as vLLM does: the event, and [DONE] after it.
// (serving_chat.py in vLLM's vllm/entrypoints/openai, chat_completion_stream_generator.)
func (s *Server) fail(w http.ResponseWriter, r *http.Request) {
	message := s.settings.Region + " simulates an error midway"
	s.send(w, r, encode(failure(http.StatusInternalServerError, faultCode, message)))
	s.send(w, r, []byte(done))
}

// reset closes the connection so that the client gets a TCP reset, and leaves the
// handler. What was written before is on its way already; on a network that knows
// no resets the connection is closed.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		if tcp, is := conn.(interface{ SetLinger(seconds int) error }); is {
			tcp.SetLinger(0)
		}
		conn.Close()
	}
	panic(http.ErrAbortHandler)
}

// garble writes what is no chunk size where one should come, closes the connection
// and leaves the handler.
func garble(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		io.WriteString(conn, "no size\r\n")
		conn.Close()
	}
	panic(http.ErrAbortHandler)
}

func (s *Server) switchFault(w http.ResponseWriter, r *http.Request) {
	fault, err := ParseFault(r.URL.Query().Get("mode"))
	if err != nil {
		refuse(w, http.StatusBadRequest, "no_such_fault", err.Error())
		return
	}
	s.Break(fault)
	writeJSON(w, s.Stats())
}

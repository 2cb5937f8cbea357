package modelserver

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const healthPath = "/health"

// Mode is a way of being broken.
type Mode string

const (
	None       Mode = "none"
	Down       Mode = "down"        // every connection is broken off without an answer, those under way too
	Freeze     Mode = "freeze"      // connections are accepted and nothing is ever answered
	Status     Mode = "status"      // every path answers with one status
	Slow       Mode = "slow"        // every answer starts later
	CutAfter   Mode = "cut-after"   // an answer breaks off after some tokens
	StallAfter Mode = "stall-after" // an answer falls silent after some tokens
	ErrorRate  Mode = "error-rate"  // a share of the requests is answered with 500; probes are not
)

// Fault is what is wrong with a simulated model server; the zero value is
// nothing. Only the field that belongs to its mode counts.
type Fault struct {
	Mode       Mode
	HealthOnly bool          // only /health suffers: with Status and Freeze
	Status     int           // with Status
	Delay      time.Duration // with Slow
	Tokens     int           // with CutAfter and StallAfter
	Rate       float64       // with ErrorRate, between 0 and 1
}

// ParseFault reads a fault as POST /sim/fault takes it: none, down, freeze,
// status=503, slow=300ms, cut-after=3, stall-after=3, error-rate=0.3,
// health=503 or health=freeze.
func ParseFault(text string) (Fault, error) {
	name, value, valued := strings.Cut(text, "=")
	if name == "health" {
		return parseHealthFault(value)
	}
	fault, err := Fault{Mode: Mode(name)}, error(nil)
	switch fault.Mode {
	case None, Down, Freeze:
		if valued {
			err = fmt.Errorf("%s takes no value", name)
		}
	case Status:
		fault.Status, err = parseStatus(value)
	case Slow:
		fault.Delay, err = parseDelay(value)
	case CutAfter, StallAfter:
		fault.Tokens, err = parseTokens(value)
	case ErrorRate:
		fault.Rate, err = parseRate(value)
	default:
		err = fmt.Errorf("no such fault; there are none, down, freeze, status=503, slow=300ms, cut-after=3, " +
			"stall-after=3, error-rate=0.3, health=503 and health=freeze")
	}
	if err != nil {
		return Fault{}, fmt.Errorf("fault %q: %w", text, err)
	}
	return fault, nil
}

func parseHealthFault(value string) (Fault, error) {
	if value == string(Freeze) {
		return Fault{Mode: Freeze, HealthOnly: true}, nil
	}
	status, err := parseStatus(value)
	if err != nil {
		return Fault{}, fmt.Errorf("fault %q: %w", "health="+value, err)
	}
	return Fault{Mode: Status, HealthOnly: true, Status: status}, nil
}

func parseStatus(value string) (int, error) {
	status, err := strconv.Atoi(value)
	if err != nil || status < 200 || status > 599 {
		return 0, fmt.Errorf("a status is a number from 200 to 599, such as 503")
	}
	return status, nil
}

func parseDelay(value string) (time.Duration, error) {
	delay, err := time.ParseDuration(value)
	if err != nil || delay < 0 {
		return 0, fmt.Errorf("a delay is a time with its unit, such as 300ms")
	}
	return delay, nil
}

func parseTokens(value string) (int, error) {
	tokens, err := strconv.Atoi(value)
	if err != nil || tokens < 0 {
		return 0, fmt.Errorf("a number of tokens is 0 or more, such as 3")
	}
	return tokens, nil
}

func parseRate(value string) (float64, error) {
	rate, err := strconv.ParseFloat(value, 64)
	if err != nil || math.IsNaN(rate) || rate < 0 || rate > 1 {
		return 0, fmt.Errorf("a rate is a number from 0 to 1, such as 0.3")
	}
	return rate, nil
}

// String is the fault in the form that ParseFault reads.
func (f Fault) String() string {
	switch {
	case f.HealthOnly && f.Mode == Status:
		return fmt.Sprintf("health=%d", f.Status)
	case f.HealthOnly:
		return "health=" + string(f.Mode)
	}
	switch f.Mode {
	case "":
		return string(None)
	case Status:
		return fmt.Sprintf("status=%d", f.Status)
	case Slow:
		return fmt.Sprintf("slow=%v", f.Delay)
	case CutAfter, StallAfter:
		return fmt.Sprintf("%s=%d", f.Mode, f.Tokens)
	case ErrorRate:
		return fmt.Sprintf("error-rate=%g", f.Rate)
	}
	return string(f.Mode)
}

// Break replaces the present fault. Requests that are held by the old one go on.
func (s *Server) Break(fault Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
	close(s.changed)
	s.changed = make(chan struct{})
}

// Mend takes the present fault away.
func (s *Server) Mend() { s.Break(Fault{}) }

// Fault returns the present fault.
func (s *Server) Fault() Fault {
	fault, _ := s.situation()
	return fault
}

func (s *Server) situation() (fault Fault, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault, s.changed
}

// breaks lets the present fault act on a request before its answer begins and
// reports whether the fault has answered it.
func (s *Server) breaks(w http.ResponseWriter, r *http.Request, number int64) bool {
	fault, changed := s.situation()
	probe := r.URL.Path == healthPath
	if fault.HealthOnly && !probe {
		return false
	}
	switch fault.Mode {
	case Down:
		panic(http.ErrAbortHandler)
	case Freeze:
		s.hold(r.Context(), changed)
		return s.breaks(w, r, number)
	case Slow:
		s.pause(r.Context(), fault.Delay)
	case Status:
		refuse(w, fault.Status, "simulated_fault", fmt.Sprintf("%s simulates status %d", s.settings.Region, fault.Status))
		return true
	case ErrorRate:
		// The n-th request fares the same in every run.
		if !probe && rand.New(rand.NewPCG(uint64(number), 0)).Float64() < fault.Rate {
			refuse(w, http.StatusInternalServerError, "simulated_fault", s.settings.Region+" simulates an error")
			return true
		}
	}
	return false
}

// breaksAt lets the present fault act on an answer of which some tokens are
// written.
func (s *Server) breaksAt(ctx context.Context, written int) {
	fault, changed := s.situation()
	if !fault.interrupts(written) {
		return
	}
	if fault.Mode == CutAfter {
		panic(http.ErrAbortHandler)
	}
	s.hold(ctx, changed)
}

// interrupts reports whether the fault lets an answer go no further than it is
// with some tokens written.
func (f Fault) interrupts(written int) bool {
	return (f.Mode == CutAfter || f.Mode == StallAfter) && written >= f.Tokens
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

func (s *Server) switchFault(w http.ResponseWriter, r *http.Request) {
	fault, err := ParseFault(r.URL.Query().Get("mode"))
	if err != nil {
		refuse(w, http.StatusBadRequest, "no_such_fault", err.Error())
		return
	}
	s.Break(fault)
	writeJSON(w, s.Stats())
}

// Package server is a model server in simulated time: it says when each request
// would get its first and its last token, and does no other work. It opens no socket,
// starts no goroutine, reads no clock and draws no random number, so the same calls
// give the same events, bit for bit. Time is a float64 of simulated milliseconds.
//
// A request's way through the server:
//
//	line     First come, first served. The head gets one of the slots as soon as one is
//	         free and the tokens of its prompt and answer, all of them reserved at once,
//	         fit beside those of the others. Until then it blocks everybody behind it.
//	prefill  One request at a time, in the same order, at PrefillPerMs·(1 − ½·b/Slots)
//	         while b sequences decode. What the prefix cache holds of the prompt when the
//	         prefill starts costs nothing, but at least one token is always computed.
//	decode   All b sequences of the batch advance by a token in each step of
//	         StepMs + StepPerSeqMs·(b−1), half as long again while a prefill runs. The
//	         first token is out one step after the prefill's end.
//
// This is continuous batching: sequences join and leave the batch between two steps,
// as in Orca (OSDI 2022), and memory for their tokens bounds how many there are, as in
// vLLM (SOSP 2023). That a prefill runs beside the decoding and both become slower is
// chunked prefill, as in Sarathi-Serve (OSDI 2024). The two halves, how much a full
// batch takes from a prefill and a prefill adds to a step, are chosen, not measured.
// Left out: memory taken block by block as an answer grows, and preemption.
//
// The figures beside the fields of Spec are those of a model of 8 billion parameters
// of two bytes on one accelerator. A step reads all 16 GB of it, which takes 8 to 20 ms
// at 0.8 to 2 TB/s. A prompt token costs 2 operations a parameter, so that 8,000 a
// second are 128 TFLOP/s. Keys and values of a token are 128 KiB (32 layers, 8 heads of
// 128, two bytes, twice), so that 120,000 tokens are 16 GB. To read those of a
// 1,400-token sequence takes 0.1 to 0.2 ms of a step; the rest of 0.6 ms is
// arithmetic and sampling, on the cautious side.
//
// Nothing is simulated token by token. Between two events everything advances at a
// constant rate, so the server keeps one clock that counts the tokens each decoding
// sequence has been given, and knows on that clock where each of them ends. Start
// reading at happen, in progress.go.
package server

import (
	"fmt"
	"math"
	"slices"
)

// Spec says how fast a server is and how much fits into it.
type Spec struct {
	PrefillPerMs float64 // prompt tokens computed in a millisecond while nothing decodes: 8
	StepMs       float64 // a decode step of a batch of one: 20
	StepPerSeqMs float64 // what each further sequence adds to a step: 0.6
	Slots        int     // sequences that run at once: 32
	KVTokens     int     // prompt and answer tokens that fit at once: 120,000; 0: no limit
	Queue        int     // requests that may wait for a slot, further ones are refused; 0: no limit
	CacheTokens  int     // of the prefix cache, the least recently used go first; 0: no cache
}

// Job is a request as the server sees it.
type Job struct {
	ID           uint64 // of one job in flight only
	Context      int    // tokens of the prompt
	Generate     int    // tokens of the answer; less than 1 counts as 1
	Session      uint64 // 0: none. Prompt and answer of its last turn are cached under it
	Prefix       uint64 // 0: none. What the first PrefixTokens of the prompt are cached under
	PrefixTokens int
	Shared       int // how much of the prompt is the session's previous turn, answer included
}

// Event is something that a client of the server would notice.
type Event struct {
	At   float64 // ms
	Job  uint64
	Kind Kind
}

// Kind is what an event is about.
type Kind uint8

// Each job that is accepted, and neither cancelled nor lost in a crash, has one event
// of each kind, in this order.
const (
	FirstToken Kind = iota
	Done            // the last token is out; of an answer of one token at the same time as the first
)

// Server is a simulated model server. Its methods take the present time, which never
// goes back: an earlier one counts as the latest that was given. What happens up to
// then of its own accord happens first. It is not safe for concurrent use.
type Server struct {
	spec   Spec
	slots  int
	slow   float64 // everything takes so many times as long
	frozen bool

	now        float64    // latest time that was given
	line       line       // all that do not decode yet, in order
	seated     int        // so many at its head have a slot
	prefilling bool       // the head's prompt is being computed
	decoding   []sequence // the one to finish next is last
	firsts     []first    // tokens to come that are the first of an answer, in order
	kv         int        // tokens reserved
	cache      *cache

	// Progress is linear after since, until due.
	since      float64
	tokens     float64 // the token clock at since: what a sequence that always decoded has
	work       float64 // prompt tokens the prefill has yet to compute at since
	msPerToken float64 // how fast tokens rises; +Inf: not at all
	workPerMs  float64 // how fast work falls
	due        float64 // when something happens next; +Inf: never
	what       happening

	news  []Event // that nobody was told yet
	ahead *Server // a copy for Predict to play on
}

// sequence is a job that decodes. Its ends are readings of the token clock.
type sequence struct {
	first, finish float64
	id, session   uint64
	tokens        int // of its prompt and answer
}

type first struct {
	at float64 // on the token clock
	id uint64
}

// New returns an idle server with an empty cache. It panics when the spec describes no
// server, which is an error of the program.
func New(spec Spec) *Server {
	if err := spec.check(); err != nil {
		panic(fmt.Sprintf("server.New: %v", err))
	}
	s := &Server{spec: spec, slots: spec.Slots, slow: 1, cache: newCache(spec.CacheTokens)}
	s.plan()
	return s
}

func (s Spec) check() error {
	switch {
	case !positive(s.PrefillPerMs):
		return fmt.Errorf("spec.PrefillPerMs is %v: it must be more than 0", s.PrefillPerMs)
	case !positive(s.StepMs):
		return fmt.Errorf("spec.StepMs is %v: it must be more than 0", s.StepMs)
	case s.StepPerSeqMs != 0 && !positive(s.StepPerSeqMs):
		return fmt.Errorf("spec.StepPerSeqMs is %v: it must be 0 or more", s.StepPerSeqMs)
	case s.Slots < 1:
		return fmt.Errorf("spec.Slots is %d: it must be 1 or more", s.Slots)
	case s.KVTokens < 0 || s.Queue < 0 || s.CacheTokens < 0:
		return fmt.Errorf("spec's KVTokens, Queue and CacheTokens are %d, %d and %d: they must be 0 or more", s.KVTokens, s.Queue, s.CacheTokens)
	}
	return nil
}

func positive(x float64) bool { return x > 0 && !math.IsInf(x, 1) }

// Submit puts a job into the line and reports whether it was accepted. It is refused,
// which clients know as status 429, when it would have to wait and Queue jobs wait
// already, or when it has more tokens than fit into an empty server.
func (s *Server) Submit(now float64, j Job) (accepted bool) {
	s.catchUp(now)
	j = j.bounded()
	if !s.accepts(&j) {
		return false
	}
	s.enter(j)
	return true
}

func (j Job) bounded() Job {
	j.Context, j.Generate = max(j.Context, 0), max(j.Generate, 1)
	j.PrefixTokens = min(max(j.PrefixTokens, 0), j.Context)
	j.Shared = min(max(j.Shared, 0), j.Context)
	return j
}

func (j *Job) tokens() int { return j.Context + j.Generate }

// Next returns when something happens of its own accord, +Inf when nothing will. It is
// in the past when Advance has not told all that happened.
func (s *Server) Next() float64 {
	if len(s.news) > 0 {
		return s.news[0].At
	}
	return s.due
}

// Advance tells everything that happened up to now and was not told yet, in the order
// of time; +Inf goes on to the end. How often it is called changes nothing. tell must
// not call the server; nil forgets the events.
func (s *Server) Advance(now float64, tell func(Event)) {
	s.catchUp(now)
	if tell != nil {
		for _, e := range s.news {
			tell(e)
		}
	}
	s.news = s.news[:0]
}

// Cancel takes a job out whose client left, wherever it is, and frees its place at
// once. It has no further event. Nothing happens when the server does not have it.
func (s *Server) Cancel(now float64, id uint64) {
	s.moveTo(now)
	if i := s.line.find(id); i >= 0 {
		s.leaveLine(i)
	} else if i := s.find(id); i >= 0 {
		s.leaveBatch(i)
		s.firsts = slices.DeleteFunc(s.firsts, func(f first) bool { return f.id == id })
	}
	s.settle()
}

// Tokens returns how many tokens of a job's answer are out: 0 when the server does not
// have the job, or has it no more.
func (s *Server) Tokens(now float64, id uint64) int {
	const exact = 1e-9 // the clock's rounding must not take away a token that is just out
	s.catchUp(now)
	i := s.find(id)
	if i < 0 {
		return 0
	}
	clock := s.tokens + (s.now-s.since)/s.msPerToken
	return int(math.Floor(clock-s.decoding[i].first+exact)) + 1
}

// find returns a job's position in the batch, −1 when it is not there.
func (s *Server) find(id uint64) int {
	return slices.IndexFunc(s.decoding, func(q sequence) bool { return q.id == id })
}

// InFlight returns how many jobs are in the server, waiting or running, as of the
// latest time that was given.
func (s *Server) InFlight() int { return s.line.n + len(s.decoding) }

// SetSpeed makes everything take factor times as long as the spec says, from now on.
// It panics when the factor is not a number above 0.
func (s *Server) SetSpeed(now, factor float64) {
	if !positive(factor) {
		panic(fmt.Sprintf("server.SetSpeed: factor is %v: it must be more than 0", factor))
	}
	s.moveTo(now)
	s.slow = factor
	s.settle()
}

// SetSlots changes how many sequences run at once; less than 0 counts as 0. Those that
// have a slot keep it. The speed stays, as slots are memory and not arithmetic.
func (s *Server) SetSlots(now float64, n int) {
	s.moveTo(now)
	s.slots = max(n, 0)
	s.settle()
}

// Freeze stops all progress until Thaw. Jobs are accepted as usual, and then wait.
func (s *Server) Freeze(now float64) {
	s.moveTo(now)
	s.frozen = true
	s.settle()
}

// Thaw ends Freeze: everything goes on from where it stopped.
func (s *Server) Thaw(now float64) {
	s.moveTo(now)
	s.frozen = false
	s.settle()
}

// Crash loses all jobs, returns their ids, and empties the cache. The server is there
// again at once, as fast or slow, frozen or not, with as many slots as before.
func (s *Server) Crash(now float64) []uint64 {
	s.moveTo(now)
	lost := make([]uint64, 0, s.InFlight())
	for _, q := range s.decoding {
		lost = append(lost, q.id)
	}
	for i := range s.line.n {
		lost = append(lost, s.line.at(i).ID)
	}
	s.decoding, s.firsts, s.line.n = s.decoding[:0], s.firsts[:0], 0
	s.seated, s.kv, s.prefilling, s.work = 0, 0, false, 0
	s.cache.empty()
	s.settle()
	return lost
}

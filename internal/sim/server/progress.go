package server

import (
	"math"
	"slices"
)

// How much prefill and decoding take from each other.
const (
	fullBatchTakes = 0.5 // of the prefill's speed, in proportion when the batch is not full
	prefillAdds    = 0.5 // to a decode step
)

// happening is what the server does next of its own accord.
type happening uint8

const (
	giveFirst happening = iota // the first of firsts is out
	finish                     // the last of decoding has all its tokens
	join                       // the head of the line is computed and joins the batch
)

// happen lets the next thing happen, which is at due.
func (s *Server) happen() {
	s.progress(s.due)
	switch s.what {
	case giveFirst:
		s.tokens = s.firsts[0].at // exactly, whatever was rounded on the way
		s.report(s.firsts[0].id, FirstToken)
		s.firsts = slices.Delete(s.firsts, 0, 1)
	case finish:
		last := len(s.decoding) - 1
		q := s.decoding[last]
		s.tokens = q.finish
		s.report(q.id, Done)
		s.cache.put(session, q.session, q.tokens)
		s.leaveBatch(last)
	case join:
		j := *s.line.at(0)
		s.seated--
		s.line.pop()
		s.prefilling = false
		s.cache.put(prefix, j.Prefix, j.PrefixTokens)
		s.decode(&j)
	}
	s.settle()
}

func (s *Server) report(id uint64, k Kind) {
	s.news = append(s.news, Event{At: s.since, Job: id, Kind: k})
}

// catchUp lets everything happen up to now. When now is +Inf, the time is then that of
// the last that happened.
func (s *Server) catchUp(now float64) {
	for s.due <= min(now, math.MaxFloat64) {
		s.now = s.due
		s.happen()
	}
	if now > s.now && !math.IsInf(now, 1) {
		s.now = now
	}
}

// moveTo catches up and makes now the instant from which rates may differ. Whoever
// calls it changes something, and then settles.
func (s *Server) moveTo(now float64) {
	s.catchUp(now)
	s.progress(s.now)
}

// progress moves both clocks to a time that is not after due.
func (s *Server) progress(at float64) {
	passed := at - s.since
	s.tokens += passed / s.msPerToken
	s.work = max(s.work-passed*s.workPerMs, 0)
	s.since = at
}

// settle gives out the slots that are free and plans what happens next.
func (s *Server) settle() {
	s.seat()
	s.plan()
}

// seat gives slots to those in line, from its head until one does not fit, and lets
// the prefill take up its next prompt.
func (s *Server) seat() {
	for s.seated < s.line.n && s.fits(s.line.at(s.seated)) {
		s.kv += s.line.at(s.seated).tokens()
		s.seated++
	}
	if !s.prefilling && s.seated > 0 {
		s.prefilling = true
		s.work = float64(s.uncached(s.line.at(0)))
	}
}

// fits reports whether the next job in line can have a slot.
func (s *Server) fits(j *Job) bool {
	return s.seated+len(s.decoding) < s.slots && (s.spec.KVTokens == 0 || s.kv+j.tokens() <= s.spec.KVTokens)
}

// uncached returns how many tokens of a prompt must be computed. A session's entry may
// be of an earlier turn than the previous one: then it helps only so far.
func (s *Server) uncached(j *Job) int {
	held := min(s.cache.use(session, j.Session), j.Shared)
	held = max(held, min(s.cache.use(prefix, j.Prefix), j.PrefixTokens))
	return max(j.Context-held, 1)
}

// plan sets the rates from now on, and finds out what happens next. When a token and a
// prefill's end fall together, the token comes first.
func (s *Server) plan() {
	s.msPerToken, s.workPerMs, s.due = math.Inf(1), 0, math.Inf(1)
	if s.frozen {
		return
	}
	if last := len(s.decoding) - 1; last >= 0 {
		s.msPerToken = s.spec.step(float64(last+1)) * s.slow
		if s.prefilling {
			s.msPerToken *= 1 + prefillAdds
		}
		target := s.decoding[last].finish
		s.what = finish
		if len(s.firsts) > 0 && s.firsts[0].at <= target {
			target, s.what = s.firsts[0].at, giveFirst
		}
		s.due = s.since + max(target-s.tokens, 0)*s.msPerToken
	}
	if s.prefilling {
		s.workPerMs = s.spec.prefill(float64(len(s.decoding))) / s.slow
		if end := s.since + s.work/s.workPerMs; end < s.due {
			s.due, s.what = end, join
		}
	}
}

// step is how long a decode step of a batch takes, in milliseconds.
func (s *Spec) step(batch float64) float64 { return s.StepMs + s.StepPerSeqMs*max(batch-1, 0) }

// prefill is how many prompt tokens are computed in a millisecond beside a batch.
func (s *Spec) prefill(batch float64) float64 {
	return s.PrefillPerMs * (1 - fullBatchTakes*min(batch/float64(s.Slots), 1))
}

// accepts reports whether a job may come in.
func (s *Server) accepts(j *Job) bool {
	if s.spec.KVTokens > 0 && j.tokens() > s.spec.KVTokens {
		return false
	}
	return s.spec.Queue == 0 || s.line.n-s.seated < s.spec.Queue
}

// enter puts a job that was accepted at the end of the line, now.
func (s *Server) enter(j Job) {
	s.progress(s.now)
	s.line.push(j)
	s.settle()
}

// decode lets a job join the batch.
func (s *Server) decode(j *Job) {
	if len(s.decoding) == 0 {
		s.tokens = 0 // it stays small, and so exact
	}
	q := sequence{first: s.tokens + 1, id: j.ID, session: j.Session, tokens: j.tokens()}
	q.finish = q.first + float64(j.Generate-1)
	at := len(s.decoding)
	for at > 0 && s.decoding[at-1].finish <= q.finish {
		at--
	}
	s.decoding = slices.Insert(s.decoding, at, q)
	s.firsts = append(s.firsts, first{at: q.first, id: q.id})
}

// leaveBatch takes a job out of the batch.
func (s *Server) leaveBatch(i int) {
	s.kv -= s.decoding[i].tokens
	s.decoding = slices.Delete(s.decoding, i, i+1)
}

// leaveLine takes a job out of the line.
func (s *Server) leaveLine(i int) {
	if i < s.seated {
		s.kv -= s.line.at(i).tokens()
		s.seated--
	}
	if i == 0 && s.prefilling {
		s.prefilling, s.work = false, 0
	}
	s.line.remove(i)
}

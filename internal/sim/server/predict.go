package server

import "math"

// Predict returns how many milliseconds from now a job would get its first token if it
// were submitted now and nothing else came after: exactly what Submit would then give.
// It is +Inf when the job would be refused, or when the server is frozen or has no
// slot. Nothing changes by it. The cost is that of what happens until then: under a
// microsecond when a slot is free, and in proportion to the line when there is one.
func (s *Server) Predict(now float64, j Job) float64 {
	s.catchUp(now)
	j = j.bounded()
	if !s.accepts(&j) {
		return math.Inf(1)
	}
	s.cache.remember()
	defer s.cache.takeBack()
	ahead := s.copied()
	ahead.enter(j)
	return ahead.lastFirst() - s.now
}

// lastFirst plays on until everybody in the server has had a first token, and returns
// when the last of them got it. They get it in the order of the line.
func (s *Server) lastFirst() float64 {
	for s.line.n > 0 || len(s.firsts) > 0 {
		if math.IsInf(s.due, 1) {
			return s.due
		}
		s.happen()
	}
	return s.since
}

// copied returns a copy of the server to play on, which is the same one each time. It
// shares the cache, which takes back what was done to it, and the array behind the
// line, where it may write beyond the line's end.
func (s *Server) copied() *Server {
	if s.ahead == nil {
		s.ahead = &Server{}
	}
	a := s.ahead
	decoding, firsts, news := a.decoding[:0], a.firsts[:0], a.news[:0]
	*a = *s
	a.decoding, a.firsts, a.news = append(decoding, s.decoding...), append(firsts, s.firsts...), news
	a.ahead = nil
	return a
}

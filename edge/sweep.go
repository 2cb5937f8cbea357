package edge

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"
)

// sweep ends the waiting of clients who take too long, from one goroutine for all of
// them, so that a request needs no timer. It returns when the server has stopped and the
// last connection is closed.
func (s *Server) sweep() {
	defer context.AfterFunc(s.base(), func() { s.cut(s.base().Err()) })()
	look := time.NewTicker(s.sweepEvery())
	defer look.Stop()
	for {
		select {
		case <-look.C:
			s.expireThose(s.clock.now())
		case <-s.emptied:
			return
		}
	}
}

// sweepEvery is how late a client may be noticed: an eighth of the time it had.
func (s *Server) sweepEvery() time.Duration {
	shortest := min(s.limits.HeaderTimeout, s.limits.IdleTimeout)
	return max(min(shortest/8, time.Second), time.Millisecond)
}

// expireThose ends what was due before now.
func (s *Server) expireThose(now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		if due := c.due.Load(); due > 0 && due < now {
			c.expire(due)
		}
	}
}

// cut ends the context of every request under way.
func (s *Server) cut(err error) {
	for _, c := range s.clients(func(c *client) bool { return c.front != nil }) {
		c.front.cancel(err)
	}
}

// expire ends the client's waiting, if it is still the one that is due then.
func (c *client) expire(due int64) {
	if due > 0 && c.due.CompareAndSwap(due, expired) {
		c.interrupt()
	}
}

// stopWaiting reports whether the waiting ended in time.
func (c *client) stopWaiting() bool { return c.due.Swap(0) != expired }

// clock is a server's: it counts from when the server was made.
type clock struct {
	began time.Time
	date  atomic.Pointer[date]
}

// now is the time that has passed, in nanoseconds.
func (c *clock) now() int64 { return int64(time.Since(c.began)) }

// in is what now will be.
func (c *clock) in(d time.Duration) int64 { return c.now() + int64(d) }

// date is the field Date, of one second.
type date struct {
	second int64
	line   string
}

// appendDate appends the field Date (RFC 9110 §6.6.1).
func (c *clock) appendDate(b []byte) []byte {
	now := time.Now()
	d := c.date.Load()
	if d == nil || d.second != now.Unix() {
		d = &date{now.Unix(), "Date: " + now.UTC().Format(http.TimeFormat) + "\r\n"}
		c.date.Store(d)
	}
	return append(b, d.line...)
}

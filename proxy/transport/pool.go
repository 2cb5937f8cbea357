package transport

import (
	"slices"
	"sync"
	"time"
)

// What is kept for the next request: so many connections to a host and in all, each for
// so long, which is below the 60 s after which many servers close.
const (
	mostKeptHost = 1024
	mostKept     = 8192
	keptFor      = 55 * time.Second
)

// pool keeps connections that are free. The zero value is ready.
type pool struct {
	mu       sync.Mutex // guards what follows
	hosts    map[string]*stack
	count    int         // of connections kept
	sweeper  *time.Timer // removes what nobody takes; nil: never needed yet
	sweeping bool        // it is on its way
	closed   bool        // nothing is kept until the next request
}

// stack is what is kept for one host, the newest last. The newest is used first, so
// that those which are not needed grow old.
type stack struct{ kept []*connection }

// take returns a connection to a host that is ready for a request; nil: there is none.
func (p *pool) take(host string) *connection {
	for {
		c := p.pop(host)
		if c == nil || c.isReady(time.Now()) {
			return c
		}
		c.Close()
	}
}

func (p *pool) pop(host string) *connection {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = false
	s := p.hosts[host]
	if s == nil || len(s.kept) == 0 {
		return nil
	}
	last := len(s.kept) - 1
	c := s.kept[last]
	s.kept[last] = nil
	s.kept = s.kept[:last]
	p.count--
	return c
}

// keep keeps a connection that is free, or closes it when enough are kept.
func (p *pool) keep(c *connection) {
	if !c.dress() {
		return
	}
	c.rest(time.Now())
	if !p.push(c) {
		c.Close()
	}
}

func (p *pool) push(c *connection) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.hosts[c.host]
	if s == nil {
		s = &stack{}
		if p.hosts == nil {
			p.hosts = map[string]*stack{}
		}
		p.hosts[c.host] = s
	}
	if p.closed || p.count == mostKept || len(s.kept) == mostKeptHost {
		return false
	}
	s.kept = append(s.kept, c)
	p.count++
	if !p.sweeping {
		p.sweepIn(keptFor)
	}
	return true
}

// sweepIn lets the sweeper come once. That it is left to come for nothing when all were
// taken costs less than to call it off.
func (p *pool) sweepIn(wait time.Duration) {
	p.sweeping = true
	if p.sweeper == nil {
		p.sweeper = time.AfterFunc(wait, func() { p.sweep(time.Now()) })
		return
	}
	p.sweeper.Reset(wait)
}

// sweep closes what was kept for too long, and comes again when the next one is due.
func (p *pool) sweep(now time.Time) {
	for _, c := range p.takeOld(now) {
		c.Close()
	}
}

func (p *pool) takeOld(now time.Time) (old []*connection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := keptFor
	for host, s := range p.hosts {
		n := 0
		for n < len(s.kept) && s.kept[n].age(now) >= keptFor {
			n++
		}
		old = append(old, s.kept[:n]...)
		s.kept = slices.Delete(s.kept, 0, n)
		if len(s.kept) == 0 {
			delete(p.hosts, host)
			continue
		}
		next = min(next, keptFor-s.kept[0].age(now))
	}
	p.count -= len(old)
	p.sweeping = false
	if p.count > 0 {
		p.sweepIn(next)
	}
	return old
}

// drop closes a connection that ended while it was kept.
func (p *pool) drop(c *connection) {
	p.remove(c)
	c.Close()
}

func (p *pool) remove(c *connection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.hosts[c.host]; s != nil {
		if at := slices.Index(s.kept, c); at >= 0 {
			s.kept = slices.Delete(s.kept, at, at+1)
			p.count--
		}
	}
}

// clear closes all that is kept, and keeps nothing until the next request.
func (p *pool) clear() {
	for _, s := range p.empty() {
		for _, c := range s.kept {
			c.Close()
		}
	}
}

func (p *pool) empty() map[string]*stack {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.hosts
	p.hosts, p.count, p.closed = nil, 0, true
	if p.sweeper != nil {
		p.sweeper.Stop()
		p.sweeping = false
	}
	return all
}

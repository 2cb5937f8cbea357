package healthcheck

import (
	"context"
	"sync"
	"time"
)

const (
	// beat is the pause between two beats of a pulse.
	beat = time.Second
	// standstill is by how much a beat must be late to say that this process stood
	// still. Processors that are merely busy make it wait for less.
	standstill = time.Second
	// composure is the longest that a process which stood still is not itself yet.
	composure = 10 * time.Second
)

// pulse notices that this process stood still: it was stopped, its machine was, or it
// got no processor. Every timer is over then, whatever has come meanwhile lies unread,
// and all clients who waited come at once. So for as long again as it stood still,
// silence says nothing of who is silent. The zero value does not beat, and is steady.
type pulse struct {
	mu     sync.Mutex // guards what follows
	last   time.Time  // when it beat last; zero: it does not beat
	steady time.Time  // when it is itself again after it stood still
}

// run beats until ctx is done.
func (p *pulse) run(ctx context.Context) {
	beats := time.NewTicker(beat)
	defer beats.Stop()
	defer p.stop()
	for ctx.Err() == nil {
		p.beat(time.Now())
		select {
		case <-ctx.Done():
		case <-beats.C:
		}
	}
}

func (p *pulse) beat(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.feel(now)
	p.last = now
}

func (p *pulse) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = time.Time{}
}

// unsteady reports whether this process stood still a short time ago. It knows before
// the beat that is late.
func (p *pulse) unsteady(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.feel(now)
	return now.Before(p.steady)
}

// feel looks how late the next beat is.
func (p *pulse) feel(now time.Time) {
	late := now.Sub(p.last) - beat
	if p.last.IsZero() || late <= standstill {
		return
	}
	p.last, p.steady = now, now.Add(min(late, composure))
}

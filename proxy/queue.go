package proxy

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"proxima/router"
)

// queue holds the requests that wait because every endpoint that may serve them is
// full. The zero queue is ready. It starts no goroutine: a request waits, and looks
// for a place, in its own.
//
// One request at a time has the turn to look: critical ones first, then standard, then
// batch, each in the order in which they came. When it finds a place it leaves, and the
// turn goes to the next. When it finds none it keeps its seat; and since nobody who
// waits for the same endpoints would find one either, they sit in one line, and the
// turn goes to the first of another line. When no line is left, nobody looks until
// something is freed. So a place goes to the first who can use it, at the price of one
// look for each line, and newcomers cannot take it on its way, for they need the turn.
type queue struct {
	waiting atomic.Int64 // who is between join and leave; while it is 0, freed takes no lock

	mu        sync.Mutex
	newcomers line             // who has not had the turn yet
	lines     map[uint64]*line // who has, by what it waits for; none is empty
	seated    int              // in the lines
	turn      *waiter          // who looks now; nil: nobody
	frees     uint64           // how often something was freed
	joins     uint64           // how many came
}

// waiter is one request in the queue.
type waiter struct {
	rank     int        // of its priority, 0 first
	length   int        // of the queue, as it was told
	waitsFor uint64     // for which endpoints
	number   uint64     // in the order in which they came
	called   chan error // told its turn, or why it has to go
	began    uint64     // frees when its turn began

	line *line // where it sits; nil: nowhere any more
	seat *list.Element
}

// line holds those who wait for the same endpoints, or the newcomers.
type line struct {
	looked uint64                 // frees when the last of them began to look, in vain
	ranks  [len(rankOf)]list.List // of *waiter, each in the order in which they came
}

// rankOf says who comes first.
var rankOf = [...]int{router.Critical: 0, router.Standard: 1, router.Batch: 2}

// Why a request leaves the queue without a place.
var (
	errQueueFull = errors.New("too many requests wait already")
	errQueueWait = errors.New("no place became free in time")
)

// enter lets find look for a place until it has settled the matter, and returns how
// long that took beside the first look. find runs in the caller's goroutine and must
// not block. It returns whether the matter is settled, and if not, for which endpoints
// the request waits: router.Decision.Waits. When turn is false others come first: it may
// take only what nobody waits for, a place at an endpoint without a cap, and returns 0
// for what it waits for when it leaves another one alone.
//
// enter fails with errQueueFull when length requests wait already, unless the last of
// them has a lower priority: it has to go instead. It fails with errQueueWait after the
// limit, and with the cause of ctx when that ends.
func (q *queue) enter(
	ctx context.Context, p router.Priority, length int, limit time.Duration, find func(turn bool) (settled bool, waitsFor uint64),
) (waited time.Duration, err error) {
	settled, waitsFor := find(length <= 0 || q.waiting.Load() == 0)
	switch {
	case settled:
		return 0, nil
	case length <= 0:
		return 0, errQueueFull
	}
	began := time.Now()
	w := &waiter{rank: rankOf[p], length: length, waitsFor: waitsFor, called: make(chan error, 1)}
	err = q.wait(ctx, w, limit, find)
	return time.Since(began), err
}

func (q *queue) wait(ctx context.Context, w *waiter, limit time.Duration, find func(bool) (bool, uint64)) error {
	defer q.leave(w)
	if err := q.join(w); err != nil {
		return err
	}
	late := time.NewTimer(limit)
	defer late.Stop()
	for {
		if err := w.await(ctx, late.C); err != nil {
			return err
		}
		settled, waitsFor := find(true)
		if settled {
			return nil
		}
		if err := q.stay(w, waitsFor); err != nil {
			return err
		}
	}
}

// await waits for the turn.
func (w *waiter) await(ctx context.Context, late <-chan time.Time) error {
	select {
	case err := <-w.called:
		return err
	case <-late:
		return errQueueWait
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// freed lets those who wait look again. Call it when a place was given back, and when
// a change of the table or of what is believed of an endpoint has been published.
func (q *queue) freed() {
	if q.waiting.Load() == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.frees++
	if q.turn == nil {
		q.call()
	}
}

// len is how many requests wait.
func (q *queue) len() int { return int(q.waiting.Load()) }

// join takes in a newcomer. It gets the turn before it needs a seat, unless somebody
// else looked for the same in vain, and nothing was freed since.
func (q *queue) join(w *waiter) error {
	q.waiting.Add(1)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.joins++
	w.number = q.joins
	if l := q.lines[w.waitsFor]; l != nil && l.looked == q.frees {
		return q.sit(w)
	}
	q.newcomers.add(w)
	if q.turn == nil {
		q.call()
	}
	return nil
}

// stay takes in that a waiter used its turn in vain.
func (q *queue) stay(w *waiter, waitsFor uint64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if w.line == &q.newcomers || w.waitsFor != waitsFor {
		q.rise(w)
		w.waitsFor = waitsFor
		if err := q.sit(w); err != nil {
			return err
		}
	}
	w.line.looked = w.began
	q.call()
	return nil
}

// leave takes a waiter out, however its wait has ended, and passes its turn on.
func (q *queue) leave(w *waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.rise(w)
	q.waiting.Add(-1)
	if q.turn == w {
		q.call()
	}
}

// call gives the turn to the first who may find a place: a newcomer, or the first of a
// line where nobody looked since something was freed.
func (q *queue) call() {
	first := q.newcomers.first()
	for _, l := range q.lines {
		if l.looked == q.frees {
			continue
		}
		if w := l.first(); first == nil || w.before(first) {
			first = w
		}
	}
	q.turn = first
	if first != nil {
		first.began = q.frees
		first.called <- nil
	}
}

// sit gives a waiter a seat in its line.
func (q *queue) sit(w *waiter) error {
	if q.seated >= w.length && !q.displace(w) {
		return errQueueFull
	}
	if q.lines == nil {
		q.lines = map[uint64]*line{}
	}
	l := q.lines[w.waitsFor]
	if l == nil {
		l = &line{}
		q.lines[w.waitsFor] = l
	}
	l.add(w)
	q.seated++
	return nil
}

// displace sends away the last of all if its priority is lower. Whoever has the turn is
// left alone: it may be leaving with a place.
func (q *queue) displace(by *waiter) bool {
	var last *waiter
	for _, l := range q.lines {
		if w := l.last(); w != q.turn && (last == nil || last.before(w)) {
			last = w
		}
	}
	if last == nil || last.rank <= by.rank {
		return false
	}
	q.rise(last)
	last.called <- errQueueFull
	return true
}

// rise takes a waiter from where it sits, if it does.
func (q *queue) rise(w *waiter) {
	l := w.line
	if l == nil {
		return
	}
	l.ranks[w.rank].Remove(w.seat)
	w.line, w.seat = nil, nil
	if l == &q.newcomers {
		return
	}
	q.seated--
	if l.first() == nil {
		delete(q.lines, w.waitsFor)
	}
}

// add puts a waiter where its number belongs, which is at the end of its rank unless it
// comes from another line.
func (l *line) add(w *waiter) {
	rank := &l.ranks[w.rank]
	after := rank.Back()
	for after != nil && after.Value.(*waiter).number > w.number {
		after = after.Prev()
	}
	w.line = l
	if after == nil {
		w.seat = rank.PushFront(w)
	} else {
		w.seat = rank.InsertAfter(w, after)
	}
}

// first is who comes first in the line; nil: it is empty.
func (l *line) first() *waiter {
	for rank := range l.ranks {
		if e := l.ranks[rank].Front(); e != nil {
			return e.Value.(*waiter)
		}
	}
	return nil
}

// last is who comes last in the line, which is not empty.
func (l *line) last() *waiter {
	for rank := len(l.ranks) - 1; rank > 0; rank-- {
		if e := l.ranks[rank].Back(); e != nil {
			return e.Value.(*waiter)
		}
	}
	return l.ranks[0].Back().Value.(*waiter)
}

func (w *waiter) before(other *waiter) bool {
	if w.rank != other.rank {
		return w.rank < other.rank
	}
	return w.number < other.number
}

package proxy

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"proxima/router"
)

// lobby is a queue before some endpoints, called by one letter each. A guest is a
// request; its letters are the endpoints that may serve it.
type lobby struct {
	queue  queue
	length int
	caps   map[rune]int // most requests at each; 0: any number
	meters map[rune]*router.Meter
	guests []*guest
	looks  atomic.Int64 // how often somebody looked for a place
}

const lobbyPatience = time.Minute

func newLobby(length int, caps map[rune]int) *lobby {
	l := &lobby{length: length, caps: caps, meters: map[rune]*router.Meter{}}
	for at := range caps {
		l.meters[at] = &router.Meter{}
	}
	return l
}

type guest struct {
	rank      router.Priority
	may       string
	home      context.CancelCauseFunc
	meanwhile func() // what happens while it looks; nil: nothing

	at    rune // where it has found a place
	ended atomic.Pointer[fate]
}

// fate is what became of a guest.
type fate struct {
	over   bool
	at     rune // where it has a place; 0: nowhere
	waited time.Duration
	err    error
}

func (g *guest) fate() fate {
	if ended := g.ended.Load(); ended != nil {
		return *ended
	}
	return fate{}
}

// fares fails the test unless that became of the guest.
func (g *guest) fares(t *testing.T, want fate) {
	t.Helper()
	if got := g.fate(); got != want {
		t.Errorf("the %s one for %s fares %+v, want %+v", g.rank, g.may, got, want)
	}
}

var (
	stillWaits = fate{}
	turnedAway = fate{over: true, err: errQueueFull}
)

// placedAt is what becomes of a guest who gets a place at once.
func placedAt(at rune) fate { return fate{over: true, at: at} }

// send lets a request come.
func (l *lobby) send(rank router.Priority, may string) *guest {
	g := &guest{rank: rank, may: may}
	l.guests = append(l.guests, g)
	var ctx context.Context
	ctx, g.home = context.WithCancelCause(context.Background())
	go l.enter(ctx, g)
	synctest.Wait()
	return g
}

func (l *lobby) enter(ctx context.Context, g *guest) {
	find := func(turn bool) (bool, uint64) { return l.find(g, turn) }
	waited, err := l.queue.enter(ctx, g.rank, l.length, lobbyPatience, find)
	g.ended.Store(&fate{true, g.at, waited, err})
}

// find takes the first place that a guest may have. What it waits for are its letters,
// as bits.
func (l *lobby) find(g *guest, turn bool) (settled bool, waitsFor uint64) {
	l.looks.Add(1)
	if turn && g.meanwhile != nil {
		g.meanwhile()
	}
	for _, at := range g.may {
		most := l.caps[at]
		if most > 0 && !turn && l.meters[at].InFlight() < most {
			return false, 0
		}
		if (most == 0 || turn) && l.meters[at].Admit(time.Now(), 0, most) {
			g.at = at
			return true, 0
		}
		waitsFor |= 1 << (at - 'a')
	}
	return false, waitsFor
}

// free gives a place back.
func (l *lobby) free(at rune) {
	l.meters[at].End()
	l.queue.freed()
	synctest.Wait()
}

// close sends home whoever still waits.
func (l *lobby) close() {
	for _, g := range l.guests {
		g.home(nil)
	}
	synctest.Wait()
}

// placed are the guests that have a place, as they stand.
func placed(guests ...*guest) (places string) {
	for _, g := range guests {
		if at := g.fate().at; at != 0 {
			places += string(at)
		} else {
			places += "-"
		}
	}
	return places
}

func TestTheMostImportantComeFirstAndThenTheEarliest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLobby(8, map[rune]int{'a': 1})
		l.send(router.Standard, "a")
		var guests []*guest
		for _, rank := range []router.Priority{router.Batch, router.Standard, router.Batch, router.Critical, router.Standard, router.Critical} {
			guests = append(guests, l.send(rank, "a"))
		}
		for _, want := range []string{"---a--", "---a-a", "-a-a-a", "-a-aaa", "aa-aaa", "aaaaaa"} {
			time.Sleep(time.Second)
			l.free('a')
			if got := placed(guests...); got != want {
				t.Errorf("%s have a place, want %s", got, want)
			}
		}
		if first, last := guests[3].fate().waited, guests[2].fate().waited; first != time.Second || last != 6*time.Second {
			t.Errorf("the first waited %v and the last %v", first, last)
		}
	})
}

func TestTheImportantDisplaceTheLastOfTheLeast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLobby(3, map[rune]int{'a': 1, 'b': 1})
		defer l.close()
		l.send(router.Standard, "ab")
		l.send(router.Standard, "ab")
		batch1, batch2, standard := l.send(router.Batch, "a"), l.send(router.Batch, "b"), l.send(router.Standard, "a")

		l.send(router.Batch, "a").fares(t, turnedAway)

		l.send(router.Critical, "a").fares(t, stillWaits)
		batch2.fares(t, turnedAway)
		batch1.fares(t, stillWaits)

		l.send(router.Critical, "b").fares(t, stillWaits)
		batch1.fares(t, turnedAway)
		standard.fares(t, stillWaits)

		l.send(router.Standard, "b").fares(t, turnedAway)
		if l.queue.len() != 3 {
			t.Errorf("%d wait", l.queue.len())
		}
	})
}

func TestWhoeverHasTheTurnIsNotDisplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLobby(2, map[rune]int{'a': 1, 'b': 1})
		defer l.close()
		l.send(router.Standard, "a")
		l.send(router.Standard, "b")
		l.send(router.Critical, "a")
		batch := l.send(router.Batch, "b")
		newcomer := &guest{rank: router.Critical, may: "a"}
		batch.meanwhile = func() {
			l.enter(context.Background(), newcomer) // it has no seat, or it would hang here
		}

		l.free('b')

		batch.fares(t, placedAt('b'))
		newcomer.fares(t, turnedAway)
	})
}

func TestAWaitHasALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLobby(8, map[rune]int{'a': 1})
		l.send(router.Standard, "a")
		g := l.send(router.Critical, "a")
		time.Sleep(lobbyPatience)
		synctest.Wait()
		g.fares(t, fate{over: true, waited: lobbyPatience, err: errQueueWait})
		if l.queue.len() != 0 {
			t.Errorf("%d wait", l.queue.len())
		}
	})
}

func TestWhoeverLeavesIsGoneAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLobby(1, map[rune]int{'a': 1})
		defer l.close()
		l.send(router.Standard, "a")
		g := l.send(router.Standard, "a")
		time.Sleep(time.Second)

		g.home(errClientLeft)
		synctest.Wait()

		g.fares(t, fate{over: true, waited: time.Second, err: errClientLeft})
		if l.queue.len() != 0 {
			t.Errorf("%d wait", l.queue.len())
		}
		next := l.send(router.Standard, "a")
		next.fares(t, stillWaits) // for the seat is free
		l.free('a')
		next.fares(t, placedAt('a'))
	})
}

// The client leaves at the instant at which its turn comes: the turn goes on.
func TestATurnIsNotLostWithWhoeverHadIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLobby(8, map[rune]int{'a': 1})
		defer l.close()
		for range 50 {
			l.send(router.Standard, "a")
			first, second := l.send(router.Standard, "a"), l.send(router.Standard, "a")
			l.meters['a'].End()
			l.queue.freed()
			first.home(nil)
			synctest.Wait()
			if placed(first, second) == "--" {
				t.Fatal("nobody has the place")
			}
			second.home(nil)
			l.free('a')
		}
	})
}

func TestAPlaceGoesToTheFirstWhoCanUseIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLobby(2000, map[rune]int{'a': 1, 'b': 1})
		defer l.close()
		l.send(router.Standard, "ab")
		l.send(router.Standard, "ab")
		for range 1000 {
			l.send(router.Critical, "a")
		}
		first, second := l.send(router.Batch, "b"), l.send(router.Batch, "b")
		l.looks.Store(0)

		l.free('b')

		if got := placed(first, second); got != "b-" {
			t.Errorf("%s have it, want the first", got)
		}
		if n := l.looks.Load(); n > 3 {
			t.Errorf("%d looks for one place, want one for each line and one that found it", n)
		}
	})
}

func TestANewcomerTakesNoPlaceOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLobby(8, map[rune]int{'a': 1})
		defer l.close()
		l.send(router.Standard, "a")
		first := l.send(router.Standard, "a")
		newcomer := &guest{rank: router.Standard, may: "a"}

		l.meters['a'].End()
		l.queue.freed()
		l.enter(context.Background(), newcomer)
		synctest.Wait()

		first.fares(t, placedAt('a'))
		newcomer.fares(t, fate{over: true, waited: lobbyPatience, err: errQueueWait})
	})
}

func TestWhatNobodyWaitsForIsFoundAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLobby(1, map[rune]int{'a': 1, 'b': 1, 'c': 0})
		defer l.close()
		l.send(router.Standard, "a")
		l.send(router.Critical, "a") // has the only seat
		l.send(router.Batch, "ab").fares(t, placedAt('b'))
		l.send(router.Batch, "ac").fares(t, placedAt('c'))
	})
}

func TestInAQueueOfNoLengthNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLobby(0, map[rune]int{'a': 1})
		l.send(router.Standard, "a")
		l.send(router.Critical, "a").fares(t, turnedAway)
	})
}

func TestWhatIsFreedDuringALookIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lobby
		looks := 0
		waited, err := l.queue.enter(t.Context(), router.Standard, 8, lobbyPatience, func(bool) (bool, uint64) {
			looks++
			if looks == 2 {
				l.queue.freed() // too late for this look
			}
			return looks > 2, 1
		})
		if err != nil || waited != 0 {
			t.Errorf("%v after %v", err, waited)
		}
	})
}

// A new table: one may go to another endpoint now. It comes before those who came later.
func TestWhoWaitsForSomethingElseNowKeepsItsNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLobby(8, map[rune]int{'a': 1, 'b': 1})
		defer l.close()
		l.send(router.Standard, "a")
		l.send(router.Standard, "b")
		moved, late := l.send(router.Standard, "a"), l.send(router.Standard, "b")
		moved.may = "b"
		l.queue.freed()
		synctest.Wait()

		l.free('b')

		if got := placed(moved, late); got != "b-" {
			t.Errorf("%s have it", got)
		}
	})
}

func TestARaisedCapLetsInAsManyAsFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLobby(8, map[rune]int{'a': 1})
		defer l.close()
		l.send(router.Standard, "a")
		guests := []*guest{l.send(router.Batch, "a"), l.send(router.Standard, "a"), l.send(router.Standard, "a")}
		l.caps['a'] = 3
		l.queue.freed()
		synctest.Wait()
		if got := placed(guests...); got != "-aa" {
			t.Errorf("%s have a place", got)
		}
	})
}

// A bug costs one request, not the queue.
func TestAPanicPassesTheTurnOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLobby(8, map[rune]int{'a': 1})
		defer l.close()
		l.send(router.Standard, "a")
		go func() {
			defer func() { _ = recover() }()
			_, _ = l.queue.enter(t.Context(), router.Standard, 8, lobbyPatience, func(turn bool) (bool, uint64) {
				if l.meters['a'].InFlight() == 0 {
					panic("a bug")
				}
				return false, 1
			})
		}()
		synctest.Wait()
		next := l.send(router.Standard, "a")
		l.free('a')
		next.fares(t, placedAt('a'))
	})
}

// Real goroutines in a crowd: everybody is served once, never more at a time than fit,
// and when all have gone the queue is as it was in the beginning.
func TestOfAThousandWhoWaitNobodyIsLost(t *testing.T) {
	var q queue
	meters := map[rune]*router.Meter{'a': {}, 'b': {}, 'c': {}}
	caps := map[rune]int{'a': 1, 'b': 2, 'c': 3}
	var all sync.WaitGroup
	for i := range 1000 {
		may := []string{"a", "b", "c", "ab", "bc", "abc"}[i%6]
		all.Go(func() {
			var at rune
			find := func(turn bool) (bool, uint64) {
				var waitsFor uint64
				for _, at = range may {
					if turn && meters[at].Admit(time.Now(), 0, caps[at]) {
						return true, 0
					}
					waitsFor |= 1 << (at - 'a')
				}
				if !turn {
					return false, 0
				}
				return false, waitsFor
			}
			if _, err := q.enter(context.Background(), router.Priority(i%3), 1000, time.Minute, find); err != nil {
				t.Error(err)
				return
			}
			if there := meters[at].InFlight(); there > caps[at] {
				t.Errorf("%d are at %c", there, at)
			}
			meters[at].End()
			q.freed()
		})
	}
	all.Wait()
	if q.len() != 0 || q.seated != 0 || len(q.lines) != 0 || q.turn != nil || q.newcomers.first() != nil {
		t.Errorf("left behind: %+v", &q)
	}
}

func TestWithoutAWaitNothingIsAllocated(t *testing.T) {
	var q queue
	n := testing.AllocsPerRun(100, func() {
		found := false
		_, _ = q.enter(context.Background(), router.Standard, 8, time.Second, func(bool) (bool, uint64) {
			found = true
			return found, 0
		})
		q.freed()
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// step is one thing that happens before the endpoints.
type step struct {
	kind string // come, free, leave, pass, cap
	rank router.Priority
	may  string
	n    int // which guest, how many seconds, or the new cap
}

func drawStep(t *rapid.T) step {
	return step{
		kind: rapid.SampledFrom([]string{"come", "come", "come", "free", "free", "leave", "pass", "cap"}).Draw(t, "kind"),
		rank: router.Priority(rapid.IntRange(0, 2).Draw(t, "rank")),
		may:  rapid.SampledFrom([]string{"a", "b", "c", "ab", "ba", "bc", "abc"}).Draw(t, "may"),
		n:    rapid.IntRange(0, 40).Draw(t, "n"),
	}
}

// Anything may happen in any order: each guest fares as in a list that is gone through
// from the front whenever something has happened.
func TestTheQueueAgreesWithAListGoneThroughFromTheFront(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		length := rapid.IntRange(1, 6).Draw(rt, "length")
		steps := rapid.SliceOfN(rapid.Custom(drawStep), 1, 40).Draw(rt, "steps")
		var wrong error
		synctest.Test(t, func(t *testing.T) { wrong = play(length, steps) })
		if wrong != nil {
			rt.Fatal(wrong)
		}
	})
}

func play(length int, steps []step) error {
	l := newLobby(length, map[rune]int{'a': 1, 'b': 2, 'c': 1})
	defer l.close()
	slow := slowQueue{length: length, caps: map[rune]int{'a': 1, 'b': 2, 'c': 1}, there: map[rune]int{}}
	for i, s := range steps {
		at := []rune(s.may)[0]
		switch s.kind {
		case "come":
			l.send(s.rank, s.may)
			slow.come(s.rank, s.may)
		case "free":
			if slow.there[at] > 0 {
				l.free(at)
				slow.free(at)
			}
		case "leave":
			if s.n < len(l.guests) {
				l.guests[s.n].home(errClientLeft)
				synctest.Wait()
				slow.leave(s.n)
			}
		case "pass":
			time.Sleep(time.Duration(s.n) * time.Second)
			synctest.Wait()
			slow.pass()
		case "cap":
			l.caps[at], slow.caps[at] = s.n%4, s.n%4
			l.queue.freed()
			synctest.Wait()
			slow.serve()
		}
		for n, g := range l.guests {
			if got, want := g.fate(), slow.guests[n].fate; got != want {
				return fmt.Errorf("after step %d, %+v: guest %d is %+v, want %+v", i, s, n, got, want)
			}
		}
		if waiting := len(slow.line()); l.queue.len() != waiting {
			return fmt.Errorf("after step %d, %+v: %d wait, want %d", i, s, l.queue.len(), waiting)
		}
	}
	return nil
}

// slowQueue is the rule without anything that makes it quick.
type slowQueue struct {
	length int
	caps   map[rune]int
	there  map[rune]int
	guests []*slowGuest
}

type slowGuest struct {
	fate
	rank router.Priority
	may  string
	came time.Time
}

// line is who waits, in order.
func (s *slowQueue) line() (waiting []*slowGuest) {
	for _, rank := range []router.Priority{router.Critical, router.Standard, router.Batch} {
		for _, g := range s.guests {
			if g.rank == rank && !g.over {
				waiting = append(waiting, g)
			}
		}
	}
	return waiting
}

// serve gives everybody a place who can have one.
func (s *slowQueue) serve() {
	for _, g := range s.line() {
		for _, at := range g.may {
			if !g.over && (s.caps[at] == 0 || s.there[at] < s.caps[at]) {
				s.there[at]++
				g.at = at
				g.end(nil)
			}
		}
	}
}

func (g *slowGuest) end(err error) {
	g.over, g.err, g.waited = true, err, time.Since(g.came)
}

func (s *slowQueue) come(rank router.Priority, may string) {
	g := &slowGuest{rank: rank, may: may, came: time.Now()}
	s.guests = append(s.guests, g)
	s.serve()
	if waiting := s.line(); len(waiting) > s.length {
		last := waiting[len(waiting)-1]
		if last.rank == g.rank {
			last = g
		}
		last.end(errQueueFull)
	}
}

func (s *slowQueue) free(at rune) {
	s.there[at]--
	s.serve()
}

func (s *slowQueue) leave(n int) {
	if g := s.guests[n]; !g.over {
		g.end(errClientLeft)
	}
}

func (s *slowQueue) pass() {
	for _, g := range s.line() {
		if time.Since(g.came) >= lobbyPatience {
			g.over, g.err, g.waited = true, errQueueWait, lobbyPatience
		}
	}
}

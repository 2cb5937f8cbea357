package sim

// kind is what happens at an instant.
type kind uint8

const (
	arrive    kind = iota // request a reaches its router
	reach                 // attempt a reaches its endpoint's host
	firstByte             // the first byte of attempt a is back at the router
	finish                // the last byte of attempt a is back at the router
	fail                  // the router learns that attempt a failed
	stalled               // attempt a has been silent for too long, if it still is
	giveUp                // the client of request a has no more patience
	wake                  // host a has something to tell
	probe                 // router a probes host b
	probed                // the answer is back
	settle                // every router does what it does each second
	gossip                // router a hears what the others reported
	breakdown             // fault a begins
	repair                // fault a ends
)

// event is something that happens. What a, b and of mean depends on the kind.
type event struct {
	at   float64 // ms
	turn uint64  // events of one instant keep the order in which they were made
	kind kind
	a, b int32
	of   uint32 // the attempt's generation, or an outcome
}

// agenda is what will happen, as a binary heap with the earliest on top. It is
// container/heap's algorithm without an allocation for each event.
type agenda struct {
	events []event
	turns  uint64
}

func (g *agenda) empty() bool { return len(g.events) == 0 }

func (g *agenda) add(at float64, k kind, a, b int, of uint32) {
	g.turns++
	g.events = append(g.events, event{at: at, turn: g.turns, kind: k, a: int32(a), b: int32(b), of: of})
	for i := len(g.events) - 1; i > 0; {
		parent := (i - 1) / 2
		if !g.before(i, parent) {
			return
		}
		g.swap(i, parent)
		i = parent
	}
}

// next takes the earliest event out.
func (g *agenda) next() event {
	last := len(g.events) - 1
	g.swap(0, last)
	first := g.events[last]
	g.events = g.events[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if g.before(child, least) {
				least = child
			}
		}
		if least == i {
			return first
		}
		g.swap(i, least)
		i = least
	}
}

func (g *agenda) before(i, j int) bool {
	x, y := &g.events[i], &g.events[j]
	return x.at < y.at || x.at == y.at && x.turn < y.turn
}

func (g *agenda) swap(i, j int) { g.events[i], g.events[j] = g.events[j], g.events[i] }

package server

// cache is the prefix cache: which sessions and prefixes the server has computed, the
// least recently used of them leaving first when their tokens exceed the room. It can
// remember what is done to it and take it back, for Predict.
type cache struct {
	room    int // tokens
	used    int
	found   [2]map[uint64]int32 // positions in entries, by kind and key
	entries []entry             // a ring in order of use; the first is no entry, its next the latest used
	free    []int32
	watched bool
	deeds   []deed // since it is watched
}

// entry is something that is cached. Out of the ring it still knows its neighbours.
type entry struct {
	key        uint64
	tokens     int
	kind       cached
	prev, next int32
}

type cached uint8

const (
	session cached = iota
	prefix
)

// deed is a change to the cache, with what it takes to undo it.
type deed struct {
	what   change
	at     int32
	before entry
}

type change uint8

const (
	moved   change = iota // to the front, perhaps with another size
	added                 // at the front
	evicted               // from the back
)

func newCache(room int) *cache {
	c := &cache{room: room, entries: make([]entry, 1)}
	if room > 0 {
		c.found = [2]map[uint64]int32{{}, {}}
	}
	return c
}

// use returns how many tokens are cached under a key, and counts as a use of them.
// Nothing is cached under the key 0.
func (c *cache) use(kind cached, key uint64) int {
	at, ok := c.found[kind][key]
	if !ok {
		return 0
	}
	c.move(at, c.entries[at].tokens)
	return c.entries[at].tokens
}

// put caches tokens under a key, in place of what was there. More than the whole cache
// holds is not cached, and nothing is under the key 0.
func (c *cache) put(kind cached, key uint64, tokens int) {
	if key == 0 || tokens < 1 || tokens > c.room {
		return
	}
	if at, ok := c.found[kind][key]; ok {
		c.move(at, tokens)
	} else {
		c.add(entry{key: key, tokens: tokens, kind: kind})
	}
	for c.used > c.room {
		c.evict(c.entries[0].prev)
	}
}

func (c *cache) move(at int32, tokens int) {
	c.did(moved, at)
	c.unlink(at)
	c.used += tokens - c.entries[at].tokens
	c.entries[at].tokens = tokens
	c.link(at, 0, c.entries[0].next)
}

func (c *cache) add(e entry) {
	if len(c.free) == 0 {
		c.entries = append(c.entries, entry{})
		c.free = append(c.free, int32(len(c.entries)-1))
	}
	at := c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	c.did(added, at)
	c.entries[at] = e
	c.link(at, 0, c.entries[0].next)
	c.found[e.kind][e.key] = at
	c.used += e.tokens
}

func (c *cache) evict(at int32) {
	c.did(evicted, at)
	c.unlink(at)
	e := &c.entries[at]
	delete(c.found[e.kind], e.key)
	c.used -= e.tokens
	c.free = append(c.free, at)
}

func (c *cache) link(at, prev, next int32) {
	c.entries[at].prev, c.entries[at].next = prev, next
	c.entries[prev].next, c.entries[next].prev = at, at
}

func (c *cache) unlink(at int32) {
	e := &c.entries[at]
	c.entries[e.prev].next, c.entries[e.next].prev = e.next, e.prev
}

func (c *cache) empty() { *c = *newCache(c.room) }

func (c *cache) did(what change, at int32) {
	if c.watched {
		c.deeds = append(c.deeds, deed{what, at, c.entries[at]})
	}
}

// remember has everything remembered that is done from now on.
func (c *cache) remember() { c.watched = true }

// takeBack undoes what is remembered, the last deed first: then each finds the ring
// as it left it.
func (c *cache) takeBack() {
	for i := len(c.deeds) - 1; i >= 0; i-- {
		c.undo(&c.deeds[i])
	}
	c.watched, c.deeds = false, c.deeds[:0]
}

func (c *cache) undo(d *deed) {
	e := &c.entries[d.at]
	switch d.what {
	case moved:
		c.unlink(d.at)
		c.used += d.before.tokens - e.tokens
		e.tokens = d.before.tokens
		c.link(d.at, d.before.prev, d.before.next)
	case added:
		c.unlink(d.at)
		delete(c.found[e.kind], e.key)
		c.used -= e.tokens
		c.free = append(c.free, d.at)
	case evicted: // its place may have been taken since
		c.free = c.free[:len(c.free)-1]
		*e = d.before
		c.link(d.at, d.before.prev, d.before.next)
		c.found[e.kind][e.key] = d.at
		c.used += e.tokens
	}
}

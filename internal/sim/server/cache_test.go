package server

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// naive is the same cache as a list, the latest used first.
type naive struct {
	room int
	list []entry
}

func (n *naive) at(kind cached, key uint64) int {
	return slices.IndexFunc(n.list, func(e entry) bool { return e.kind == kind && e.key == key })
}

func (n *naive) use(kind cached, key uint64) int {
	at := n.at(kind, key)
	if at < 0 {
		return 0
	}
	e := n.list[at]
	n.list = slices.Insert(slices.Delete(n.list, at, at+1), 0, e)
	return e.tokens
}

func (n *naive) put(kind cached, key uint64, tokens int) {
	if key == 0 || tokens < 1 || tokens > n.room {
		return
	}
	if at := n.at(kind, key); at >= 0 {
		n.list = slices.Delete(n.list, at, at+1)
	}
	n.list = slices.Insert(n.list, 0, entry{kind: kind, key: key, tokens: tokens})
	for used := 0; ; used = 0 {
		for _, e := range n.list {
			used += e.tokens
		}
		if used <= n.room {
			return
		}
		n.list = n.list[:len(n.list)-1]
	}
}

// contents lists a cache from the latest used to the first to leave, checking on the
// way that it finds what it holds.
func (c *cache) contents(t *rapid.T) string {
	var list []entry
	used := 0
	for at := c.entries[0].next; at != 0; at = c.entries[at].next {
		e := c.entries[at]
		if c.found[e.kind][e.key] != at || c.entries[e.next].prev != at {
			t.Fatalf("entry %+v at %d is lost", e, at)
		}
		used += e.tokens
		list = append(list, entry{kind: e.kind, key: e.key, tokens: e.tokens})
	}
	if used != c.used || len(list) != len(c.found[session])+len(c.found[prefix]) {
		t.Fatalf("%d of %d tokens, %d entries: %v", used, c.used, len(list), c.found)
	}
	return fmt.Sprint(list)
}

func TestTheCacheIsAListByUseAndTakesBackWhatItRemembers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		room := rapid.IntRange(0, 60).Draw(t, "room")
		c, plain := newCache(room), &naive{room: room}
		for range rapid.IntRange(1, 5).Draw(t, "rounds") {
			use(t, c, plain)
			before := c.contents(t)
			if want := fmt.Sprint(plain.list); before != want {
				t.Fatalf("it holds %s, not %s", before, want)
			}
			c.remember()
			use(t, c, &naive{room: room, list: slices.Clone(plain.list)})
			c.takeBack()
			if after := c.contents(t); after != before {
				t.Fatalf("it held %s, and after taking back %s", before, after)
			}
		}
	})
}

// use does the same to both caches, and looks whether they say the same.
func use(t *rapid.T, c *cache, plain *naive) {
	for range rapid.IntRange(0, 20).Draw(t, "uses") {
		kind := rapid.SampledFrom([]cached{session, prefix}).Draw(t, "kind")
		key := rapid.Uint64Range(0, 5).Draw(t, "key")
		if rapid.Bool().Draw(t, "look") {
			if got, want := c.use(kind, key), plain.use(kind, key); got != want {
				t.Fatalf("key %d has %d tokens, not %d", key, got, want)
			}
			continue
		}
		tokens := rapid.IntRange(0, 30).Draw(t, "tokens")
		c.put(kind, key, tokens)
		plain.put(kind, key, tokens)
	}
}

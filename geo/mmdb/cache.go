package mmdb

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	lru "github.com/hashicorp/golang-lru/v2"

	"proxima/geo"
)

// cache remembers answers by network, not by address, so that a client who can choose among many addresses (and every IPv6
// client can) neither fills it nor passes it by. It is cut into shards, each with its own lock, and holds no more than the
// entries it was made for. The nil cache remembers nothing.
type cache struct{ shards []*lru.Cache[uint64, entry] }

// entry is what one edition of the database said of a network. It answers for an address of this network only, since a
// database may divide what shares a key, and for this edition only, since a lookup may be late and store after the swap.
type entry struct {
	network netip.Prefix
	edition uint64
	place   geo.Location
	found   bool
}

const mostShards = 16

// newCache makes a cache of that many entries in all, nil when there are none.
func newCache(entries int) *cache {
	if entries <= 0 {
		return nil
	}
	count := min(entries, mostShards)
	shards := make([]*lru.Cache[uint64, entry], count)
	for i := range shards {
		size := (entries + i) / count               // these sizes add up to entries
		shards[i], _ = lru.New[uint64, entry](size) // only a size below 1 is an error
	}
	return &cache{shards}
}

func (c *cache) find(addr netip.Addr, edition uint64) (entry, bool) {
	if c == nil {
		return entry{}, false
	}
	key := keyOf(addr)
	e, ok := c.shard(key).Get(key)
	if !ok || e.edition != edition || !e.network.Contains(addr) {
		return entry{}, false
	}
	return e, true
}

func (c *cache) store(addr netip.Addr, e entry) {
	if c == nil {
		return
	}
	key := keyOf(addr)
	c.shard(key).Add(key, e)
}

func (c *cache) empty() {
	if c == nil {
		return
	}
	for _, shard := range c.shards {
		shard.Purge()
	}
}

// keyOf is the /24 of an IPv4 address or the /48 of an IPv6 address.
func keyOf(addr netip.Addr) uint64 {
	if addr.Is4() {
		four := addr.As4()
		return 1<<63 | uint64(binary.BigEndian.Uint32(four[:])>>8)
	}
	sixteen := addr.As16()
	return binary.BigEndian.Uint64(sixteen[:]) >> 16
}

// shard spreads neighbouring keys over all shards: a multiplication by 2⁶⁴/φ, of which the high bits choose (Knuth, The Art of
// Computer Programming 3, 6.4).
func (c *cache) shard(key uint64) *lru.Cache[uint64, entry] {
	i, _ := bits.Mul64(key*0x9e3779b97f4a7c15, uint64(len(c.shards)))
	return c.shards[i]
}

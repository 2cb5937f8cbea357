package mmdb

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/maxmind/mmdbwriter/mmdbtype"
	"pgregory.net/rapid"

	"proxima/geo"
)

// patchwork is a database in which networks smaller than a cache key lie beside each other and inside each other.
func patchwork(t testing.TB) *DB {
	return fromBytes(t, build(t, "city ipv6", networks{
		"1.0.0.0/9":            {"country_code": mmdbtype.String("AA")},
		"1.0.0.0/26":           {"country_code": mmdbtype.String("AB")},
		"1.0.0.128/32":         {"country_code": mmdbtype.String("AC")},
		"1.0.1.0/24":           {"country_code": mmdbtype.String("AD")},
		"1.0.1.255/32":         {"country_code": mmdbtype.String("AE")},
		"2001:db8::/40":        {"country_code": mmdbtype.String("BA")},
		"2001:db8::/50":        {"country_code": mmdbtype.String("BB")},
		"2001:db8:0:4000::/64": {"country_code": mmdbtype.String("BC")},
		"2001:db8:1::1/128":    {"country_code": mmdbtype.String("BD")},
	}))
}

func TestTheCacheNeverChangesAnAnswer(t *testing.T) {
	db := patchwork(t)
	rapid.Check(t, func(t *rapid.T) {
		cached := NewReader(db, rapid.IntRange(1, 40).Draw(t, "entries"))
		for _, addr := range rapid.SliceOfN(rapid.Custom(drawAddr), 1, 60).Draw(t, "addresses") {
			want, _, err := db.Locate(addr)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := cached.Locate(addr); got != want || ok != (want != geo.Location{}) {
				t.Fatalf("%v is at %+v, %v; the database says %+v", addr, got, ok, want)
			}
		}
	})
}

// drawAddr draws addresses from in and around the patchwork, close enough together to share cache keys.
func drawAddr(t *rapid.T) netip.Addr {
	low := rapid.SampledFrom([]byte{0, 1, 63, 64, 127, 128, 255})
	a, b := low.Draw(t, "a"), low.Draw(t, "b")
	four := netip.AddrFrom4([4]byte{1, a & 129, b & 1, low.Draw(t, "c")})
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 5: a & 1, 6: b, 15: low.Draw(t, "c") & 1})
	case 1:
		return netip.AddrFrom16(four.As16()) // ::ffff:1.…
	default:
		return four
	}
}

func TestTheCacheNeverOutgrowsItsEntries(t *testing.T) {
	for _, entries := range []int{0, 1, 7, 16, 1000, 4096} {
		reader := NewReader(patchwork(t), entries)
		random := rand.New(rand.NewPCG(1, uint64(entries)))
		for range 5_000 {
			var bytes [16]byte
			for i := range bytes {
				bytes[i] = byte(random.Uint32())
			}
			reader.Locate(netip.AddrFrom16(bytes))
			reader.Locate(netip.AddrFrom4([4]byte(bytes[:4])))
		}
		if held := held(reader.cache); held != entries {
			t.Errorf("a cache of %d entries holds %d after 10,000 networks", entries, held)
		}
	}
}

func held(c *cache) (entries int) {
	if c == nil {
		return 0
	}
	for _, shard := range c.shards {
		entries += shard.Len()
	}
	return entries
}

func TestAllClientsOfANetworkShareAnEntry(t *testing.T) {
	reader := NewReader(patchwork(t), 100)
	for _, addr := range []string{"1.64.0.1", "1.64.0.2", "::ffff:1.64.0.3", "2001:db8:7::1", "2001:db8:7:8::1", "2001:db8:7::1%eth0"} {
		if _, ok := reader.Locate(netip.MustParseAddr(addr)); !ok {
			t.Errorf("%s is unknown", addr)
		}
	}
	if held := held(reader.cache); held != 2 {
		t.Errorf("%d entries, want 2: a /24 and a /48", held)
	}
}

func TestALateAnswerFromTheOldEditionIsNotServed(t *testing.T) {
	path := fileOf(t, inParis(t))
	db, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	reader := NewReader(db, 100)
	addr := netip.MustParseAddr("1.2.3.4")
	reader.Locate(addr)
	late, ok := reader.cache.find(addr, 0)
	if !ok {
		t.Fatal("the answer was not remembered")
	}

	write(t, path, inTokyo(t))
	if err := reader.Reload(); err != nil {
		t.Fatal(err)
	}
	if held := held(reader.cache); held != 0 {
		t.Errorf("%d entries after the swap, want none", held)
	}
	reader.cache.store(addr, late) // by a lookup that began before the swap
	if place, ok := reader.Locate(addr); place != tokyo || !ok {
		t.Errorf("%v is at %+v, %v; want %+v", addr, place, ok, tokyo)
	}
}

func TestAnAnswerFromMemoryDoesNotAllocate(t *testing.T) {
	reader := NewReader(fromBytes(t, inParis(t)), 100)
	known, unknown := netip.MustParseAddr("::ffff:1.2.3.4"), netip.MustParseAddr("2001:db8::1%eth0")
	allocs := testing.AllocsPerRun(100, func() {
		reader.Locate(known)
		reader.Locate(unknown)
	})
	if allocs != 0 {
		t.Errorf("%v allocations, want 0", allocs)
	}
}

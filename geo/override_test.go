package geo

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func TestTheLongestPrefixOverrides(t *testing.T) {
	overrides := NewOverrides([]Override{
		{netip.MustParsePrefix("0.0.0.0/0"), Location{City: "everywhere"}},
		{netip.MustParsePrefix("10.0.0.0/8"), Location{City: "ten"}},
		{netip.MustParsePrefix("10.1.2.3/16"), Location{City: "ten one"}},
		{netip.MustParsePrefix("10.1.2.3/32"), Location{City: "one machine"}},
		{netip.MustParsePrefix("::ffff:192.0.2.0/120"), Location{City: "mapped"}},
		{netip.MustParsePrefix("2001:db8::/32"), Location{City: "documents"}},
		{netip.MustParsePrefix("2001:db8:1::/48"), Location{City: "first draft"}},
		{netip.MustParsePrefix("2001:db8:1::/48"), Location{City: "second draft"}},
		{netip.Prefix{}, Location{City: "no prefix"}},
	})
	for addr, city := range map[string]string{
		"9.9.9.9":              "everywhere",
		"10.9.9.9":             "ten",
		"10.1.9.9":             "ten one",
		"10.1.2.3":             "one machine",
		"::ffff:10.1.2.3":      "one machine",
		"192.0.2.77":           "mapped",
		"2001:db8:ffff::1":     "documents",
		"2001:db8:1:2::3":      "second draft",
		"2001:db8:1:2::3%eth0": "second draft",
		"2001:db9::1":          "",
	} {
		place, ok := overrides.Find(netip.MustParseAddr(addr))
		if place.City != city || ok != (city != "") {
			t.Errorf("%s is %q, %v; want %q", addr, place.City, ok, city)
		}
	}
	if place, ok := overrides.Find(netip.Addr{}); ok {
		t.Errorf("no address is at %+v", place)
	}
}

func TestOverridesAnswerLikeASlowSearch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list []Override
		for i, prefix := range rapid.SliceOfN(rapid.Custom(drawPrefix), 0, 20).Draw(t, "prefixes") {
			list = append(list, Override{prefix, Location{AccuracyKm: float64(i + 1)}})
		}
		addr := drawAddr(t)
		got, ok := NewOverrides(list).Find(addr)
		want, wantOK := findSlowly(list, addr)
		if got != want || ok != wantOK {
			t.Fatalf("%v in %v: %v %v, want %v %v", addr, list, got, ok, want, wantOK)
		}
	})
}

// findSlowly asks every override in turn.
func findSlowly(list []Override, addr netip.Addr) (place Location, found bool) {
	longest := -1
	for _, override := range list {
		if override.Prefix.Contains(addr) && override.Prefix.Bits() >= longest {
			place, found, longest = override.Location, true, override.Prefix.Bits()
		}
	}
	return place, found
}

// drawAddr draws from few enough addresses that prefixes are hit, nested and repeated.
func drawAddr(t *rapid.T) netip.Addr {
	few := rapid.SampledFrom([]byte{0, 1, 2, 128, 255})
	bytes := rapid.SampledFrom([]int{4, 16}).Draw(t, "bytes")
	addr, _ := netip.AddrFromSlice(rapid.SliceOfN(few, bytes, bytes).Draw(t, "address"))
	return addr
}

func drawPrefix(t *rapid.T) netip.Prefix {
	addr := drawAddr(t)
	return netip.PrefixFrom(addr, rapid.IntRange(0, addr.BitLen()).Draw(t, "bits"))
}

func TestFindingAnOverrideDoesNotAllocate(t *testing.T) {
	overrides := NewOverrides([]Override{
		{netip.MustParsePrefix("10.0.0.0/8"), at(1, 2)},
		{netip.MustParsePrefix("10.1.0.0/16"), at(3, 4)},
		{netip.MustParsePrefix("2001:db8::/32"), at(5, 6)},
	})
	four, six := netip.MustParseAddr("10.2.3.4"), netip.MustParseAddr("2001:db8::1%eth0")
	allocs := testing.AllocsPerRun(100, func() {
		overrides.Find(four)
		overrides.Find(six)
	})
	if allocs != 0 {
		t.Errorf("%v allocations, want 0", allocs)
	}
}

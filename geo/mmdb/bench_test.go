package mmdb

import (
	"net/netip"
	"testing"
)

func BenchmarkLocateRemembered(b *testing.B) {
	reader := NewReader(patchwork(b), 65536)
	addr := netip.MustParseAddr("1.2.3.4")
	b.ReportAllocs()
	for b.Loop() {
		reader.Locate(addr)
	}
}

func BenchmarkLocateRememberedByEveryCore(b *testing.B) {
	reader := NewReader(patchwork(b), 65536)
	b.ReportAllocs()
	b.RunParallel(func(loop *testing.PB) {
		for i := byte(0); loop.Next(); i++ {
			reader.Locate(netip.AddrFrom4([4]byte{1, 2, i, 4}))
		}
	})
}

func BenchmarkLocateAskingTheDatabase(b *testing.B) {
	for name, content := range map[string][]byte{
		"geoip2": inParis(b),
		"flat":   build(b, "city ipv4", networks{"0.0.0.0/1": nested("FR", "Paris", 48.86, 2.35, 20)}),
	} {
		b.Run(name, func(b *testing.B) {
			reader := NewReader(fromBytes(b, content), 0)
			addr := netip.MustParseAddr("1.2.3.4")
			b.ReportAllocs()
			for b.Loop() {
				reader.Locate(addr)
			}
		})
	}
}

package geo

import (
	"net/netip"
	"testing"
)

func TestLocateAsksOverridesThenTheDatabaseThenTheDefault(t *testing.T) {
	berlin := Location{Placed: true, Lat: 52.52, Lon: 13.4, Country: "DE", City: "Berlin", AccuracyKm: 5}
	paris := Location{Placed: true, Lat: 48.86, Lon: 2.35, Country: "FR", City: "Paris", AccuracyKm: 20}
	belgium, _ := CountryCentre("BE")
	austria, _ := CountryCentre("AT")

	locator := Locator{
		Overrides: NewOverrides([]Override{
			{netip.MustParsePrefix("10.1.0.0/16"), berlin},
			{netip.MustParsePrefix("8.8.8.0/24"), berlin},
			{netip.MustParsePrefix("fd00::/8"), berlin},
			{netip.MustParsePrefix("198.51.100.0/24"), Location{Country: "BE"}},
		}),
		Database: func(addr netip.Addr) (Location, bool) {
			switch addr.String() {
			case "1.1.1.1", "8.8.8.8", "2606:4700::1":
				return paris, true
			case "2.2.2.2":
				return Location{Country: "AT", City: "Wien"}, true
			case "3.3.3.3":
				return Location{Country: "XX"}, true
			case "4.4.4.4":
				return Location{City: "Atlantis"}, true
			default:
				return paris, false
			}
		},
	}
	withDefault := locator
	withDefault.Default = Location{Country: "BE"}

	for _, test := range []struct {
		name, addr        string
		want, withDefault Location
	}{
		{"override", "10.1.2.3", from(berlin, SourceOverride), from(berlin, SourceOverride)},
		{"override before database", "8.8.8.8", from(berlin, SourceOverride), from(berlin, SourceOverride)},
		{"override, mapped", "::ffff:10.1.2.3", from(berlin, SourceOverride), from(berlin, SourceOverride)},
		{"override, zone", "fd00::1%eth0", from(berlin, SourceOverride), from(berlin, SourceOverride)},
		{"override with a country only", "198.51.100.1", from(belgium, SourceOverride), from(belgium, SourceOverride)},
		{"database", "1.1.1.1", from(paris, SourceDatabase), from(paris, SourceDatabase)},
		{"database, mapped", "::ffff:1.1.1.1", from(paris, SourceDatabase), from(paris, SourceDatabase)},
		{"database, zone", "2606:4700::1%eth0", from(paris, SourceDatabase), from(paris, SourceDatabase)},
		{"database knows the country only", "2.2.2.2", in("Wien", from(austria, SourceDatabase)), in("Wien", from(austria, SourceDatabase))},
		{"database knows a country without a centre", "3.3.3.3", Location{Country: "XX", Source: SourceDatabase}, Location{Country: "XX", Source: SourceDatabase}},
		{"database knows nothing of use", "4.4.4.4", Location{Source: SourceUnknown}, from(belgium, SourceDefault)},
		{"database knows nothing", "9.9.9.9", Location{Source: SourceUnknown}, from(belgium, SourceDefault)},
		{"private 10/8", "10.2.0.1", Location{Source: SourcePrivate}, from(belgium, SourcePrivate)},
		{"private 172.16/12", "172.31.0.1", Location{Source: SourcePrivate}, from(belgium, SourcePrivate)},
		{"private 192.168/16", "::ffff:192.168.1.1", Location{Source: SourcePrivate}, from(belgium, SourcePrivate)},
		{"carrier NAT, first", "100.64.0.0", Location{Source: SourcePrivate}, from(belgium, SourcePrivate)},
		{"carrier NAT, last", "100.127.255.255", Location{Source: SourcePrivate}, from(belgium, SourcePrivate)},
		{"beside carrier NAT", "100.128.0.0", Location{Source: SourceUnknown}, from(belgium, SourceDefault)},
		{"loopback", "127.0.0.1", Location{Source: SourcePrivate}, from(belgium, SourcePrivate)},
		{"loopback v6", "::1", Location{Source: SourcePrivate}, from(belgium, SourcePrivate)},
		{"link-local", "169.254.1.1", Location{Source: SourcePrivate}, from(belgium, SourcePrivate)},
		{"link-local v6", "fe80::1%eth0", Location{Source: SourcePrivate}, from(belgium, SourcePrivate)},
		{"unique local", "fc00::1", Location{Source: SourcePrivate}, from(belgium, SourcePrivate)},
		{"multicast", "224.0.0.1", Location{Source: SourcePrivate}, from(belgium, SourcePrivate)},
		{"multicast v6", "ff02::1", Location{Source: SourcePrivate}, from(belgium, SourcePrivate)},
		{"unspecified", "0.0.0.0", Location{Source: SourcePrivate}, from(belgium, SourcePrivate)},
		{"unspecified v6", "::", Location{Source: SourcePrivate}, from(belgium, SourcePrivate)},
		{"broadcast", "255.255.255.255", Location{Source: SourcePrivate}, from(belgium, SourcePrivate)},
	} {
		t.Run(test.name, func(t *testing.T) {
			addr := netip.MustParseAddr(test.addr)
			if got := locator.Locate(addr); got != test.want {
				t.Errorf("Locate(%v) = %+v, want %+v", addr, got, test.want)
			}
			if got := withDefault.Locate(addr); got != test.withDefault {
				t.Errorf("with a default, Locate(%v) = %+v, want %+v", addr, got, test.withDefault)
			}
		})
	}
}

func TestTheZeroLocatorKnowsNothingAndSaysSo(t *testing.T) {
	var locator Locator
	for addr, source := range map[netip.Addr]Source{
		netip.MustParseAddr("1.1.1.1"):  SourceUnknown,
		netip.MustParseAddr("10.0.0.1"): SourcePrivate,
		{}:                              SourcePrivate,
	} {
		if got, want := locator.Locate(addr), (Location{Source: source}); got != want {
			t.Errorf("Locate(%v) = %+v, want %+v", addr, got, want)
		}
	}
}

func TestADefaultMayBeACountryWithoutACentre(t *testing.T) {
	locator := Locator{Default: Location{Country: "XX"}}
	want := Location{Country: "XX", Source: SourceDefault}
	if got := locator.Locate(netip.MustParseAddr("1.1.1.1")); got != want {
		t.Errorf("Locate = %+v, want %+v", got, want)
	}
}

// FuzzLocate: any address at all gets an answer with a known source, the same one however the address is written, and a
// database never sees an address it cannot know.
func FuzzLocate(f *testing.F) {
	f.Add([]byte{8, 8, 8, 8}, "", uint8(24))
	f.Add([]byte{0x20, 1, 0xd, 0xb8, 15: 1}, "eth0", uint8(32))
	f.Fuzz(func(t *testing.T, bytes []byte, zone string, bits uint8) {
		addr, _ := netip.AddrFromSlice(bytes) // the zero Addr when there are neither 4 nor 16
		locator := Locator{
			Overrides: NewOverrides([]Override{{netip.PrefixFrom(addr, int(bits)), at(1, 2)}}),
			Database: func(asked netip.Addr) (Location, bool) {
				if asked.Is4In6() || asked.Zone() != "" || !public(asked) {
					t.Errorf("the database was asked for %v", asked)
				}
				return Location{Country: "FR"}, true
			},
		}
		got := locator.Locate(addr)
		if got.Source != SourceOverride && got.Source != SourceDatabase && got.Source != SourcePrivate {
			t.Errorf("Locate(%v) = %+v", addr, got)
		}
		if got.Placed != (got.Source != SourcePrivate) {
			t.Errorf("Locate(%v) = %+v: placed means found, here", addr, got)
		}
		if addr.Is4() {
			if mapped := locator.Locate(netip.AddrFrom16(addr.As16())); mapped != got {
				t.Errorf("Locate(%v) = %+v, mapped %+v", addr, got, mapped)
			}
		}
		if zoned := locator.Locate(addr.WithZone(zone)); zoned != got {
			t.Errorf("Locate(%v) = %+v, with zone %+v", addr, got, zoned)
		}
	})
}

func from(place Location, source Source) Location {
	place.Source = source
	return place
}

func in(city string, place Location) Location {
	place.City = city
	return place
}

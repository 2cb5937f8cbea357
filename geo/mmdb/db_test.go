package mmdb

import (
	"bytes"
	"compress/gzip"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter/mmdbtype"

	"proxima/geo"
)

func TestEveryKindOfDatabaseAnswersInTheSameWords(t *testing.T) {
	const s = geo.SourceDatabase
	type record = mmdbtype.Map
	mountain := geo.Location{Placed: true, Lat: 37.4, Lon: -122.1, Country: "US", City: "Mountain View", Source: s}
	for _, test := range []struct {
		name, databaseType string
		record             record
		want               geo.Location
	}{
		{"GeoLite2 City", "GeoLite2-City", nested("FR", "Paris", 48.86, 2.35, 20), paris},
		{"GeoIP2 Enterprise", "GeoIP2-Enterprise", nested("FR", "Paris", 48.86, 2.35, 20), paris},
		{"DB-IP City", "DBIP-City-Lite", nested("FR", "Paris", 48.86, 2.35, 20), paris},
		{"GeoLite2 Country", "GeoLite2-Country", record{"country": record{"iso_code": mmdbtype.String("FR")}}, geo.Location{Country: "FR", Source: s}},
		{"a City under a name of its own", "Acme-Places", nested("FR", "Paris", 48.86, 2.35, 20), paris},
		{"IPinfo Lite", "ipinfo generic_bundle_lite.mmdb", record{
			"asn": mmdbtype.String("AS15169"), "country": mmdbtype.String("United States"), "country_code": mmdbtype.String("US"),
		}, geo.Location{Country: "US", Source: s}},
		{"IPinfo standard, places as text", "ipinfo standard_location.mmdb", record{
			"country": mmdbtype.String("US"), "city": mmdbtype.String("Mountain View"),
			"lat": mmdbtype.String("37.4"), "lng": mmdbtype.String("-122.1"),
		}, mountain},
		{"IPinfo, place in one text", "ipinfo location.mmdb", record{
			"country": mmdbtype.String("US"), "city": mmdbtype.String("Mountain View"), "loc": mmdbtype.String("37.4, -122.1"),
		}, mountain},
		{"ip-location-db city", "city ipv4", record{
			"country_code": mmdbtype.String("us"), "city": mmdbtype.String("Mountain View"), "state2": mmdbtype.String(""),
			"latitude": mmdbtype.Float64(37.4), "longitude": mmdbtype.Float64(-122.1),
		}, mountain},
		{"ip-location-db country", "country ipv4", record{"country_code": mmdbtype.String("US")}, geo.Location{Country: "US", Source: s}},
		{"a place without a country", "places", record{"lat": mmdbtype.Uint32(10), "lon": mmdbtype.Int32(-20)}, geo.Location{Placed: true, Lat: 10, Lon: -20, Source: s}},
		{"a place off the map", "places", record{
			"country_code": mmdbtype.String("US"), "latitude": mmdbtype.Float64(91), "longitude": mmdbtype.Float64(0),
		}, geo.Location{Country: "US", Source: s}},
		{"a place that is no number", "places", record{"country_code": mmdbtype.String("US"), "latitude": nan, "longitude": nan}, geo.Location{Country: "US", Source: s}},
		{"half a place", "GeoLite2-City", record{
			"country":  record{"iso_code": mmdbtype.String("US")},
			"location": record{"latitude": mmdbtype.Float64(1)},
		}, geo.Location{Country: "US", Source: s}},
	} {
		t.Run(test.name, func(t *testing.T) {
			db := fromBytes(t, build(t, test.databaseType, networks{"192.0.2.0/25": test.record, "2001:db8::/33": test.record}))
			for _, addr := range []string{"192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "2001:db8::1%eth0"} {
				place, network, err := db.Locate(netip.MustParseAddr(addr))
				if err != nil || place != test.want {
					t.Errorf("%s is at %+v, %v; want %+v", addr, place, err, test.want)
				}
				if network.String() != "192.0.2.0/25" && network.String() != "2001:db8::/33" {
					t.Errorf("%s is in %v", addr, network)
				}
			}
			if place, _, err := db.Locate(netip.MustParseAddr("198.51.100.1")); err != nil || place != (geo.Location{}) {
				t.Errorf("an address the database does not have is at %+v, %v", place, err)
			}
			if err := db.Verify(); err != nil {
				t.Error(err)
			}
			if db.Type() != test.databaseType || db.Name() != "test.mmdb" || !db.Built().Equal(time.Unix(1_700_000_000, 0)) {
				t.Errorf("type %q, name %q, built %v", db.Type(), db.Name(), db.Built())
			}
		})
	}
}

func TestAnIPv4DatabaseKnowsNoIPv6Address(t *testing.T) {
	db := fromBytes(t, buildVersion(t, "GeoLite2-City", 4, networks{"0.0.0.0/1": nested("FR", "Paris", 48.86, 2.35, 20)}))
	for addr, want := range map[string]geo.Location{"1.2.3.4": paris, "200.2.3.4": {}, "2001:db8::1": {}, "::1": {}} {
		place, network, err := db.Locate(netip.MustParseAddr(addr))
		if err != nil || place != want || !network.Contains(netip.MustParseAddr(addr)) {
			t.Errorf("%s is at %+v in %v, %v; want %+v", addr, place, network, err, want)
		}
	}
	if place, _, err := db.Locate(netip.Addr{}); err != nil || place != (geo.Location{}) {
		t.Errorf("no address is at %+v, %v", place, err)
	}
}

func TestAnIPv6DatabaseWithoutIPv4NetworksKnowsNoIPv4Address(t *testing.T) {
	db := fromBytes(t, build(t, "GeoLite2-City", networks{"2001:db8::/32": nested("FR", "Paris", 48.86, 2.35, 20)}))
	addr := netip.MustParseAddr("1.2.3.4")
	place, network, err := db.Locate(addr)
	if err != nil || place != (geo.Location{}) || !network.Contains(addr) {
		t.Errorf("at %+v in %v, %v; want nowhere, in a network of IPv4", place, network, err)
	}
}

func TestAFileThatCannotBeUsedIsRefusedWithAHint(t *testing.T) {
	good := inParis(t)
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	if _, err := zip.Write(good); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	random := make([]byte, 100_000)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	for _, test := range []struct {
		name    string
		content []byte
		want    string
	}{
		{"empty", nil, "not a MaxMind DB, or cut short"},
		{"cut short", good[:len(good)-40], "not a MaxMind DB, or cut short"},
		{"random bytes", random, "not a MaxMind DB, or cut short"},
		{"compressed", packed.Bytes(), "compressed: unpack it first"},
		{"text", []byte("<html>404</html>"), "not a MaxMind DB, or cut short"},
		{"ASN", build(t, "GeoLite2-ASN", networks{"1.0.0.0/8": {"autonomous_system_number": mmdbtype.Uint32(1)}}), `type "GeoLite2-ASN" has no locations: use a City or Country database`},
		{"anonymous IP", build(t, "GeoIP2-Anonymous-IP", networks{"1.0.0.0/8": {"is_anonymous": mmdbtype.Bool(true)}}), `type "GeoIP2-Anonymous-IP" has no locations`},
		{"another publisher's ASN", build(t, "ipinfo asn.mmdb", networks{"1.0.0.0/8": {"asn": mmdbtype.String("AS1")}}), `type "ipinfo asn.mmdb" has no locations`},
		{"a record that is no map", build(t, "places", networks{"1.0.0.0/8": {}}), `type "places" has no locations`},
		{"no networks", build(t, "GeoLite2-City", networks{}), "holds no networks"},
		{"other fields than its type has", build(t, "GeoLite2-City", networks{"1.0.0.0/8": {"country": mmdbtype.String("FR")}}), "is broken"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := fileOf(t, test.content)
			_, err := Open(path)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Count(err.Error(), path) != 1 {
				t.Errorf("error %v; want %q in it, and the path once", err, test.want)
			}
		})
	}
}

func TestAPathThatIsNoFileIsRefusedWithAHint(t *testing.T) {
	dir := t.TempDir()
	huge := filepath.Join(dir, "huge.mmdb")
	write(t, huge, nil)
	if err := os.Truncate(huge, MaxBytes+1); err != nil { // sparse: it takes no space
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none.mmdb"): `none.mmdb": no such file: give the path of an .mmdb file, or "embedded"`,
		dir:                             `: not a regular file: give the path of an .mmdb file, or "embedded"`,
		huge:                            `huge.mmdb": 1073741825 bytes are over the limit of 1073741824 (1 GiB)`,
	} {
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%q): %v; want %q in it", path, err, want)
		}
	}
}

// TestDamageIsNeverAPanic cuts and flips a database everywhere and asks what is left of it everything.
func TestDamageIsNeverAPanic(t *testing.T) {
	for _, databaseType := range []string{"GeoLite2-City", "city ipv6"} {
		good := build(t, databaseType, networks{
			"1.0.0.0/8": nested("FR", "Paris", 48.86, 2.35, 20), "2.0.0.0/8": nested("JP", "Tokyo", 35.68, 139.65, 10),
			"2001:db8::/32": nested("JP", "Tokyo", 35.68, 139.65, 10),
		})
		refused := 0
		for at := range good {
			if err := ask(good[:at]); err != nil {
				refused++
			}
			damaged := bytes.Clone(good)
			damaged[at] ^= 1 << (at % 8)
			if err := ask(damaged); err != nil {
				refused++
			}
		}
		if refused < len(good) {
			t.Errorf("%s: %d cuts and flips refused, want at least the %d cuts", databaseType, refused, len(good))
		}
	}
}

// TestATreeThatSharesItsBranchesIsRefused: both records of every node lead to the next one, which makes 2¹²⁷ networks of 127
// nodes, or 2⁹⁶ of them outside the part for IPv4. Walking them all would never end.
func TestATreeThatSharesItsBranchesIsRefused(t *testing.T) {
	for _, shared := range []int{96, 127} {
		content := build(t, "GeoLite2-City", networks{"::1/128": nested("FR", "Paris", 48.86, 2.35, 20)})
		for node := range shared {
			for record := range 2 {
				at := node*6 + record*3 // 24 bits each
				content[at], content[at+1], content[at+2] = 0, 0, byte(node+1)
			}
		}
		if _, err := Open(fileOf(t, content)); err == nil || !strings.Contains(err.Error(), "fetch it again") {
			t.Errorf("%d nodes lead to the next: error %v, want the file refused", shared, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(inParis(f))
	f.Add(build(f, "city ipv4", networks{"1.0.0.0/8": {
		"country_code": mmdbtype.String("US"), "latitude": mmdbtype.Float64(1), "longitude": mmdbtype.Float64(2),
	}}))
	f.Add([]byte("\xab\xcd\xefMaxMind.com"))
	f.Fuzz(func(t *testing.T, content []byte) { _ = ask(content) })
}

// ask opens a database, checks it and looks some addresses up. What passed the check has no broken record.
func ask(content []byte) error {
	db, err := FromBytes("damaged", content)
	if err != nil {
		return err
	}
	verified := db.Verify()
	for _, addr := range []string{"0.0.0.0", "1.2.3.4", "2.3.4.5", "255.255.255.255", "::1", "2001:db8::1", "ffff::"} {
		place, _, err := db.Locate(netip.MustParseAddr(addr))
		if err != nil && verified == nil {
			panic("a record that was verified is broken: " + err.Error())
		}
		if offTheMap := !(math.Abs(place.Lat) <= 90 && math.Abs(place.Lon) <= 180); offTheMap {
			panic("a place off the map")
		}
	}
	return verified
}

package mmdb

import (
	"bytes"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
	"go.uber.org/goleak"

	"proxima/geo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// networks is what a test database says: a record for every prefix.
type networks map[string]mmdbtype.Map

// build writes a database of that type.
func build(t testing.TB, databaseType string, content networks) []byte {
	t.Helper()
	return buildVersion(t, databaseType, 6, content)
}

func buildVersion(t testing.TB, databaseType string, version int, content networks) []byte {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{
		DatabaseType: databaseType, IPVersion: version, BuildEpoch: 1_700_000_000,
		RecordSize: 24, IncludeReservedNetworks: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	for prefix, record := range content {
		network := netip.MustParsePrefix(prefix)
		ipNet := &net.IPNet{IP: network.Addr().AsSlice(), Mask: net.CIDRMask(network.Bits(), network.Addr().BitLen())}
		if err := tree.Insert(ipNet, record); err != nil {
			t.Fatal(err)
		}
	}
	var file bytes.Buffer
	if _, err := tree.WriteTo(&file); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// nested is a record as GeoIP2 City has it.
func nested(country, city string, lat, lon float64, radius uint16) mmdbtype.Map {
	return mmdbtype.Map{
		"country": mmdbtype.Map{"iso_code": mmdbtype.String(country)},
		"city":    mmdbtype.Map{"names": mmdbtype.Map{"en": mmdbtype.String(city), "de": mmdbtype.String("anders")}},
		"location": mmdbtype.Map{
			"latitude": mmdbtype.Float64(lat), "longitude": mmdbtype.Float64(lon), "accuracy_radius": mmdbtype.Uint16(radius),
		},
	}
}

// inParis and inTokyo are databases that say everything is in one city.
func inParis(t testing.TB) []byte {
	return build(t, "GeoLite2-City", networks{"0.0.0.0/1": nested("FR", "Paris", 48.86, 2.35, 20)})
}

func inTokyo(t testing.TB) []byte {
	return build(t, "GeoLite2-City", networks{"0.0.0.0/1": nested("JP", "Tokyo", 35.68, 139.65, 10)})
}

var (
	paris = geo.Location{Placed: true, Lat: 48.86, Lon: 2.35, Country: "FR", City: "Paris", AccuracyKm: 20, Source: geo.SourceDatabase}
	tokyo = geo.Location{Placed: true, Lat: 35.68, Lon: 139.65, Country: "JP", City: "Tokyo", AccuracyKm: 10, Source: geo.SourceDatabase}
)

func fromBytes(t testing.TB, content []byte) *DB {
	t.Helper()
	db, err := FromBytes("test.mmdb", content)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func write(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func fileOf(t testing.TB, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "geo.mmdb")
	write(t, path, content)
	return path
}

var nan = mmdbtype.Float64(math.NaN())

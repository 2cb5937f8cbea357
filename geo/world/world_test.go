package world

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"testing"
	"time"

	"proxima/geo"
)

func TestTheDatabaseIsTheOneThatSourceRecords(t *testing.T) {
	text, err := os.ReadFile("SOURCE")
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct {
		SHA256 string `json:"sha256"`
		Built  string `json:"built"`
	}
	if err := json.Unmarshal(text, &recorded); err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(database); hex.EncodeToString(sum[:]) != recorded.SHA256 {
		t.Errorf("sha256 of world.mmdb is %x, recorded is %s", sum, recorded.SHA256)
	}
	db, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	if db.Type() != "DBIP-City-Lite" || db.Built().Format(time.DateOnly) != recorded.Built {
		t.Errorf("it calls itself %s of %v", db.Type(), db.Built())
	}
	if err := db.Verify(); err != nil {
		t.Error(err)
	}
}

// wellKnown are addresses of universities, research networks and telecoms that have been where they are for decades, in 26
// countries of 6 continents.
var wellKnown = []struct {
	address, country string
	lat, lon         float64
}{
	{"128.59.1.1", "US", 40.8, -73.9},       // Columbia University, New York
	{"18.9.22.69", "US", 42.4, -71.1},       // MIT
	{"171.64.1.1", "US", 37.4, -122.2},      // Stanford
	{"128.100.1.1", "CA", 43.7, -79.4},      // University of Toronto
	{"132.248.1.1", "MX", 19.4, -99.1},      // UNAM, Mexico City
	{"143.107.1.1", "BR", -23.6, -46.7},     // University of São Paulo
	{"146.155.1.1", "CL", -33.4, -70.6},     // PUC, Santiago
	{"157.92.1.1", "AR", -34.6, -58.4},      // University of Buenos Aires
	{"168.176.5.1", "CO", 4.7, -74.1},       // National University, Bogotá
	{"129.132.1.1", "CH", 47.4, 8.5},        // ETH Zurich
	{"131.111.1.1", "GB", 52.2, 0.1},        // Cambridge
	{"141.2.1.1", "DE", 50.1, 8.7},          // Goethe University, Frankfurt
	{"134.157.1.1", "FR", 48.8, 2.4},        // Sorbonne, Paris
	{"147.83.1.1", "ES", 41.4, 2.2},         // UPC, Barcelona
	{"131.175.1.1", "IT", 45.5, 9.2},        // Politecnico di Milano
	{"192.16.199.1", "NL", 52.4, 4.9},       // CWI, Amsterdam
	{"130.237.1.1", "SE", 59.3, 18.0},       // KTH, Stockholm
	{"193.1.1.1", "IE", 53.3, -6.3},         // HEAnet, Dublin
	{"148.81.1.1", "PL", 52.3, 21.0},        // NASK, Warsaw
	{"160.75.1.1", "TR", 41.1, 29.0},        // Istanbul Technical University
	{"133.11.0.1", "JP", 35.7, 139.7},       // University of Tokyo
	{"143.248.1.1", "KR", 36.4, 127.4},      // KAIST, Daejeon
	{"166.111.1.1", "CN", 40.0, 116.3},      // Tsinghua, Beijing
	{"140.112.1.1", "TW", 25.0, 121.5},      // National Taiwan University, Taipei
	{"147.8.1.1", "HK", 22.3, 114.2},        // University of Hong Kong
	{"137.132.1.1", "SG", 1.3, 103.8},       // NUS
	{"117.192.0.1", "IN", 28.6, 77.2},       // BSNL, New Delhi
	{"129.94.1.1", "AU", -33.9, 151.2},      // UNSW, Sydney
	{"130.216.1.1", "NZ", -36.9, 174.8},     // Auckland
	{"137.158.1.1", "ZA", -33.9, 18.4},      // University of Cape Town
	{"41.204.160.1", "KE", -1.3, 36.8},      // Nairobi
	{"105.112.0.1", "NG", 6.5, 3.4},         // Airtel, Lagos
	{"2001:638::1", "DE", 52.5, 13.4},       // DFN, Berlin
	{"2001:660:3000::1", "FR", 48.9, 2.4},   // Renater, Paris
	{"2001:200::1", "JP", 35.4, 139.4},      // WIDE, Fujisawa
	{"2001:6b0::1", "SE", 59.3, 18.1},       // Sunet, Stockholm
	{"2001:12f0::1", "BR", -15.8, -47.9},    // RNP, Brasília
	{"2001:388::1", "AU", -33.8, 151.1},     // AARNet, Sydney
	{"2c0f:fb50:4002::1", "KE", -1.3, 36.8}, // Nairobi
}

func TestWellKnownAddressesAreWhereTheyShouldBe(t *testing.T) {
	db, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range wellKnown {
		place, network, err := db.Locate(netip.MustParseAddr(w.address))
		if err != nil {
			t.Fatal(err)
		}
		off := geo.Km(place, geo.Location{Placed: true, Lat: w.lat, Lon: w.lon})
		if !place.Placed || place.Country != w.country || off > 300 || place.AccuracyKm == 0 {
			t.Errorf("%s, in %v, is at %+v: %.0f km from where it should be in %s", w.address, network, place, off, w.country)
		}
	}
}

func TestAddressesThatAreNowhereAreUnknown(t *testing.T) {
	db, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{"10.0.0.1", "127.0.0.1", "192.0.2.1", "224.0.0.1", "::1", "2001:db8::1", "fd00::1", "ffff::1"} {
		if place, _, err := db.Locate(netip.MustParseAddr(addr)); err != nil || place != (geo.Location{}) {
			t.Errorf("%s is at %+v, %v", addr, place, err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	for b.Loop() {
		if _, err := Open(); err != nil {
			b.Fatal(err)
		}
	}
}

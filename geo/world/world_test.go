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

// wellKnown are addresses of universities, exchanges and telecoms that have been where they are for decades.
var wellKnown = []struct {
	address, country string
	lat, lon         float64
}{
	{"133.11.0.1", "JP", 35.7, 139.7},   // University of Tokyo
	{"141.2.1.1", "DE", 50.1, 8.7},      // Goethe University, Frankfurt
	{"128.59.1.1", "US", 40.8, -73.9},   // Columbia University, New York
	{"171.64.1.1", "US", 37.4, -122.2},  // Stanford
	{"129.132.1.1", "CH", 47.4, 8.5},    // ETH Zurich
	{"131.111.1.1", "GB", 52.2, 0.1},    // Cambridge
	{"130.237.1.1", "SE", 59.3, 18.0},   // Stockholm
	{"193.1.1.1", "IE", 53.3, -6.3},     // HEAnet, Dublin
	{"147.83.1.1", "ES", 41.4, 2.2},     // UPC, Barcelona
	{"131.175.1.1", "IT", 45.5, 9.2},    // Politecnico di Milano
	{"192.16.199.1", "NL", 52.4, 4.9},   // CWI, Amsterdam
	{"129.94.1.1", "AU", -33.9, 151.2},  // UNSW, Sydney
	{"130.216.1.1", "NZ", -36.9, 174.8}, // Auckland
	{"143.107.1.1", "BR", -23.6, -46.7}, // University of São Paulo
	{"146.155.1.1", "CL", -33.4, -70.6}, // PUC, Santiago
	{"137.158.1.1", "ZA", -33.9, 18.4},  // University of Cape Town
	{"147.8.1.1", "HK", 22.3, 114.2},    // University of Hong Kong
	{"137.132.1.1", "SG", 1.3, 103.8},   // NUS
	{"143.248.1.1", "KR", 36.4, 127.4},  // KAIST
	{"140.112.1.1", "TW", 25.0, 121.5},  // National Taiwan University
	{"128.100.1.1", "CA", 43.7, -79.4},  // Toronto
	{"132.248.1.1", "MX", 19.4, -99.1},  // UNAM
	{"202.141.80.1", "IN", 26.2, 91.7},  // IIT Guwahati
	{"41.204.160.1", "KE", -1.3, 36.8},  // Nairobi
	{"2001:638::1", "DE", 51, 9},        // DFN
	{"2001:200::1", "JP", 36, 139},      // WIDE
	{"2001:468::1", "US", 40, -95},      // Internet2
	{"2001:630::1", "GB", 52, -1},       // Janet
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
		km := geo.Km(place, geo.Location{Placed: true, Lat: w.lat, Lon: w.lon})
		if place.Country != w.country || km > 1500 {
			t.Errorf("%s (%v) is in %s at %.1f, %.1f, %.0f km from where it should be in %s", w.address, network, place.Country, place.Lat, place.Lon, km, w.country)
		}
	}
}

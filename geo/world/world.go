// Package world is the geolocation database that Proxima brings along, for everybody who has none of their own.
//
// It is made from DB-IP City Lite: neighbouring networks are merged, places are rounded, names are left out. Half of all IPv4
// addresses are within 25 km of where the source has them, nine in ten within 220 km: a few milliseconds of network, too little
// to change which region is near. SOURCE, beside this file, says what it was made from, how, and by how much it is off.
package world

import (
	_ "embed"

	"proxima/geo/mmdb"
)

//go:generate go run ./generate

// Open is the embedded database. It is ready in milliseconds: its records were checked when it was made, and by the tests.
func Open() (*mmdb.DB, error) { return mmdb.FromBytes("embedded", database) }

//go:embed world.mmdb
var database []byte

// Attribution and AttributionURL must be shown wherever an answer of this database is: CC BY 4.0, section 3(a).
const (
	Attribution    = "IP Geolocation by DB-IP"
	AttributionURL = "https://db-ip.com"
)

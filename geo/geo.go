// Package geo knows where on Earth things are: clients by their address, cloud regions by their name, and how far apart two
// places lie.
//
// It is pure: no sockets, no files, no clock. Databases come in as a function (see geo/mmdb and geo/world).
//
// Start with Locate, which shows in one function what happens to a client that cannot be placed.
package geo

import "net/netip"

// Locator says where a client is from its address. Its fields are set once, before the first Locate; after that any number of
// goroutines may use it. The zero Locator knows nothing and says so.
type Locator struct {
	Overrides Overrides                         // the operator's own word, before any database
	Database  func(netip.Addr) (Location, bool) // nil: no database. It gets unmapped public addresses only
	Default   Location                          // where an unplaceable client is taken to be; zero: nowhere
}

// Locate returns where the client with this address is and, in Source, how that is known. It never fails: whoever cannot be
// placed is taken to be at the Default, and without a Default comes back not Placed. Where only a country is known, the client
// is placed in its centre.
func (l *Locator) Locate(addr netip.Addr) Location {
	addr = addr.Unmap().WithZone("")
	if place, ok := l.Overrides.Find(addr); ok {
		return place.says(SourceOverride)
	}
	if !public(addr) {
		return l.Default.says(SourcePrivate)
	}
	if l.Database != nil {
		if place, ok := l.Database(addr); ok && place.known() {
			return place.says(SourceDatabase)
		}
	}
	if l.Default.known() {
		return l.Default.says(SourceDefault)
	}
	return Location{Source: SourceUnknown}
}

// public reports whether an address can be anywhere in particular. Databases have nothing on the others: they are the
// operator's own networks, shared between everybody, or no addresses at all.
func public(addr netip.Addr) bool {
	return addr.IsGlobalUnicast() && !addr.IsPrivate() && !carrierNAT.Contains(addr)
}

// carrierNAT is the space between carriers and their customers, RFC 6598. netip's IsPrivate leaves it out.
var carrierNAT = netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 0, 0}), 10)

// Source says how a location is known. The words appear in `geo lookup`, in explain and as a metric label.
type Source string

// Every Source there is.
const (
	SourceUnknown  Source = "unknown"  // nobody knows this client and there is no default
	SourceOverride Source = "override" // the operator's configuration
	SourceDatabase Source = "database" // a geolocation database
	SourceDefault  Source = "default"  // the configured default, for a public address that nobody knows
	SourcePrivate  Source = "private"  // the configured default, or nowhere, for an address that is not public
	SourceRegion   Source = "region"   // the table of cloud regions
)

// Location is a place, or as much of one as is known.
type Location struct {
	Placed     bool    // Lat and Lon mean something; a zero Location is an unplaced client
	Lat, Lon   float64 // degrees, north and east positive
	Country    string  // ISO 3166-1 alpha-2, upper case; "" when unknown
	City       string  // for people only, nothing is decided by it
	AccuracyKm float64 // radius in which the client probably is; 0 when unknown
	Source     Source
}

// known reports whether there is anything in the location worth deciding by.
func (l Location) known() bool { return l.Placed || l.Country != "" }

// says is the location as the source gave it, put into its country's centre when the source named no more than the country.
func (l Location) says(source Source) Location {
	if !l.Placed && l.Country != "" {
		if centre, ok := CountryCentre(l.Country); ok {
			centre.City = l.City
			l = centre
		}
	}
	l.Source = source
	return l
}

package geo

import (
	_ "embed"
	"fmt"
	"sync"
)

// CountryCentre is where the addresses of a country are, on average: the mean position of its IPv4 addresses, not the middle
// of its map. AccuracyKm is the radius around it that holds nine in ten of them, 2,334 km in Canada and 3 km in Andorra. The
// country is an ISO 3166-1 alpha-2 code in upper case. Source is left to the caller.
func CountryCentre(country string) (Location, bool) {
	centre, ok := countryCentres()[country]
	return centre, ok
}

// The centres are derived from DB-IP City Lite (https://db-ip.com, CC BY 4.0): IP Geolocation by DB-IP.
//
//go:embed country_ip_centroids.csv
var countryCentresCSV string

// countryCentres reads the embedded file once, on first use; see cloudRegions.
var countryCentres = sync.OnceValue(func() map[string]Location {
	centres, err := parseCentres(countryCentresCSV)
	if err != nil {
		panic(err)
	}
	return centres
})

// parseCentres reads country,lat,lon,ipv4_addresses,radius50_km,radius90_km,top_cell_lat,top_cell_lon,top_cell_share.
func parseCentres(text string) (map[string]Location, error) {
	rows, err := parseRows("country_ip_centroids.csv", text, 9)
	if err != nil {
		return nil, err
	}
	centres := make(map[string]Location, len(rows))
	for _, row := range rows {
		centre, err := parsePlace(row[0], row[1], row[2])
		if err != nil {
			return nil, fmt.Errorf("country_ip_centroids.csv: %s: %w", row[0], err)
		}
		if centre.AccuracyKm, err = parseNumber(row[5], 0, 20_040); err != nil { // half the equator
			return nil, fmt.Errorf("country_ip_centroids.csv: %s: radius90_km %w", row[0], err)
		}
		if _, twice := centres[row[0]]; twice {
			return nil, fmt.Errorf("country_ip_centroids.csv: %s is there twice", row[0])
		}
		centres[row[0]] = centre
	}
	return centres, nil
}

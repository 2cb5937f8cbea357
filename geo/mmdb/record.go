package mmdb

import (
	"math"
	"net/netip"
	"strconv"
	"strings"

	"github.com/oschwald/geoip2-golang/v2"
	"github.com/oschwald/maxminddb-golang/v2"

	"proxima/geo"
)

// geoip2Reader reads the types that geoip2 knows. City reads Country and Enterprise databases just as well: their records have
// the same fields, or fewer.
type geoip2Reader struct{ *geoip2.Reader }

func (r geoip2Reader) locate(addr netip.Addr) (geo.Location, netip.Prefix, error) {
	record, err := r.City(addr)
	if err != nil {
		return geo.Location{}, netip.Prefix{}, err
	}
	place := geo.Location{
		Country:    countryCode(record.Country.ISOCode),
		City:       record.City.Names.English,
		AccuracyKm: float64(record.Location.AccuracyRadius),
	}
	if record.Location.HasCoordinates() {
		place = placedAt(place, *record.Location.Latitude, *record.Location.Longitude)
	}
	return place, record.Traits.Network, nil
}

// anyReader reads every other type, by the names its fields have. The names are those of the published databases:
//
//	IPinfo          country_code, or country · city · lat and lng, as text · loc, as "lat,lng" · radius
//	ip-location-db  country_code · city · latitude and longitude
//	GeoIP2's own    country.iso_code · city.names.en · location.latitude, .longitude and .accuracy_radius
type anyReader struct{ *maxminddb.Reader }

func (r anyReader) locate(addr netip.Addr) (geo.Location, netip.Prefix, error) {
	result := r.Lookup(addr)
	var value any
	if err := result.Decode(&value); err != nil {
		return geo.Location{}, netip.Prefix{}, err
	}
	record, _ := value.(map[string]any)
	return placeOf(record), result.Prefix(), nil
}

func placeOf(record map[string]any) geo.Location {
	location := field(record, "location")
	place := geo.Location{
		Country:    countryCode(text(record["country_code"]), text(field(record, "country")["iso_code"]), text(record["country"])),
		City:       first(text(record["city"]), text(field(field(record, "city"), "names")["en"])),
		AccuracyKm: radius(record["radius"], record["accuracy_radius"], location["accuracy_radius"]),
	}
	lat, okLat := number(record["latitude"], record["lat"], location["latitude"])
	lon, okLon := number(record["longitude"], record["lng"], record["lon"], location["longitude"])
	if north, east, ok := strings.Cut(text(record["loc"]), ","); ok && !okLat && !okLon {
		lat, okLat = number(north)
		lon, okLon = number(east)
	}
	if okLat && okLon {
		place = placedAt(place, lat, lon)
	}
	return place
}

// placedAt puts the place on the map, when there is such a point.
func placedAt(place geo.Location, lat, lon float64) geo.Location {
	if math.Abs(lat) <= 90 && math.Abs(lon) <= 180 { // neither is true of NaN
		place.Placed, place.Lat, place.Lon = true, lat, lon
	}
	return place
}

// countryCode is the first of the texts that looks like an ISO 3166-1 alpha-2 code, in upper case.
func countryCode(texts ...string) string {
	for _, text := range texts {
		code := strings.ToUpper(text)
		if len(code) == 2 && 'A' <= code[0] && code[0] <= 'Z' && 'A' <= code[1] && code[1] <= 'Z' {
			return code
		}
	}
	return ""
}

// field is a record within a record, nil (which is empty) when there is none.
func field(record map[string]any, name string) map[string]any {
	inner, _ := record[name].(map[string]any)
	return inner
}

func text(value any) string {
	s, _ := value.(string)
	return s
}

func first(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// number is the first of the values that is one, be it written as a number or as text.
func number(values ...any) (float64, bool) {
	for _, value := range values {
		switch n := value.(type) {
		case float64:
			return n, true
		case float32:
			return float64(n), true
		case uint64:
			return float64(n), true
		case int32:
			return float64(n), true
		case string:
			if f, err := strconv.ParseFloat(strings.TrimSpace(n), 64); err == nil {
				return f, true
			}
		}
	}
	return 0, false
}

// radius is the first of the values that can be a distance on Earth, 0 when none can.
func radius(values ...any) float64 {
	if km, ok := number(values...); ok && 0 <= km && km <= 20_040 {
		return km
	}
	return 0
}

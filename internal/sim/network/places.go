package network

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"proxima/geo"
)

const placesHeader = "name,lat,lon,country"

// ReadPlaces reads where places are: CSV with the header name,lat,lon,country, at most
// 1,000 of them, in degrees and ISO 3166-1 alpha-2. Errors begin with the name of the
// file and the line, and say what is wrong and what to write instead.
func ReadPlaces(r io.Reader, name string) (map[string]geo.Location, error) {
	f, err := readFile(r, name)
	if err != nil {
		return nil, err
	}
	places, headed := map[string]geo.Location{}, false
	err = f.rows(func(row []string) error {
		if !headed {
			headed = true
			return checkPlacesHeader(row)
		}
		return addPlace(places, row)
	})
	switch {
	case err != nil:
		return nil, err
	case len(places) == 0:
		return nil, fmt.Errorf("%s: no place below the header: add one, such as lab-berlin,52.52,13.40,DE", name)
	}
	return places, nil
}

func checkPlacesHeader(row []string) error {
	if !strings.EqualFold(strings.Join(row, ","), placesHeader) {
		return fmt.Errorf("the header must be %s", placesHeader)
	}
	return nil
}

func addPlace(places map[string]geo.Location, row []string) error {
	if len(row) != 4 {
		return fmt.Errorf("%d fields where the header has 4: %s", len(row), placesHeader)
	}
	name, country := row[0], row[3]
	if _, twice := places[name]; twice {
		return fmt.Errorf("%.60q is there twice: leave one out", name)
	}
	lat, err := degrees(row[1], 90)
	if err != nil {
		return fmt.Errorf("lat %w", err)
	}
	lon, err := degrees(row[2], 180)
	if err != nil {
		return fmt.Errorf("lon %w", err)
	}
	switch {
	case !speakable(name):
		return fmt.Errorf("name %.60q: write letters, digits and signs", name)
	case len(country) != 2 || strings.Trim(country, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "":
		return fmt.Errorf("country %.10q: write two capital letters, such as DE", country)
	case len(places) == mostPlaces:
		return fmt.Errorf("more than %d places", mostPlaces)
	}
	places[name] = geo.Location{Placed: true, Lat: lat, Lon: lon, Country: country}
	return nil
}

// speakable keeps what would garble a terminal out of every later message.
func speakable(name string) bool {
	hidden := func(r rune) bool { return !unicode.IsPrint(r) }
	return name != "" && utf8.ValidString(name) && !strings.ContainsFunc(name, hidden)
}

// degrees is a number from −most to most. NaN is in no range.
func degrees(text string, most float64) (float64, error) {
	number, err := strconv.ParseFloat(text, 64)
	if err != nil || !(-most <= number && number <= most) {
		return 0, fmt.Errorf("%.40q: write degrees from %v to %v, such as 52.52", text, -most, most)
	}
	return number, nil
}

package geo

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// CloudRegion is a region of a public cloud and the place it is in.
type CloudRegion struct {
	Provider string // aws, gcp or azure
	Name     string // as the provider writes it: us-east-1, us-east1, eastus. No two providers share a name
	City     string // for people
	Place    Location
}

// KnownRegion finds a cloud region by the exact name its provider gives it. The place has Source SourceRegion.
func KnownRegion(name string) (CloudRegion, bool) {
	i, ok := cloudRegions().byName[name]
	if !ok {
		return CloudRegion{}, false
	}
	return cloudRegions().inOrder[i], true
}

// KnownRegions is every known cloud region, provider by provider. The slice is the caller's own.
func KnownRegions() []CloudRegion { return slices.Clone(cloudRegions().inOrder) }

// The places are facts, gathered from the providers' documentation and APIs. Where those disagree, round-trip times between
// regions decided, and the note column says so.
//
//go:embed cloud_regions.csv
var cloudRegionsCSV string

type regionTable struct {
	inOrder []CloudRegion
	byName  map[string]int // index in inOrder
}

// cloudRegions reads the embedded file once, on first use. It is part of the program, and its test reads every row, so a
// file that cannot be read never leaves the build.
var cloudRegions = sync.OnceValue(func() regionTable {
	table, err := parseRegions(cloudRegionsCSV)
	if err != nil {
		panic(err)
	}
	return table
})

// parseRegions reads provider,region,city,country,continent,lat,lon,note.
func parseRegions(text string) (regionTable, error) {
	rows, err := parseRows("cloud_regions.csv", text, 8)
	if err != nil {
		return regionTable{}, err
	}
	table := regionTable{byName: make(map[string]int, len(rows))}
	for i, row := range rows {
		place, err := parsePlace(row[3], row[5], row[6])
		if err != nil {
			return regionTable{}, fmt.Errorf("cloud_regions.csv: %s: %w", row[1], err)
		}
		if _, twice := table.byName[row[1]]; twice {
			return regionTable{}, fmt.Errorf("cloud_regions.csv: %s is there twice", row[1])
		}
		place.City, place.Source = row[2], SourceRegion
		table.byName[row[1]] = i
		table.inOrder = append(table.inOrder, CloudRegion{Provider: row[0], Name: row[1], City: row[2], Place: place})
	}
	return table, nil
}

// parseRows reads a CSV file of that many columns and drops its header.
func parseRows(name, text string, columns int) ([][]string, error) {
	reader := csv.NewReader(strings.NewReader(text))
	reader.FieldsPerRecord = columns
	rows, err := reader.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(rows) < 2 {
		return nil, fmt.Errorf("%s: no rows", name)
	}
	return rows[1:], nil
}

func parsePlace(country, lat, lon string) (Location, error) {
	north, err := parseNumber(lat, -90, 90)
	if err != nil {
		return Location{}, fmt.Errorf("lat %w", err)
	}
	east, err := parseNumber(lon, -180, 180)
	if err != nil {
		return Location{}, fmt.Errorf("lon %w", err)
	}
	if len(country) != 2 || strings.Trim(country, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return Location{}, fmt.Errorf("country %q: must be two capital letters", country)
	}
	return Location{Placed: true, Lat: north, Lon: east, Country: country}, nil
}

// parseNumber reads a number from low to high. NaN is in no range.
func parseNumber(text string, low, high float64) (float64, error) {
	number, err := strconv.ParseFloat(text, 64)
	if err != nil || !(low <= number && number <= high) {
		return 0, fmt.Errorf("%q: must be a number from %v to %v", text, low, high)
	}
	return number, nil
}

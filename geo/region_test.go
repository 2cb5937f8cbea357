package geo

import (
	"strings"
	"testing"
)

func TestEveryEmbeddedRegionCanBeUsed(t *testing.T) {
	table, err := parseRegions(cloudRegionsCSV)
	if err != nil {
		t.Fatal(err)
	}
	if len(table.inOrder) != 138 {
		t.Errorf("%d regions, want 138", len(table.inOrder))
	}
	for _, region := range table.inOrder {
		if region.Name == "" || region.City == "" || region.City != region.Place.City {
			t.Errorf("%+v: a name or a city is missing", region)
		}
		if region.Provider != "aws" && region.Provider != "gcp" && region.Provider != "azure" {
			t.Errorf("%s: provider %q", region.Name, region.Provider)
		}
		if !region.Place.Placed || region.Place.Source != SourceRegion {
			t.Errorf("%s: place %+v", region.Name, region.Place)
		}
		if _, ok := CountryCentre(region.Place.Country); !ok {
			t.Errorf("%s: country %q has no centre", region.Name, region.Place.Country)
		}
		if found, ok := KnownRegion(region.Name); !ok || found != region {
			t.Errorf("KnownRegion(%q) = %+v, %v", region.Name, found, ok)
		}
	}
}

func TestRegionsAreFoundByTheirExactName(t *testing.T) {
	region, ok := KnownRegion("europe-west1")
	want := at(50.47, 3.87)
	if !ok || region.Provider != "gcp" || region.Place.Country != "BE" || Km(region.Place, want) > 30 {
		t.Errorf("europe-west1 = %+v, want gcp's near %v, %v in BE", region, want.Lat, want.Lon)
	}
	for _, name := range []string{"", "Europe-West1", "europe-west", "region"} {
		if region, ok := KnownRegion(name); ok {
			t.Errorf("KnownRegion(%q) = %+v, want nothing", name, region)
		}
	}
}

func TestACallerCannotChangeTheKnownRegions(t *testing.T) {
	first := KnownRegions()[0]
	KnownRegions()[0] = CloudRegion{}
	if again := KnownRegions()[0]; again != first {
		t.Errorf("first region became %+v", again)
	}
}

func TestEveryEmbeddedCountryHasACentre(t *testing.T) {
	centres, err := parseCentres(countryCentresCSV)
	if err != nil {
		t.Fatal(err)
	}
	if len(centres) != 247 {
		t.Errorf("%d countries, want 247", len(centres))
	}
	canada, ok := CountryCentre("CA")
	if want := (Location{Placed: true, Lat: 47.16, Lon: -82.23, Country: "CA", AccuracyKm: 2334}); !ok || canada != want {
		t.Errorf("Canada = %+v, want %+v", canada, want)
	}
	if centre, ok := CountryCentre("ca"); ok {
		t.Errorf("ca = %+v, want nothing: codes are upper case", centre)
	}
}

func TestABrokenTableSaysWhichRowIsBroken(t *testing.T) {
	const header = "provider,region,city,country,continent,lat,lon,note\n"
	const good = "aws,r1,X,US,NA,1,2,\n"
	for _, test := range []struct{ name, text, want string }{
		{"empty", "", "no rows"},
		{"only a header", header, "no rows"},
		{"a column too few", header + "aws,r1,X,US,NA,1,2\n", "wrong number of fields"},
		{"the same region twice", header + good + good, "r1 is there twice"},
		{"a pole too far", header + "aws,r1,X,US,NA,91,2,\n", `r1: lat "91": must be a number from -90 to 90`},
		{"not a number", header + "aws,r1,X,US,NA,1,NaN,\n", `r1: lon "NaN": must be a number from -180 to 180`},
		{"a country in lower case", header + "aws,r1,X,us,NA,1,2,\n", `r1: country "us": must be two capital letters`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := parseRegions(test.text); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q in it", err, test.want)
			}
		})
	}
}

package workload

import (
	_ "embed"
	"encoding/csv"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"

	"proxima/geo"
)

// country is where the addresses of one are.
type country struct {
	code      string
	continent string
	centre    geo.Location
	radiusKm  float64 // half of its addresses are within
	weight    float64 // how often it is drawn, against the others
}

// farKm is how far a misplaced client is from where it is believed to be, at least:
// other continents begin across many a river.
const farKm = 6000

//go:embed data/country_ip_centroids.csv
var centroids string

// everywhere is all countries, weighed by their IPv4 addresses. The file is part of the
// program, and the tests read every row.
var everywhere = sync.OnceValue(func() []country {
	rows, err := csv.NewReader(strings.NewReader(centroids)).ReadAll()
	if err != nil {
		panic(err)
	}
	continent := map[string]string{}
	for name, codes := range continents {
		for code := range strings.FieldsSeq(codes) {
			continent[code] = name
		}
	}
	var all []country
	for _, row := range rows[1:] {
		c := country{code: row[0], continent: continent[row[0]], radiusKm: number(row[4]), weight: number(row[3])}
		c.centre = geo.Location{Placed: true, Lat: number(row[1]), Lon: number(row[2]), Country: row[0]}
		all = append(all, c)
	}
	return all
})

func number(text string) float64 {
	x, err := strconv.ParseFloat(text, 64)
	if err != nil {
		panic(err)
	}
	return x
}

// somewhere is a place in a country: a normal distribution around its centre, so wide
// that half of it is within the country's radius. At the edges it is at sea or abroad.
func (c *country) somewhere(rng *rand.Rand) geo.Location {
	const kmPerDegree, halfWithin = 111.2, 1.1774 // deviations that hold half of a normal in two dimensions
	spread := c.radiusKm / kmPerDegree / halfWithin
	place := c.centre
	place.Lat = min(max(place.Lat+spread*rng.NormFloat64(), -85), 85)
	lon := place.Lon + spread*rng.NormFloat64()/math.Cos(place.Lat*math.Pi/180)
	place.Lon = lon - 360*math.Floor((lon+180)/360)
	return place
}

// elsewhere is the centre of a country on another continent, far away from a place.
func (c *country) elsewhere(place geo.Location, rng *rand.Rand) geo.Location {
	all := everywhere()
	for { // from anywhere, a fifth of all countries are so: see the tests
		other := &all[rng.IntN(len(all))]
		if other.continent != c.continent && geo.Km(other.centre, place) > farKm {
			return other.centre
		}
	}
}

// continents is the countries of each, as the United Nations divide them (M49, which has
// neither Taiwan nor Kosovo), with the Americas in two.
var continents = map[string]string{
	"africa": "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG ER ET GA GH GM GN GQ GW IO KE KM LR LS LY MA MG ML MR MU MW MZ NA NE NG " +
		"RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW",
	"antarctica": "AQ",
	"asia": "AE AF AM AZ BD BH BN BT CN CY GE HK ID IL IN IQ IR JO JP KG KH KP KR KW KZ LA LB LK MM MN MO MV MY NP OM PH PK " +
		"PS QA SA SG SY TH TJ TL TM TR TW UZ VN YE",
	"europe": "AD AL AT AX BA BE BG BY CH CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU LV MC MD ME MK MT " +
		"NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK",
	"north america": "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA PM PR SV SX " +
		"TC TT US VC VG VI",
	"oceania":       "AS AU CC CK FJ FM GU HM KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TO TV UM VU WF WS",
	"south america": "AR BO BR BV CL CO EC FK GF GS GY PE PY SR UY VE",
}

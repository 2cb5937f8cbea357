package workload

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"proxima/geo"
	"proxima/internal/sim/network"

	"pgregory.net/rapid"
)

func TestEveryCountryIsReadAndOnOneContinent(t *testing.T) {
	all := everywhere()
	if len(all) != 247 {
		t.Fatalf("%d countries, want 247", len(all))
	}
	listed := 0
	for _, codes := range continents {
		listed += len(strings.Fields(codes))
	}
	if listed != len(all) {
		t.Errorf("%d countries on continents, want each of %d once", listed, len(all))
	}
	for _, c := range all {
		if c.continent == "" || c.weight <= 0 || c.radiusKm <= 0 || !c.centre.Placed {
			t.Errorf("%+v lacks something", c)
		}
	}
}

func TestFarCountriesOnOtherContinentsAreEasilyFound(t *testing.T) {
	for _, c := range everywhere() {
		found := 0
		for _, other := range everywhere() {
			if other.continent != c.continent && geo.Km(other.centre, c.centre) > farKm {
				found++
			}
		}
		if found < 50 {
			t.Errorf("%s: %d far countries, want a fifth of 247", c.code, found)
		}
	}
}

func TestClientsLiveWhereAddressesAre(t *testing.T) {
	clients := Population(network.AWS(), 200_000, 0, rand.New(rand.NewPCG(1, 2)))
	total, lived := 0.0, map[string]float64{}
	for _, c := range everywhere() {
		total += c.weight
	}
	for _, c := range clients {
		lived[c.Country]++
	}
	for _, c := range everywhere() {
		want, got := c.weight/total, lived[c.code]/float64(len(clients))
		if math.Abs(got-want) > 5*math.Sqrt(want/float64(len(clients)))+1e-5 {
			t.Errorf("%s: share %v, want %v", c.code, got, want)
		}
	}
}

func TestSharesOfCountriesAreThoseAskedFor(t *testing.T) {
	census := Census{Network: network.AWS(), Countries: map[string]float64{"DE": 3, "JP": 1, "US": 0}}
	clients, err := census.Clients(40_000, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	lived := map[string]float64{}
	for _, c := range clients {
		lived[c.Country] += 1 / float64(len(clients))
	}
	if len(lived) != 2 || math.Abs(lived["DE"]-0.75) > 0.01 {
		t.Errorf("shares %v, want DE 0.75 and JP 0.25", lived)
	}
}

func TestACountryThatIsNoneIsSaid(t *testing.T) {
	for _, test := range []struct {
		countries map[string]float64
		want      string
	}{
		{map[string]float64{"DE": 1, "Germany": 1}, `countries: "Germany" is not one: write two capital letters, such as DE`},
		{map[string]float64{"de": 1}, `countries: "de" is not one: write two capital letters, such as DE`},
		{map[string]float64{"DE": -1}, "countries: DE has the share -1: write 0 or more"},
		{map[string]float64{"DE": math.NaN()}, "countries: DE has the share NaN: write 0 or more"},
		{map[string]float64{"DE": math.Inf(1)}, "countries: DE has the share +Inf: write 0 or more"},
		{map[string]float64{"DE": 0}, "countries: none has a share above 0"},
		{map[string]float64{}, "countries: none has a share above 0"},
	} {
		_, err := Census{Network: network.AWS(), Countries: test.countries}.Clients(1, rand.New(rand.NewPCG(1, 2)))
		if err == nil || err.Error() != test.want {
			t.Errorf("%v: got %v, want %s", test.countries, err, test.want)
		}
	}
}

// Half of a country's clients are within its radius of its centre.
func TestClientsAreSpreadAsTheirCountryIs(t *testing.T) {
	for _, code := range []string{"US", "FR", "SG"} {
		clients, err := Census{Network: network.AWS(), Countries: map[string]float64{code: 1}}.Clients(20_000, rand.New(rand.NewPCG(1, 2)))
		if err != nil {
			t.Fatal(err)
		}
		home := everywhere()[slices.IndexFunc(everywhere(), func(c country) bool { return c.code == code })]
		within := 0.0
		for _, c := range clients {
			if geo.Km(c.Place, home.centre) <= home.radiusKm {
				within += 1 / float64(len(clients))
			}
		}
		if math.Abs(within-0.5) > 0.03 {
			t.Errorf("%s: %v of clients within %v km, want half", code, within, home.radiusKm)
		}
	}
}

// What is left of the round trip without the way to the metro is the access network.
func TestTheLastMileHasItsMedianAndItsTail(t *testing.T) {
	for _, test := range []struct {
		census       Census
		median, slow float64
	}{
		{Census{}, 8, 25},
		{Census{LastMileMs: 16}, 16, 50},
		{Census{LastMileMs: 20, LastMile90Ms: 30}, 20, 30},
	} {
		test.census.Network = network.AWS()
		clients, err := test.census.Clients(100_000, rand.New(rand.NewPCG(1, 2)))
		if err != nil {
			t.Fatal(err)
		}
		access := make([]float64, len(clients))
		for i, c := range clients {
			metro, _ := test.census.Network.Place(test.census.Network.Places[c.Metro])
			access[i] = c.LastMileMs - geo.Km(c.Place, metro)*0.0157
		}
		slices.Sort(access)
		median, slow := access[len(access)/2], access[len(access)*9/10]
		if math.Abs(median/test.median-1) > 0.02 || math.Abs(slow/test.slow-1) > 0.02 {
			t.Errorf("median %v and 90th percentile %v, want %v and %v", median, slow, test.median, test.slow)
		}
	}
}

func TestMisplacedClientsAreBelievedOnAnotherContinent(t *testing.T) {
	clients := Population(network.AWS(), 50_000, 0.3, rand.New(rand.NewPCG(1, 2)))
	continentOf := map[string]string{}
	for _, c := range everywhere() {
		continentOf[c.code] = c.continent
	}
	misplaced := 0.0
	for _, c := range clients {
		if c.Believed == c.Place {
			continue
		}
		misplaced += 1 / float64(len(clients))
		if continentOf[c.Believed.Country] == continentOf[c.Country] || geo.Km(c.Believed, c.Place) <= farKm {
			t.Fatalf("a client in %s at %+v is believed at %+v", c.Country, c.Place, c.Believed)
		}
	}
	if math.Abs(misplaced-0.3) > 0.01 {
		t.Errorf("%v of clients are misplaced, want 0.3", misplaced)
	}
}

func TestMisplacingSomeMovesNobody(t *testing.T) {
	right := Population(network.AWS(), 1000, 0, rand.New(rand.NewPCG(1, 2)))
	wrong := Population(network.AWS(), 1000, 0.5, rand.New(rand.NewPCG(1, 2)))
	for i := range wrong {
		wrong[i].Believed = right[i].Believed
	}
	if !slices.Equal(right, wrong) {
		t.Error("clients differ in more than where they are believed to be")
	}
}

func TestNeighboursShareAPrefixAndStrangersDoNot(t *testing.T) {
	clients := Population(network.AWS(), 100_000, 0, rand.New(rand.NewPCG(1, 2)))
	cells, prefixes := map[hood]netip.Prefix{}, map[netip.Prefix]hood{}
	unused := netip.MustParsePrefix("240.0.0.0/4")
	for _, c := range clients {
		own := hood{c.Country, int(math.Floor(c.Place.Lat)), int(math.Floor(c.Place.Lon))}
		if before, known := cells[own]; known && before != c.Prefix {
			t.Fatalf("%+v has the prefixes %v and %v", own, before, c.Prefix)
		}
		if before, known := prefixes[c.Prefix]; known && before != own {
			t.Fatalf("%v belongs to %+v and %+v", c.Prefix, before, own)
		}
		if c.Prefix.Bits() != 24 || c.Prefix != c.Prefix.Masked() || !unused.Contains(c.Prefix.Addr()) {
			t.Fatalf("%v is not a /24 of class E", c.Prefix)
		}
		cells[own], prefixes[c.Prefix] = c.Prefix, own
	}
	if len(cells) < 1000 {
		t.Errorf("%d neighbourhoods only", len(cells))
	}
}

func TestNeighbourhoodsThatHashAlikeStayApart(t *testing.T) {
	hoods := neighbourhoods{}
	place := geo.Location{Placed: true, Lat: 48.5, Lon: 2.5}
	own := hood{"FR", 48, 2}
	hoods[own.hash()%classE] = hood{"DE", 52, 13}
	moved := hoods.prefix("FR", place)
	if again := hoods.prefix("FR", place); again != moved {
		t.Errorf("%v, then %v", moved, again)
	}
	if alone := (neighbourhoods{}).prefix("FR", place); alone == moved {
		t.Errorf("%v is taken", moved)
	}
}

func TestClientsAreSoundAndTheSameEachTime(t *testing.T) {
	net := network.AWS()
	rapid.Check(t, func(t *rapid.T) {
		seed, n := rapid.Uint64().Draw(t, "seed"), rapid.IntRange(0, 200).Draw(t, "clients")
		share := rapid.Float64Range(0, 1).Draw(t, "misplaced")
		clients := Population(net, n, share, rand.New(rand.NewPCG(seed, 1)))
		if again := Population(net, n, share, rand.New(rand.NewPCG(seed, 1))); !slices.Equal(clients, again) {
			t.Fatal("the same seed gives other clients")
		}
		for _, c := range clients {
			onEarth := math.Abs(c.Place.Lat) <= 90 && c.Place.Lon >= -180 && c.Place.Lon < 180
			if !onEarth || c.Place.Country != c.Country || c.Metro != net.Nearest(c.Place) || !(c.LastMileMs > 0 && c.LastMileMs < 1e5) {
				t.Fatalf("%+v", c)
			}
		}
	})
}

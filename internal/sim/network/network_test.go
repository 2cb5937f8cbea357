package network

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"proxima/geo"

	"pgregory.net/rapid"
)

func TestRoundTripsAreThoseOfTheFile(t *testing.T) {
	table := AWS()
	if len(table.Places) != 33 {
		t.Fatalf("%d places, want 33", len(table.Places))
	}
	virginia, frankfurt := table.Index("us-east-1"), table.Index("eu-central-1")
	for _, test := range []struct {
		what      string
		got, want float64
	}{
		{"there", table.RTT(virginia, frankfurt), 93.16},
		{"back", table.RTT(frankfurt, virginia), 92.65},
		{"tail there", table.Tail(virginia, frankfurt), 98.5772 / 93.16},
		{"slow there", AWSSlow().RTT(virginia, frankfurt), 98.5772},
		{"tail of the slow", AWSSlow().Tail(virginia, frankfurt), 1.1},
	} {
		if math.Abs(test.got-test.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", test.what, test.got, test.want)
		}
	}
}

// Light in fibre does 1,000 km there and back in 9.8 ms (refractive index 1.468).
func TestNoRoundTripBeatsLightInFibre(t *testing.T) {
	table := AWS()
	for from, a := range table.Places {
		for to, b := range table.Places {
			least := geo.Km(table.where[from], table.where[to]) * 2 * 1.468 / 299.792458
			if rtt := table.RTT(from, to); rtt < least {
				t.Errorf("%s to %s: %v ms, light takes %.1f", a, b, rtt, least)
			}
		}
	}
}

func TestDrawsHaveTheTablesMedianAndTail(t *testing.T) {
	table := AWS()
	rng := rand.New(rand.NewPCG(1, 2))
	for _, pair := range [][2]string{{"us-east-1", "eu-central-1"}, {"sa-east-1", "ap-south-1"}, {"eu-west-1", "eu-west-1"}} {
		from, to := table.Index(pair[0]), table.Index(pair[1])
		draws := make([]float64, 100_000)
		for i := range draws {
			draws[i] = table.Draw(rng, from, to)
		}
		slices.Sort(draws)
		median, slow := draws[len(draws)/2], draws[len(draws)*9/10]
		if want := table.RTT(from, to); math.Abs(median/want-1) > 0.005 {
			t.Errorf("%v: median of draws %v, want %v", pair, median, want)
		}
		if want := table.RTT(from, to) * table.Tail(from, to); math.Abs(slow/want-1) > 0.01 {
			t.Errorf("%v: 90th percentile of draws %v, want %v", pair, slow, want)
		}
	}
}

func TestTheSameSeedDrawsTheSame(t *testing.T) {
	one, other := rand.New(rand.NewPCG(7, 7)), rand.New(rand.NewPCG(7, 7))
	a, b := AWS(), AWS()
	for i := range 1000 {
		from, to := i%33, i*7%33
		if x, y := a.Draw(one, from, to), b.Draw(other, from, to); x != y {
			t.Fatalf("draw %d: %v and %v", i, x, y)
		}
	}
}

// A file may claim a tail of ten million medians.
func TestADrawNeverTakesLongerThanTenSeconds(t *testing.T) {
	fast := mustRead(t, "from,to,rtt_ms\nus-east-1,us-west-1,0.001\n")
	table, err := fast.WithTail(mustRead(t, "from,to,rtt_ms\nus-east-1,us-west-1,10000\n"))
	if err != nil {
		t.Fatal(err)
	}
	rng, slowest := rand.New(rand.NewPCG(1, 1)), 0.0
	for range 10_000 {
		slowest = max(slowest, table.Draw(rng, 0, 1))
	}
	if slowest != mostMs {
		t.Errorf("the slowest of many took %v ms, want %v", slowest, mostMs)
	}
}

func TestTailsNeedThePlacesOfTheTable(t *testing.T) {
	table := mustRead(t, "from,to,rtt_ms\nus-east-1,us-west-1,60\n")
	_, err := table.WithTail(mustRead(t, "from,to,rtt_ms\nus-east-1,eu-west-1,80\n"))
	const want = "the table of tails has no round trip from us-east-1 to us-west-1: add one"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestATailBelowTheMedianIsNone(t *testing.T) {
	table := mustRead(t, "from,to,rtt_ms\nus-east-1,us-west-1,60\n")
	tailed, err := table.WithTail(mustRead(t, "from,to,rtt_ms\nus-east-1,us-west-1,50\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := tailed.Tail(0, 1); math.Abs(got-leastTail) > 1e-12 {
		t.Errorf("tail %v, want %v", got, leastTail)
	}
	if got := table.Tail(0, 1); math.Abs(got-usualTail) > 1e-12 {
		t.Errorf("the table itself has the tail %v now, want %v as before", got, usualTail)
	}
}

func TestTheNearestPlaceIsNearest(t *testing.T) {
	table := AWS()
	for _, test := range []struct {
		city     string
		lat, lon float64
		want     string
	}{
		{"Paris", 48.86, 2.35, "eu-west-3"},
		{"Berlin", 52.52, 13.40, "eu-central-1"},
		{"New York", 40.71, -74.01, "us-east-1"},
		{"Nairobi", -1.29, 36.82, "me-south-1"},
		{"Auckland", -36.85, 174.76, "ap-southeast-2"},
		{"Fiji, across the date line", -17.7, -179.9, "ap-southeast-2"},
	} {
		at := table.Nearest(geo.Location{Placed: true, Lat: test.lat, Lon: test.lon})
		if table.Places[at] != test.want {
			t.Errorf("%s: %s, want %s", test.city, table.Places[at], test.want)
		}
	}
}

func TestNoPlaceIsNearerThanTheNearest(t *testing.T) {
	table := AWS()
	rapid.Check(t, func(t *rapid.T) {
		l := geo.Location{
			Placed: true,
			Lat:    rapid.Float64Range(-90, 90).Draw(t, "lat"),
			Lon:    rapid.Float64Range(-180, 180).Draw(t, "lon"),
		}
		least := geo.Km(l, table.where[table.Nearest(l)])
		for at, place := range table.where {
			if km := geo.Km(l, place); km < least-0.01 {
				t.Fatalf("%s is at %v km, the nearest at %v", table.Places[at], km, least)
			}
		}
	})
}

func TestAPlaceThatIsNotThereIsSaid(t *testing.T) {
	table := AWS()
	if at := table.Index("atlantis-1"); at != -1 {
		t.Errorf("index %d, want -1", at)
	}
	if place, there := table.Place("atlantis-1"); there || place.Placed {
		t.Errorf("placed at %+v", place)
	}
	if place, there := table.Place("eu-west-3"); !there || place.Country != "FR" {
		t.Errorf("eu-west-3 is at %+v, %v; want France", place, there)
	}
}

func mustRead(t testing.TB, text string) *Table {
	t.Helper()
	table, err := Read(strings.NewReader(text), "table")
	if err != nil {
		t.Fatal(err)
	}
	return table
}

package geo

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func at(lat, lon float64) Location { return Location{Placed: true, Lat: lat, Lon: lon} }

// The arcs of the sphere are exact. Those between airports are the great-circle distances that airlines publish; they are
// measured on the ellipsoid, hence the 0.6 %.
func TestDistancesAgreeWithPublishedOnes(t *testing.T) {
	const quarter = math.Pi / 2 * earthKm
	for _, test := range []struct {
		name      string
		a, b      Location
		km        float64
		tolerance float64 // as a share of km
	}{
		{"pole to pole", at(90, 0), at(-90, 0), 2 * quarter, 1e-12},
		{"pole to pole on other meridians", at(90, 17), at(-90, -120), 2 * quarter, 1e-9},
		{"pole to equator", at(90, 123), at(0, -7), quarter, 1e-12},
		{"half way round the equator", at(0, -90), at(0, 90), 2 * quarter, 1e-9},
		{"antipodes of Madrid", at(40.4168, -3.7038), at(-40.4168, 176.2962), 2 * quarter, 1e-7},
		{"one degree on the equator", at(0, 0), at(0, 1), quarter / 90, 1e-12},
		{"one degree across the date line", at(0, 179.5), at(0, -179.5), quarter / 90, 1e-9},
		{"the date line is one line", at(10, 180), at(10, -180), 0, 0},
		{"the pole is one point", at(90, 0), at(90, 90), 0, 0},
		{"nowhere to go", at(48.8566, 2.3522), at(48.8566, 2.3522), 0, 0},
		{"JFK to LHR", at(40.6413, -73.7781), at(51.4700, -0.4543), 5540, 0.006},
		{"SIN to JFK", at(1.3644, 103.9915), at(40.6413, -73.7781), 15349, 0.006},
		{"SYD to SCL", at(-33.9399, 151.1753), at(-33.3930, -70.7858), 11348, 0.006},
		{"AKL to LAX across the date line", at(-37.0082, 174.7850), at(33.9416, -118.4085), 10467, 0.006},
	} {
		t.Run(test.name, func(t *testing.T) {
			allowed := test.km*test.tolerance + 1e-9
			if km := Km(test.a, test.b); math.Abs(km-test.km) > allowed {
				t.Errorf("Km = %v, want %v within %v", km, test.km, allowed)
			}
			if km := test.a.Point().Km(test.b.Point()); math.Abs(km-test.km) > allowed+0.001 {
				t.Errorf("Point.Km = %v, want %v within %v", km, test.km, allowed+0.001)
			}
		})
	}
}

func TestAnUnplacedLocationIsNoDistanceFromAnything(t *testing.T) {
	nowhere, paris := Location{Lat: 10, Lon: 10}, at(48.8566, 2.3522)
	for name, km := range map[string]float64{
		"Km from":       Km(nowhere, paris),
		"Km to":         Km(paris, nowhere),
		"Point.Km from": nowhere.Point().Km(paris.Point()),
		"Point.Km to":   paris.Point().Km(nowhere.Point()),
	} {
		if km != 0 {
			t.Errorf("%s nowhere = %v, want 0", name, km)
		}
	}
}

func TestPointsMeasureLikeLocations(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anywhere(t, "a"), anywhere(t, "b")
		if rapid.Bool().Draw(t, "nearly antipodes") {
			b = at(-a.Lat, math.Mod(a.Lon+360, 360)-180)
			b.Lat = max(-90, min(90, b.Lat+rapid.Float64Range(-1e-6, 1e-6).Draw(t, "off by")))
		}
		byHaversine, byChord := Km(a, b), a.Point().Km(b.Point())
		if math.IsNaN(byChord) || math.Abs(byHaversine-byChord) > 0.002 {
			t.Fatalf("%v to %v: Km %v, Point.Km %v", a, b, byHaversine, byChord)
		}
	})
}

func TestDistanceIsSymmetricAndAtMostHalfTheEarth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := anywhere(t, "a"), anywhere(t, "b"), anywhere(t, "c")
		there, back := Km(a, b), Km(b, a)
		if there != back || there < 0 || there > math.Pi*earthKm+1e-6 {
			t.Fatalf("%v to %v is %v, back %v", a, b, there, back)
		}
		if detour := Km(a, c) + Km(c, b); there > detour+0.001 {
			t.Fatalf("%v to %v is %v, but over %v only %v", a, b, there, c, detour)
		}
	})
}

func TestMeasuringPointsDoesNotAllocate(t *testing.T) {
	a, b := at(1, 2).Point(), at(3, 4).Point()
	if allocs := testing.AllocsPerRun(100, func() { sink += a.Km(b) }); allocs != 0 {
		t.Errorf("%v allocations, want 0", allocs)
	}
}

func BenchmarkKm(b *testing.B) {
	paris, tokyo := at(48.8566, 2.3522), at(35.6762, 139.6503)
	for b.Loop() {
		sink += Km(paris, tokyo)
	}
}

func BenchmarkPointKm(b *testing.B) {
	paris, tokyo := at(48.8566, 2.3522).Point(), at(35.6762, 139.6503).Point()
	for b.Loop() {
		sink += paris.Km(tokyo)
	}
}

// sink keeps the compiler from leaving a measurement out.
var sink float64

func anywhere(t *rapid.T, name string) Location {
	lat := rapid.OneOf(rapid.Float64Range(-90, 90), rapid.SampledFrom([]float64{-90, 0, 90}))
	lon := rapid.OneOf(rapid.Float64Range(-180, 180), rapid.SampledFrom([]float64{-180, 0, 180}))
	return at(lat.Draw(t, name+" lat"), lon.Draw(t, name+" lon"))
}

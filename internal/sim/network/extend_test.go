package network

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"proxima/geo"
)

func TestAFurtherPlaceHasTheWaysOfTheNearestOne(t *testing.T) {
	berlin := geo.Location{Placed: true, Lat: 52.52, Lon: 13.40, Country: "DE"}
	potsdam := geo.Location{Placed: true, Lat: 52.40, Lon: 13.06, Country: "DE"}
	table := AWS()
	wider, err := table.With(map[string]geo.Location{"lab-berlin": berlin, "lab-potsdam": potsdam, "us-east-1": berlin})
	if err != nil {
		t.Fatal(err)
	}
	frankfurt, _ := table.Place("eu-central-1")
	rtt := func(in *Table, from, to string) float64 { return in.RTT(in.Index(from), in.Index(to)) }
	for _, c := range []struct {
		from, to string
		want     float64
	}{
		{"lab-berlin", "us-west-2", rtt(table, "eu-central-1", "us-west-2") + 0.0157*geo.Km(berlin, frankfurt)},
		{"us-west-2", "lab-berlin", rtt(table, "us-west-2", "eu-central-1") + 0.0157*geo.Km(berlin, frankfurt)},
		{"lab-berlin", "lab-potsdam", rtt(table, "eu-central-1", "eu-central-1") + 0.0157*geo.Km(berlin, potsdam)},
		{"lab-berlin", "lab-berlin", rtt(table, "eu-central-1", "eu-central-1")},
		{"us-east-1", "us-west-2", rtt(table, "us-east-1", "us-west-2")},
	} {
		if got := rtt(wider, c.from, c.to); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s to %s takes %.2f ms, want %.2f", c.from, c.to, got, c.want)
		}
	}
	if at := wider.Nearest(berlin); wider.Places[at] != "lab-berlin" {
		t.Errorf("nearest to Berlin is %s", wider.Places[at])
	}
	if got, want := wider.Tail(wider.Index("lab-berlin"), wider.Index("us-west-2")), table.Tail(table.Index("eu-central-1"), table.Index("us-west-2")); math.Abs(got-want) > 1e-9 {
		t.Errorf("its tail is %v, want the nearest place's, %v", got, want)
	}
	if len(table.Places) != 33 || table.Index("lab-berlin") >= 0 {
		t.Error("the narrower table has changed")
	}
}

func TestANetworkHasAtMostAThousandPlaces(t *testing.T) {
	places := map[string]geo.Location{}
	for i := range 968 {
		places[fmt.Sprintf("lab-%d", i)] = geo.Location{Placed: true, Lat: float64(i%90) / 2, Lon: float64(i%180) / 2}
	}
	if _, err := AWS().With(places); err == nil || !strings.Contains(err.Error(), "1001 places in one network: it takes at most 1000") {
		t.Errorf("the error is %v", err)
	}
}

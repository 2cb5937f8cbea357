package e2e

import (
	"encoding/json"
	"net/http"
	"os/exec"
	"testing"
	"time"

	"proxima/bench/load"
	"proxima/geo"
	"proxima/internal/modelserver"
)

// clients are addresses of universities and research networks all over the
// world: where those are is no secret, and they do not move.
var clients = []struct{ address, country, whose string }{
	{"141.2.1.1", "DE", "Goethe-Universität Frankfurt"},
	{"163.1.1.1", "GB", "University of Oxford"},
	{"130.237.1.1", "SE", "Stockholm"},
	{"128.59.1.1", "US", "Columbia University, New York"},
	{"171.64.1.1", "US", "Stanford University"},
	{"128.100.1.1", "CA", "University of Toronto"},
	{"132.248.1.1", "MX", "UNAM, Mexico City"},
	{"143.107.1.1", "BR", "Universidade de São Paulo"},
	{"157.92.1.1", "AR", "Universidad de Buenos Aires"},
	{"137.158.1.1", "ZA", "University of Cape Town"},
	{"103.21.124.1", "IN", "IIT Bombay"},
	{"133.11.0.1", "JP", "University of Tokyo"},
	{"147.46.1.1", "KR", "Seoul National University"},
	{"140.112.1.1", "TW", "National Taiwan University"},
	{"137.132.1.1", "SG", "National University of Singapore"},
	{"129.78.1.1", "AU", "University of Sydney"},
	{"130.216.1.1", "NZ", "University of Auckland"},
	{"2001:638::1", "DE", "Deutsches Forschungsnetz"},
	{"2001:200::1", "JP", "WIDE project"},
}

func TestClientsOfTheWorldAreAnsweredByTheirRegion(t *testing.T) {
	world := newWorld(t, modelserver.Settings{},
		"us-east4", "us-west1", "southamerica-east1", "europe-west3", "africa-south1",
		"asia-south1", "asia-northeast1", "asia-southeast1", "australia-southeast1")
	exact := "steering: {slack: 0s}" // nobody else, however near
	behind := serve(t, world.Config("client: {trusted_proxies: [127.0.0.1/32]}", exact))
	open := serve(t, world.Config("client: {trusted_proxies: []}", "geo: {default: {region: africa-south1}}", exact))
	places := locate(t)
	regions, countries := map[string]bool{}, map[string]bool{}

	for i, client := range clients {
		nearest := world.nearest(places[i])

		trusted := behind.chat(client.address, "llama-3-8b")
		claimed := open.chat(client.address, "llama-3-8b")

		if places[i].Country != client.country {
			t.Errorf("%s, %s: the database puts it in %q", client.address, client.whose, places[i].Country)
		}
		if trusted.Status != http.StatusOK || trusted.region() != nearest {
			t.Errorf("%s, %s: answered %d by %q, nearest is %s", client.address, client.whose, trusted.Status, trusted.region(), nearest)
		}
		if claimed.region() != "africa-south1" {
			t.Errorf("%s: a header that nobody trusts led to %q", client.address, claimed.region())
		}
		regions[trusted.region()], countries[places[i].Country] = true, true
	}
	figures(t, map[string]any{"clients": len(clients), "countries": len(countries), "regions": len(regions)})
	if len(regions) < 8 || len(countries) < 12 {
		t.Errorf("only %d regions and %d countries took part", len(regions), len(countries))
	}
}

func TestQuickAnswersSendNobodyFarAway(t *testing.T) {
	world := newWorld(t, modelserver.Settings{}, "us-east4", "europe-west3", "asia-northeast1")
	router := serve(t, world.Config("client: {trusted_proxies: [127.0.0.1/32]}"))
	neighbours := []struct{ address, region string }{
		{"141.2.1.1", "europe-west3"}, // Frankfurt
		{"128.59.1.1", "us-east4"},    // New York
	}

	for _, n := range neighbours {
		mix := load.Mix{Posts: 0.5, Model: "llama-3-8b", Tokens: 4, ForwardedFor: []string{n.address}}
		report := router.send(load.Plan{Rate: 200, Duration: 2 * time.Second, Request: mix.Request}).Wait()

		wantNoFailure(t, n.region, report)
		if len(report.Regions) != 1 || report.Regions[0].Region != n.region {
			t.Errorf("a client next to %s was answered by %+v", n.region, report.Regions)
		}
	}
}

// locate asks the program where the clients are.
func locate(t *testing.T) []geo.Location {
	args := []string{"geo", "lookup", "-o", "json"}
	for _, client := range clients {
		args = append(args, client.address)
	}
	told, err := exec.Command(program(t, withRace), args...).Output()
	if err != nil {
		t.Fatalf("geo lookup: %v", err)
	}
	var found []struct {
		Placed   bool
		Lat, Lon float64
		Country  string
		Source   string
	}
	if err := json.Unmarshal(told, &found); err != nil {
		t.Fatal(err)
	}
	if len(found) != len(clients) {
		t.Fatalf("asked for %d addresses, told of %d", len(clients), len(found))
	}
	places := make([]geo.Location, len(found))
	for i, f := range found {
		if f.Source != string(geo.SourceDatabase) {
			t.Errorf("%s is placed by %q, not by the database", clients[i].address, f.Source)
		}
		places[i] = geo.Location{Placed: f.Placed, Lat: f.Lat, Lon: f.Lon, Country: f.Country}
	}
	return places
}

// nearest is the region that the fewest kilometres part from a place.
func (w *World) nearest(from geo.Location) string {
	best, least := "", 0.0
	for _, r := range w.Regions {
		known, ok := geo.KnownRegion(r.Name)
		if !ok {
			w.t.Fatalf("%s is not a known region", r.Name)
		}
		if km := geo.Km(from, known.Place); best == "" || km < least {
			best, least = r.Name, km
		}
	}
	return best
}

package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"proxima/bench/load"
	"proxima/internal/modelserver"
)

func TestTheGeoDatabaseIsReplacedWhileServing(t *testing.T) {
	world := newWorld(t, modelserver.Settings{FirstToken: 5 * time.Millisecond}, "us-east1", "europe-west1", "asia-northeast1")
	inBerlin, inTokyo := database(t, 52.5, 13.4, "DE"), database(t, 35.7, 139.7, "JP")
	file := filepath.Join(t.TempDir(), "city.mmdb")
	replace(t, file, inBerlin)
	router := serve(t, world.Config(fmt.Sprintf(`
client: {trusted_proxies: [127.0.0.0/8]}
geo: {database: %s}
steering: {max_detour: 1ms} # where clients are is all that counts here, however slow this machine is
`, file)))
	mix := load.Mix{Posts: 1, Model: "llama-3-8b", Tokens: 4, BodyBytes: 1024, ForwardedFor: []string{berlin}}
	traffic := router.send(load.Plan{Rate: 200, Request: mix.Request})
	corrupt := [][]byte{
		inTokyo[:len(inTokyo)/2], inTokyo[:len(inTokyo)-1], {}, []byte("not a database"), bytes.Repeat([]byte{0xff}, 4096),
	}

	for i := range 20 {
		place, region := inBerlin, "europe-west1"
		if i%2 == 1 {
			place, region = inTokyo, "asia-northeast1"
		}
		replace(t, file, place)
		traffic.AwaitRegion(region, 5, 10*time.Second)
		replace(t, file, corrupt[i%len(corrupt)])
		router.awaitComplaints(file, i+1)
		traffic.AwaitRegion(region, 20, 10*time.Second) // the old database still places them
	}

	report := traffic.Stop()
	wantNoFailure(t, "20 good and 20 corrupt databases", report)
	figures(t, map[string]any{"databases": 40, "requests": report.Requests, "failed": report.Failed, "p99_ms": report.Total.P99})
}

// awaitComplaints waits until the log has said so many times that something is
// wrong with a file.
func (r *Router) awaitComplaints(file string, times int) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("the log complains %d times of %s", times, filepath.Base(file)), 10*time.Second, func() bool {
		return times <= r.log.count(func(e entry) bool {
			return (e["level"] == "warn" || e["level"] == "error") && strings.Contains(fmt.Sprint(e), filepath.Base(file))
		})
	})
}

// database is a geo database that knows one network, that of the client berlin.
func database(t *testing.T, lat, lon float64, country string) []byte {
	tree, err := mmdbwriter.New(mmdbwriter.Options{
		DatabaseType: "GeoLite2-City", RecordSize: 24, IncludeReservedNetworks: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	_, network, err := net.ParseCIDR(berlin + "/24")
	if err != nil {
		t.Fatal(err)
	}
	err = tree.Insert(network, mmdbtype.Map{
		"country":  mmdbtype.Map{"iso_code": mmdbtype.String(country)},
		"location": mmdbtype.Map{"latitude": mmdbtype.Float64(lat), "longitude": mmdbtype.Float64(lon)},
	})
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if _, err := tree.WriteTo(&file); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// replace puts another file in a file's place in one step.
func replace(t *testing.T, file string, content []byte) {
	t.Helper()
	next := file + ".next"
	if err := os.WriteFile(next, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, file); err != nil {
		t.Fatal(err)
	}
}

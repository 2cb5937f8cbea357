package peers

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"proxima/configs"
	"proxima/geo"
	"proxima/internal/modelserver"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) {
	if was, err := ModelServer(context.Background()); was {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func TestEveryPeerIsToldTheSame(t *testing.T) {
	w, hops := &World{Regions: someRegions()}, &World{Regions: someRegions()}
	for name, c := range map[string]struct {
		form   string
		values any
	}{
		"proxima.yaml":            {proximaConfig, proximaSettings{w.Regions, true}},
		"proxima-undeclared.yaml": {proximaConfig, proximaSettings{w.Regions, false}},
		"haproxy-first.cfg":       {haproxyConfig, haproxySettings{w, First, "regions.map", 3}},
		"haproxy-backup.cfg":      {haproxyConfig, haproxySettings{w, Backup, "regions.map", 3}},
		"haproxy-leastconn.cfg":   {haproxyConfig, haproxySettings{w, LeastConn, "regions.map", 3}},
		"haproxy.map":             {clientMap, w},
		"hop/proxima.yaml":        {hopProxima, someHop(hops, "proxima")},
		"hop/haproxy.cfg":         {hopHAProxy, someHop(hops, "haproxy")},
		"hop/nginx.conf":          {hopNginx, someHop(hops, "nginx")},
		"hop/Caddyfile":           {hopCaddy, someHop(hops, "caddy")},
	} {
		t.Run(name, func(t *testing.T) {
			written, err := render(c.form, c.values)
			if err != nil {
				t.Fatal(err)
			}
			wantGolden(t, name, string(written))
		})
	}
}

func TestProximaAcceptsWhatItIsGiven(t *testing.T) {
	for _, declared := range []bool{true, false} {
		written, err := render(proximaConfig, proximaSettings{someRegions(), declared})
		if err != nil {
			t.Fatal(err)
		}

		config, err := configs.Parse("proxima.yaml", written, os.LookupEnv)
		if err != nil {
			t.Fatalf("declared %v: %v", declared, err)
		}

		if capacity := config.Endpoints[0].Capacity; (capacity == 16) != declared {
			t.Errorf("declared %v, and the capacity is %d", declared, capacity)
		}
	}
}

func TestProximaAcceptsWhatItIsGivenForAHop(t *testing.T) {
	written, err := render(hopProxima, someHop(&World{Regions: someRegions()}, "proxima"))
	if err != nil {
		t.Fatal(err)
	}

	config, err := configs.Parse("proxima.yaml", written, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}

	if !config.Log.Access || config.Limits.Connections != 9825 {
		t.Errorf("access log: %v, %d connections", config.Log.Access, config.Limits.Connections)
	}
}

func TestAPatternIsOfWholeOctetsOfIPv4(t *testing.T) {
	pattern, err := hop{}.Pattern(netip.MustParsePrefix("198.51.100.0/24"))

	if pattern != `^198\.51\.100\.` || err != nil {
		t.Errorf("%s, %v", pattern, err)
	}
	for _, network := range []string{"198.51.100.0/25", "2001:db8::/48"} {
		if _, err := (hop{}).Pattern(netip.MustParsePrefix(network)); err == nil {
			t.Errorf("%s has a pattern", network)
		}
	}
}

func TestAWorldIsProcessesThatAreGoneWhenItIsClosed(t *testing.T) {
	w := &World{Folder: t.TempDir(), Regions: someRegions()}
	closed, err := w.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range w.Regions {
		response, err := get(r.Address)
		if err != nil {
			t.Fatal(err)
		}
		if region := response.Header.Get(modelserver.RegionHeader); region != r.Name {
			t.Errorf("the model server of %s says that it is in %q", r.Name, region)
		}
	}

	closed()

	for _, r := range w.Regions {
		if _, err := get(r.Address); err == nil {
			t.Errorf("%s still answers", r.Name)
		}
	}
}

func TestAWorldEndsWithItsContext(t *testing.T) {
	w := &World{Folder: t.TempDir(), Regions: someRegions()[:1]}
	ctx, cancel := context.WithCancel(t.Context())
	process, err := w.Regions[0].start(ctx, w.Folder, nil)
	if err != nil {
		t.Fatal(err)
	}

	cancel()
	<-process.ended

	if _, err := get(w.Regions[0].Address); err == nil {
		t.Error("it still answers")
	}
}

func TestAMissingProgramComesWithTheCommandThatInstallsIt(t *testing.T) {
	t.Setenv("PATH", t.TempDir())

	_, err := HAProxy("haproxy", First).Start(t.Context(), &World{Folder: t.TempDir(), Regions: someRegions()})

	if missing, is := errors.AsType[*Missing](err); !is || !strings.Contains(missing.Error(), "apt-get install haproxy") {
		t.Errorf("the error is %v", err)
	}
}

func TestAPeerThatEndsAtOnceIsQuoted(t *testing.T) {
	w := &World{Folder: t.TempDir(), Regions: someRegions()}
	programs := t.TempDir()
	script := "#!/bin/sh\necho \"[ALERT] unknown keyword in $3\" >&2\nexit 1\n"
	if err := os.WriteFile(filepath.Join(programs, "haproxy"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", programs)

	_, err := HAProxy("haproxy", First).Start(t.Context(), w)

	if err == nil || !strings.Contains(err.Error(), "exit status 1; it said:\n[ALERT] unknown keyword in "+w.Folder) {
		t.Errorf("the error is %v", err)
	}
}

func get(address string) (*http.Response, error) {
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + address + "/")
	if err == nil {
		response.Body.Close()
	}
	return response, err
}

// someHop logs, as the peers do that are called "-log".
func someHop(w *World, name string) hop {
	w.Regions[2].Clients = netip.MustParsePrefix("203.0.113.0/24") // Caddy knows clients by patterns, of IPv4 alone
	return hop{
		World: w, Name: name, Address: "127.0.0.1:8080", Socket: inherited, Map: "regions.map", Log: true,
		Files: 20_000, Connections: 9825, Patience: "500ms", Resends: true,
	}
}

// someRegions are not listed in the order of their distance from the first.
func someRegions() []Region {
	region := func(name, clients, country string, lat, lon float64, address string) Region {
		return Region{
			Name: name, Clients: netip.MustParsePrefix(clients), Address: address,
			Place: geo.Location{Placed: true, Lat: lat, Lon: lon, Country: country},
			Model: modelserver.Settings{Slots: 16},
		}
	}
	return []Region{
		region("frankfurt", "198.51.100.0/24", "DE", 50.11, 8.68, "127.0.0.1:9101"),
		region("dubai", "192.0.2.0/24", "AE", 25.2, 55.27, "127.0.0.1:9102"),
		region("lisbon", "2001:db8::/48", "PT", 38.72, -9.14, "127.0.0.1:9103"),
	}
}

// wantGolden compares with a file under testdata, or with -update writes it.
func wantGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (-update rewrites it):\n%s", path, got)
	}
}

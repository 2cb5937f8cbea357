package main

import (
	"bytes"
	"os"
	"testing"
	"time"

	"proxima/admin"
)

func TestStatusShowsWhatTheRouterSuspectsAndLearned(t *testing.T) {
	noon, learned := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC), 24
	before := noon.Add(-time.Minute)
	var out bytes.Buffer
	a := &app{stdout: &out, env: os.LookupEnv}

	a.printStatus(admin.Status{
		Version: "1.2.3", Config: admin.ConfigStatus{Hash: "5eed", LoadedAt: &before},
		SelfSuspicion: &admin.SelfSuspicion{Since: noon.Add(-7 * time.Second), Detail: "3 of 4 endpoints, not all in one region, fell silent within 7s"},
		Steering:      admin.SteeringStatus{By: "client", Otherwise: &admin.OtherSteering{By: "path", Sampled: 90, MovedRatio: 0.121, DifferenceMs: 33.8}},
		Regions: []admin.RegionStatus{{ID: "eu", Endpoints: []admin.EndpointStatus{
			{ID: "eu-1", Health: "up", InFlight: 12, Capacity: 32, LearnedCapacity: &learned},
			{ID: "eu-2", Health: "ejected", Cause: "ejection over; one request at a time may try it", InFlight: 1, LearnedCapacity: &learned},
			{ID: "eu-3", Health: "up", InFlight: 3, Capacity: 8},
		}}},
	}, noon)

	want := `proxima 1.2.3, configuration 5eed, loaded 1m0s ago

This router suspects its own network, for 7s: 3 of 4 endpoints, not all in one region, fell silent within 7s. Meanwhile failures change no health.

steering.by path would send 12 % elsewhere; by its measure the present choices cost 34 ms more (90 requests compared).

region  endpoint  health   for  in flight           serve ms  probe ms  why
eu      eu-1      up            12/32 (learned 24)  –         –
        eu-2      ejected       1 (learned 24)      –         –         ejection over; one request at a time may try it
        eu-3      up            3/8                 –         –
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", &out, want)
	}
}

func TestTheOtherSteeringIsComparedInWords(t *testing.T) {
	for differenceMs, want := range map[float64]string{
		0.4:  "steering.by client would send 0 % elsewhere; by its measure the present choices cost as much (1 request compared).",
		-2.6: "steering.by client would send 0 % elsewhere; by its measure the present choices cost 3 ms less (1 request compared).",
	} {
		if got := otherSteering(&admin.OtherSteering{By: "client", Sampled: 1, DifferenceMs: differenceMs}); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

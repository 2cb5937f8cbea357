package admin

import (
	"math"
	"net/url"
	"time"

	"proxima/router"
)

// Status is the answer of /v1/status: what the router believes and measures of
// every region and endpoint at one instant.
type Status struct {
	Version       string         `json:"version"`
	Config        ConfigStatus   `json:"config"`
	SelfSuspicion *SelfSuspicion `json:"self_suspicion"` // null: there is none
	Steering      SteeringStatus `json:"steering"`
	Regions       []RegionStatus `json:"regions"` // in the order of the configuration
}

// ConfigStatus says which configuration is in use.
type ConfigStatus struct {
	Hash     string     `json:"hash"`
	LoadedAt *time.Time `json:"loaded_at"` // null: not loaded from anywhere
	Refused  *Refusal   `json:"refused"`   // null: the newest configuration is the one in use
}

// SelfSuspicion says since when this router takes its own network, rather than so
// many endpoints, for what fails, and why. Meanwhile failures change no health.
type SelfSuspicion struct {
	Since  time.Time `json:"since"`
	Detail string    `json:"detail"`
}

// SteeringStatus says by whose distance requests are steered.
type SteeringStatus struct {
	By        string         `json:"by"`        // client or path
	Otherwise *OtherSteering `json:"otherwise"` // null: no request was compared yet
}

// RegionStatus is one region with its endpoints.
type RegionStatus struct {
	ID        string           `json:"id"`
	Lat       float64          `json:"lat"`
	Lon       float64          `json:"lon"`
	Country   string           `json:"country"`
	Drained   bool             `json:"drained"`
	Endpoints []EndpointStatus `json:"endpoints"`
}

// EndpointStatus is one endpoint. Times are in milliseconds, 0 when there is no
// measurement yet.
type EndpointStatus struct {
	ID              string     `json:"id"`
	URL             string     `json:"url"`    // without user and password
	Models          []string   `json:"models"` // empty: every model
	Health          string     `json:"health"` // untested, up, suspect, ejected or down
	Cause           string     `json:"cause"`  // why it is not up, in words
	Since           *time.Time `json:"since"`  // when the health last changed; null: it never did
	LatencyMs       float64    `json:"latency_ms"`
	InFlight        int        `json:"in_flight"`
	Capacity        int        `json:"capacity"`         // 0: not declared
	LearnedCapacity *int       `json:"learned_capacity"` // what it was seen to carry at once; null: not learned
	ServeMs         float64    `json:"serve_ms"`         // expected time to first byte on the server alone
	Drained         bool       `json:"drained"`          // itself or its region
}

// Describe tells a snapshot and the loads measured with it.
func Describe(s *router.Snapshot, load []router.Load, version string, config ConfigInfo) Status {
	status := Status{
		Version:  version,
		Config:   ConfigStatus{Hash: config.Hash, LoadedAt: instant(config.LoadedAt), Refused: config.Refused},
		Steering: SteeringStatus{By: s.Table.Steering.By.String()},
		Regions:  make([]RegionStatus, len(s.Table.Regions)),
	}
	for at, region := range s.Table.Regions {
		status.Regions[at] = RegionStatus{
			ID:        string(region.ID),
			Lat:       round(region.Place.Lat),
			Lon:       round(region.Place.Lon),
			Country:   region.Place.Country,
			Drained:   s.Drained.Regions[region.ID],
			Endpoints: []EndpointStatus{},
		}
	}
	for at := range s.Table.Endpoints {
		region, _ := s.Table.RegionPosition(s.Table.Endpoints[at].Region)
		in := &status.Regions[region]
		in.Endpoints = append(in.Endpoints, describeEndpoint(s, at, load[at]))
	}
	return status
}

func describeEndpoint(s *router.Snapshot, at int, load router.Load) EndpointStatus {
	endpoint, believed := &s.Table.Endpoints[at], &s.Status[at]
	return EndpointStatus{
		ID:              string(endpoint.ID),
		URL:             withoutUser(endpoint.URL),
		Models:          texts(endpoint.Models),
		Health:          believed.Health.String(),
		Cause:           believed.Cause,
		Since:           instant(believed.Since),
		LatencyMs:       milliseconds(believed.Latency),
		InFlight:        load.InFlight,
		Capacity:        endpoint.Capacity,
		LearnedCapacity: whole(load.Capacity),
		ServeMs:         round(load.ServeMs),
		Drained:         s.IsDrained(at),
	}
}

// whole is a capacity in whole requests; nil when there is none.
func whole(capacity float64) *int {
	if capacity <= 0 {
		return nil
	}
	n := int(capacity)
	return &n
}

func withoutUser(u *url.URL) string {
	if u == nil {
		return ""
	}
	shown := *u
	shown.User = nil
	return shown.String()
}

func texts[Text ~string](names []Text) []string {
	plain := make([]string, len(names))
	for i, name := range names {
		plain[i] = string(name)
	}
	return plain
}

// instant is a time in UTC to the millisecond; nil for the zero time.
func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	shown := t.UTC().Truncate(time.Millisecond)
	return &shown
}

func milliseconds(d time.Duration) float64 { return round(float64(d) / float64(time.Millisecond)) }

// round keeps three decimals: a microsecond of a millisecond, 100 m of a degree.
func round(x float64) float64 { return decimals(x, 1e3) }

func decimals(x, scale float64) float64 {
	if rounded := math.Round(x*scale) / scale; !math.IsInf(rounded, 0) && !math.IsNaN(rounded) {
		return rounded
	}
	return 0 // JSON has no infinity; the router never makes one
}

package configs

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"time"

	"proxima/geo"
	"proxima/healthcheck"
	"proxima/router"
)

// Table returns the router's table of regions, endpoints and rules.
func (c *Config) Table() (*router.Table, error) {
	regions := make([]router.Region, len(c.Regions))
	for i, r := range c.Regions {
		place, _ := c.place(r.Name)
		regions[i] = router.Region{ID: router.RegionID(r.Name), Place: place, Bias: time.Duration(r.Bias)}
	}
	endpoints := make([]router.Endpoint, len(c.Endpoints))
	for i := range c.Endpoints {
		endpoints[i] = c.Endpoints[i].endpoint()
	}
	return router.NewTable(regions, endpoints, c.Steering.steering(time.Duration(c.Health.SlowStart)))
}

func (e *Endpoint) endpoint() router.Endpoint {
	return router.Endpoint{
		ID: e.Identity(), Region: router.RegionID(e.Region), URL: e.URL.URL,
		Models: each[router.Model](e.Models), Capacity: e.Capacity, MaxInFlight: e.MaxInFlight,
	}
}

// Identity is the endpoint's id: the one in the file, or region/host:port.
func (e *Endpoint) Identity() router.EndpointID {
	if e.ID != "" || e.URL.URL == nil {
		return router.EndpointID(e.ID)
	}
	port := e.URL.Port()
	switch {
	case port != "":
	case e.URL.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return router.EndpointID(e.Region + "/" + net.JoinHostPort(strings.ToLower(e.URL.Hostname()), port))
}

func (s *Steering) steering(slowStart time.Duration) router.Steering {
	by := router.ByClient
	if s.By == router.ByPath.String() {
		by = router.ByPath
	}
	rules := make([]router.Residency, len(s.Residency))
	for i, rule := range s.Residency {
		rules[i] = router.Residency{
			Name:      string(rule.Name),
			Countries: each[string](rule.Countries),
			Regions:   each[router.RegionID](rule.Regions),
		}
	}
	steering := router.Steering{
		By: by, Slack: time.Duration(s.Slack), MaxDetour: time.Duration(s.MaxDetour),
		SlowStart: slowStart, Residency: rules,
	}
	steering.Shed[router.Batch] = s.Shed.Batch
	steering.Shed[router.Standard] = s.Shed.Standard
	steering.Shed[router.Critical] = s.Shed.Critical
	return steering
}

// each turns a list of texts of one type into a list of another.
func each[To, From ~string](list []From) []To {
	var all []To
	for _, one := range list {
		all = append(all, To(one))
	}
	return all
}

// Priorities returns the priority that each client's API key gives to its requests.
// The keys are secrets.
func (a *Admission) Priorities() map[string]router.Priority {
	all := make(map[string]router.Priority, len(a.Keys))
	for _, k := range a.Keys {
		all[string(k.Key)] = k.priority()
	}
	return all
}

func (k *AdmissionKey) priority() router.Priority {
	switch k.Priority {
	case router.Critical.String():
		return router.Critical
	case router.Batch.String():
		return router.Batch
	}
	return router.Standard
}

// Policy returns how endpoints are probed and when they are believed.
func (c *Config) Policy() healthcheck.Policy {
	h := &c.Health
	return healthcheck.Policy{
		Path: string(h.Path), Interval: time.Duration(h.Interval), Timeout: time.Duration(h.Timeout),
		Rise: h.Rise, Fall: h.Fall, Expect: h.ExpectStatus,
		Passive: healthcheck.Passive{
			TripAfter: h.Passive.TripAfter,
			Eject:     time.Duration(h.Passive.Eject),
			EjectMax:  time.Duration(h.Passive.EjectMax),
		},
		SlowStart: time.Duration(h.SlowStart),
	}
}

// Overrides returns the places of the operator's own networks.
func (c *Config) Overrides() geo.Overrides {
	list := make([]geo.Override, len(c.Geo.Overrides))
	for i, o := range c.Geo.Overrides {
		list[i] = geo.Override{Prefix: o.CIDR.Prefix, Location: c.location(o.Place)}
	}
	return geo.NewOverrides(list)
}

// DefaultLocation returns where a client is taken to be that cannot be placed; the
// zero Location when the file names no such place. It may be a country alone.
func (c *Config) DefaultLocation() geo.Location { return c.location(c.Geo.Default) }

func (c *Config) location(p Place) geo.Location {
	if p.Region != "" {
		place, _ := c.place(p.Region)
		return place
	}
	return located(p.Lat, p.Lon, p.Country)
}

// place is where a region is, one of this file or a known one.
func (c *Config) place(name string) (geo.Location, bool) {
	if known, ok := geo.KnownRegion(name); ok {
		return known.Place, true
	}
	for _, r := range c.Regions {
		if r.Name == name && r.Lat != nil && r.Lon != nil {
			return located(r.Lat, r.Lon, r.Country), true
		}
	}
	return geo.Location{}, false
}

func located(lat, lon *float64, country Country) geo.Location {
	if lat == nil || lon == nil {
		return geo.Location{Country: string(country)}
	}
	return geo.Location{Placed: true, Lat: *lat, Lon: *lon, Country: string(country)}
}

// Token reads the token that operators present; it has at least 16 bytes. Without
// a token_file there is none, and no error.
func (a *Admin) Token() ([]byte, error) {
	if a.TokenFile == "" {
		return nil, nil
	}
	data, err := readSmall(string(a.TokenFile), 4<<10)
	if err != nil {
		return nil, errors.New(reason(err))
	}
	token := bytes.TrimSpace(data)
	if len(token) < 16 {
		return nil, errors.New("has a token of fewer than 16 bytes")
	}
	return token, nil
}

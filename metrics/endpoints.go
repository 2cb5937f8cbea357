package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"proxima/router"
)

// endpoints tells what is true of each endpoint at the instant of a scrape. It
// keeps nothing, so an endpoint that left the table leaves no series behind.
type endpoints struct {
	endpointNames
	live *router.Live
}

func newEndpoints(live *router.Live) *endpoints {
	return &endpoints{endpointNames: newEndpointNames(), live: live}
}

// Describe implements prometheus.Collector.
func (e *endpoints) Describe(descs chan<- *prometheus.Desc) {
	descs <- e.up
	descs <- e.inFlight
	descs <- e.capacity
	descs <- e.cost
}

// Collect implements prometheus.Collector.
func (e *endpoints) Collect(series chan<- prometheus.Metric) {
	s := e.live.Snapshot()
	load := s.Measure(nil, time.Now())
	for at := range s.Table.Endpoints {
		endpoint := &s.Table.Endpoints[at]
		tell := func(name *prometheus.Desc, value float64) {
			series <- prometheus.MustNewConstMetric(name, prometheus.GaugeValue, value,
				string(endpoint.Region), string(endpoint.ID))
		}
		tell(e.up, one(s.Status[at].Health == router.Up))
		tell(e.inFlight, float64(load[at].InFlight))
		tell(e.capacity, float64(endpoint.Capacity))
		tell(e.cost, s.ServerCost(at, load))
	}
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

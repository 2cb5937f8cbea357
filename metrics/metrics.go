// Package metrics counts what Proxima does, for Prometheus. Every name stands in
// names.go. Labels come from the configuration and from closed sets of words in
// the code, never from what a client or an endpoint sent, so that strangers
// cannot grow the number of series; what was taken out of the configuration
// takes its series with it.
//
// Start at Metrics.Observe, which every finished request passes; series.go keeps
// the counters it needs at hand, endpoints.go looks at the live snapshot when
// Prometheus asks.
package metrics

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"proxima/geo"
	"proxima/router"
)

// Build says which program this is, for build_info.
type Build struct {
	Version   string // of Proxima
	Revision  string // of the source it was built from
	GoVersion string
}

// Metrics holds every counter of one router in a registry of its own. All methods
// are safe for concurrent use.
type Metrics struct {
	names
	live     *router.Live
	registry *prometheus.Registry
	lookups  map[geo.Source]prometheus.Counter // one for each source there is; never changed
	table    atomic.Pointer[router.Table]      // the one whose regions, endpoints and models have series; changed under mu

	mu       sync.RWMutex // held to look a series up, and exclusively to add or drop some
	served   map[servedKey]*servedSeries
	attempts map[attemptKey]prometheus.Counter
}

// New registers every metric, with those of the Go runtime and of the process.
// live is asked for the current snapshot whenever Prometheus scrapes.
func New(live *router.Live, build Build) *Metrics {
	m := &Metrics{
		names:    newNames(),
		live:     live,
		registry: prometheus.NewRegistry(),
		served:   map[servedKey]*servedSeries{},
		attempts: map[attemptKey]prometheus.Counter{},
		lookups:  map[geo.Source]prometheus.Counter{},
	}
	m.table.Store(live.Snapshot().Table)
	m.registry.MustRegister(m.collectors()...)
	m.registry.MustRegister(
		newEndpoints(live),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	m.build.WithLabelValues(build.Version, build.Revision, build.GoVersion).Set(1)
	for _, place := range panicPlaces {
		m.panics.WithLabelValues(place)
	}
	for _, source := range geoSources {
		m.lookups[source] = m.geoLookups.WithLabelValues(string(source))
	}
	return m
}

// scrapesAtOnce bounds what impatient scrapers can cost.
const scrapesAtOnce = 4

// Handler answers scrapes, as text or as protobuf with native histograms. A
// series that cannot be told does not hide the others.
func (m *Metrics) Handler() http.Handler {
	answer := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: scrapesAtOnce,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.follow()
		answer.ServeHTTP(w, r)
	})
}

// Observe counts a finished request: its answer, each attempt, and each step from
// one region to another. It keeps nothing of the record.
func (m *Metrics) Observe(r *router.Record) {
	m.follow()
	s := m.servedBy(r)
	s.requests.Inc()
	s.duration.Observe(r.Elapsed.Seconds())
	if wait := r.FirstByte(); wait > 0 && r.Status < http.StatusBadRequest {
		s.firstByte.Observe(wait.Seconds())
	}
	for i := range r.Attempts {
		m.attempt(r.Attempts[i].Region, r.Attempts[i].Outcome).Inc()
		if broke(&r.Attempts[i]) {
			m.streamsBroken.Inc()
		}
		if i > 0 && moved(&r.Attempts[i-1]) {
			m.failover(&r.Attempts[i-1], &r.Attempts[i])
		}
	}
	m.streamsResumed.Add(float64(r.Resumed))
	if r.Hedged {
		m.hedges.Inc()
	}
	if r.Queued > 0 {
		m.queued.Observe(r.Queued.Seconds())
	}
}

// broke reports whether an attempt broke off an answer of which its client had seen some.
func broke(a *router.Attempt) bool {
	return a.Outcome == router.Cut || a.Outcome == router.Stalled && a.FirstByte > 0
}

// moved reports whether the request left an attempt before its client saw anything of
// it, and not because another one was sooner.
func moved(a *router.Attempt) bool { return a.Outcome != router.Lost && !broke(a) }

// Probed counts a probe. kind is "" when the endpoint answered well, else the
// prober's word for what went wrong; the prober has few of them. latency counts
// only when it answered well: an error is never a fast answer.
func (m *Metrics) Probed(id router.EndpointID, latency time.Duration, kind string) {
	m.follow()
	m.mu.RLock()
	defer m.mu.RUnlock()
	if _, there := m.table.Load().Position(id); !there {
		return
	}
	if kind != "" {
		m.probeFailures.WithLabelValues(string(id), kind).Inc()
		return
	}
	m.probeDuration.WithLabelValues(string(id)).Observe(latency.Seconds())
}

// Ejected counts an endpoint left alone because real requests failed on it.
func (m *Metrics) Ejected(id router.EndpointID) {
	m.follow()
	m.mu.RLock()
	defer m.mu.RUnlock()
	if _, there := m.table.Load().Position(id); there {
		m.ejections.WithLabelValues(string(id)).Inc()
	}
}

// Suspected says whether this router suspects its own network now.
func (m *Metrics) Suspected(yes bool) { m.selfSuspected.Set(one(yes)) }

// Located counts a client placed, by what placed it.
func (m *Metrics) Located(source geo.Source) {
	if c, known := m.lookups[source]; known {
		c.Inc()
		return
	}
	m.lookups[geo.SourceUnknown].Inc()
}

// Reloaded says how the last attempt to load a configuration ended, the first one
// at the start included.
func (m *Metrics) Reloaded(ok bool, at time.Time) {
	if !ok {
		m.reloadSuccessful.Set(0)
		return
	}
	m.reloadSuccessful.Set(1)
	m.reloadSuccess.Set(seconds(at))
}

// GeoLoaded says that a geo database that was built then is in use now.
func (m *Metrics) GeoLoaded(built time.Time) {
	m.geoBuilt.Set(seconds(built))
	m.geoReloaded.Set(1)
}

// GeoRefused says that a new geo database was not fit for use.
func (m *Metrics) GeoRefused() { m.geoReloaded.Set(0) }

// Streams counts the streams that are being relayed: +1 when one was opened, -1
// when it has ended, however it did.
func (m *Metrics) Streams(more int) { m.streamsOpen.Add(float64(more)) }

// Connections counts the connections of clients: +1 when one was opened, -1 when it
// is closed.
func (m *Metrics) Connections(more int) { m.connectionsOpen.Add(float64(more)) }

// TurnedAway counts a connection that was closed before a request came. The listener
// has few words for why.
func (m *Metrics) TurnedAway(why string) { m.turnedAway.WithLabelValues(why).Inc() }

// TurnedAwayFor says that connections may be turned away for a reason, so that it is
// counted from 0 on.
func (m *Metrics) TurnedAwayFor(why string) { m.turnedAway.WithLabelValues(why) }

// CertificatesLoaded says when the first of the certificates in use ends; the zero time
// when there is none.
func (m *Metrics) CertificatesLoaded(notAfter time.Time) {
	m.certificateEnds.Set(seconds(notAfter))
	m.certificateFresh.Set(1)
}

// CertificatesRefused says that a new certificate was not fit for use.
func (m *Metrics) CertificatesRefused() { m.certificateFresh.Set(0) }

// Waiting registers where to read how many requests wait for a free place. Call it once.
func (m *Metrics) Waiting(waiting func() int) { m.registry.MustRegister(newWaiting(waiting)) }

// Budget registers where to read how many retries are left. Call it once.
func (m *Metrics) Budget(remaining func() float64) {
	m.registry.MustRegister(newRetryBudget(remaining))
}

// Panicked counts a bug that was met and contained. where is one of request,
// probe, reload, geo and admin; anything else is counted as other.
func (m *Metrics) Panicked(where string) {
	for _, place := range panicPlaces {
		if where == place {
			m.panics.WithLabelValues(place).Inc()
			return
		}
	}
	m.panics.WithLabelValues(other).Inc()
}

// seconds is a time as Prometheus writes it; the zero time is 0, not the year 1.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

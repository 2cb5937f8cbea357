package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"proxima/geo"
)

// names are the metrics of Proxima. They are a contract with dashboards and
// alerts: a name, a unit or a label changes only with an ADR. The four that
// describe endpoints are filled in at each scrape, by endpoints.go.
type names struct {
	requests         *prometheus.CounterVec
	duration         *prometheus.HistogramVec
	firstByte        *prometheus.HistogramVec
	attemptsTotal    *prometheus.CounterVec
	failovers        *prometheus.CounterVec
	probeDuration    *prometheus.HistogramVec
	probeFailures    *prometheus.CounterVec
	ejections        *prometheus.CounterVec
	selfSuspected    prometheus.Gauge
	streamsOpen      prometheus.Gauge
	streamsBroken    prometheus.Counter
	streamsResumed   prometheus.Counter
	hedges           prometheus.Counter
	queued           prometheus.Histogram
	connectionsOpen  prometheus.Gauge
	turnedAway       *prometheus.CounterVec
	certificateEnds  prometheus.Gauge
	certificateFresh prometheus.Gauge
	geoLookups       *prometheus.CounterVec
	geoBuilt         prometheus.Gauge
	geoReloaded      prometheus.Gauge
	reloadSuccessful prometheus.Gauge
	reloadSuccess    prometheus.Gauge
	panics           *prometheus.CounterVec
	build            *prometheus.GaugeVec
}

// other stands for a label value that no configuration declares and no closed set
// holds.
const other = "other"

// panicPlaces is the closed set of places where a bug is contained.
var panicPlaces = [...]string{"request", "probe", "reload", "geo", "admin", other}

// geoSources is the closed set of what can place a client.
var geoSources = [...]geo.Source{
	geo.SourceUnknown, geo.SourceOverride, geo.SourceDatabase, geo.SourceDefault, geo.SourcePrivate, geo.SourceRegion,
}

func newNames() names {
	return names{
		requests: counters("requests_total",
			`Requests answered, by the model asked for ("other": no endpoint declares it), the region of the last attempt ("": none was made) and the status the client was told ("0": it left before).`,
			"model", "region", "code"),
		duration: histograms("request_duration_seconds",
			"From accepting a request to the last byte of its answer, streams included.",
			inferenceSeconds, "model", "region"),
		firstByte: histograms("time_to_first_byte_seconds",
			"From accepting a request to the first byte of content for its client, earlier attempts included. Answers with an error status are left out.",
			inferenceSeconds, "model", "region"),
		attemptsTotal: counters("attempts_total",
			"Attempts at an endpoint, by how they ended: served, refused, broken, late, failed, busy, abandoned, cancelled, cut, stalled or lost.",
			"region", "outcome"),
		failovers: counters("failovers_total",
			"Requests that moved to another endpoint before their client saw anything, by the region left, the region taken and the outcome that made them move.",
			"from", "to", "reason"),
		probeDuration: histograms("probe_duration_seconds",
			"How long successful health probes took.",
			probeSeconds, "endpoint"),
		probeFailures: counters("probe_failures_total",
			"Health probes that failed, by what went wrong.",
			"endpoint", "reason"),
		ejections: counters("ejections_total",
			"Times an endpoint was left alone for a while because real requests failed on it.",
			"endpoint"),
		selfSuspected: gauge("self_suspected",
			"1 while this router suspects its own network, because many endpoints in different regions fell silent at once: failures change no health meanwhile. Else 0."),
		streamsOpen: gauge("streams_open",
			"Answers that are being relayed now."),
		streamsBroken: counter("streams_broken_total",
			"Answers that broke off or fell silent after their client had seen some of them."),
		streamsResumed: counter("streams_resumed_total",
			"Broken answers that went on from another endpoint."),
		hedges: counter("hedges_total",
			"Requests for which a second endpoint was asked because the first was slower than nearly always."),
		queued: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "admission_wait_seconds",
			Help:    "How long requests waited that found every endpoint at its max_in_flight, whatever came of it.",
			Buckets: inferenceSeconds, NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160,
		}),
		connectionsOpen: gauge("connections_open",
			"Connections of clients that are open now."),
		turnedAway: counters("connections_turned_away_total",
			"Connections of clients that were closed before a request came, by why.",
			"reason"),
		certificateEnds: gauge("tls_certificate_not_after_timestamp_seconds",
			"When the first of the router's certificates ends, in Unix time. 0: it has none."),
		certificateFresh: gauge("tls_certificate_last_reload_successful",
			"1: every certificate file that changed is in use. 0: one was refused, and the certificate before stays."),
		geoLookups: counters("geo_lookups_total",
			"Clients placed, by what placed them.",
			"source"),
		geoReloaded: gauge("geo_database_last_reload_successful",
			"1: the newest geo database file is in use. 0: it was refused, and the one before stays."),
		geoBuilt: gauge("geo_database_build_timestamp_seconds",
			"When the geo database in use was built, in Unix time. 0: none is in use."),
		reloadSuccessful: gauge("config_last_reload_successful",
			"1 when the last attempt to load the configuration was successful, else 0: the previous one is still in use."),
		reloadSuccess: gauge("config_last_reload_success_timestamp_seconds",
			"When the configuration in use was loaded, in Unix time."),
		panics: counters("panics_total",
			"Bugs met and contained, by where. Please report any that is not 0.",
			"where"),
		build: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: namespace, Name: "build_info",
			Help: "1, labelled with what this program was built from.",
		}, []string{"version", "revision", "goversion"}),
	}
}

func (n *names) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		n.requests, n.duration, n.firstByte, n.attemptsTotal, n.failovers,
		n.probeDuration, n.probeFailures, n.ejections, n.selfSuspected,
		n.streamsOpen, n.streamsBroken, n.streamsResumed, n.hedges, n.queued,
		n.connectionsOpen, n.turnedAway, n.certificateEnds, n.certificateFresh,
		n.geoLookups, n.geoBuilt, n.geoReloaded, n.reloadSuccessful, n.reloadSuccess, n.panics, n.build,
	}
}

// endpointNames are the metrics of each endpoint in the table.
type endpointNames struct{ up, inFlight, capacity, cost *prometheus.Desc }

func newEndpointNames() endpointNames {
	return endpointNames{
		up: described("endpoint_up",
			"1 when the endpoint is believed healthy, 0 when it is untested, suspect, ejected (half-open, too) or down. Drained or not plays no part."),
		inFlight: described("endpoint_in_flight",
			"Requests from this router that are at the endpoint now."),
		capacity: described("endpoint_capacity",
			"Requests the endpoint is declared to serve at once. 0: not declared."),
		cost: described("endpoint_cost_ms",
			"What the next request would cost there before any distance, in milliseconds: serve*(1+load^3)+wait+bias, where load is (in flight+1)/capacity, of the declared and the learned capacity the smaller."),
	}
}

func newRetryBudget(remaining func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Name: "retry_budget_remaining",
		Help: "Retries that the budget allows at this instant.",
	}, remaining)
}

func newWaiting(waiting func() int) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Name: "admission_waiting",
		Help: "Requests that wait because every endpoint that may serve them is at its max_in_flight.",
	}, func() float64 { return float64(waiting()) })
}

const namespace = "proxima"

// Buckets of the classic histograms. A cached token comes in milliseconds, a long
// completion takes minutes; a probe crosses an ocean in a third of a second.
var (
	inferenceSeconds = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 20, 30, 60, 120}
	probeSeconds     = []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5, 5}
)

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
}

// histograms are classic and native at once: a scraper takes the kind it
// understands. The native one is exact to 10 % and bounded to 160 buckets.
func histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: name, Help: help,
		Buckets:                        buckets,
		NativeHistogramBucketFactor:    1.1,
		NativeHistogramMaxBucketNumber: 160,
	}, labels)
}

func described(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, []string{"region", "endpoint"}, nil)
}

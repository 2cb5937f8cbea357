package metrics

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"proxima/router"
)

// servedKey tells the requests apart that are counted apart. It holds only labels:
// declared models, regions of the table, numbers of known statuses.
type servedKey struct {
	model  router.Model
	region router.RegionID
	code   int
}

// servedSeries are the counters of one servedKey, so that a request costs one
// look-up.
type servedSeries struct {
	requests  prometheus.Counter
	duration  prometheus.Observer
	firstByte prometheus.Observer
}

type attemptKey struct {
	region  router.RegionID
	outcome router.Outcome
}

// servedBy returns the series that a record is counted in.
func (m *Metrics) servedBy(r *router.Record) *servedSeries {
	m.mu.RLock()
	key := m.key(r)
	s, known := m.served[key]
	m.mu.RUnlock()
	if known {
		return s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key = m.key(r) // the table may be another one by now
	if s, known = m.served[key]; known {
		return s
	}
	model, region := string(key.model), string(key.region)
	s = &servedSeries{
		requests:  m.requests.WithLabelValues(model, region, code(key.code)),
		duration:  m.duration.WithLabelValues(model, region),
		firstByte: m.firstByte.WithLabelValues(model, region),
	}
	key.model = router.Model(strings.Clone(model)) // it may be a part of a large request body
	m.served[key] = s
	return s
}

// key is where a record counts. The caller holds mu, in one way or the other.
func (m *Metrics) key(r *router.Record) servedKey {
	table := m.table.Load()
	key := servedKey{model: r.Model, code: r.Status}
	if r.Model != "" && !table.Names(r.Model) {
		key.model = other
	}
	if last := r.Last(); last != nil {
		key.region = region(table, last.Region)
	}
	if r.Status != 0 && (r.Status < 100 || r.Status > 599) {
		key.code = strange
	}
	return key
}

// strange stands for every status outside the five classes of HTTP (RFC 9110 §15).
const strange = -1

func code(status int) string {
	if status == strange {
		return other
	}
	return strconv.Itoa(status)
}

// region is a region's label: a stream may outlive the region that served it.
func region(t *router.Table, id router.RegionID) router.RegionID {
	if _, there := t.RegionPosition(id); there {
		return id
	}
	return other
}

func (m *Metrics) attempt(in router.RegionID, outcome router.Outcome) prometheus.Counter {
	m.mu.RLock()
	key := attemptKey{region(m.table.Load(), in), outcome}
	c, known := m.attempts[key]
	m.mu.RUnlock()
	if known {
		return c
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key.region = region(m.table.Load(), in)
	c = m.attemptsTotal.WithLabelValues(string(key.region), outcome.String())
	m.attempts[key] = c
	return c
}

// failover counts a step between two attempts. It is rare enough to look up.
func (m *Metrics) failover(left, taken *router.Attempt) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	table := m.table.Load()
	from, to := region(table, left.Region), region(table, taken.Region)
	m.failovers.WithLabelValues(string(from), string(to), left.Outcome.String()).Inc()
}

// follow makes the series those of the current table: what is no longer in it
// takes its series along. Without a reload it costs two atomic loads.
func (m *Metrics) follow() {
	if m.table.Load() == m.live.Snapshot().Table {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	table := m.live.Snapshot().Table
	m.forget(m.table.Load(), table)
	m.table.Store(table)
	clear(m.served)
	clear(m.attempts)
}

func (m *Metrics) forget(old, table *router.Table) {
	for _, model := range old.Models() {
		if !table.Names(model) {
			m.drop("model", string(model))
		}
	}
	for _, was := range old.Regions {
		if _, there := table.RegionPosition(was.ID); !there {
			m.drop("region", string(was.ID))
			m.drop("from", string(was.ID))
			m.drop("to", string(was.ID))
		}
	}
	for _, was := range old.Endpoints {
		if _, there := table.Position(was.ID); !there {
			m.drop("endpoint", string(was.ID))
		}
	}
}

// drop deletes every series in which a label has a value. A metric without the
// label has none such.
func (m *Metrics) drop(label, value string) {
	gone := prometheus.Labels{label: value}
	m.requests.DeletePartialMatch(gone)
	m.duration.DeletePartialMatch(gone)
	m.firstByte.DeletePartialMatch(gone)
	m.attemptsTotal.DeletePartialMatch(gone)
	m.failovers.DeletePartialMatch(gone)
	m.probeDuration.DeletePartialMatch(gone)
	m.probeFailures.DeletePartialMatch(gone)
	m.ejections.DeletePartialMatch(gone)
}

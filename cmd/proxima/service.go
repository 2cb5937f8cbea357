package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"proxima/admin"
	"proxima/configs"
	"proxima/dial"
	"proxima/edge"
	"proxima/geo"
	"proxima/geo/mmdb"
	"proxima/geo/world"
	"proxima/healthcheck"
	"proxima/metrics"
	"proxima/poll"
	"proxima/proxy"
	"proxima/proxy/transport"
	"proxima/router"
)

// service is a router in one process: the parts, joined by functions.
type service struct {
	log     *zap.Logger
	access  *accessLog
	level   zap.AtomicLevel
	env     func(string) (string, bool)
	live    *router.Live
	places  *places
	monitor *healthcheck.Monitor
	metrics *metrics.Metrics
	proxy   *proxy.Handler
	admin   *admin.Server
	recent  *admin.Recent

	poller       *poll.Poller // nil: this system has none
	clients      *edge.Server
	certificates *edge.Certificates      // nil: clients speak plain HTTP
	cut          context.CancelCauseFunc // ends every request

	suspicion atomic.Pointer[admin.SelfSuspicion] // nil: this router trusts its own network
	compared  admin.Comparison

	good  good
	pacer *pacer // nil: the operator has set GOGC

	inUse    atomic.Pointer[generation] // changed by the reload goroutine alone
	refused  atomic.Pointer[admin.Refusal]
	reloads  chan reloading
	stopping atomic.Bool

	releaseProbes func() // closes their idle connections
}

// generation is a configuration while it is in use, in the shapes that are read
// for every request. It is immutable.
type generation struct {
	text     []byte // the file
	config   *configs.Config
	settings proxy.Settings
	loadedAt time.Time
}

func newGeneration(d document) *generation {
	c := d.config
	g := &generation{text: d.bytes, config: c, loadedAt: time.Now()}
	for _, prefix := range c.Client.TrustedProxies {
		g.settings.TrustedProxies = append(g.settings.TrustedProxies, prefix.Prefix)
	}
	g.settings.AddressHeader = string(c.Client.AddressHeader)
	g.settings.ReplaceForwarded = c.Client.ForwardedFor == "replace"
	g.settings.Attempts = c.Failover.Attempts
	g.settings.RetryRatio = c.Failover.RetryBudget.Ratio
	g.settings.RetryFloor = c.Failover.RetryBudget.Floor
	g.settings.ReplayLimit = int64(c.Failover.ReplayLimit)
	g.settings.Requests = requestsAtMost(c)
	g.settings.BodyMemory = int64(c.Limits.BodyMemory)
	g.settings.KeepAlive = time.Duration(c.Failover.KeepAlive)
	g.settings.QueueLength = c.Admission.Queue
	g.settings.QueueWait = time.Duration(c.Admission.Wait)
	g.settings.Keys = proxy.NewKeys(c.Admission.Priorities())
	g.settings.Rules = proxy.Rules(c.Failover.Rules(""))
	g.settings.Models = map[router.Model]proxy.Rules{}
	for _, model := range c.Failover.OwnRules() {
		g.settings.Models[model] = proxy.Rules(c.Failover.Rules(model))
	}
	return g
}

// newService joins the parts. It starts nothing and listens nowhere.
func newService(d document, env func(string) (string, bool), log *zap.Logger, level zap.AtomicLevel) (*service, error) {
	c := d.config
	table, err := c.Table()
	if err != nil {
		return nil, err
	}
	s := &service{
		log: log, level: level, env: env,
		access:  newAccessLog(log),
		live:    router.NewLive(table),
		recent:  &admin.Recent{},
		reloads: make(chan reloading),
	}
	if s.places, err = openPlaces(c); err != nil {
		return nil, err
	}
	b := thisBuild()
	s.metrics = metrics.New(s.live, metrics.Build{Version: b.Version, Revision: b.Revision, GoVersion: b.Go})
	s.inUse.Store(newGeneration(d))
	roots, err := c.TLS.EndpointRoots()
	if err != nil {
		return nil, fmt.Errorf("tls.endpoint_ca: %w", err)
	}
	if s.poller, err = poll.Open(); err != nil && !errors.Is(err, poll.ErrUnsupported) {
		return nil, err
	}
	s.joinPlaces()
	connect := s.joinNames()
	s.joinMonitor(connect, roots)
	s.joinProxy(connect, roots)
	if err := s.joinClients(c); err != nil {
		return nil, err
	}
	if err := s.joinAdmin(c, b.Version); err != nil {
		return nil, err
	}
	s.monitor.Watch(table.Endpoints, c.Policy())
	s.metrics.Reloaded(true, time.Now())
	return s, nil
}

// joinPlaces tells of every edition of the geo database.
func (s *service) joinPlaces() {
	s.places.swapped = func(db *mmdb.DB) {
		s.metrics.GeoLoaded(db.Built())
		s.log.Info("geo database in use", zap.String("name", db.Name()), zap.String("type", db.Type()), zap.String("built", db.Built().Format(time.DateOnly)))
	}
	s.places.refused = func(err error) {
		s.metrics.GeoRefused()
		s.log.Error("geo database refused, the one in use stays", zap.Error(err))
	}
}

// joinNames returns how requests and probes connect to endpoints: by names that are
// known to both, and to no address where no endpoint can be.
func (s *service) joinNames() healthcheck.Dial {
	names := &dial.Names{Stale: func(host string, why error) {
		if why == nil {
			s.log.Info("the name of an endpoint resolves again", zap.String("name", host))
			return
		}
		s.log.Warn("the name of an endpoint does not resolve, its last addresses stay in use", zap.String("name", host), zap.Error(why))
	}}
	return names.DialContext(&net.Dialer{Control: healthcheck.RefuseDial, KeepAlive: 15 * time.Second})
}

// joinMonitor lets probes and requests change what is believed, and what is
// believed move requests.
func (s *service) joinMonitor(connect healthcheck.Dial, roots *x509.CertPool) {
	var probe healthcheck.Prober
	probe, s.releaseProbes = healthcheck.NewProber(connect, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})
	s.monitor = &healthcheck.Monitor{
		Probe:   probe,
		Publish: s.believe,
		Measured: func(id router.EndpointID, latency time.Duration) {
			snapshot := s.live.Snapshot()
			if at, there := snapshot.Table.Position(id); there {
				snapshot.Meter(at).Probed(latency)
			}
		},
		Probed: func(id router.EndpointID, r healthcheck.Result) {
			s.metrics.Probed(id, r.Latency, string(r.Kind))
		},
		Ejected: func(id router.EndpointID, cause string) {
			s.metrics.Ejected(id)
			s.log.Warn("endpoint ejected", zap.String("endpoint", string(id)), zap.String("cause", cause))
		},
		Suspected: s.suspect,
		Panicked: func(id router.EndpointID, value any, stack []byte) {
			s.panicked("probe", value, stack)
		},
	}
}

// suspect tells when this router begins to suspect its own network, and when that
// is over.
func (s *service) suspect(since time.Time, yes bool, detail string) {
	s.metrics.Suspected(yes)
	if !yes {
		s.suspicion.Store(nil)
		s.log.Info("this router trusts its own network again", zap.String("because", detail))
		return
	}
	s.suspicion.Store(&admin.SelfSuspicion{Since: since.UTC().Truncate(time.Millisecond), Detail: detail})
	s.log.Warn("this router suspects its own network, so failures change no health", zap.String("because", detail))
}

// believe publishes an endpoint's new status. When it is found down, the requests
// that wait for it move on.
func (s *service) believe(id router.EndpointID, status router.Status) {
	snapshot := s.live.Snapshot()
	at, there := snapshot.Table.Position(id)
	if !there || !s.live.SetStatus(id, status) {
		return
	}
	before := &snapshot.Status[at]
	switch {
	case before.Health != status.Health:
		s.log.Info(
			"endpoint is "+status.Health.String(),
			zap.String("endpoint", string(id)), zap.Stringer("before", before.Health), zap.String("cause", status.Cause),
		)
	case status.Trial && !before.Trial:
		s.log.Info("endpoint is on trial", zap.String("endpoint", string(id)), zap.String("cause", status.Cause))
	}
	if status.Health == router.Down {
		s.proxy.Failover.Abandon(id)
	}
	s.proxy.Failover.Changed()
}

func (s *service) joinProxy(connect healthcheck.Dial, roots *x509.CertPool) {
	next := &transport.Transport{Dial: connect, Roots: roots}
	if s.poller != nil {
		next.Readable = s.poller.Readable
	}
	failover := &proxy.Failover{
		Next:      next,
		Attempted: func(a *router.Attempt) { s.monitor.Observe(*a, time.Now()) },
		Completed: func(id router.EndpointID) { s.monitor.Completed(id, time.Now()) },
	}
	s.proxy = &proxy.Handler{
		Live:     s.live,
		Settings: func() *proxy.Settings { return &s.inUse.Load().settings },
		Locate: func(addr netip.Addr) geo.Location {
			where := s.places.Locate(addr)
			s.metrics.Located(where.Source)
			return where
		},
		Failover: failover,
		Observe:  s.observe,
		Streams:  s.metrics.Streams,
		Panicked: func(value any, stack []byte) { s.panicked("request", value, stack) },
		Instance: instance(),

		ClientTrip: clientTrip,
		Compared:   s.compared.Add,
	}
	s.metrics.Budget(failover.RetriesLeft)
	s.metrics.Waiting(failover.Waiting)
}

// observe is where everybody learns from a finished request. Health has learned
// from its attempts already, while they were under way.
func (s *service) observe(r *router.Record) {
	s.metrics.Observe(r)
	s.recent.Add(r)
	if s.inUse.Load().config.Log.Access {
		s.access.tell(r)
	}
}

func (s *service) joinAdmin(c *configs.Config, version string) error {
	token, err := c.Admin.Token()
	if err != nil {
		return fmt.Errorf("admin.token_file: %w", err)
	}
	s.admin = &admin.Server{
		Live:    s.live,
		Version: version,
		Config:  s.configInfo,
		Locate:  s.places.Locate,
		Ready:   s.ready,
		Metrics: s.metrics.Handler(),
		Recent:  s.recent,

		Suspicion: s.suspicion.Load,
		Compared:  &s.compared,

		Token: string(token),
		Audit: func(event string, r *http.Request, detail string) {
			s.log.Info("audit: "+event, zap.String("peer", r.RemoteAddr), zap.String("detail", detail))
		},
		Attribution: admin.Attribution{Text: world.Attribution, URL: world.AttributionURL},
	}
	return nil
}

func (s *service) configInfo() admin.ConfigInfo {
	g := s.inUse.Load()
	text, err := g.config.Redacted()
	if err != nil {
		text = []byte("# the configuration cannot be shown: " + err.Error() + "\n")
	}
	return admin.ConfigInfo{Hash: g.config.Hash, LoadedAt: g.loadedAt, Text: text, Refused: s.refused.Load()}
}

// ready says whether clients may be sent here. A router whose endpoints are all
// down is not: another one may reach them.
func (s *service) ready() error {
	switch {
	case s.stopping.Load():
		return errors.New("stopping: requests under way are finished, new ones belong elsewhere")
	case !s.monitor.Settled():
		return errors.New("starting: not every endpoint has been probed yet")
	}
	snapshot := s.live.Snapshot()
	for at := range snapshot.Status {
		if !snapshot.IsDrained(at) && mayServe(&snapshot.Status[at]) {
			return nil
		}
	}
	return errors.New("no endpoint is up and not drained")
}

// mayServe reports whether an endpoint is likely to answer: it is up, a single probe
// of it failed, or its ejection is over and a request may try it.
func mayServe(s *router.Status) bool {
	return s.Health == router.Up || s.Health == router.Suspect || s.Trial
}

func (s *service) panicked(where string, value any, stack []byte) {
	s.metrics.Panicked(where)
	s.log.Error(
		"a bug was met and contained",
		zap.String("where", where), zap.String("value", fmt.Sprint(value)), zap.ByteString("stack", stack),
	)
}

// instance names this process among routers, so that loops can be told from chains.
func instance() string {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(id[:])
}

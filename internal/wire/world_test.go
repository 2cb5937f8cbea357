package wire

import (
	"context"
	"log"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"proxima/edge"
	"proxima/geo"
	"proxima/proxy"
	"proxima/proxy/transport"
	"proxima/router"
)

// world is the router as clients meet it, from the listener to the endpoints, with
// three of these. All are sockets on loopback.
type world struct {
	at      string
	regions []*region
	server  *edge.Server
	served  chan error

	transport interface{ CloseIdleConnections() }
}

// setting is what worlds differ in.
type setting struct {
	proxy         proxy.Settings
	proxyProtocol bool
	models        []router.Model // of every endpoint; nil: any
	script        []segment      // how endpoints answer; nil: with 200
}

func usual() setting {
	return setting{proxy: proxy.Settings{
		AddressHeader: "X-Forwarded-For",
		Attempts:      3,
		RetryRatio:    0.2,
		RetryFloor:    10,
		ReplayLimit:   1 << 20,
		Rules:         proxy.Rules{StallTimeout: 30 * time.Second},
	}}
}

// newWorld starts a world. It is to be ended.
func newWorld(t *testing.T, as setting) *world {
	t.Helper()
	w := &world{served: make(chan error, 1)}
	for range 3 {
		g := &region{listener: listen(t), script: as.script}
		g.run()
		w.regions = append(w.regions, g)
	}
	next := new(transport.Transport)
	w.transport = next
	trusted := func(a netip.Addr) bool {
		return slices.ContainsFunc(as.proxy.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	w.server = &edge.Server{
		Handler: &proxy.Handler{
			Live:     w.live(t, as.models),
			Settings: func() *proxy.Settings { return &as.proxy },
			Locate:   func(netip.Addr) geo.Location { return geo.Location{} },
			Failover: &proxy.Failover{Next: next, Attempted: func(*router.Attempt) {}},
			Observe:  func(*router.Record) {},
			Streams:  func(int) {},
			Panicked: func(value any, stack []byte) { t.Errorf("%v\n%s", value, stack) },
			Instance: "wire",
		},
		ErrorLog:      log.New(t.Output(), "", 0),
		Trusted:       trusted,
		ProxyProtocol: as.proxyProtocol,
	}
	door := listen(t)
	w.at = door.Addr().String()
	go func() { w.served <- w.server.Serve(door) }()
	return w
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// live says that every endpoint is well.
func (w *world) live(t *testing.T, models []router.Model) *router.Live {
	t.Helper()
	var endpoints []router.Endpoint
	for at, id := range []router.EndpointID{"us-1", "us-2", "us-3"} {
		address := &url.URL{Scheme: "http", Host: w.regions[at].listener.Addr().String()}
		endpoints = append(endpoints, router.Endpoint{ID: id, Region: "us", URL: address, Models: models})
	}
	table, err := router.NewTable([]router.Region{{ID: "us"}}, endpoints, router.Steering{})
	if err != nil {
		t.Fatal(err)
	}
	live := router.NewLive(table)
	for _, e := range endpoints {
		live.SetStatus(e.ID, router.Status{Health: router.Up})
	}
	return live
}

func (w *world) dial(t *testing.T) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", w.at)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn.(*net.TCPConn)
}

// end stops everything from the outside in and returns what endpoints have seen:
// after it, nothing more can reach them.
func (w *world) end(t *testing.T) *seen {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.server.Shutdown(ctx); err != nil {
		t.Errorf("requests are under way when every client has gone: %v", err)
	}
	w.server.Close()
	<-w.served
	w.transport.CloseIdleConnections()
	all := &seen{}
	for _, g := range w.regions {
		g.end()
		all.requests = append(all.requests, g.got...)
		for _, raw := range g.raw {
			all.raw += raw.String()
		}
	}
	return all
}

func prefixes(texts []string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// text is requests, or what else is sent, as one segment.
func text(parts ...string) []segment { return []segment{{Bytes: octets(strings.Join(parts, ""))}} }

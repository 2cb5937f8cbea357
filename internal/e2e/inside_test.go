package e2e

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
)

// AddInside puts a region into the world whose endpoint is a handler in this process,
// so that a test sees each request as it comes. Nothing can kill or freeze it.
func (w *World) AddInside(name string, endpoint http.Handler) *Region {
	server := httptest.NewUnstartedServer(endpoint)
	server.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		if tcp, is := conn.(*net.TCPConn); is && state == http.StateNew {
			_ = tcp.SetWriteBuffer(64 << 10) // what the kernel holds hides back-pressure
		}
	}
	server.Start()
	return w.join(name, server)
}

// join makes a server in this process a region of the world.
func (w *World) join(name string, server *httptest.Server) *Region {
	w.t.Cleanup(server.Close)
	r := &Region{t: w.t, Name: name, server: modelServer{Address: server.Listener.Addr().String()}, secure: server.TLS != nil}
	w.Regions = append(w.Regions, r)
	return r
}

// crowdMeter is an endpoint that knows how many requests it had at once. Probes do
// not count.
type crowdMeter struct {
	http.Handler
	now, most atomic.Int64
}

func (m *crowdMeter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/health" {
		return
	}
	now := m.now.Add(1)
	defer m.now.Add(-1)
	for most := m.most.Load(); now > most && !m.most.CompareAndSwap(most, now); most = m.most.Load() {
	}
	m.Handler.ServeHTTP(w, r)
}

package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"proxima/geo"
	"proxima/proxy/transport"
	"proxima/router"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// story tells one test in a world of its own, where time passes only when nothing
// else happens, and once more in one where streams rest. Every story ends the same way:
// nobody is left at an endpoint.
func story(t *testing.T, tell func(w *world)) {
	t.Helper()
	storyWhere(t, false, tell)
	t.Run("at rest", func(t *testing.T) { storyWhere(t, true, tell) })
}

func storyWhere(t *testing.T, streamsRest bool, tell func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			t:        t,
			rests:    streamsRest,
			network:  &network{ports: map[string]*port{}},
			from:     "198.51.100.7:40000",
			places:   map[string]geo.Location{"198.51.100.7": washington, "203.0.113.9": berlin},
			settings: usual(),
		}
		defer w.end()
		tell(w)
	})
}

// world is a router, its endpoints and its clients, joined by wires in memory.
type world struct {
	t         *testing.T
	network   *network
	settings  Settings
	steering  router.Steering
	from      string // the address that clients connect from
	rests     bool   // streams let go of their goroutines
	places    map[string]geo.Location
	endpoints []*endpoint

	live      *router.Live
	handler   *Handler
	server    *http.Server
	transport *transport.Transport
	streams   atomic.Int64 // open now
	clients   []*client

	mu      sync.Mutex // guards what the router tells
	records []router.Record
	told    []string
	bugs    []any
}

var (
	washington = geo.Location{Placed: true, Lat: 38.9, Lon: -77, Country: "US"}
	berlin     = geo.Location{Placed: true, Lat: 52.5, Lon: 13.4, Country: "DE"}
	regions    = []router.Region{
		{ID: "us", Place: geo.Location{Placed: true, Lat: 39, Lon: -77.5, Country: "US"}},
		{ID: "eu", Place: geo.Location{Placed: true, Lat: 50.1, Lon: 8.7, Country: "DE"}},
		{ID: "asia", Place: geo.Location{Placed: true, Lat: 35.7, Lon: 139.7, Country: "JP"}},
	}
)

func usual() Settings {
	return Settings{
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		AddressHeader:  "X-Forwarded-For",
		Attempts:       3,
		RetryRatio:     0.2,
		RetryFloor:     3,
		ReplayLimit:    1 << 20,
		Rules:          Rules{StallTimeout: 30 * time.Second},
	}
}

// endpoint adds a model server. Its region is what stands before the dash; the
// client in Washington is nearest to us, then eu, then asia.
func (w *world) endpoint(id string, act action, models ...router.Model) *endpoint {
	e := &endpoint{id: id, act: act, models: models, host: id + ".test:80"}
	w.endpoints = append(w.endpoints, e)
	return e
}

// open starts everything; the first client does it.
func (w *world) open() {
	if w.live != nil {
		return
	}
	var list []router.Endpoint
	for _, e := range w.endpoints {
		region, _, _ := strings.Cut(e.id, "-")
		list = append(list, router.Endpoint{
			ID: router.EndpointID(e.id), Region: router.RegionID(region), Models: e.models, Capacity: e.capacity,
			URL: &url.URL{Scheme: "http", Host: e.host, Path: e.prefix},
		})
		e.listen(w.network)
	}
	table, err := router.NewTable(regions, list, w.steering)
	if err != nil {
		w.t.Fatal(err)
	}
	w.live = router.NewLive(table)
	for _, e := range w.endpoints {
		w.believe(e, router.Up)
	}
	w.transport = new(transport.Transport)
	w.transport.Dial = func(ctx context.Context, _, address string) (net.Conn, error) {
		return w.network.dial(ctx, address, "10.9.9.9:1")
	}
	w.handler = w.newHandler()
	var handler http.Handler = w.handler
	if w.rests {
		handler = detaching{w.handler}
		w.handler.Failover.Next = resting{w.transport}
	}
	w.server = &http.Server{Handler: handler, DisableGeneralOptionsHandler: true, Protocols: new(http.Protocols)}
	w.server.Protocols.SetHTTP1(true)
	w.server.Protocols.SetUnencryptedHTTP2(true)
	door := w.network.listen("proxima.test:80")
	go w.server.Serve(door)
}

func (w *world) newHandler() *Handler {
	return &Handler{
		Live:     w.live,
		Settings: func() *Settings { return &w.settings },
		Locate:   func(a netip.Addr) geo.Location { return w.places[a.String()] },
		Failover: &Failover{Next: w.transport, Attempted: func(a *router.Attempt) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.told = append(w.told, fmt.Sprintf("%s %s", a.Endpoint, a.Outcome))
		}},
		Streams: func(more int) { w.streams.Add(int64(more)) },
		Observe: func(r *router.Record) {
			w.mu.Lock()
			defer w.mu.Unlock()
			kept := *r
			kept.Attempts = slices.Clone(r.Attempts)
			w.records = append(w.records, kept)
		},
		Panicked: func(recovered any, _ []byte) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.bugs = append(w.bugs, recovered)
		},
		Instance: "here",
	}
}

func (w *world) believe(e *endpoint, h router.Health) {
	w.live.SetStatus(router.EndpointID(e.id), router.Status{Health: h})
}

// findDown is what health checking does when an endpoint stops answering.
func (w *world) findDown(e *endpoint) {
	w.believe(e, router.Down)
	w.handler.Failover.Abandon(router.EndpointID(e.id))
}

// record is the last one; every request has exactly one.
func (w *world) record() router.Record {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.records) == 0 {
		w.t.Fatal("no request has ended")
	}
	return w.records[len(w.records)-1]
}

// attempts tells how the last request fared: "us-1 refused, eu-1 served".
func (w *world) attempts() string {
	w.t.Helper()
	var said []string
	for _, a := range w.record().Attempts {
		said = append(said, fmt.Sprintf("%s %s", a.Endpoint, a.Outcome))
	}
	return strings.Join(said, ", ")
}

// heard is what health checking was told of attempts, in order.
func (w *world) heard() string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.told, ", ")
}

func (w *world) inFlight(e *endpoint) int { return w.meter(e).InFlight() }

func (w *world) meter(e *endpoint) *router.Meter {
	s := w.live.Snapshot()
	at, _ := s.Table.Position(router.EndpointID(e.id))
	return s.Meter(at)
}

// end closes the world, and looks that nothing was left behind.
func (w *world) end() {
	if w.live == nil {
		return
	}
	for _, c := range w.clients {
		c.leave()
	}
	time.Sleep(2 * lingering) // in the world's time
	synctest.Wait()
	for _, e := range w.endpoints {
		if n := w.inFlight(e); n != 0 {
			w.t.Errorf("%d in flight at %s after the last client has gone", n, e.id)
		}
	}
	if n := w.streams.Load(); n != 0 {
		w.t.Errorf("%d streams are counted as open after the last client has gone", n)
	}
	if a := w.handler.Failover.waiting.first; a != nil {
		w.t.Errorf("an attempt at %s still waits", a.Endpoint)
	}
	if len(w.bugs) > 0 {
		w.t.Errorf("bugs: %v", w.bugs)
	}
	w.server.Close()
	w.transport.CloseIdleConnections()
	w.network.close()
	synctest.Wait()
}

func (w *world) want(what string, got, want any) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("%s:\n%v\nwant:\n%v", what, got, want)
	}
}

// client is one connection to the router, and what came back on it.
type client struct {
	w    *world
	conn net.Conn
	say  chan string
	done chan struct{}

	mu  sync.Mutex
	got bytes.Buffer
}

func (w *world) connect() *client {
	w.t.Helper()
	w.open()
	conn, err := w.network.dial(w.t.Context(), "proxima.test:80", w.from)
	if err != nil {
		w.t.Fatal(err)
	}
	c := &client{w: w, conn: conn, say: make(chan string, 1000), done: make(chan struct{})}
	w.clients = append(w.clients, c)
	go func() {
		for text := range c.say {
			if _, err := io.WriteString(conn, text); err != nil {
				break
			}
		}
	}()
	go func() {
		defer close(c.done)
		_, _ = io.Copy(c, conn)
	}()
	return c
}

// http2 is a client that speaks HTTP/2 without encryption.
func (w *world) http2() *http.Client {
	w.open()
	carries := &http.Transport{Protocols: new(http.Protocols), DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		return w.network.dial(ctx, address, w.from)
	}}
	carries.Protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: carries}
}

func (c *client) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got.Write(p)
}

// send writes to the router as fast as it reads.
func (c *client) send(text string) { c.say <- text }

// sees is what has come so far, once nothing more happens.
func (c *client) sees() string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got.String()
}

// content is the body of what has come so far.
func (c *client) content() string { return parse(c.sees(), "GET").body }

// waits for the router to end the connection.
func (c *client) waits() answer {
	<-c.done
	return parse(c.sees(), "GET")
}

func (c *client) leave() {
	if c.say != nil {
		close(c.say)
		c.say = nil
	}
	c.conn.Close()
}

// requestText is a request whose connection ends with the answer, so that an
// answer's whole text is known.
func requestText(line, content string, header ...string) string {
	text := line + " HTTP/1.1\r\nHost: proxima.test\r\nConnection: close\r\n"
	for _, field := range header {
		text += field + "\r\n"
	}
	if content != "" {
		text += fmt.Sprintf("Content-Length: %d\r\n", len(content))
	}
	return text + "\r\n" + content
}

// ask makes one request and returns the whole answer.
func (w *world) ask(line, content string, header ...string) answer {
	w.t.Helper()
	c := w.connect()
	defer c.leave()
	c.send(requestText(line, content, header...))
	<-c.done
	method, _, _ := strings.Cut(line, " ")
	return parse(c.sees(), method)
}

// chat asks for a completion of the model m.
func (w *world) chat(header ...string) answer {
	w.t.Helper()
	return w.ask("POST /v1/chat/completions", `{"model":"m"}`, header...)
}

// answer is what a client got: the whole text, and what it means.
type answer struct {
	text   string
	status int
	header http.Header
	body   string
	cut    bool // the client can tell that something is missing
}

func parse(text, method string) answer {
	a := answer{text: text}
	response, err := http.ReadResponse(bufio.NewReader(strings.NewReader(text)), &http.Request{Method: method})
	if err != nil {
		a.cut = true
		return a
	}
	content, err := io.ReadAll(response.Body)
	a.status, a.header, a.body, a.cut = response.StatusCode, response.Header, string(content), err != nil
	return a
}

// problem is the code of an error in the contract's shape.
func (a answer) problem() string {
	_, after, found := strings.Cut(a.body, `"code":"`)
	if !found || !strings.HasPrefix(a.body, `{"error":{"message":"`) {
		return "none in " + a.body
	}
	code, _, _ := strings.Cut(after, `"`)
	return code
}

// plain is the text with its lines ended the short way.
func (a answer) plain() string { return strings.ReplaceAll(a.text, "\r\n", "\n") }

// endpoint is a model server that speaks HTTP byte by byte.
type endpoint struct {
	id       string
	host     string
	prefix   string
	models   []router.Model
	capacity int    // 0: not declared
	act      action // nil: it refuses connections

	mu    sync.Mutex
	asked []string // whole requests, as they came
	left  int      // calls that the router ended
}

// action is how an endpoint answers one request.
type action func(c *call)

// call is one request at an endpoint.
type call struct {
	*endpoint
	conn    net.Conn
	request *http.Request
	text    *bytes.Buffer
	hangsUp bool
}

func (e *endpoint) listen(n *network) {
	if e.act == nil {
		return
	}
	door := n.listen(e.host)
	go func() {
		for {
			conn, err := door.Accept()
			if err != nil {
				return
			}
			go e.serve(conn)
		}
	}()
}

func (e *endpoint) serve(conn net.Conn) {
	defer conn.Close()
	var text bytes.Buffer
	in := bufio.NewReader(io.TeeReader(conn, &text))
	for {
		request, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		c := &call{endpoint: e, conn: conn, request: request, text: &text}
		e.act(c)
		if c.hangsUp {
			return
		}
		text.Reset()
	}
}

// read takes in the whole request and notes it.
func (c *call) read() string {
	content, _ := io.ReadAll(c.request.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, c.text.String())
	return string(content)
}

func (c *call) write(text string) bool {
	_, err := io.WriteString(c.conn, text)
	return err == nil
}

// event sends a server-sent event in a chunk of its own.
func (c *call) event(data string) bool { return c.write(chunk("data: " + data + "\n\n")) }

// hangUp ends the connection after this call.
func (c *call) hangUp() { c.hangsUp = true }

// untilLeft waits until the router ends the call.
func (c *call) untilLeft() {
	_, _ = c.conn.Read(make([]byte, 1))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left++
	c.hangsUp = true
}

func (e *endpoint) requests() []string {
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.asked
}

// last is the last request that the endpoint saw, with short line ends and its fields in
// order: they have none on the wire.
func (e *endpoint) last() string {
	all := e.requests()
	if len(all) == 0 {
		return "none"
	}
	head, content, _ := strings.Cut(strings.ReplaceAll(all[len(all)-1], "\r\n", "\n"), "\n\n")
	lines := strings.Split(head, "\n")
	slices.Sort(lines[1:])
	return strings.Join(lines, "\n") + "\n\n" + content
}

// hungUpOn is how many calls the router ended before the endpoint did.
func (e *endpoint) hungUpOn() int {
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.left
}

// head is the head of an answer.
func head(status string, header ...string) string {
	return "HTTP/1.1 " + status + "\r\n" + strings.Join(append(header, "", ""), "\r\n")
}

func chunk(text string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(text), text) }

const (
	lastChunk = "0\r\n\r\n"
	chunked   = "Transfer-Encoding: chunked"
	sse       = "Content-Type: text/event-stream"
)

// The ways of endpoints.
var (
	refuses action // takes no connection

	breaks action = func(c *call) { c.read(); c.hangUp() }

	freezes action = func(c *call) { c.read(); c.untilLeft() }
)

func says(text string) action { return answers("200 OK", text) }

func answers(status, text string, header ...string) action {
	return func(c *call) {
		c.read()
		c.write(head(status, append(header, fmt.Sprintf("Content-Length: %d", len(text)))...))
		if c.request.Method != http.MethodHead {
			c.write(text)
		}
	}
}

// writes answers with this text, byte for byte, and hangs up.
func writes(text ...string) action {
	return func(c *call) {
		c.read()
		for _, piece := range text {
			c.write(piece)
		}
		c.hangUp()
	}
}

// network is wires in memory. Nothing of it leaves the process.
type network struct {
	mu    sync.Mutex
	ports map[string]*port
	conns []net.Conn
}

type port struct {
	address string
	calls   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func (n *network) listen(address string) *port {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := &port{address: address, calls: make(chan net.Conn), closed: make(chan struct{})}
	n.ports[address] = p
	return p
}

func (n *network) dial(ctx context.Context, address, from string) (net.Conn, error) {
	n.mu.Lock()
	p := n.ports[address]
	n.mu.Unlock()
	if p == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	near, far := net.Pipe()
	n.mu.Lock()
	n.conns = append(n.conns, near, far)
	n.mu.Unlock()
	select {
	case p.calls <- wire{far, from}:
		return wire{near, address}, nil
	case <-p.closed:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *network) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.ports {
		p.Close()
	}
	for _, c := range n.conns {
		c.Close()
	}
}

func (p *port) Accept() (net.Conn, error) {
	select {
	case c := <-p.calls:
		return c, nil
	case <-p.closed:
		return nil, errors.New("closed")
	}
}

func (p *port) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *port) Addr() net.Addr { return address(p.address) }

// wire is a connection whose other end has an address.
type wire struct {
	net.Conn
	remote string
}

func (w wire) RemoteAddr() net.Addr { return address(w.remote) }

type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

// exchange is a request that came in, for a look at a single step.
func (w *world) exchange() *exchange {
	w.open()
	in, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "/v1/anything", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	in.RemoteAddr = w.from
	x := w.handler.begin(nil, in)
	w.handler.locate(x)
	x.out = x.outgoing()
	return x
}

// buggy is an answer's body that panics on its second read.
type buggy struct {
	rest  io.ReadCloser
	reads int
}

func (b *buggy) Read(p []byte) (int, error) {
	if b.reads++; b.reads > 1 {
		panic("a bug")
	}
	n, err := b.rest.Read(p[:2])
	return n, err
}

func (b *buggy) Close() error { return b.rest.Close() }

// eventful is an answer's body during whose first read something happens.
type eventful struct {
	io.ReadCloser
	happens func()
}

func (e *eventful) Read(p []byte) (int, error) {
	n, err := e.ReadCloser.Read(p)
	if e.happens != nil {
		e.happens()
		e.happens = nil
	}
	return n, err
}

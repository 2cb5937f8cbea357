// Package configs is the configuration file: which options there are, what each
// may say, and what a mistake in one is told. It reads YAML into a Config and
// turns a Config into what the other packages work with. It starts nothing and
// changes nothing.
//
// The structs in this file are the reference. A field's tag says all there is to
// know about its option; decode.go, value.go and schema.go do what it says:
//
//	yaml      its name
//	default   its value when the file leaves it out
//	range     the least and the most it may be
//	also      one value that it may be outside its range
//	enum      the words it may be
//	limit     the most entries it may have, atleast the fewest
//	required  the file must have it
//	keyed     a mapping whose keys become this field of its entries
//	restart   a change takes effect when the router is started again
//	doc       what it does
//
// What a single value must look like is in types.go, and what values must have to
// do with each other in check.go. Start reading at Load in load.go.
package configs

// Config is a whole configuration. Load and Parse return only valid ones, with
// every default filled in and relative paths made relative to the file's folder.
type Config struct {
	Version   int        `yaml:"version" required:"true" range:"1..1" doc:"the format of this file"`
	Listen    HostPort   `yaml:"listen" default:"127.0.0.1:8080" restart:"true" doc:"where inference clients connect"`
	Admin     Admin      `yaml:"admin" doc:"the listener for operators"`
	Log       Log        `yaml:"log" doc:"what is logged, and how"`
	Client    Client     `yaml:"client" doc:"how the address of a client is found, and told on"`
	TLS       TLS        `yaml:"tls" doc:"certificates: the router's own, and whose it believes"`
	Limits    Limits     `yaml:"limits" doc:"what clients may take of the router"`
	Geo       Geo        `yaml:"geo" doc:"how a client's address becomes a place"`
	Regions   []Region   `yaml:"regions" required:"true" keyed:"Name" atleast:"1" limit:"1024" doc:"the places that have endpoints; a known AWS, GCP or Azure region name brings its place, any other gives it"`
	Endpoints []Endpoint `yaml:"endpoints" required:"true" atleast:"1" limit:"4096" doc:"the model servers"`
	Health    Health     `yaml:"health" doc:"when an endpoint counts as healthy"`
	Steering  Steering   `yaml:"steering" doc:"how an endpoint is chosen"`
	Admission Admission  `yaml:"admission" doc:"which requests wait while every endpoint is at its max_in_flight, and which come first"`
	Failover  Failover   `yaml:"failover" doc:"what happens when an attempt fails"`

	// Hash is the SHA-256, in hex, of the file and of what its ${…} stood for.
	// Without any ${…} it is what sha256sum prints for the file.
	Hash string `yaml:"-"`

	root spot // the file itself, for Redacted
}

// Admin is the listener for operators.
type Admin struct {
	Listen    HostPort `yaml:"listen" default:"127.0.0.1:9090" restart:"true" doc:"where operators and Prometheus connect"`
	TokenFile File     `yaml:"token_file" restart:"true" doc:"a file with the token that operators present, at least 16 bytes; required when listen is not loopback"`
}

// Log says what is logged.
type Log struct {
	Level  string `yaml:"level" default:"info" enum:"debug,info,warn,error" doc:"the least severe events that are logged"`
	Format string `yaml:"format" default:"console" enum:"console,json" restart:"true" doc:"for people or for machines"`
	Access bool   `yaml:"access" default:"true" doc:"one line for each request"`
}

// Client says whom to believe about a client's address, and how it is told on.
type Client struct {
	TrustedProxies []Prefix `yaml:"trusted_proxies" limit:"1024" doc:"CIDRs of the proxies whose header is believed; the right-most address that is not one of them wins"`
	AddressHeader  Header   `yaml:"address_header" default:"X-Forwarded-For" doc:"the header in which they name the client: X-Forwarded-For, Forwarded, X-Real-IP, CF-Connecting-IP or another"`
	ProxyProtocol  bool     `yaml:"proxy_protocol" default:"false" restart:"true" doc:"accept PROXY protocol v1 and v2, from trusted_proxies only"`
	ForwardedFor   string   `yaml:"forwarded_for" default:"append" enum:"append,replace" doc:"X-Forwarded-For to endpoints: append the peer to what came, or replace it by the address that is believed"`
}

// TLS says which certificates there are. Without any, clients speak plain HTTP.
type TLS struct {
	Certificates []Certificate `yaml:"certificates" limit:"1024" restart:"true" doc:"the router's certificates, chosen by the name that a client asks for; a replaced file is picked up; none: clients speak plain HTTP"`
	MinVersion   string        `yaml:"min_version" default:"1.2" enum:"1.2,1.3" restart:"true" doc:"the oldest TLS version that clients may speak, in quotes"`
	EndpointCA   File          `yaml:"endpoint_ca" restart:"true" doc:"a PEM file of certificates that are trusted beside the system's, for endpoints over https"`
}

// Certificate is a certificate of the router, with its chain, and its private key.
type Certificate struct {
	Certificate File `yaml:"certificate" required:"true" doc:"a PEM file: the certificate, then those that lead to its root"`
	Key         File `yaml:"key" required:"true" doc:"a PEM file with the private key, without a passphrase"`
}

// Limits bounds what clients may take of the router.
type Limits struct {
	HeaderSize            Size     `yaml:"header_size" default:"64KiB" range:"1KiB..1MiB" restart:"true" doc:"the largest header of a request"`
	HeaderTimeout         Duration `yaml:"header_timeout" default:"10s" range:"100ms..10m" restart:"true" doc:"how long a request's header may take to come"`
	IdleTimeout           Duration `yaml:"idle_timeout" default:"2m" range:"1s..24h" restart:"true" doc:"how long a connection stays open between requests"`
	Connections           int      `yaml:"connections" default:"0" range:"0..10000000" restart:"true" doc:"connections of clients at once; 0: as many as the limit of open files allows"`
	ConnectionsPerAddress int      `yaml:"connections_per_address" default:"0" range:"0..10000000" restart:"true" doc:"connections of one address at once, but for trusted_proxies; 0: a quarter of connections"`
	Requests              int      `yaml:"requests" default:"0" range:"0..10000000" doc:"requests under way at once; beyond it they get 503; 0: as many as fit into the memory limit (GOMEMLIMIT, or the container's) at 128 KiB each, and 100000 without one; a stream at rest counts an eighth"`
	BodyMemory            Size     `yaml:"body_memory" default:"256MiB" range:"1MiB..64GiB" doc:"memory for the bodies, of all requests together, that are kept for another attempt; beyond it requests get 503"`
}

// Geo says how clients are placed.
type Geo struct {
	Database     File       `yaml:"database" default:"embedded" doc:"embedded, or the path of an .mmdb file; a replaced file is picked up"`
	Overrides    []Override `yaml:"overrides" limit:"16384" doc:"places of your own networks; the longest prefix wins"`
	Default      Place      `yaml:"default" doc:"where a client is taken to be that cannot be placed; empty: nowhere"`
	CacheEntries int        `yaml:"cache_entries" default:"65536" range:"0..4194304" restart:"true" doc:"client addresses whose place is remembered; 0: none"`
}

// Override gives a network a place.
type Override struct {
	CIDR Prefix `yaml:"cidr" required:"true" doc:"the network"`
	Place
}

// Place is a region's place, or coordinates, or a country's centre, or nothing.
type Place struct {
	Region  string   `yaml:"region" doc:"the region in which it is, instead of lat and lon"`
	Lat     *float64 `yaml:"lat" range:"-90..90" doc:"degrees north"`
	Lon     *float64 `yaml:"lon" range:"-180..180" doc:"degrees east"`
	Country Country  `yaml:"country" doc:"ISO 3166-1 alpha-2, such as FR"`
}

// Region is a place that has endpoints. A known region has no coordinates here.
type Region struct {
	Name    string   `yaml:"-"`
	Lat     *float64 `yaml:"lat" range:"-90..90" doc:"degrees north; only for a region that is not a known cloud region"`
	Lon     *float64 `yaml:"lon" range:"-180..180" doc:"degrees east; only for a region that is not a known cloud region"`
	Country Country  `yaml:"country" doc:"ISO 3166-1 alpha-2, such as DE; only for a region that is not a known cloud region"`
	Bias    Duration `yaml:"bias" default:"0s" range:"-1m..1m" doc:"a toll on every endpoint here, in time; negative: a discount"`
}

// Endpoint is one model server.
type Endpoint struct {
	ID          ID      `yaml:"id" doc:"its name; region/host:port when left out"`
	URL         URL     `yaml:"url" required:"true" doc:"where it answers: scheme, host, port and a path prefix if need be"`
	Region      string  `yaml:"region" required:"true" doc:"the region in which it stands"`
	Models      []Model `yaml:"models" limit:"1024" doc:"the models that it serves; none: every model"`
	Capacity    int     `yaml:"capacity" default:"0" range:"0..1000000" doc:"requests that it serves at once; 0: not declared, learned alone"`
	MaxInFlight int     `yaml:"max_in_flight" default:"0" range:"0..1000000" doc:"requests that this router ever sends it at once; 0: no cap"`
}

// Health says when an endpoint counts as healthy. The defaults are those of
// healthcheck.DefaultPolicy.
type Health struct {
	Path         ProbePath    `yaml:"path" default:"/health" doc:"what a probe asks for"`
	Interval     Duration     `yaml:"interval" default:"2s" range:"100ms..1h" doc:"from one probe of an endpoint to the next"`
	Timeout      Duration     `yaml:"timeout" default:"1s" range:"1ms..60s" doc:"how long a probe may take"`
	Rise         int          `yaml:"rise" default:"2" range:"1..100" doc:"good probes in a row that bring an endpoint back"`
	Fall         int          `yaml:"fall" default:"2" range:"1..100" doc:"bad probes in a row that take an endpoint out"`
	ExpectStatus StatusRanges `yaml:"expect_status" default:"200-299" doc:"the statuses of a good probe: 200-299, or 200,204"`
	Passive      Passive      `yaml:"passive" doc:"what real requests say of an endpoint's health"`
	SlowStart    Duration     `yaml:"slow_start" default:"15s" range:"0s..1h" doc:"how long a recovered endpoint takes to its full share; 0s: at once"`
}

// Passive says what failures of real requests do.
type Passive struct {
	TripAfter int      `yaml:"trip_after" default:"3" range:"0..1000" doc:"failed requests in a row that eject an endpoint; 0: none do"`
	Eject     Duration `yaml:"eject" default:"5s" range:"100ms..1h" doc:"how long the first ejection lasts; each further one lasts longer"`
	EjectMax  Duration `yaml:"eject_max" default:"300s" range:"100ms..24h" doc:"the longest ejection"`
}

// Steering says how an endpoint is chosen.
type Steering struct {
	By        string      `yaml:"by" default:"client" enum:"client,path" doc:"whose distance to a region counts: the client's, or the router's own measured path"`
	Slack     Duration    `yaml:"slack" default:"10ms" range:"0s..10s" doc:"what a session or a prompt may cost more than the cheapest endpoint, to stay where its cache is; requests without either take the cheapest"`
	MaxDetour Duration    `yaml:"max_detour" default:"0s" range:"0s..1m" doc:"the most network time beyond the nearest endpoint's; 0s: no limit"`
	Shed      Shed        `yaml:"shed" doc:"when a request is turned away with status 429, while every endpoint that may serve it is full: the load of the least loaded of them, by the request's priority"`
	Residency []Residency `yaml:"residency" limit:"256" doc:"rules that keep clients of some countries within some regions"`
}

// Shed says at which load requests of each priority are turned away. 1 is full: a
// request and those that are there, over the capacity.
type Shed struct {
	Batch    float64 `yaml:"batch" default:"1" range:"0..100" doc:"of requests that X-Proxima-Priority calls batch; 1: as soon as all are full, 0: never"`
	Standard float64 `yaml:"standard" default:"0" range:"0..100" doc:"of requests without a priority; 0: never, they wait at the endpoint"`
	Critical float64 `yaml:"critical" default:"0" range:"0..100" doc:"of requests that it calls critical; 0: never"`
}

// Residency keeps the clients of some countries within some regions.
type Residency struct {
	Name      ID        `yaml:"name" required:"true" doc:"what the rule is called in explanations"`
	Countries []Country `yaml:"countries" required:"true" atleast:"1" limit:"256" doc:"ISO 3166-1 alpha-2 codes of the clients' countries"`
	Regions   []string  `yaml:"regions" required:"true" atleast:"1" limit:"1024" doc:"the regions that may serve them"`
}

// Admission says which requests wait for an endpoint, and which come first.
type Admission struct {
	Queue int            `yaml:"queue" default:"1024" range:"0..1000000" doc:"requests that may wait while every endpoint that may serve them is at its max_in_flight; 0: none"`
	Wait  Duration       `yaml:"wait" default:"10s" range:"0s..10m" doc:"how long a request waits before it gets status 429"`
	Keys  []AdmissionKey `yaml:"keys" limit:"10000" doc:"the priority of requests by the client's API key, in Authorization: Bearer or x-api-key; X-Proxima-Priority can then only lower it"`
}

// AdmissionKey gives the requests that carry a client's API key a priority.
type AdmissionKey struct {
	Key      Secret `yaml:"key" required:"true" doc:"the API key, at least 8 bytes; better as ${NAME} or ${file:path}"`
	Priority string `yaml:"priority" required:"true" enum:"critical,standard,batch" doc:"the priority of its requests"`
}

// Failover says what happens when an attempt fails. Rules says what of it holds for
// a model.
type Failover struct {
	Attempts         int         `yaml:"attempts" default:"3" range:"1..10" doc:"endpoints that are tried for one request"`
	RetryBudget      RetryBudget `yaml:"retry_budget" doc:"how much extra work retries may make"`
	ReplayLimit      Size        `yaml:"replay_limit" default:"1MiB" range:"0B..64MiB" doc:"the largest request body that is kept for another attempt"`
	FirstByteTimeout Duration    `yaml:"first_byte_timeout" default:"0s" range:"0s..24h" doc:"how long the first byte of an answer may take; 0s: as long as it wants"`
	StallTimeout     Duration    `yaml:"stall_timeout" default:"30s" range:"0s..24h" doc:"how long an answer may fall silent; 0s: as long as it wants"`
	DrainTimeout     Duration    `yaml:"drain_timeout" default:"600s" range:"0s..24h" doc:"how long requests may take to finish when the router stops"`
	KeepAlive        Duration    `yaml:"keep_alive" default:"15s" range:"100ms..10m" also:"0s" doc:"how long an event stream may be silent before the client gets a comment; 0s: it gets none"`
	Resume           bool        `yaml:"resume" default:"false" doc:"let another endpoint go on with a stream of /v1/chat/completions or /v1/completions that breaks midway"`
	Hedge            bool        `yaml:"hedge" default:"false" doc:"ask a second endpoint when the first byte takes longer than 95 % of the model's do"`

	Models []ModelRules `yaml:"models" keyed:"Name" limit:"4096" doc:"what is different for a model"`
}

// ModelRules is what is different for a model; what is nil is as for every model.
type ModelRules struct {
	Name             Model     `yaml:"-"`
	FirstByteTimeout *Duration `yaml:"first_byte_timeout" range:"0s..24h" doc:"as failover.first_byte_timeout"`
	StallTimeout     *Duration `yaml:"stall_timeout" range:"0s..24h" doc:"as failover.stall_timeout"`
	Resume           *bool     `yaml:"resume" doc:"as failover.resume"`
	Hedge            *bool     `yaml:"hedge" doc:"as failover.hedge"`
}

// RetryBudget bounds retries to a share of the requests, so that they cannot
// multiply an outage.
type RetryBudget struct {
	Ratio float64 `yaml:"ratio" default:"0.2" range:"0..1" doc:"retries for each request of the last 10 s"`
	Floor int     `yaml:"floor" default:"3" range:"0..1000000" doc:"retries that are allowed in any 10 s however few requests there are"`
}

// Package router decides where a request may go, and why. It is pure: it takes
// the table of regions and endpoints, what is believed of their health, what was
// measured of their load, and one query; it returns a decision. It does not read
// the clock, draw random numbers, touch the network or log.
//
// Start at Snapshot.Decide in decide.go; cost.go prices a candidate, explain.go
// says the same thing at length, live.go is the only place where state changes.
package router

// Names of things. Each is what the operator wrote in the configuration.
type (
	RegionID   string // a region, "europe-west1"
	EndpointID string // one model server in a region, "europe-west1/10.0.0.7:8000"
	Model      string // a model by the name clients use; "" when a request names none
)

// Reason says in one word why a rule passed an endpoint over, or why a decision
// has no endpoint at all. The empty Reason means that no rule did.
type Reason string

// The hard rules, in the order in which they are applied, then the soft one, which
// only the deciding tier can tell.
const (
	ReasonModel     Reason = "model"     // the endpoint does not serve the model
	ReasonResidency Reason = "residency" // the client's country may not be served there
	ReasonDrained   Reason = "drained"   // an operator took it out
	ReasonTried     Reason = "tried"     // this request was there already
	ReasonDetour    Reason = "detour"    // further than max_detour beyond the nearest
	ReasonFull      Reason = "full"      // as many of this router's requests are there as its max_in_flight allows
	ReasonTier      Reason = "tier"      // a better tier has an endpoint
)

// Why a decision found no endpoint: the first two are the client's affair, the
// others the operator's. What is full now has a place soon; the rest stays as it is.
const (
	NoSuchModel   Reason = "model_not_found"       // no endpoint serves the model
	NoRegion      Reason = "residency_unavailable" // residency leaves no region that serves it
	NoneAvailable Reason = "no_endpoint_available" // drained, too far, or the table is empty
	NoneLeft      Reason = "all_endpoints_tried"   // each one was tried for this request
	Shed          Reason = "shed"                  // everything is full, and others come first
	Full          Reason = "full"                  // those that may serve it are at their max_in_flight
)

// Priority says who is turned away first when everything is full.
type Priority uint8

// The zero Priority is that of a request that asks for none.
const (
	Standard Priority = iota
	Critical
	Batch
	priorities
)

var priorityNames = [...]string{"standard", "critical", "batch"}

func (p Priority) String() string { return priorityNames[p] }

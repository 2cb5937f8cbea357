// Package sim is a simulated internet: clients in their countries, regions with
// the round trips that were measured between real ones, model servers that batch,
// routers, faults, and time that passes only from event to event. There are no
// sockets, no goroutines and no clock: a scenario, a policy and a seed give the
// same result on every machine.
//
// It exists to compare ways of choosing an endpoint, so everything but the choice
// is the same for all of them: arrivals, dialling, retries and their budget, probes
// and the belief in health (healthcheck.Belief, as it runs in the router). Proxima's
// own policy is router.Decide with router's meters: the code that serves traffic.
//
// Start at Run in engine.go, which follows one event after the other. scenario.go
// says what a world is made of, policy.go holds the policies, experiments.go the
// named scenarios.
package sim

import (
	"proxima/internal/sim/network"
	"proxima/internal/sim/server"
	"proxima/internal/sim/workload"
	"proxima/router"
)

// Scenario is a world and what happens in it. Times are simulated.
type Scenario struct {
	Name  string
	About string // one line

	Network *network.Table
	Regions []Region
	Trace   *workload.Trace // token counts, and arrivals where Arrivals says so
	Table   *router.Table   // what the routers run with; nil: made of the regions, Declared and Steering

	Arrivals  workload.Arrivals
	Load      float64 // offered, as a share of what all regions together sustain
	Warm      float64 // seconds before anything is counted
	Seconds   float64 // counted
	Clients   int     // how many there are; 0: 2,000
	Sessions  workload.Sessions
	Misplaced float64 // share of clients whom the database puts on another continent
	Floods    []Flood
	Diurnal   bool // demand follows the day of each area

	Routers    int     // that know only of their own requests; 0: one mind that is everywhere
	ReportAge  float64 // seconds after which the others' requests are known; 0: never
	ReportLoss float64 // share of reports that get lost
	Liar       bool    // one router reports a hundred times what it has

	Declared float64 // capacity as configured, over the slots that there are; 0: none is declared
	Steering router.Steering
	Classes  workload.Classes
	Faults   []Fault
	Resume   bool // a stream that breaks goes on elsewhere
}

// Region is a place with endpoints.
type Region struct {
	Name      string // a place of the network
	Endpoints int
	Server    server.Spec
	Each      []server.Spec // by endpoint, where they differ; nil: all are like Server
	Share     float64       // of the demand that comes from clients for whom it is the nearest
}

// Flood multiplies the demand of one region's clients for a while.
type Flood struct {
	Region   string
	From, To float64 // seconds after the beginning
	Factor   float64
}

// What can go wrong at an endpoint.
type Breakage uint8

const (
	Refuses   Breakage = iota // connections are refused, and what runs there is lost
	Swallows                  // packets vanish both ways
	Fails                     // a share of requests gets an error at once, probes too
	FailsFast                 // a share of requests gets an error at once, probes are well
	Slows                     // everything takes Factor times as long
	Hangs                     // tokens stop, probes are well
	Shrinks                   // only Factor of the slots are left
	CutsOff                   // a share of streams is cut midway
)

// Fault breaks something for a while, or again and again.
type Fault struct {
	Region   string // "": the paths of one router, see Router
	Endpoint int    // which of the region's, from 1; 0: all of them
	What     Breakage
	Factor   float64 // of Slows and Shrinks; the share, of Fails, FailsFast and CutsOff
	From, To float64 // seconds after the beginning
	Every    float64 // seconds from one begin to the next until To, half of each broken; 0: once
	Router   int     // whose own network swallows everything, from 1; only without a Region
}

package admin

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"proxima/router"
)

// Reload is how a reload went that was no error.
type Reload struct {
	Changed bool   `json:"changed"` // false: the bytes were those in use
	Summary string `json:"summary"` // the difference, in words
	Hash    string `json:"hash"`    // of the configuration now in use
}

// reload answers POST /v1/reload.
func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	force, err := trueOrFalse(r, "force")
	if err != nil {
		answerProblem(w, Problem{Status: http.StatusBadRequest, Detail: err.Error(), Hint: "use ?force=true or nothing"})
		return
	}
	if s.Reload == nil {
		answerProblem(w, Problem{
			Status: http.StatusNotImplemented,
			Detail: "this router was not started from a file",
			Hint:   "start it with proxima serve -c FILE to reload",
		})
		return
	}
	done, err := s.Reload(r.Context(), force)
	if err != nil {
		s.audit("reload", r, "refused: "+cleaned(err.Error(), auditBytes))
		answerProblem(w, notReloaded(err))
		return
	}
	s.audit("reload", r, cleaned(done.Summary, auditBytes))
	answer(w, done)
}

// notReloaded tells every line of an error: a configuration has as many as it has
// problems.
func notReloaded(err error) Problem {
	p := Problem{
		Status:   http.StatusUnprocessableEntity,
		Detail:   "nothing was changed: the configuration has problems",
		Hint:     "the previous configuration is still in use",
		Problems: strings.Split(strings.TrimSpace(err.Error()), "\n"),
	}
	if errors.Is(err, ErrNeedsForce) {
		p.Status = http.StatusConflict
		p.Detail = "nothing was changed: the new configuration takes too much away"
		p.Hint = "if this is meant, use POST /v1/reload?force=true"
	}
	return p
}

// drainEndpoint answers PUT and DELETE /v1/endpoints/{id}/drain.
func (s *Server) drainEndpoint(w http.ResponseWriter, r *http.Request) {
	id, well := drained(r)
	if !well {
		nothingHere(w, r)
		return
	}
	drain := r.Method == http.MethodPut
	if err := s.Live.DrainEndpoint(router.EndpointID(id), drain); err != nil {
		answerProblem(w, Problem{Status: http.StatusNotFound, Detail: err.Error(), Hint: endpointsOf(s.Live.Snapshot().Table)})
		return
	}
	s.audit(drainEvent(drain), r, "endpoint "+cleaned(id, auditBytes))
	answer(w, Drain{Endpoint: id, Drained: drain})
}

// drainRegion answers PUT and DELETE /v1/regions/{id}/drain.
func (s *Server) drainRegion(w http.ResponseWriter, r *http.Request) {
	id, well := drained(r)
	if !well {
		nothingHere(w, r)
		return
	}
	drain := r.Method == http.MethodPut
	if err := s.Live.DrainRegion(router.RegionID(id), drain); err != nil {
		answerProblem(w, Problem{Status: http.StatusNotFound, Detail: err.Error(), Hint: regionsOf(s.Live.Snapshot().Table)})
		return
	}
	s.audit(drainEvent(drain), r, "region "+cleaned(id, auditBytes))
	answer(w, Drain{Region: id, Drained: drain})
}

// Drain is an endpoint or a region, and whether it takes new requests from now on.
type Drain struct {
	Endpoint string `json:"endpoint,omitempty"`
	Region   string `json:"region,omitempty"`
	Drained  bool   `json:"drained"`
}

func drainEvent(drain bool) string {
	if drain {
		return "drain"
	}
	return "undrain"
}

// drained returns the identity in the path of a drain. It may hold slashes, as
// they are or percent-encoded.
func drained(r *http.Request) (id string, well bool) {
	return strings.CutSuffix(r.PathValue("drain"), "/drain")
}

// shownNames bounds how many names a hint lists.
const shownNames = 20

func endpointsOf(t *router.Table) string {
	names := make([]string, len(t.Endpoints))
	for at := range t.Endpoints {
		names[at] = string(t.Endpoints[at].ID)
	}
	return "the endpoints are " + list(names)
}

func regionsOf(t *router.Table) string {
	names := make([]string, len(t.Regions))
	for at := range t.Regions {
		names[at] = string(t.Regions[at].ID)
	}
	return "the regions are " + list(names)
}

func list(names []string) string {
	if more := len(names) - shownNames; more > 0 {
		return strings.Join(names[:shownNames], ", ") + " and " + strconv.Itoa(more) + " more"
	}
	return strings.Join(names, ", ")
}

// trueOrFalse reads a parameter that is true or false; false when it is not there.
func trueOrFalse(r *http.Request, name string) (bool, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return false, nil
	}
	is, err := strconv.ParseBool(text)
	if err != nil {
		return false, errors.New(name + " " + strconv.Quote(cleaned(text, modelBytes)) + " is neither true nor false")
	}
	return is, nil
}

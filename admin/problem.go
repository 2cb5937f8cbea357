package admin

import (
	"errors"
	"net/http"
	"slices"
	"strings"
)

// Problem is an error as the admin API tells it (RFC 9457). Its type is always
// about:blank: the status says what kind it is, the detail what happened.
type Problem struct {
	Type     string   `json:"type"`
	Title    string   `json:"title"`
	Status   int      `json:"status"`
	Detail   string   `json:"detail"`
	Hint     string   `json:"hint,omitempty"`     // what to do instead
	Problems []string `json:"problems,omitempty"` // of a configuration, every one
}

// ErrUnauthorised is what a Problem is when the router does not let the asker in.
var ErrUnauthorised = errors.New("not authorised")

// ErrNeedsForce is what an error of Server.Reload wraps when the configuration is
// valid but would take away so much that the operator must mean it.
var ErrNeedsForce = errors.New("this needs force")

// Error tells the detail, the hint and every further problem, a line each.
func (p *Problem) Error() string {
	lines := []string{p.Detail}
	if len(p.Problems) > 0 {
		lines = slices.Clone(p.Problems)
	}
	if p.Hint != "" {
		lines = append(lines, "hint: "+p.Hint)
	}
	return strings.Join(lines, "\n")
}

// Is makes a 401 or 403 an ErrUnauthorised.
func (p *Problem) Is(target error) bool {
	return target == ErrUnauthorised && (p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden)
}

const problemType = "application/problem+json"

// answerProblem fills in the type and the title that the status has.
func answerProblem(w http.ResponseWriter, p Problem) {
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	answerJSON(w, p.Status, problemType, p)
}

// methods answers by method; HEAD goes with GET.
type methods map[string]http.HandlerFunc

func (m methods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if serve, allowed := m[method]; allowed {
		serve(w, r)
		return
	}
	w.Header().Set("Allow", m.allowed())
	answerProblem(w, Problem{
		Status: http.StatusMethodNotAllowed,
		Detail: "the method " + cleaned(r.Method, methodBytes) + " is not for this URL",
		Hint:   "use " + m.allowed(),
	})
}

func (m methods) allowed() string {
	var names []string
	for name := range m {
		names = append(names, name)
		if name == http.MethodGet {
			names = append(names, http.MethodHead)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

package admin

import (
	"embed"
	"html/template"
	"net/http"
)

// The live page asks /v1/status and /v1/requests as any other program does. It
// needs nothing from elsewhere, and no secret is in it.
//
//go:embed dashboard
var dashboard embed.FS

// page answers with the live page. Only the attribution is filled in: it must be
// there whatever else is.
func (s *Server) page() http.HandlerFunc {
	page := template.Must(template.ParseFS(dashboard, "dashboard/index.html"))
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		page.Execute(w, s.Attribution)
	}
}

// asset answers with a file of the page.
func asset(name, mediaType string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		http.ServeFileFS(w, r, dashboard, "dashboard/"+name)
	}
}

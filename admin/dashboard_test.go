package admin

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"
)

func TestThePageShowsTheAttributionAndEscapesIt(t *testing.T) {
	s := newServer(t)
	if page := s.get("/"); !strings.Contains(page, `<a href="https://db-ip.com" rel="noopener noreferrer">IP Geolocation by DB-IP</a>`) {
		t.Errorf("no attribution in:\n%s", page)
	}
	s.Attribution = Attribution{Text: "<script>alert(1)</script>", URL: "javascript:alert(1)"}
	if page := s.get("/"); strings.Contains(page, "alert(1)</script>") || strings.Contains(page, `href="javascript`) {
		t.Errorf("not escaped:\n%s", page)
	}
	s.Attribution = Attribution{}
	if page := s.get("/"); strings.Contains(page, "noopener") {
		t.Errorf("a link to nothing:\n%s", page)
	}
}

func TestThePageIsServedWithItsTypes(t *testing.T) {
	s := newServer(t)
	for path, want := range map[string]string{
		"/":                    "text/html; charset=utf-8",
		"/dashboard/app.js":    "text/javascript; charset=utf-8",
		"/dashboard/style.css": "text/css; charset=utf-8",
	} {
		w := s.do("GET", path)
		if got := w.Header().Get("Content-Type"); w.Code != 200 || got != want || w.Body.Len() < 500 {
			t.Errorf("%s answered %d, %q, %d bytes", path, w.Code, got, w.Body.Len())
		}
	}
}

// The policy of the browser forbids most of this; the page does not even try.
func TestThePageNeedsNothingFromElsewhereAndWritesNoHTML(t *testing.T) {
	forbidden := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function|` +
		`https?://|//cdn|@import|url\(|localStorage|\son[a-z]+=|style=`)
	files, err := fs.Glob(dashboard, "dashboard/*")
	if err != nil || len(files) != 3 {
		t.Fatalf("the page has %v, %v", files, err)
	}
	for _, file := range files {
		text, err := fs.ReadFile(dashboard, file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range forbidden.FindAllString(string(text), -1) {
			t.Errorf("%s has %q", file, found)
		}
	}
}

func TestThePageFindsTheElementsItNames(t *testing.T) {
	page, err := fs.ReadFile(dashboard, "dashboard/index.html")
	if err != nil {
		t.Fatal(err)
	}
	script, err := fs.ReadFile(dashboard, "dashboard/app.js")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`\$\("([a-z-]+)"\)`).FindAllStringSubmatch(string(script), -1)
	if len(named) == 0 {
		t.Fatal("the script names no element")
	}
	for _, name := range named {
		if !strings.Contains(string(page), `id="`+name[1]+`"`) {
			t.Errorf("the script looks for #%s, which the page does not have", name[1])
		}
	}
}

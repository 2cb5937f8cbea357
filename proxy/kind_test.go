package proxy

import (
	"mime"
	"net/http"
	"testing"
)

func TestMediaTypesAreReadWithoutTheirParameters(t *testing.T) {
	for _, value := range []string{
		"", "application/json", "Application/JSON", "application/json; charset=utf-8", "application/json;charset=UTF-8", "application/json; charset",
		"text/event-stream", "text/event-stream; charset=utf-8", "text/event-stream;charset=utf-8", "application/x-ndjson", "text/plain", "/", "; charset=utf-8",
	} {
		want, _, _ := mime.ParseMediaType(value)
		if got := kindOf(http.Header{"Content-Type": {value, "text/html"}}); got != want {
			t.Errorf("%q is read as %q, want %q", value, got, want)
		}
	}
	if got := kindOf(nil); got != "" {
		t.Errorf("no field is read as %q", got)
	}
}

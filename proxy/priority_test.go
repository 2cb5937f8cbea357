package proxy

import (
	"net/http"
	"testing"

	"proxima/router"
)

func TestAKeySaysHowImportantARequestMayBe(t *testing.T) {
	keys := NewKeys(map[string]router.Priority{"gold": router.Critical, "plain": router.Standard, "nightly": router.Batch, "": router.Critical})
	for _, c := range []struct {
		authorization, key, wish string
		want, believed           router.Priority // with these keys, and with none
	}{
		{"", "", "", router.Standard, router.Standard},
		{"", "", "critical", router.Standard, router.Critical},
		{"", "", "Batch", router.Batch, router.Batch},
		{"", "", "urgent", router.Standard, router.Standard},
		{"Bearer gold", "", "", router.Critical, router.Standard},
		{"bearer  gold ", "", "", router.Critical, router.Standard},
		{"Bearer gold", "", "standard", router.Standard, router.Standard},
		{"Bearer gold", "", "batch", router.Batch, router.Batch},
		{"Bearer gold", "", "urgent", router.Critical, router.Standard},
		{"Bearer plain", "", "critical", router.Standard, router.Critical},
		{"Bearer nightly", "", "critical", router.Batch, router.Critical},
		{"Bearer golden", "", "critical", router.Standard, router.Critical},
		{"Basic gold", "", "critical", router.Standard, router.Critical},
		{"gold", "", "critical", router.Standard, router.Critical},
		{"Bearer", "", "critical", router.Standard, router.Critical},
		{"", "gold", "", router.Critical, router.Standard},
		{"", "nightly", "", router.Batch, router.Standard},
		{"Bearer else", "gold", "", router.Critical, router.Standard},
		{"Bearer nightly", "gold", "", router.Batch, router.Standard},
	} {
		h := http.Header{}
		for name, value := range map[string]string{"Authorization": c.authorization, "X-Api-Key": c.key, "X-Proxima-Priority": c.wish} {
			if value != "" {
				h.Set(name, value)
			}
		}
		if got := priorityOf(h, keys); got != c.want {
			t.Errorf("%v: %s, want %s", h, got, c.want)
		}
		if got := priorityOf(h, nil); got != c.believed {
			t.Errorf("%v without keys: %s, want %s", h, got, c.believed)
		}
	}
}

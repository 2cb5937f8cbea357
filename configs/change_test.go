package configs

import "testing"

const three = `version: 1
regions: {us-east1: {}, europe-west1: {}, asia-northeast1: {}}
endpoints:
  - {id: us, url: "http://10.1.0.1", region: us-east1}
  - {id: eu, url: "http://10.2.0.1", region: europe-west1}
  - {id: asia, url: "http://10.3.0.1", region: asia-northeast1}
`

func TestADifferenceIsOneLineForTheLog(t *testing.T) {
	for _, test := range []struct{ name, next, want, drastic string }{
		{"same", "# a comment\n" + three + "health: {interval: 2000ms}\n", "nothing changed", ""},
		{
			"settings", three + "listen: :8081\nhealth: {interval: 1s, passive: {eject: 6s}}\nsteering: {shed: {batch: 2}, residency: [{name: a, countries: [DE], regions: [europe-west1]}]}\n",
			"settings changed: listen, health.interval, health.passive.eject, steering.shed.batch, steering.residency; only a restart applies: listen", "",
		},
		{
			"one region less", `version: 1
regions: {us-east1: {bias: 1ms}, europe-west1: {}, me-west1: {}}
endpoints:
  - {id: us, url: "http://10.1.0.9", region: us-east1}
  - {id: eu, url: "http://10.2.0.1", region: europe-west1}
  - {id: me, url: "http://10.4.0.1", region: me-west1}
`,
			"regions added: me-west1; regions removed: asia-northeast1; regions changed: us-east1; " +
				"endpoints added: me; endpoints removed: asia; endpoints changed: us", "",
		},
		{
			"two regions less", `version: 1
regions: {us-east1: {}}
endpoints:
  - {id: us, url: "http://10.1.0.1", region: us-east1}
`,
			"regions removed: europe-west1, asia-northeast1; endpoints removed: eu, asia",
			"it removes 2 of 3 regions: europe-west1, asia-northeast1",
		},
		{
			"every endpoint is another", `version: 1
regions: {us-east1: {}, europe-west1: {}, asia-northeast1: {}}
endpoints:
  - {id: new, url: "http://10.1.0.1", region: us-east1}
`,
			"endpoints added: new; endpoints removed: us, eu, asia",
			"it removes every endpoint that there was: us, eu, asia",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			change := Difference(mustParse(t, three), mustParse(t, test.next))
			if got := change.String(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if why, drastic := change.Drastic(); why != test.drastic || drastic != (test.drastic != "") {
				t.Errorf("drastic %t: %q, want %q", drastic, why, test.drastic)
			}
		})
	}
}

func TestALongDifferenceIsCutShort(t *testing.T) {
	before := mustParse(t, three)
	after := mustParse(t, three+repeated(20, "  - {id: e%02d, url: \"http://10.9.0.1\", region: us-east1}\n"))
	if got, want := Difference(before, after).String(), "endpoints added: e00, e01, e02, e03, e04, e05, e06, e07 and 12 more"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

package configs

import (
	"strings"
	"testing"
)

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
			"what a restart applies", three + `client: {forwarded_for: replace}
tls: {min_version: "1.3"}
limits: {header_size: 32KiB, header_timeout: 5s, idle_timeout: 1m, connections: 100, connections_per_address: 10, body_memory: 1GiB}
admission: {queue: 10, wait: 1s, keys: [{key: hunter2-hunter2, priority: batch}]}
failover: {keep_alive: 5s, resume: true, hedge: true, models: {m: {resume: false}}}
`,
			"settings changed: client.forwarded_for, tls.min_version, limits.header_size, limits.header_timeout, limits.idle_timeout, " +
				"limits.connections, limits.connections_per_address, limits.body_memory and 7 more; " +
				"only a restart applies: tls.min_version, limits.header_size, limits.header_timeout, limits.idle_timeout, " +
				"limits.connections, limits.connections_per_address", "",
		},
		{
			"a cap of an endpoint", strings.Replace(three, "region: us-east1}", "region: us-east1, max_in_flight: 8}", 1),
			"endpoints changed: us", "",
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

func TestTheOrderOfModelsIsNoDifference(t *testing.T) {
	before := mustParse(t, three+"failover: {models: {a: {resume: true}, b: {hedge: true, stall_timeout: 60s}}}\n")
	after := mustParse(t, three+"failover: {models: {b: {stall_timeout: 1m, hedge: true}, a: {resume: true}}}\n")
	if got := Difference(before, after).String(); got != "nothing changed" {
		t.Errorf("got %s", got)
	}
	after = mustParse(t, three+"failover: {models: {a: {resume: false}, b: {hedge: true, stall_timeout: 60s}}}\n")
	if got := Difference(before, after).String(); got != "settings changed: failover.models" {
		t.Errorf("got %s", got)
	}
}

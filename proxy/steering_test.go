package proxy

import (
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"proxima/router"
)

func TestWhenEverythingIsFullBatchIsTurnedAwayAndTheRestIsServed(t *testing.T) {
	story(t, func(w *world) {
		w.steering.Shed[router.Batch] = 1
		us, eu := w.endpoint("us-1", says("hello")), w.endpoint("eu-1", says("hello"))
		us.capacity, eu.capacity = 1, 1
		w.open()
		w.want("with room", w.chat("X-Proxima-Priority: batch").status, 200)
		w.meter(us).Begin(time.Now(), 0)
		w.meter(eu).Begin(time.Now(), 0)

		shed := w.chat("X-Proxima-Priority: batch")
		w.want("batch", shed.status, 429)
		w.want("its code", shed.problem(), "shed")
		w.want("its Retry-After", shed.header.Get("Retry-After"), "1")
		w.want("its attempts", w.attempts(), "")

		for _, priority := range []string{"X-Proxima-Priority: standard", "X-Proxima-Priority: critical", "X-Proxima-Priority: high", "X-Other: 1"} {
			w.want(priority, w.chat(priority).status, 200)
		}
		w.meter(eu).End()
		w.want("with room again", w.chat("X-Proxima-Priority: Batch").status, 200)
		w.want("where", w.attempts(), "eu-1 served")
		w.meter(us).End()
	})
}

// missed is by how much the distance from Washington to a region is believed to
// miss the round trip of clients at an address.
func (w *world) missed(client string, region router.RegionID) float64 {
	at, _ := w.live.Snapshot().Table.RegionPosition(region)
	return w.live.Cells.Find(netip.MustParseAddr(client), "").CorrectionMs(at)
}

func TestAClientThatConnectsItselfTeachesHowFarItsNeighboursAre(t *testing.T) {
	story(t, func(w *world) {
		us, eu := w.endpoint("us-1", says("hello")), w.endpoint("eu-1", says("hello"))
		w.open()
		var asked []string
		trip := 3 * time.Millisecond
		w.handler.ClientTrip = func(r *http.Request) time.Duration { asked = append(asked, r.RemoteAddr); return trip }
		w.meter(us).Probed(60 * time.Millisecond) // the region beside this router is slow to reach
		w.meter(eu).Probed(500 * time.Millisecond)

		w.chat()
		w.want("asked about", len(asked), 1)
		if us, eu := w.missed("198.51.100.200", "us"), w.missed("198.51.100.200", "eu"); us < 5 || eu < 5 {
			t.Errorf("for its neighbour the distances miss %v and %v ms", us, eu)
		}
		w.want("for a stranger", w.missed("203.0.113.9", "us"), 0.0)

		taught := w.missed("198.51.100.7", "us")
		trip = 0
		w.chat()
		w.want("without a trip", w.missed("198.51.100.7", "us"), taught)
	})
}

func TestAClientBehindAProxyTeachesNothing(t *testing.T) {
	story(t, func(w *world) {
		us := w.endpoint("us-1", says("hello"))
		w.from = "10.0.0.1:40000"
		w.places["10.0.0.1"] = washington
		w.open()
		w.handler.ClientTrip = func(*http.Request) time.Duration { return 3 * time.Millisecond }
		w.meter(us).Probed(60 * time.Millisecond)
		w.chat("X-Forwarded-For: 198.51.100.7")
		w.chat()
		w.want("of the client", w.missed("198.51.100.7", "us"), 0.0)
		w.want("of the proxy", w.missed("10.0.0.1", "us"), 0.0)
		w.want("neighbourhoods", w.live.Cells.Len(), 0)
	})
}

func TestOneRequestInSixtyFourIsComparedWithTheOtherSteering(t *testing.T) {
	story(t, func(w *world) {
		us, eu := w.endpoint("us-1", says("hello")), w.endpoint("eu-1", says("hello"))
		w.settings.TrustedProxies = append(w.settings.TrustedProxies, netip.MustParsePrefix("198.51.100.0/24")) // whose X-Request-Id is kept
		w.open()
		w.meter(us).Probed(300 * time.Millisecond) // near to the client, but not to this router
		w.meter(eu).Probed(30 * time.Millisecond)
		var compared []router.Otherwise
		w.handler.Compared = func(o router.Otherwise) { compared = append(compared, o) }
		want := 0
		for n := range 320 {
			id := fmt.Sprint("request-", n)
			if router.Key(id)%comparedEvery == 0 {
				want++
			}
			w.chat("X-Request-Id: " + id)
		}
		w.want("compared", len(compared), want)
		if want == 0 || want > 20 {
			t.Errorf("%d of 320 identities draw the lot", want)
		}
		for _, o := range compared {
			if !o.Found || o.By != router.ByPath || o.Chosen.Endpoint != "eu-1" || o.Ours.Endpoint != "us-1" || o.Ours.CostMs-o.Chosen.CostMs < 200 {
				t.Errorf("the other steering would choose %+v, by its measure ours is %+v", o.Chosen, o.Ours)
			}
		}
	})
}

package router

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"pgregory.net/rapid"
)

func TestZZSeeds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	tiers := []string{"ready", "full", "doubt", "down"}
	found := map[string]int{}
	for range 40000 {
		data := make([]byte, 3000+r.IntN(2500))
		for i := range data {
			data[i] = byte(' ' + r.IntN(95))
			if r.IntN(3) == 0 { data[i] = byte(r.IntN(2)) }
		}
		name, ended := "", false
		t.Run("", func(t *testing.T) {
			rapid.MakeFuzz(func(t *rapid.T) {
				s := drawScene(t)
				v := s.judge()
				name = string(v.reason)
				if name == "full" { name = "at_caps"; if len(v.eligible) > 0 { name = "at_caps_or_down" } }
				if name == "" {
					name = tiers[v.tier]
					if len(v.rivals) > bandRoom { name += "_many" }
				}
				for range 4 { s.checkDecision(t); s.ask(t) }
				ended = true
			})(t, data)
		})
		if !ended || name == "" { continue }
		if n, have := found[name]; !have || len(data) < n {
			found[name] = len(data)
			os.WriteFile("/tmp/seeds/"+name, []byte(fmt.Sprintf("go test fuzz v1\n[]byte(%q)\n", data)), 0o644)
		}
	}
	t.Log(found)
}

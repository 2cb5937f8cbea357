package main

import (
	"bytes"
	"os"
	"testing"

	"proxima/admin"
)

// explained is a decision between eu-1 at 100 ms and us-1 at 108 ms.
func explained(chosen string, bandMs float64) admin.Explanation {
	x := admin.Explanation{
		BandMs: &bandMs,
		Candidates: []admin.Candidate{
			{Endpoint: "eu-1", Region: "eu", Terms: admin.Terms{CostMs: 100}},
			{Endpoint: "us-1", Region: "us", Terms: admin.Terms{CostMs: 108}},
		},
	}
	for _, c := range x.Candidates {
		if c.Endpoint == chosen {
			x.Chosen = &admin.Choice{Endpoint: c.Endpoint, Region: c.Region, CostMs: c.CostMs}
		}
	}
	return x
}

func TestAnExplanationSaysInWordsWhatDecided(t *testing.T) {
	both, equal, preferred, doubtful, alone := explained("us-1", 110), explained("eu-1", 100), explained("us-1", 105), explained("us-1", 105), explained("eu-1", 105)
	equal.Candidates[1].CostMs = 100
	doubtful.FailOpen = true
	alone.RunnerUp = &admin.RunnerUp{Choice: admin.Choice{Endpoint: "us-1", Region: "us", CostMs: 108}, Reason: "costs 8.0 ms more: network +8.0"}
	alone.Otherwise = &admin.Otherwise{
		By: "path", Chosen: admin.Choice{Endpoint: "us-1", Region: "us", CostMs: 70}, Ours: admin.Priced{CostMs: 104}, DifferenceMs: 34,
	}
	both.Otherwise = &admin.Otherwise{
		By: "path", Chosen: admin.Choice{Endpoint: "eu-1", Region: "eu", CostMs: 70}, Ours: admin.Priced{CostMs: 69}, DifferenceMs: -1,
	}
	nobody := "Without it nobody could serve the request.\n"
	for _, test := range []struct {
		name string
		x    admin.Explanation
		want string
	}{
		{"both are in the band", both, "The band ends at 110.0 ms, 10.0 ms (steering.slack) over the best cost: of the 2 candidates in it the key of the session or request decides.\n" +
			nobody + "steering.by path would choose eu-1 in eu, at 70.0 ms; by its measure the present choice costs 69.0 ms, 1.0 ms less.\n"},
		{"equals", equal, "The band ends at the best cost, 100.0 ms: of the 2 candidates in it the key of the session or request decides.\n" + nobody},
		{"a preferred region", preferred, "The band ends at 105.0 ms, 5.0 ms (steering.slack) over the best cost, but the region that the client prefers comes first.\n" + nobody},
		{"all in doubt", doubtful, "The band ends at 105.0 ms, 5.0 ms (steering.slack) over the best cost, but of the doubtful those that succeeded last come first.\n" + nobody},
		{"the cheapest alone", alone, "The band ends at 105.0 ms, 5.0 ms (steering.slack) over the best cost: only the cheapest is in it.\n" +
			"Without it us-1 in us would serve the request, at 108.0 ms: costs 8.0 ms more: network +8.0.\n" +
			"steering.by path would choose us-1 in us, at 70.0 ms; by its measure the present choice costs 104.0 ms, 34.0 ms more.\n"},
		{"an older router's", admin.Explanation{Chosen: both.Chosen, Candidates: both.Candidates}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			a := &app{stdout: &out, env: os.LookupEnv}
			a.printSentences(test.x)
			if out.String() != test.want {
				t.Errorf("got:\n%swant:\n%s", &out, test.want)
			}
		})
	}
}

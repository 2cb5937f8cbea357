package configs

import (
	"slices"
	"testing"
	"time"

	"proxima/router"
)

func TestAModelsRulesAreItsOwnAndTheOthersOfEveryModel(t *testing.T) {
	c := mustParse(t, head+tail+`failover:
  first_byte_timeout: 60s
  stall_timeout: 30s
  hedge: true
  models:
    llama-3-8b: {}
    qwen-2.5-7b: {first_byte_timeout: 5s}
    slow/one: {first_byte_timeout: 0s, stall_timeout: 5m, resume: true, hedge: false}
    "7": {stall_timeout: "0s", resume: "${NO_SUCH:-true}"}
`)
	every := Rules{FirstByteTimeout: time.Minute, StallTimeout: 30 * time.Second, Hedge: true}
	for model, want := range map[router.Model]Rules{
		"":            every,
		"another":     every,
		"llama-3-8b":  every,
		"qwen-2.5-7b": {FirstByteTimeout: 5 * time.Second, StallTimeout: 30 * time.Second, Hedge: true},
		"slow/one":    {StallTimeout: 5 * time.Minute, Resume: true},
		"7":           {FirstByteTimeout: time.Minute, Resume: true, Hedge: true},
	} {
		if got := c.Failover.Rules(model); got != want {
			t.Errorf("%q: %+v, want %+v", model, got, want)
		}
	}
	if got, want := c.Failover.OwnRules(), []router.Model{"llama-3-8b", "qwen-2.5-7b", "slow/one", "7"}; !slices.Equal(got, want) {
		t.Errorf("models with rules of their own: %q, want %q", got, want)
	}
}

func TestWithoutOptionsNothingIsResumedOrHedged(t *testing.T) {
	c := mustParse(t, head+tail)
	if got, want := c.Failover.Rules("any"), (Rules{StallTimeout: 30 * time.Second}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if models := c.Failover.OwnRules(); models != nil {
		t.Errorf("models with rules of their own: %q", models)
	}
}

func TestAModelMayHaveRulesWhenAnEndpointServesEveryModel(t *testing.T) {
	mustParse(t, `version: 1
regions: {us-east1: {}}
endpoints:
  - {id: a, url: "http://127.0.0.1:9101", region: us-east1, models: [llama-3-8b]}
  - {id: b, url: "http://127.0.0.1:9102", region: us-east1}
failover: {models: {gpt: {resume: true}}}
`)
}

func TestKeepAliveIsHeldAgainstTheStallTimeoutOnlyWhenItIsWritten(t *testing.T) {
	for file, good := range map[string]bool{
		"failover: {stall_timeout: 5s}\n":                       true,
		"failover: {stall_timeout: 5s, keep_alive: 5s}\n":       true,
		"failover: {stall_timeout: 5s, keep_alive: 5001ms}\n":   false,
		"failover: {stall_timeout: 5s, keep_alive: 0s}\n":       true,
		"failover: {stall_timeout: 0s, keep_alive: 10m}\n":      true,
		"failover: {keep_alive: 100ms}\n":                       true,
		"failover: {keep_alive: 99ms}\n":                        false,
		"failover: {stall_timeout: 20s, keep_alive: \"15s\"}\n": true,
	} {
		if _, err := Parse("proxima.yaml", []byte(head+tail+file), env); (err == nil) != good {
			t.Errorf("%s: %v", file, err)
		}
	}
}

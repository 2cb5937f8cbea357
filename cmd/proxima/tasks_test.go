package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"proxima/metrics"
	"proxima/router"
)

func TestABugInOneTaskIsReportedAndTheTaskBeginsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, err := router.NewTable(nil, nil, router.Steering{})
		if err != nil {
			t.Fatal(err)
		}
		s := &service{log: zap.NewNop(), metrics: metrics.New(router.NewLive(table), metrics.Build{})}
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		began := 0
		s.keepDoing(ctx, func(ctx context.Context) {
			if began++; began < 3 {
				panic("a bug")
			}
			<-ctx.Done()
		})
		if began != 3 || ctx.Err() == nil {
			t.Errorf("the task began %d times, the last one ended with %v", began, ctx.Err())
		}
	})
}

func TestAnEndpointOnTrialMakesARouterReady(t *testing.T) {
	for want, statuses := range map[bool][]router.Status{
		true:  {{Health: router.Up}, {Health: router.Suspect}, {Health: router.Ejected, Trial: true}},
		false: {{}, {Health: router.Ejected}, {Health: router.Down}},
	} {
		for _, status := range statuses {
			if got := mayServe(&status); got != want {
				t.Errorf("%s, on trial %v: %v", status.Health, status.Trial, got)
			}
		}
	}
}

package edge

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

type seen struct{}

func aLife() *life { return &life{Context: context.WithValue(context.Background(), seen{}, "yes")} }

func TestContextsBelowALifeEndWithIt(t *testing.T) {
	l := aLife()
	child, stop := context.WithCancel(l)
	defer stop()
	later, stopLater := context.WithTimeout(child, time.Hour)
	defer stopLater()
	called := make(chan struct{})
	context.AfterFunc(later, func() { close(called) })
	if l.Err() != nil || child.Err() != nil || later.Value(seen{}) != "yes" {
		t.Error("it has no beginning")
	}
	l.end(context.Canceled)
	l.end(context.DeadlineExceeded) // too late
	<-called
	<-l.Done()
	for _, ctx := range []context.Context{l, child, later} {
		if ctx.Err() != context.Canceled || context.Cause(ctx) != context.Canceled {
			t.Errorf("%v, because %v", ctx.Err(), context.Cause(ctx))
		}
	}
}

func TestNobodyIsCalledTwiceOrInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := aLife()
		var first, second, third, late int
		stopFirst := l.AfterFunc(func() { first++ })
		stopSecond := l.AfterFunc(func() { second++ })
		stopThird := l.AfterFunc(func() { third++ })
		if !stopSecond() || stopSecond() {
			t.Error("the second is not stopped once")
		}
		l.end(context.Canceled)
		l.end(context.Canceled)
		stopLate := l.AfterFunc(func() { late++ })
		synctest.Wait()
		if first != 1 || second != 0 || third != 1 || late != 1 || stopFirst() || stopThird() || stopLate() {
			t.Error("called:", first, second, third, late)
		}
	})
}

func TestAContextBelowALifeThatHasEndedHasEnded(t *testing.T) {
	l := aLife()
	l.end(context.Canceled)
	select {
	case <-l.Done():
	default:
		t.Error("nobody is told")
	}
	child, stop := context.WithCancel(l)
	defer stop()
	<-child.Done()
}

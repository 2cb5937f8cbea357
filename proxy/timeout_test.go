package proxy

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAWaitIsOverInTimeAndOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, over := time.Now(), time.Duration(0)
		wait := newTimeout(2*time.Second, func() { over += time.Since(began) })
		defer wait.stop()
		time.Sleep(time.Second)
		wait.again()
		time.Sleep(time.Hour)
		wait.again()
		time.Sleep(time.Hour)
		synctest.Wait()
		if over != 3*time.Second {
			t.Errorf("over after %v, want 3s", over)
		}
	})
}

func TestAWaitThatWasStoppedIsNeverOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wait := newTimeout(2*time.Second, func() { t.Error("over") })
		wait.stop()
		wait.again()
		time.Sleep(time.Hour)
	})
}

func TestATimerThatIsLateBeginsTheWaitAnew(t *testing.T) {
	for late, want := range map[time.Duration]time.Duration{standstill: 0, 5 * time.Second: 2 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			began, over := time.Now(), time.Duration(-1)
			wait := newTimeout(2*time.Second, func() { over = time.Since(began) })
			defer wait.stop()
			wait.mu.Lock()
			wait.due = began.Add(-late)
			wait.mu.Unlock()
			wait.look(began)
			time.Sleep(time.Hour)
			synctest.Wait()
			if over != want {
				t.Errorf("a timer is %v late: over after %v, want %v", late, over, want)
			}
		})
	}
}

func TestAWatchdogThatIsLateBeginsItsWatchAnew(t *testing.T) {
	now := time.Now()
	a := &attempt{cancel: func(cause error) { t.Errorf("cancelled: %v", cause) }}
	w := &watchdog{stall: 30 * time.Second, to: &outlet{}, attempt: a, began: now.Add(-3 * time.Minute)}
	w.waiting.Store(w.at(now.Add(-2 * time.Minute)))
	if next, _ := w.judge(now); next != w.stall {
		t.Errorf("it looks again after %v, want %v", next, w.stall)
	}
	stalled := false
	a.cancel = func(error) { stalled = true }
	if _, _ = w.judge(now.Add(w.stall)); !stalled {
		t.Error("half a minute of silence later the attempt goes on")
	}
}

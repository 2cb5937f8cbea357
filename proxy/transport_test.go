package proxy

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func TestAConnectionThatTakesTooLongTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hole := func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, &net.OpError{Op: "dial", Err: ctx.Err()}
		}
		began := time.Now()
		_, err := within(t.Context(), time.Second, hole, "tcp", "endpoint.test:80")
		if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took != time.Second+pollPause {
			t.Errorf("%v after %v", err, took)
		}
		ctx, leave := context.WithCancel(t.Context())
		leave()
		if _, err := within(ctx, time.Second, hole, "tcp", "endpoint.test:80"); !errors.Is(err, context.Canceled) {
			t.Errorf("nobody wants the connection any more: %v", err)
		}
	})
}

func TestAConnectionThatNobodyHasLookedAtIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		busy := func(ctx context.Context, _, _ string) (net.Conn, error) {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(time.Second + pollPause/2):
				return here, nil
			}
		}
		conn, err := within(t.Context(), time.Second, busy, "tcp", "endpoint.test:80")
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		time.Sleep(pollPause) // until the timer has seen that it is too late
	})
}

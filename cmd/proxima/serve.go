package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"proxima/admin"
	"proxima/configs"
	"proxima/proxy"
)

func (a *app) serveCommand() *cobra.Command {
	var file, state string
	var notice time.Duration
	cmd := &cobra.Command{
		Use:   "serve -c FILE",
		Short: "Route requests",
		Long: "Runs until SIGINT or SIGTERM, then finishes the requests under way for up to failover.drain_timeout;\n" +
			"a second signal cuts them. SIGHUP, a change of FILE and POST /v1/reload load FILE again.\n" +
			"Exits with 5 when streams were cut.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usage("which configuration? proxima serve -c proxima.yaml; to try without one: proxima demo")
			}
			return a.serve(cmd.Context(), file, state, notice)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "the configuration file")
	cmd.Flags().StringVar(&state, "state", "", "a directory in which good configurations are remembered, to start with when the file is broken")
	cmd.Flags().DurationVar(&notice, "notice", 0, "how long /readyz says no before the listener closes, for load balancers in front")
	return cmd
}

func (a *app) serve(ctx context.Context, file, state string, notice time.Duration) error {
	if state != "" {
		if err := os.MkdirAll(state, 0o700); err != nil {
			return usage("--state: %w", err)
		}
	}
	start, refused := readConfig(file, file, a.env)
	if refused != nil && state == "" {
		return &exit{exitConfig, refused}
	}
	if refused != nil {
		var err error
		if start, err = (good{state}).remembered(file, a.env); err != nil {
			return &exit{exitConfig, errors.Join(refused, err)}
		}
	}
	log, level := newLog(a.stderr, start.config.Log)
	defer log.Sync() //nolint:errcheck // a terminal cannot be synced
	if undo, err := zap.RedirectStdLogAt(log, zap.DebugLevel); err == nil {
		defer undo() // net/http's transport has no log of its own
	}
	pacer := setMemory(a.env, os.DirFS("/"), log) // before newService, which reads the limit
	s, err := newService(start, a.env, log, level)
	if err != nil {
		return &exit{exitConfig, err}
	}
	s.good, s.pacer = good{state}, pacer
	s.admin.Reload = s.askReload
	if refused != nil {
		s.report("start", admin.Reload{}, refused)
		log.Warn("started on a configuration that served well before", zap.String("hash", start.config.Hash), zap.String("state", state))
	}
	doors, err := s.open(start.config)
	if err != nil {
		return err
	}
	return s.run(ctx, file, doors, notice)
}

// doors are the listeners.
type doors struct {
	clients   net.Listener
	operators net.Listener
}

func (s *service) open(c *configs.Config) (*doors, error) {
	clients, err := net.Listen("tcp", string(c.Listen))
	if err != nil {
		return nil, fmt.Errorf("listen: %w: choose another address in the file's listen", err)
	}
	operators, err := net.Listen("tcp", string(c.Admin.Listen))
	if err != nil {
		clients.Close()
		return nil, fmt.Errorf("listen: %w: choose another address in the file's admin.listen", err)
	}
	return &doors{clients, operators}, nil
}

// run starts every goroutine of the process and waits for all of them. It stops
// from the outside in: not ready, no new requests, probes, operators last.
func (s *service) run(ctx context.Context, file string, d *doors, notice time.Duration) error {
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	var tasks sync.WaitGroup
	for _, task := range s.tasks(file) {
		tasks.Go(func() { s.keepDoing(background, task) })
	}
	var active sync.WaitGroup
	operators := s.admin.HTTP(zap.NewStdLog(s.log))
	failed := make(chan error, 2)
	active.Go(func() { failed <- s.clients.Serve(d.clients) })
	active.Go(func() { failed <- operators.Serve(d.operators) })

	s.log.Info(
		"listening", zap.String("address", d.clients.Addr().String()), zap.String("admin", d.operators.Addr().String()),
		zap.Int("endpoints", len(s.live.Snapshot().Table.Endpoints)), zap.String("hash", s.inUse.Load().config.Hash),
	)
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady) // not under systemd: nobody listens
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		s.log.Error("listener failed", zap.Error(err))
	}
	if cut := s.stop(notice); cut && err == nil {
		err = &exit{exitPartly, errors.New("stopped before every request had ended; the rest were cut: failover.drain_timeout says how long they may take")}
	}
	stopBackground()
	tasks.Wait()
	s.release()
	operators.Close()
	active.Wait()
	s.log.Info("stopped")
	return err
}

// tasks are what goes on beside the requests, until the router stops.
func (s *service) tasks(file string) []func(context.Context) {
	tasks := []func(context.Context){
		func(ctx context.Context) { _ = s.monitor.Run(ctx) }, // fails only when run twice
		s.places.Run,
		s.settle,
	}
	if s.poller != nil {
		tasks = append(tasks, s.poller.Run)
	}
	if s.pacer != nil {
		tasks = append(tasks, s.pacer.Run)
	}
	if s.certificates != nil {
		tasks = append(tasks, s.certificates.Run)
	}
	if file == "" {
		return tasks // the demo has nothing to reload
	}
	return append(
		tasks,
		func(ctx context.Context) { s.reloadLoop(ctx, file) },
		func(ctx context.Context) { s.watchFile(ctx, file) },
		s.watchSignal,
		s.rememberGood,
	)
}

// keepDoing runs a task until ctx is done. A bug in one task harms no other: it
// is reported, and the task begins again after a moment.
func (s *service) keepDoing(ctx context.Context, task func(context.Context)) {
	for !s.finished(ctx, task) {
		wait(ctx, time.Second)
	}
}

// finished reports whether a task came to its end rather than to a panic.
func (s *service) finished(ctx context.Context, task func(context.Context)) (ended bool) {
	defer func() {
		if value := recover(); value != nil {
			s.panicked("task", value, debug.Stack())
		}
	}()
	task(ctx)
	return true
}

// stop takes no new requests and waits for those under way, but no longer than
// the drain timeout or a second signal. The clients of the others are told. It reports
// whether there were any.
func (s *service) stop(notice time.Duration) (cut bool) {
	s.stopping.Store(true)
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	s.log.Info("stopping: finishing the requests under way")
	again, ignore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer ignore()
	wait(again, notice)
	limit := time.Duration(s.inUse.Load().config.Failover.DrainTimeout)
	drain, cancel := context.WithTimeout(again, limit)
	defer cancel()
	_ = s.clients.Shutdown(drain) // its error may be an HTTP/2 connection that lingers
	cut = !s.idle(drain)
	s.cut(proxy.ErrStopping)
	afterwards, enough := context.WithTimeout(context.Background(), lastWords)
	defer enough()
	if s.idle(afterwards); cut {
		_ = s.clients.Shutdown(afterwards) // a handler has ended before its last words have left
	}
	s.clients.Close()
	return cut
}

// lastWords is how long requests that are cut may take to tell their clients so, and
// the log.
const lastWords = 2 * time.Second

// idle waits until no request is under way; false: ctx was done first.
func (s *service) idle(ctx context.Context) bool {
	for s.proxy.UnderWay() > 0 && ctx.Err() == nil {
		wait(ctx, 5*time.Millisecond)
	}
	return s.proxy.UnderWay() == 0
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// settle lets meters forget, once a second.
func (s *service) settle(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			s.live.Settle(now)
		}
	}
}

// release closes connections that are kept for later.
func (s *service) release() {
	s.releaseProbes()
	if idle, keeps := s.proxy.Failover.Next.(interface{ CloseIdleConnections() }); keeps {
		idle.CloseIdleConnections()
	}
}

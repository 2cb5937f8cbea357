package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"

	"proxima/admin"
	"proxima/configs"
)

// reloading is a wish to load the configuration again.
type reloading struct {
	why   string
	force bool
	done  chan<- reloaded // nil: nobody waits
}

type reloaded struct {
	admin.Reload
	err error
}

// reloadLoop is the one goroutine that changes the configuration in use.
func (s *service) reloadLoop(ctx context.Context, file string) {
	for {
		select {
		case <-ctx.Done():
			return
		case wish := <-s.reloads:
			done, err := s.reload(file, wish.force)
			s.report(wish.why, done, err)
			if wish.done != nil {
				wish.done <- reloaded{done, err}
			}
		}
	}
}

// reload puts the file in use, whole or not at all: everything that can fail
// comes before the first store.
func (s *service) reload(file string, force bool) (admin.Reload, error) {
	old := s.inUse.Load()
	read, err := readConfig(file, file, s.env)
	if err != nil {
		return admin.Reload{}, err
	}
	next := read.config
	if next.Hash == old.config.Hash {
		return admin.Reload{Summary: "the file is the one in use", Hash: next.Hash}, nil
	}
	change := configs.Difference(old.config, next)
	if why, drastic := change.Drastic(); drastic && !force {
		return admin.Reload{}, fmt.Errorf("%w: %s; POST /v1/reload?force=true applies it all the same", admin.ErrNeedsForce, why)
	}
	table, err := next.Table()
	if err != nil {
		return admin.Reload{}, err
	}
	places, err := s.places.prepare(next)
	if err != nil {
		return admin.Reload{}, err
	}

	s.places.adopt(places)
	s.live.SetTable(table)
	s.monitor.Watch(table.Endpoints, next.Policy())
	s.inUse.Store(newGeneration(read))
	s.proxy.Failover.Changed()
	s.level.SetLevel(levelOf(next.Log))
	return admin.Reload{Changed: true, Summary: change.String(), Hash: next.Hash}, nil
}

// report tells of a reload, once: in the log and in the metrics.
func (s *service) report(why string, done admin.Reload, err error) {
	s.metrics.Reloaded(err == nil, time.Now())
	var refusal *admin.Refusal
	if err != nil {
		refusal = &admin.Refusal{At: time.Now(), Why: err.Error()}
	}
	mended := s.refused.Swap(refusal) != nil
	switch {
	case err != nil:
		s.log.Error("configuration refused, the one in use stays", zap.String("because", why), zap.Error(err))
	case !done.Changed && why == fileChanged && !mended:
		s.log.Debug("the file is the one in use")
	case !done.Changed:
		s.log.Info("the file is the one in use", zap.String("because", why))
	default:
		s.log.Info(
			"configuration reloaded",
			zap.String("because", why), zap.String("change", done.Summary), zap.String("hash", done.Hash),
		)
	}
}

// askReload hands a wish to the reload goroutine and waits for what came of it.
func (s *service) askReload(ctx context.Context, force bool) (admin.Reload, error) {
	done := make(chan reloaded, 1)
	select {
	case s.reloads <- reloading{why: "operator", force: force, done: done}:
	case <-ctx.Done():
		return admin.Reload{}, ctx.Err()
	}
	select {
	case result := <-done:
		return result.Reload, result.err
	case <-ctx.Done():
		return admin.Reload{}, ctx.Err()
	}
}

// wishReload hands a wish to the reload goroutine, unless the router stops first.
func (s *service) wishReload(ctx context.Context, why string) {
	select {
	case s.reloads <- reloading{why: why}:
	case <-ctx.Done():
	}
}

// watchSignal reloads on SIGHUP.
func (s *service) watchSignal(ctx context.Context) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			s.wishReload(ctx, "SIGHUP")
		}
	}
}

// fileChanged is why a reload is wished for when nobody asked.
const fileChanged = "file changed"

// quiet is how long after a change the file is read: an editor writes in several
// steps.
const quiet = 200 * time.Millisecond

// watchFile reloads when the file has changed. The folder is watched, not the
// file, so that a file that is replaced is still the one.
func (s *service) watchFile(ctx context.Context, file string) {
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		defer watcher.Close()
		err = watcher.Add(filepath.Dir(file))
	}
	if err != nil {
		s.log.Warn("the configuration file is not watched; use SIGHUP or POST /v1/reload", zap.Error(err))
		return
	}
	var seen stamp
	due := time.NewTimer(quiet) // the file may have changed since the start
	defer due.Stop()
	armed := true
	look := func() {
		if !armed {
			armed = true
			due.Reset(quiet)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-watcher.Events: // any in the folder: a link may point elsewhere now
			look()
		case err := <-watcher.Errors:
			s.log.Warn("watching the configuration file", zap.Error(err))
			look() // events were lost
		case <-due.C:
			armed = false
			if now := stampOf(file); now != seen {
				seen = now
				s.wishReload(ctx, fileChanged)
			}
		}
	}
}

// stamp changes whenever a file does.
type stamp struct {
	size     int64
	modified time.Time
}

func stampOf(file string) stamp {
	info, err := os.Stat(file)
	if err != nil {
		return stamp{}
	}
	return stamp{info.Size(), info.ModTime()}
}

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"proxima/configs"
)

// good remembers the last configurations that have served well, so that a router
// can start when its file is broken. The zero value remembers nothing.
type good struct {
	dir string // "": remember nothing
}

// How long a configuration must have served to be remembered, and how many are.
const (
	goodAfter = time.Minute
	goodKept  = 3
)

const goodPrefix, goodSuffix = "good-", ".yaml"

// document is a configuration file as it was read: the bytes, and what they mean.
type document struct {
	bytes  []byte
	config *configs.Config
}

// readConfig reads the bytes of one file as if they stood in another, where
// relative paths begin.
func readConfig(from, as string, env func(string) (string, bool)) (document, error) {
	f, err := os.Open(from)
	if err != nil {
		return document{}, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, configs.MaxBytes+1))
	if err != nil {
		return document{}, fmt.Errorf("read configuration: %w", err)
	}
	config, err := configs.Parse(as, data, env)
	return document{data, config}, err
}

// remembered returns the newest remembered configuration that is still valid.
func (g good) remembered(as string, env func(string) (string, bool)) (document, error) {
	names, err := g.list()
	if err != nil {
		return document{}, err
	}
	for _, name := range names {
		if t, err := readConfig(filepath.Join(g.dir, name), as, env); err == nil {
			return t, nil
		}
	}
	return document{}, fmt.Errorf("no configuration in %s can be used", g.dir)
}

// list names what is remembered, the newest first.
func (g good) list() ([]string, error) {
	entries, err := os.ReadDir(g.dir)
	if err != nil {
		return nil, fmt.Errorf("remembered configurations: %w", err)
	}
	var names []string
	for _, entry := range entries {
		if name := entry.Name(); strings.HasPrefix(name, goodPrefix) && strings.HasSuffix(name, goodSuffix) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(b, a) })
	return names, nil
}

// remember writes a configuration down, whole or not at all, and forgets the
// oldest ones.
func (g good) remember(data []byte, now time.Time) error {
	if g.newestIs(data) {
		return nil
	}
	temp, err := os.CreateTemp(g.dir, "new-*")
	if err != nil {
		return fmt.Errorf("remember the configuration: %w", err)
	}
	defer os.Remove(temp.Name()) // gone already when it was renamed
	_, err = temp.Write(data)
	err = errors.Join(err, temp.Sync(), temp.Close())
	if err == nil {
		name := fmt.Sprintf("%s%020d%s", goodPrefix, now.UnixNano(), goodSuffix)
		err = os.Rename(temp.Name(), filepath.Join(g.dir, name))
	}
	if err != nil {
		return fmt.Errorf("remember the configuration: %w", err)
	}
	names, err := g.list()
	for _, old := range names[min(goodKept, len(names)):] {
		err = errors.Join(err, os.Remove(filepath.Join(g.dir, old)))
	}
	return err
}

// newestIs reports whether these bytes are remembered already, so that starting
// again and again on one file does not push the others out.
func (g good) newestIs(data []byte) bool {
	names, err := g.list()
	if err != nil || len(names) == 0 {
		return false
	}
	newest, err := os.ReadFile(filepath.Join(g.dir, names[0]))
	return err == nil && bytes.Equal(newest, data)
}

// rememberGood writes each configuration down once it has served for a while
// with at least one endpoint up.
func (s *service) rememberGood(ctx context.Context) {
	if s.good.dir == "" {
		return
	}
	tick := time.NewTicker(goodAfter / 6)
	defer tick.Stop()
	var written *generation
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			g := s.inUse.Load()
			if g == written || now.Sub(g.loadedAt) < goodAfter || s.ready() != nil {
				continue
			}
			if err := s.good.remember(g.text, now); err != nil {
				s.log.Error("the configuration is in use but not remembered", zap.Error(err))
				continue
			}
			written = g
			s.log.Info("configuration remembered as good", zap.String("hash", g.config.Hash))
		}
	}
}

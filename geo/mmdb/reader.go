package mmdb

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"

	"proxima/geo"
)

// Reader answers from a database that may be replaced at any moment, and remembers its answers. Any number of goroutines may
// use it. Lookups never wait for a replacement: they see the old edition until the new one is ready.
type Reader struct {
	Swapped func(*DB)   // when not nil, hears of every new edition in use. Set it before Run and Reload
	Refused func(error) // when not nil, hears why Run left the old edition in use. Set it before Run

	path    string
	cache   *cache
	current atomic.Pointer[edition]

	reloading sync.Mutex  // one at a time
	seen      os.FileInfo // the file as it last was read, good or bad; guarded by reloading
}

// edition is a database and how many there were before it.
type edition struct {
	db     *DB
	number uint64
}

// NewReader is a Reader of db that remembers up to cacheEntries networks; 0 remembers none. If db was read from a file, Run and
// Reload look for a new edition in that file.
func NewReader(db *DB, cacheEntries int) *Reader {
	r := &Reader{cache: newCache(cacheEntries), seen: db.file}
	if db.file != nil {
		r.path = db.name
	}
	r.current.Store(&edition{db: db})
	return r
}

// Locate says where the address is, false when the database does not know or its record is broken. It is made to be the
// Database of a geo.Locator. An answer from memory does not allocate.
func (r *Reader) Locate(addr netip.Addr) (geo.Location, bool) {
	addr = addr.Unmap().WithZone("")
	now := r.current.Load()
	if e, ok := r.cache.find(addr, now.number); ok {
		return e.place, e.found
	}
	place, network, err := now.db.Locate(addr)
	if err != nil {
		return geo.Location{}, false
	}
	found := place.Placed || place.Country != ""
	r.cache.store(addr, entry{network: network, edition: now.number, place: place, found: found})
	return place, found
}

// DB is the edition in use.
func (r *Reader) DB() *DB { return r.current.Load().db }

// Reload reads the file again and puts what it finds to use. Content that is in use already changes nothing and is no error;
// content that cannot be used is an error, and the old edition stays. Without a file it does nothing.
func (r *Reader) Reload() error {
	fresh, err := r.reload()
	if err != nil {
		return err
	}
	if fresh != nil && r.Swapped != nil {
		r.Swapped(fresh)
	}
	return nil
}

// reload returns the new edition, nil when there is none.
func (r *Reader) reload() (*DB, error) {
	if r.path == "" {
		return nil, nil
	}
	r.reloading.Lock()
	defer r.reloading.Unlock()
	r.seen = look(r.path) // before reading: what is written meanwhile is a change to come
	content, file, err := read(r.path)
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(content) == r.DB().sum {
		return nil, nil
	}
	fresh, err := fromFile(r.path, content, file)
	if err != nil {
		return nil, err
	}
	r.current.Store(&edition{db: fresh, number: r.current.Load().number + 1})
	r.cache.empty()
	return fresh, nil
}

// settle is how long a file has to stay as it is before Run reads it. It outlasts the pauses of a copy in progress.
const settle = 500 * time.Millisecond

// glance is how often Run looks at the file unasked, since network file systems report no changes.
const glance = time.Minute

// Run puts new editions of the file to use until ctx ends; its error is always nil. It watches the directory, so the file may
// be written in place, replaced by a rename, or be a link that is turned to another file, the way Kubernetes mounts volumes.
// A file that cannot be used is reported to Refused, once, and the old edition stays in use. Without a file Run only waits.
func (r *Reader) Run(ctx context.Context) error {
	if r.path == "" {
		<-ctx.Done()
		return nil
	}
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		defer watcher.Close()
		err = watcher.Add(filepath.Dir(r.path))
	}
	if err != nil {
		r.refuse(fmt.Errorf("watch geo database %q: %w: looking every %v instead", r.path, err, glance))
		r.follow(ctx, nil, nil)
		return nil
	}
	r.follow(ctx, watcher.Events, watcher.Errors)
	return nil
}

// follow reloads once the file differs from what was read last and has stayed the same for a while.
func (r *Reader) follow(ctx context.Context, events <-chan fsnotify.Event, lost <-chan error) {
	glances := time.NewTicker(glance)
	defer glances.Stop()
	settled := time.NewTimer(0) // the file may have changed before anybody watched
	defer settled.Stop()
	waiting := look(r.path)
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-events: // of any file in the directory: a link is turned by renaming another name
			if !open {
				events = nil
			}
		case _, open := <-lost: // events were lost, so look
			if !open {
				lost = nil
			}
		case <-glances.C:
		case <-settled.C:
			if !same(waiting, r.lastSeen()) {
				r.refuse(r.Reload())
			}
			continue
		}
		if now := look(r.path); !same(now, waiting) {
			waiting = now
			settled.Reset(settle)
		}
	}
}

func (r *Reader) lastSeen() os.FileInfo {
	r.reloading.Lock()
	defer r.reloading.Unlock()
	return r.seen
}

func (r *Reader) refuse(err error) {
	if err != nil && r.Refused != nil {
		r.Refused(err)
	}
}

// look is the file as it is, at the end of all links; nil when there is none.
func look(path string) os.FileInfo {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	return info
}

// same reports whether both are one file and nobody wrote to it in between.
func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

package mmdb

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"

	"proxima/geo"
)

var someone = netip.MustParseAddr("1.2.3.4")

// watched is a Reader of a file, and what Run told of it. Its events are sent by hand, so that a test runs in simulated time.
type watched struct {
	*Reader
	path   string
	events chan fsnotify.Event

	mu               sync.Mutex
	swapped, refused []string
}

func (w *watched) tell(list *[]string, word string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*list = append(*list, word)
}

func (w *watched) told() (swapped, refused []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.swapped, w.refused
}

func watch(t *testing.T, path string) *watched {
	t.Helper()
	db, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{Reader: NewReader(db, 100), path: path, events: make(chan fsnotify.Event)}
	w.Swapped = func(db *DB) { w.tell(&w.swapped, db.Type()) }
	w.Refused = func(err error) { w.tell(&w.refused, err.Error()) }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.follow(ctx, w.events, nil)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	synctest.Wait()
	return w
}

// write changes the file the way a copy does and tells of it.
func (w *watched) write(t *testing.T, content []byte) {
	t.Helper()
	write(t, w.path, content)
	w.events <- fsnotify.Event{Name: w.path, Op: fsnotify.Write}
}

// after lets time pass and says where someone is then.
func (w *watched) after(d time.Duration) geo.Location {
	time.Sleep(d)
	synctest.Wait()
	place, _ := w.Locate(someone)
	return place
}

func TestANewFileIsPutToUseOnceItHasSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, fileOf(t, inParis(t)))
		w.write(t, inTokyo(t))
		if place := w.after(settle - time.Millisecond); place != paris {
			t.Errorf("before it settled: %+v, want %+v", place, paris)
		}
		if place := w.after(time.Millisecond); place != tokyo {
			t.Errorf("after it settled: %+v, want %+v", place, tokyo)
		}
		if swapped, refused := w.told(); len(swapped) != 1 || len(refused) != 0 {
			t.Errorf("swapped %v, refused %v; want one swap", swapped, refused)
		}
	})
}

func TestATornWriteIsReadWhenItIsWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, fileOf(t, inParis(t)))
		whole := inTokyo(t)
		w.write(t, whole[:len(whole)/2])
		if place := w.after(300 * time.Millisecond); place != paris {
			t.Errorf("half written: %+v, want %+v", place, paris)
		}
		w.write(t, whole)
		if place := w.after(settle); place != tokyo {
			t.Errorf("written: %+v, want %+v", place, tokyo)
		}
		if swapped, refused := w.told(); len(swapped) != 1 || len(refused) != 0 {
			t.Errorf("swapped %v, refused %v; want one swap and no word of the half", swapped, refused)
		}
	})
}

func TestABadFileLeavesTheOldOneInUseAndIsReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, fileOf(t, inParis(t)))
		w.write(t, []byte("<html>quota exceeded</html>"))
		if place := w.after(10 * glance); place != paris {
			t.Errorf("with a bad file: %+v, want %+v", place, paris)
		}
		if _, refused := w.told(); len(refused) != 1 || !strings.Contains(refused[0], "not a MaxMind DB") {
			t.Errorf("refused %q, want the bad file once", refused)
		}
		if err := os.Remove(w.path); err != nil {
			t.Fatal(err)
		}
		if place := w.after(10 * glance); place != paris {
			t.Errorf("without a file: %+v, want %+v", place, paris)
		}
		if _, refused := w.told(); len(refused) != 2 || !strings.Contains(refused[1], "no such file") {
			t.Errorf("refused %q, want the missing file once", refused)
		}
		write(t, w.path, inTokyo(t))
		if place := w.after(glance + settle); place != tokyo {
			t.Errorf("with a good file, and nobody telling: %+v, want %+v", place, tokyo)
		}
	})
}

func TestTheSameContentInANewFileChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, fileOf(t, inParis(t)))
		before := w.DB()
		write(t, w.path+".new", inParis(t))
		if err := os.Rename(w.path+".new", w.path); err != nil {
			t.Fatal(err)
		}
		w.events <- fsnotify.Event{}
		w.after(glance)
		if swapped, refused := w.told(); w.DB() != before || len(swapped) != 0 || len(refused) != 0 {
			t.Errorf("swapped %v, refused %v; want neither", swapped, refused)
		}
	})
}

func TestABusyNeighbourDelaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, fileOf(t, inParis(t)))
		write(t, w.path, inTokyo(t))
		for range 10 { // one event every 100 ms, of a log in the same directory
			w.events <- fsnotify.Event{Name: "access.log", Op: fsnotify.Write}
			time.Sleep(100 * time.Millisecond)
		}
		if place := w.after(0); place != tokyo {
			t.Errorf("%+v, want %+v", place, tokyo)
		}
	})
}

func TestAFileChangedBeforeRunBeginsIsNoticed(t *testing.T) {
	path := fileOf(t, inParis(t))
	db, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path+".new", inTokyo(t))
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	wait, run := running(t, NewReader(db, 100))
	run()
	if got := wait(); got != nil {
		t.Error(got)
	}
}

// running returns a function that runs the Reader, with a real watch on the directory, and one that waits for the next swap or
// refusal and returns the error of a refusal.
func running(t *testing.T, reader *Reader) (wait func() error, run func()) {
	t.Helper()
	heard := make(chan error, 10)
	reader.Swapped = func(*DB) { heard <- nil }
	reader.Refused = func(err error) { heard <- err }
	run = func() {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- reader.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	return func() error { return <-heard }, run
}

func TestEveryWayToReplaceAFileIsNoticed(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(t *testing.T, dir string)                 // lays Paris down as dir/geo.mmdb
		replace func(t *testing.T, dir string, content []byte) // makes Tokyo of it
	}{
		{
			"written in place",
			func(t *testing.T, dir string) { write(t, filepath.Join(dir, "geo.mmdb"), inParis(t)) },
			func(t *testing.T, dir string, content []byte) { write(t, filepath.Join(dir, "geo.mmdb"), content) },
		},
		{
			"renamed over",
			func(t *testing.T, dir string) { write(t, filepath.Join(dir, "geo.mmdb"), inParis(t)) },
			func(t *testing.T, dir string, content []byte) {
				write(t, filepath.Join(dir, "geo.mmdb.part"), content)
				must(t, os.Rename(filepath.Join(dir, "geo.mmdb.part"), filepath.Join(dir, "geo.mmdb")))
			},
		},
		{
			"a mounted ConfigMap, which turns the link ..data", // geo.mmdb → ..data/geo.mmdb, ..data → ..v1
			func(t *testing.T, dir string) {
				must(t, os.Mkdir(filepath.Join(dir, "..v1"), 0o700))
				write(t, filepath.Join(dir, "..v1", "geo.mmdb"), inParis(t))
				must(t, os.Symlink("..v1", filepath.Join(dir, "..data")))
				must(t, os.Symlink(filepath.Join("..data", "geo.mmdb"), filepath.Join(dir, "geo.mmdb")))
			},
			func(t *testing.T, dir string, content []byte) {
				must(t, os.Mkdir(filepath.Join(dir, "..v2"), 0o700))
				write(t, filepath.Join(dir, "..v2", "geo.mmdb"), content)
				must(t, os.Symlink("..v2", filepath.Join(dir, "..data_tmp")))
				must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
				must(t, os.RemoveAll(filepath.Join(dir, "..v1")))
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			test.prepare(t, dir)
			db, err := Open(filepath.Join(dir, "geo.mmdb"))
			must(t, err)
			reader := NewReader(db, 100)
			wait, run := running(t, reader)
			run()
			test.replace(t, dir, inTokyo(t))
			if err := wait(); err != nil {
				t.Fatal(err)
			}
			if place, ok := reader.Locate(someone); place != tokyo || !ok {
				t.Errorf("%+v, %v; want %+v", place, ok, tokyo)
			}
		})
	}
}

func TestADirectoryThatCannotBeWatchedIsReportedAndLookedAtInstead(t *testing.T) {
	path := fileOf(t, inParis(t))
	db, err := Open(path)
	must(t, err)
	must(t, os.RemoveAll(filepath.Dir(path)))
	reader := NewReader(db, 100)
	wait, run := running(t, reader)
	run()
	if err := wait(); err == nil || !strings.Contains(err.Error(), "looking every 1m0s instead") {
		t.Errorf("%v, want a word that it is not watched", err)
	}
	if place, ok := reader.Locate(someone); place != paris || !ok {
		t.Errorf("%+v, %v; want %+v", place, ok, paris)
	}
}

func TestReloadSaysWhatItFinds(t *testing.T) {
	path := fileOf(t, inParis(t))
	db, err := Open(path)
	must(t, err)
	reader := NewReader(db, 0)
	swaps := 0
	reader.Swapped = func(*DB) { swaps++ }

	must(t, reader.Reload())
	if swaps != 0 {
		t.Errorf("%d swaps for the same content, want none", swaps)
	}
	write(t, path, []byte("no database"))
	for range 2 {
		if err := reader.Reload(); err == nil || !strings.Contains(err.Error(), "not a MaxMind DB") {
			t.Errorf("a bad file: %v", err)
		}
	}
	if place, _ := reader.Locate(someone); place != paris || reader.DB() != db {
		t.Errorf("with a bad file: %+v, want %+v", place, paris)
	}
	write(t, path, inTokyo(t))
	must(t, reader.Reload())
	if place, _ := reader.Locate(someone); place != tokyo || swaps != 1 {
		t.Errorf("with a good file: %+v after %d swaps, want %+v after 1", place, swaps, tokyo)
	}
}

func TestADatabaseFromBytesHasNothingToWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader := NewReader(fromBytes(t, inParis(t)), 10)
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		if err := errors.Join(reader.Run(ctx), reader.Reload()); err != nil {
			t.Error(err)
		}
		if place, _ := reader.Locate(someone); place != paris {
			t.Errorf("%+v, want %+v", place, paris)
		}
	})
}

// TestSwapsUnderLoadAreNeverSeen swaps a hundred times while lookups run: each of them sees one edition or the other, whole, and
// one that begins after a swap never sees the edition before.
func TestSwapsUnderLoadAreNeverSeen(t *testing.T) {
	path := fileOf(t, inParis(t))
	db, err := Open(path)
	must(t, err)
	reader := NewReader(db, 64)
	editions := [][]byte{inTokyo(t), inParis(t)}

	stop := make(chan struct{})
	var lookups sync.WaitGroup
	for worker := range byte(4) {
		lookups.Go(func() {
			for i := byte(0); ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if place, ok := reader.Locate(netip.AddrFrom4([4]byte{1, worker, i, 1})); !ok || place != paris && place != tokyo {
					t.Errorf("%+v, %v; want Paris or Tokyo", place, ok)
					return
				}
			}
		})
	}
	for i := range 100 {
		write(t, path, editions[i%2])
		must(t, reader.Reload())
		want := []geo.Location{tokyo, paris}[i%2]
		for j := range byte(16) {
			if place, _ := reader.Locate(netip.AddrFrom4([4]byte{1, 1, j, 1})); place != want {
				t.Fatalf("after swap %d: %+v, want %+v", i, place, want)
			}
		}
	}
	close(stop)
	lookups.Wait()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

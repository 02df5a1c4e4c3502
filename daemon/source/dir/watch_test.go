package dir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/statesync/statesync/daemon/source"
)

func TestHints(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := open(t, root, source.Options{})
	must(t, save(root, "a.yaml", "a: 0"))
	quietly(t, s)
	step := func(name string, change func() error, want map[string]string) {
		t.Helper()
		began := time.Now()
		must(t, change())
		awaitHint(t, s)
		t.Logf("%s: a hint after %v", name, time.Since(began).Round(100*time.Microsecond))
		awaitFiles(t, s, want)
		quietly(t, s)
	}
	step("rename", func() error { return save(root, "a.yaml", "a: 1") },
		map[string]string{"a.yaml": "a: 1"})
	step("write in place", func() error { return os.WriteFile(filepath.Join(root, "a.yaml"), []byte("a: 2"), 0o644) },
		map[string]string{"a.yaml": "a: 2"})
	step("new directory", func() error { return os.MkdirAll(filepath.Join(root, "team/deep"), 0o755) },
		map[string]string{"a.yaml": "a: 2"})
	step("file in it", func() error { return save(root, "team/deep/b.yaml", "b: 1") },
		map[string]string{"a.yaml": "a: 2", "team/deep/b.yaml": "b: 1"})
	step("directory moved", func() error { return os.Rename(filepath.Join(root, "team"), filepath.Join(root, "crew")) },
		map[string]string{"a.yaml": "a: 2", "crew/deep/b.yaml": "b: 1"})
	step("file in it", func() error { return save(root, "crew/deep/b.yaml", "b: 2") },
		map[string]string{"a.yaml": "a: 2", "crew/deep/b.yaml": "b: 2"})
	step("directory moved away and back", func() error {
		err := os.Rename(filepath.Join(root, "crew"), filepath.Join(root, ".away"))
		if err == nil {
			err = os.Rename(filepath.Join(root, ".away"), filepath.Join(root, "crew"))
		}
		return err
	}, map[string]string{"a.yaml": "a: 2", "crew/deep/b.yaml": "b: 2"})
	step("file in it", func() error { return save(root, "crew/b.yaml", "b: 3") },
		map[string]string{"a.yaml": "a: 2", "crew/deep/b.yaml": "b: 2", "crew/b.yaml": "b: 3"})
	step("remove", func() error { return os.Remove(filepath.Join(root, "crew/b.yaml")) },
		map[string]string{"a.yaml": "a: 2", "crew/deep/b.yaml": "b: 2"})
	step("link", func() error { return os.Symlink("a.yaml", filepath.Join(root, "l.yaml")) },
		map[string]string{"a.yaml": "a: 2", "crew/deep/b.yaml": "b: 2", "l.yaml": "a: 2"})
	step("remove", func() error { return os.Remove(filepath.Join(root, "l.yaml")) },
		map[string]string{"a.yaml": "a: 2", "crew/deep/b.yaml": "b: 2"})
	step("remove all", func() error { return os.RemoveAll(filepath.Join(root, "crew")) },
		map[string]string{"a.yaml": "a: 2"})
}

// fsnotify reports, with its lock held, that it cannot end the watch of a directory
// that is gone. The goroutine that receives the report must not wait for that lock.
func TestDirectoriesThatComeAndGo(t *testing.T) {
	t.Parallel()
	root := memDir(t)
	put(t, root, "a.yaml", "a: 1")
	s := open(t, root, source.Options{Quiet: 1, MaxWait: 1, OnWatchError: func(err error) { t.Error(err) }})
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		var err error
		for n := 0; err == nil; n++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			dir := func(i int) string { return filepath.Join(root, fmt.Sprint("dir", i)) }
			away := filepath.Join(root, ".away")
			for i := 0; i < 20 && err == nil; i++ {
				err = os.Mkdir(dir(i), 0o755)
			}
			time.Sleep(time.Duration(n%5) * 200 * time.Microsecond)
			for i := 0; i < 20 && err == nil; i++ {
				if err = os.Rename(dir(i), away); err == nil {
					err = os.Remove(away)
				}
			}
		}
		done <- err
	}()
	for range 300 {
		if snap, err := fetch(s); err == nil {
			wantFiles(t, snap, map[string]string{"a.yaml": "a: 1"})
		}
	}
	close(stop)
	must(t, <-done)
}

// The way to the source is watched from the nearest directory that there is.
func TestHintsOfTheWay(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	root := filepath.Join(base, "etc", "app")
	s := open(t, root, source.Options{})
	want := map[string]string{"a.yaml": "a: 1"}
	for range 2 {
		if _, err := fetch(s); err == nil {
			t.Fatal("there is no source yet")
		}
		made := make(chan error, 1)
		go func() {
			err := os.MkdirAll(root, 0o755)
			if err == nil {
				err = save(root, "a.yaml", "a: 1")
			}
			made <- err
		}()
		awaitFiles(t, s, want)
		must(t, <-made)
		quietly(t, s)
		must(t, os.RemoveAll(filepath.Join(base, "etc")))
		awaitHint(t, s)
	}
}

func TestHintsOfLayouts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, below string
		publish     func(root string, n int) error
	}{
		{"volume", "", func(root string, n int) error { return atomicWriter(root, pair(n)) }},
		{"git-sync", "current", func(root string, n int) error {
			return gitSync(root, fmt.Sprint("sha", n), true, pair(n))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			must(t, test.publish(root, 0))
			s := open(t, filepath.Join(root, test.below), source.Options{})
			for n := 1; n <= 5; n++ {
				awaitFiles(t, s, pair(n-1))
				must(t, test.publish(root, n))
			}
			awaitFiles(t, s, pair(5))
			quietly(t, s)
			s.watch.mu.Lock()
			defer s.watch.mu.Unlock()
			if watched := s.watch.inotify.WatchList(); len(watched) > 6 {
				t.Errorf("watches are left over: %q", watched)
			}
		})
	}
}

// Ignored files give no hint. A change after it that counts shows that the
// events have been looked at.
func TestNoHintForWhatIsIgnored(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	put(t, root, "a.yaml", "a: 1")
	s := open(t, root, source.Options{Wanted: func(p string) bool { return strings.HasSuffix(p, ".yaml") }})
	quietly(t, s)
	for _, name := range []string{".a.yaml.swp", "a.yaml~", "4913", "#a.yaml#", "sedXyz", "note.txt"} {
		must(t, os.WriteFile(filepath.Join(root, name), []byte("x"), 0o644))
		must(t, os.Remove(filepath.Join(root, name)))
	}
	must(t, os.WriteFile(filepath.Join(filepath.Dir(root), "neighbour.yaml"), []byte("x"), 0o644))
	seen := make(chan struct{})
	go func() {
		defer close(seen)
		for {
			s.watch.mu.Lock()
			_, ok := s.watch.arrived[filepath.Join(root, "z.yaml")]
			s.watch.mu.Unlock()
			if ok {
				return
			}
			time.Sleep(100 * time.Microsecond)
		}
	}()
	select {
	case <-s.Hint():
		t.Error("a hint for what is ignored")
	default:
	}
	must(t, save(root, "z.yaml", "z: 1"))
	<-seen
	awaitHint(t, s)
}

// 10,000 changes give a handful of hints, and the last state always wins.
func TestManyChanges(t *testing.T) {
	t.Parallel()
	root := memDir(t)
	const files, changes = 100, 10_000
	for n := range files {
		put(t, root, fmt.Sprintf("%02d.yaml", n), "version: -1")
	}
	s := open(t, root, source.Options{})
	quietly(t, s)
	var hints, snapshots int
	want := map[string]string{}
	for n := changes - files; n < changes; n++ {
		want[fmt.Sprintf("%02d.yaml", n%files)] = fmt.Sprintf("version: %d", n)
	}
	done := make(chan error, 1)
	began := time.Now()
	go func() {
		for n := range changes {
			if err := save(root, fmt.Sprintf("%02d.yaml", n%files), fmt.Sprintf("version: %d", n)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	var took time.Duration
	var before *source.Snapshot
	for running := true; running; {
		select {
		case err := <-done:
			must(t, err)
			running, took = false, time.Since(began)
		case <-s.Hint():
			hints++
			snap, err := fetch(s)
			if err != nil && !errors.Is(err, source.ErrUnstable) {
				t.Error(err)
			}
			if err == nil && snap != before {
				snapshots, before = snapshots+1, snap
			}
		}
	}
	t.Logf("%d changes in %v: %d hints, %d snapshots", changes, took, hints, snapshots)
	if hints > changes/100 {
		t.Errorf("%d hints for %d changes", hints, changes)
	}
	awaitFiles(t, s, want)
}

// What the events say of files, one by one. None of this is watched: the events are
// made here.
func TestWeigh(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	put(t, root, "full.yaml", "x: 1")
	put(t, root, "empty.yaml", "")
	put(t, root, "note.txt", "x")
	put(t, root, "v3", "x: 1")
	put(t, root, "store/v4", "x: 1")
	must(t, os.WriteFile(filepath.Join(root, "page.yaml"), make([]byte, 4096), 0o644))
	must(t, os.WriteFile(filepath.Join(root, "more.yaml"), make([]byte, 4097), 0o644))
	put(t, root, "chmod.yaml", strings.Repeat("#", 4096)) // its ctime is beyond its mtime
	put(t, root, "dir.yaml/x.yaml", "x: 1")
	must(t, os.Symlink("full.yaml", filepath.Join(root, "link.yaml")))
	s := open(t, root, source.Options{Wanted: func(p string) bool { return strings.HasSuffix(p, ".yaml") }})
	w := s.watch
	w.dirs[root] = &watched{tree: 1, path: "team"}
	w.dirs["/etc"] = &watched{}
	w.routes = map[string][]string{"/etc": {"app"}}
	w.root = root
	w.passed[root+"/v3"] = 1
	w.dirs[root+"/store"] = &watched{}
	w.passed[root+"/store/v4"] = 1
	const quiet = source.DefaultQuiet
	type event = fsnotify.Op
	for _, test := range []struct {
		name string
		op   event
		want time.Duration
	}{
		{root + "/full.yaml", fsnotify.Create, atOnce},
		{root + "/full.yaml", fsnotify.Write, quiet},
		{root + "/full.yaml", fsnotify.Chmod, quiet},
		{root + "/full.yaml", fsnotify.Remove, quiet},
		{root + "/full.yaml", fsnotify.Rename, quiet},
		{root + "/empty.yaml", fsnotify.Create, quiet},
		{root + "/gone.yaml", fsnotify.Create, quiet},
		{root + "/dir.yaml", fsnotify.Create, quiet},
		{root + "/link.yaml", fsnotify.Create, settleRename},
		{root + "/page.yaml", fsnotify.Create, quiet},
		{root + "/more.yaml", fsnotify.Create, settleRename},
		{root + "/chmod.yaml", fsnotify.Create, atOnce},
		{root + "/v3", fsnotify.Create, atOnce},
		{root + "/v3", fsnotify.Write, quiet},
		{root + "/store/v4", fsnotify.Create, atOnce},
		{root + "/store/v5", fsnotify.Create, 0},
		{root + "/store", fsnotify.Chmod, quiet},
		{root + "/note.txt", fsnotify.Chmod, 0},
		{root + "/note.txt", fsnotify.Create, 0},
		{root + "/note.txt", fsnotify.Write, 0},
		{root + "/.full.yaml", fsnotify.Create, 0},
		{root + "/..data", fsnotify.Create, atOnce},
		{root + "/..data", fsnotify.Remove, quiet},
		{root + "/..data_tmp", fsnotify.Create, 0},
		{"/etc/app", fsnotify.Create, atOnce},
		{"/etc/app", fsnotify.Remove, quiet},
		{"/etc/other", fsnotify.Create, 0},
		{"/nowhere/x", fsnotify.Write, quiet},
		{root, fsnotify.Remove, quiet},
	} {
		if got := w.weigh(fsnotify.Event{Name: test.name, Op: test.op}); got != test.want {
			t.Errorf("%v of %s: %v, want %v", test.op, test.name, got, test.want)
		}
	}
	if w.dirs[root] != nil {
		t.Error("a directory that was taken away is still counted as watched")
	}

	w.dirs[root] = &watched{tree: 1, path: "team"}
	full, now := lstat(t, root+"/full.yaml"), time.Now()
	whole := func(after time.Duration) bool { return w.arrivedWhole("", "full.yaml", full, now.Add(after)) }
	happens := func(op event) {
		w.weigh(fsnotify.Event{Name: root + "/full.yaml", Op: op})
		now = w.arrived[root+"/full.yaml"].at
	}
	if happens(fsnotify.Write); whole(time.Second) {
		t.Error("written, and counted as arrived whole")
	}
	if happens(fsnotify.Create); whole(settleRename-1) || !whole(settleRename) {
		t.Error("created full: want it to count as arrived whole, but a moment later")
	}
	if happens(fsnotify.Create); !whole(settleRename) || now.After(time.Now().Add(-settleRename)) {
		t.Error("created over itself: want it to count as arrived whole at once")
	}
	full.size++
	if whole(time.Second) {
		t.Error("another state than the one that arrived counts")
	}
	full.size--
	if happens(fsnotify.Write); whole(time.Second) {
		t.Error("written since, and counted as arrived whole")
	}
	if happens(fsnotify.Create); whole(settleRename - 1) {
		t.Error("created after a write: it is not known to be a rename")
	}
}

// Only what an event was not about since the scan that found it is certain to exist.
func TestKnown(t *testing.T) {
	t.Parallel()
	var k known
	event := func(path string, want bool) {
		t.Helper()
		if got := k.event(path); got != want {
			t.Errorf("%s is known: %v, want %v", path, got, want)
		}
	}
	event("a", false)
	k.scanning()
	k.finished([]*source.File{{Path: "a"}, {Path: "b"}, {Path: "c"}, {Path: "d"}})
	event("a", true)
	event("a", false) // it may have been removed by the first
	event("x", false)
	k.scanning()
	event("a", false) // the scan may have come by before
	event("b", true)
	k.scanning() // the scan before found no rest
	event("b", false)
	k.finished([]*source.File{{Path: "a"}, {Path: "b"}, {Path: "c"}})
	event("b", false) // since the scan began
	event("a", true)
	event("d", false)
	k.scanning()
	k.finished(k.files)
	for i := range maxNames + 1 {
		k.event(strconv.Itoa(i))
	}
	event("c", false)
	k.scanning()
	event("c", false)
	k.scanning()
	k.finished(k.files)
	event("a", true)
}

func TestDebounce(t *testing.T) {
	t.Parallel()
	const quiet, bound = 50 * time.Millisecond, 500 * time.Millisecond
	start := time.Now()
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	due := func(d *debounce) int { return int(d.due.Sub(start).Milliseconds()) }
	check := func(d *debounce, want int, what string) {
		t.Helper()
		if got := due(d); got != want {
			t.Errorf("%s: due after %d ms, want %d", what, got, want)
		}
	}
	d := newDebounce(quiet, bound)
	defer d.timer.Stop()
	d.event(at(0), settleRename)
	check(d, 2, "a rename")
	d.event(at(1), quiet)
	check(d, 51, "a write beside it")
	d.event(at(10), settleRename)
	check(d, 51, "a rename while a write settles")
	for ms := 20; ms < 600; ms += 10 {
		d.event(at(ms), quiet)
	}
	check(d, 500, "writes that never end")
	d.fired(at(500))
	d.event(at(501), settleRename)
	check(d, 550, "a rename after a burst")
	d.fired(at(550))
	d.event(at(560), settleRename)
	check(d, 562, "a rename where nothing came just before")
	d.fired(at(562))
	d.event(at(563), atOnce)
	check(d, 563, "a rename that is certain, where nothing came just before")
	d.event(at(564), atOnce)
	check(d, 566, "one more, just after it")
}

// When events are lost, a hint still comes, and OnWatchError is called.
func TestOverflow(t *testing.T) {
	t.Parallel()
	root := memDir(t)
	put(t, root, "a.yaml", "a: 1")
	told := make(chan error, 10)
	s := open(t, root, source.Options{OnWatchError: func(err error) { told <- err }})
	quietly(t, s)
	limit, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	must(t, err)
	var queued int
	if _, err := fmt.Sscan(string(limit), &queued); err != nil || queued > 50_000 {
		t.Skipf("the queue is too long to fill: %s", limit)
	}

	s.watch.mu.Lock() // the watcher sees nothing for a while
	path, other := filepath.Join(root, ".x"), filepath.Join(root, ".y")
	must(t, os.WriteFile(path, nil, 0o644))
	for range queued {
		must(t, os.Rename(path, other))
		path, other = other, path
	}
	must(t, save(root, "a.yaml", "a: 2"))
	s.watch.mu.Unlock()

	awaitHint(t, s)
	if err := <-told; !errors.Is(err, fsnotify.ErrEventOverflow) || !strings.Contains(err.Error(), "periodic rescan") {
		t.Errorf("told %v", err)
	}
	awaitFiles(t, s, map[string]string{"a.yaml": "a: 2"})
	quietly(t, s)
	must(t, save(root, "a.yaml", "a: 3"))
	awaitHint(t, s)
}

// A directory that moves is watched where it went, also if a scan comes by between the two
// events of the move: that of its parent, and its own, at which fsnotify ends its watch.
func TestScanBetweenTheEventsOfAMove(t *testing.T) {
	t.Parallel()
	root := memDir(t)
	put(t, root, "d/x.yaml", "x: 1")
	o := onlyHints()
	o.NoWatch = true
	s := open(t, root, o)
	n, err := fsnotify.NewWatcher()
	must(t, err)
	s.watch = newWatcher(s.opt)
	s.watch.inotify = n
	read(t, s)
	must(t, os.Rename(filepath.Join(root, "d"), filepath.Join(root, "e")))
	for ev := range n.Events {
		if s.watch.weigh(ev); ev.Name == filepath.Join(root, "d") && ev.Has(fsnotify.Rename) {
			break
		}
	}
	read(t, s)
	s.watch.wait.Go(func() { s.watch.run(n) })
	quietly(t, s)
	put(t, root, "e/x.yaml", "x: 2")
	awaitHint(t, s)
}

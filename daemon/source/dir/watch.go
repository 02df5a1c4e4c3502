package dir

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/source"
)

const (
	// watchRetry is how long inotify is left alone after it refused, and how
	// seldom one and the same trouble is told again.
	watchRetry = time.Minute
	// maxArrivals bounds what is remembered of files that arrived whole.
	maxArrivals = 4096
)

// watcher turns the events of the file system into hints. Whatever it misses, a
// later Fetch finds; so all its failures are reported and otherwise ignored.
//
// Fetch says what to watch, each directory before it is listed, so that between
// the listing and the watching nothing is missed.
//
// The methods that Fetch calls accept a nil watcher, which does nothing.
type watcher struct {
	opt  source.Options
	hint chan struct{}
	done chan struct{}
	wait sync.WaitGroup

	// For the goroutine that reads.
	asked   map[inode]string // by which path inotify was last asked to watch a directory
	blind   bool             // a directory of the source, or one that a link leads by, is not watched
	scan    uint64           // counts the whole scans
	round   uint64           // counts the content checks
	root    string           // the real path that is being scanned
	retryAt time.Time        // when to ask inotify for more again

	// fsnotify holds its own lock while it waits for its errors to be received:
	// it must not be called with mu held, which the receiving goroutine needs.
	mu      sync.Mutex
	inotify *fsnotify.Watcher    // nil while the kernel gives none
	told    map[string]time.Time // when each kind of trouble was told
	dirs    map[string]*watched  // by real path
	routes  map[string][]string  // directory to the names in it that decide where the root is
	passed  map[string]uint64    // real path of a name that a link inside leads by, to the last scan that followed it
	arrived map[string]arrival   // by real path
	hinted  bool                 // a hint was signalled and no Fetch came because of it yet
	names   map[string]bool      // real paths that events were about since the last scan, at most maxNames: see changes.names
	more    bool                 // names does not have all that events were about
	sure    known
}

// watched is a directory that inotify was asked to watch.
type watched struct {
	inode
	failed time.Time // when inotify refused; zero when it watches
	round  uint64    // the content check in which inotify was asked last
	scan   uint64    // the last scan that came by
	tree   uint64    // the last scan that had it in the source; 0 when it is only on the way
	path   string    // of its files, as in source.File, when it is one of the source
}

// arrival is a file that appeared with its content.
type arrival struct {
	stamp
	at time.Time
}

func newWatcher(o source.Options) *watcher {
	return &watcher{
		opt:     o,
		hint:    make(chan struct{}, 1),
		done:    make(chan struct{}),
		asked:   map[inode]string{},
		told:    map[string]time.Time{},
		dirs:    map[string]*watched{},
		passed:  map[string]uint64{},
		arrived: map[string]arrival{},
		names:   map[string]bool{},
	}
}

// start asks the kernel for an inotify instance; a user has few of them (128).
func (w *watcher) start() {
	n, err := fsnotify.NewWatcher()
	if err != nil {
		w.retryAt = time.Now().Add(watchRetry)
		w.tell(fmt.Errorf("no file system events: %w; changes are found by the periodic rescan; raise fs.inotify.max_user_instances", err))
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed() {
		_ = n.Close()
		return
	}
	w.inotify = n
	w.wait.Go(func() { w.run(n) })
}

func (w *watcher) close() error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	close(w.done)
	n := w.inotify
	w.mu.Unlock()
	var err error
	if n != nil {
		err = n.Close()
	}
	w.wait.Wait()
	return err
}

// begin starts a whole scan that goes by r, in the content check round: what decides
// where the root is gets watched before the root is opened. The scan sees what all
// events so far were about.
func (w *watcher) begin(r route, round uint64) {
	if w == nil || w.closed() {
		return
	}
	if w.inotify == nil && time.Now().After(w.retryAt) {
		w.start()
	}
	w.scan++
	w.blind = w.inotify == nil || r.real == ""
	w.round = round
	w.root = r.real
	routes := make(map[string][]string, len(r.hops))
	for _, h := range r.hops {
		routes[h.dir] = append(routes[h.dir], h.name)
	}
	w.mu.Lock()
	w.routes = routes
	clear(w.names)
	w.more = false
	w.sure.scanning()
	w.mu.Unlock()
	for dir := range routes {
		var st unix.Stat_t
		if _, err := retry(func() (int, error) { return 0, unix.Stat(dir, &st) }); err == nil {
			w.watch(dir, stampOf(&st).inode, nil)
		}
	}
}

// directory watches a directory of the source.
func (w *watcher) directory(at place) {
	if w == nil || w.closed() || w.root == "" {
		return
	}
	if !w.watch(filepath.Join(w.root, at.real), at.stamp.inode, &at) {
		w.blind = true
	}
}

// passes watches the directory dir, open as fd, for the one name in it that the
// target of a link inside the source leads by. dir is relative to the root. There may
// be as many such names as there may be files; a change of one more gives no hint.
func (w *watcher) passes(fd int, dir, name string) {
	if w == nil || w.closed() || w.root == "" {
		return
	}
	dir = filepath.Join(w.root, dir)
	name = filepath.Join(dir, name)
	w.mu.Lock()
	_, known := w.passed[name]
	room := known || len(w.passed) < w.opt.MaxFiles
	if room {
		w.passed[name] = w.scan
	}
	d := w.dirs[dir]
	seen := d != nil && d.scan == w.scan
	if !room || seen && !d.failed.IsZero() {
		w.blind = true
	}
	w.mu.Unlock()
	if !room || seen {
		return
	}
	if st, _, err := fstat(fd); err != nil || !w.watch(dir, st.inode, nil) {
		w.blind = true
	}
}

// watch makes sure that path is watched and is still the directory that is says, and
// reports whether it is watched. at is set when it is a directory of the source.
//
// Once in a content check inotify is asked again for what it watches already. That
// costs one system call and changes nothing, unless the file system was unmounted,
// which fsnotify does not tell, and came back with the same inodes.
func (w *watcher) watch(path string, is inode, at *place) bool {
	now := time.Now()
	w.mu.Lock()
	n, d := w.inotify, w.dirs[path]
	known := d != nil && d.inode == is
	if !known {
		d = &watched{inode: is}
	}
	d.scan = w.scan
	if at != nil {
		d.tree, d.path = w.scan, at.path
	}
	asked := known && d.round == w.round
	if known && !d.failed.IsZero() {
		asked = now.Sub(d.failed) < watchRetry
	}
	if n == nil || asked || now.Before(w.retryAt) {
		watched := n != nil && known && d.failed.IsZero()
		w.mu.Unlock()
		return watched
	}
	d.failed, d.round = time.Time{}, w.round
	w.dirs[path] = d // before its first event
	old := w.asked[is]
	if at := w.dirs[old]; old == path || at != nil && at.inode != is {
		old = "" // it did not move, or its old path is another directory's now
	}
	delete(w.dirs, old)
	w.mu.Unlock()

	// fsnotify knows a moved directory by its old path, and ends its watch when it
	// reads the event of the move.
	if old != "" {
		_ = n.Remove(old) // it may have gone on its own
	}
	err := n.Add(path)
	if err == nil {
		w.asked[is] = path
		return true
	}
	delete(w.asked, is)
	keep := false
	switch {
	case gone(err), errors.Is(err, fsnotify.ErrClosed):
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.ENOMEM):
		w.retryAt = now.Add(watchRetry)
		w.tell(fmt.Errorf("cannot watch %s: %w; changes there are found by the periodic rescan; raise fs.inotify.max_user_watches", plain.Text(path), err))
	default:
		keep = true
		w.tell(fmt.Errorf("cannot watch %s: %w; changes there are found by the periodic rescan", plain.Text(path), err))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if d.failed = now; !keep {
		delete(w.dirs, path)
	}
	return false
}

// end forgets what the scan did not come by, if it came by everything.
func (w *watcher) end(complete bool) {
	if w == nil {
		return
	}
	now := time.Now()
	var stale []string
	w.mu.Lock()
	for path, a := range w.arrived {
		if now.Sub(a.at) > w.opt.Quiet {
			delete(w.arrived, path) // its age alone now shows that it rests
		}
	}
	if !complete {
		w.mu.Unlock()
		return
	}
	for path, scan := range w.passed {
		if scan != w.scan {
			delete(w.passed, path)
		}
	}
	for path, d := range w.dirs {
		if d.tree != w.scan {
			d.tree = 0
		}
		if d.scan != w.scan {
			delete(w.dirs, path)
		}
	}
	for is, path := range w.asked {
		d := w.dirs[path]
		if d == nil {
			stale = append(stale, path)
		}
		if d == nil || d.inode != is {
			delete(w.asked, is)
		}
	}
	n := w.inotify
	w.mu.Unlock()
	for _, path := range stale {
		_ = n.Remove(path) // it may have gone on its own
	}
}

// finished takes the files of a scan that saw everything at rest.
func (w *watcher) finished(files []*source.File) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sure.finished(files)
}

// arrivedWhole reports whether the file name of the directory dir, which is relative to
// the root, was seen to appear with its content, and not to be written to since.
func (w *watcher) arrivedWhole(dir, name string, st stamp, now time.Time) bool {
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	a, ok := w.arrived[filepath.Join(w.root, dir, name)]
	return ok && a.stamp == st && now.Sub(a.at) >= settleRename
}

// tell reports one kind of trouble at most once in watchRetry. Its kind is the text
// of the innermost error.
func (w *watcher) tell(err error) {
	kind := err
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		kind = inner
	}
	now := time.Now()
	w.mu.Lock()
	at, told := w.told[kind.Error()]
	fresh := !told || now.Sub(at) >= watchRetry
	if fresh {
		w.told[kind.Error()] = now
	}
	w.mu.Unlock()
	if fresh {
		w.opt.OnWatchError(err)
	}
}

// signal hints. It is called with mu held.
func (w *watcher) signal() {
	w.hinted = true
	select {
	case w.hint <- struct{}{}:
	default:
	}
}

// received reports whether the caller of Fetch has received a hint since it was asked
// last: whether it calls because of that hint.
func (w *watcher) received() bool {
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	received := w.hinted && len(w.hint) == 0
	if received {
		w.hinted = false
	}
	return received
}

// note remembers a name that an event was about. It is called with mu held.
func (w *watcher) note(name string, entry bool) {
	name = filepath.Clean(name)
	if len(w.names) >= maxNames {
		w.more = true
	}
	if w.more {
		clear(w.names)
		return
	}
	w.names[name] = w.names[name] || entry
}

// changes returns what the events since the last scan were about, and what that scan
// left to do. It returns nil if they do not tell, or not everything.
func (w *watcher) changes(left *changes) *changes {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.more || w.closed() {
		return nil
	}
	c := changesIn(w.root, w.names)
	clear(w.names)
	w.sure.scanning()
	if c == nil {
		return nil
	}
	if left != nil {
		for name, entry := range left.names {
			c.add(name, entry)
		}
	}
	if len(c.names) > maxNames {
		return nil
	}
	return c
}

// seesAll reports whether everything that the source consists of is watched, as of the
// last scan.
func (w *watcher) seesAll() bool { return w != nil && !w.blind }

func (w *watcher) closed() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

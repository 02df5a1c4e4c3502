package dir

import (
	"errors"
	"fmt"
	"math"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/daemon/source"
)

// settleRename is how long a file that appeared with its content must go without
// a write to be taken for one that was renamed or linked into place. fsnotify
// reports both a rename into place and an open that creates a file as a creation.
// But a file that is created in place is written afterwards, and each write is
// reported too: at its end, before which the file consists of whole pages.
const settleRename = 2 * time.Millisecond

// atOnce is for what is certain to be whole: it is read at once if nothing happened in
// the settleRename before. What follows sooner settles like the rest.
const atOnce = time.Nanosecond

// crowd is how many events under one hint make a burst.
const crowd = 16

// debounce delays a hint until events have settled: trailing edge, bounded. What is
// certain to be whole has its hint at once where nothing came just before. After a burst
// it also keeps hints apart, by more and more while the burst continues, since a busy
// writer pauses often enough to look settled.
type debounce struct {
	timer *time.Timer
	quiet time.Duration // between the hints of a burst, at least
	bound time.Duration // from an event to its hint, at most

	last   time.Time // of all events
	first  time.Time // of the events that wait; zero when none does
	due    time.Time
	events int // that wait
	hold   time.Duration
	next   time.Time // no hint before
}

func newDebounce(quiet, bound time.Duration) *debounce {
	t := time.NewTimer(math.MaxInt64)
	t.Stop()
	return &debounce{timer: t, quiet: quiet, bound: bound}
}

// event puts the hint off until settle from now, or longer where an earlier event
// asked for that. It reports whether the hint is due already, which no timer is needed for.
func (d *debounce) event(now time.Time, settle time.Duration) bool {
	d.events++
	if settle == atOnce && now.Sub(d.last) < settleRename {
		settle = settleRename
	}
	d.last = now
	if d.first.IsZero() {
		d.first, d.due = now, now
	}
	due := now.Add(settle)
	if due.Before(d.next) {
		due = d.next
	}
	if last := d.first.Add(d.bound); due.After(last) {
		due = last
	}
	if due.After(d.due) {
		d.due = due
	}
	if d.due.Sub(now) <= atOnce {
		d.timer.Stop()
		return true
	}
	d.timer.Reset(d.due.Sub(now))
	return false
}

// fired starts over after a hint.
func (d *debounce) fired(now time.Time) {
	if d.events >= crowd {
		d.hold = min(max(2*d.hold, d.quiet), d.bound)
	} else {
		d.hold = 0
	}
	d.next = now.Add(d.hold)
	d.first, d.events = time.Time{}, 0
}

// run is the watcher's goroutine. It ends when fsnotify closes its channels, and not
// before: closing fsnotify blocks unless its errors are received.
func (w *watcher) run(n *fsnotify.Watcher) {
	wait := newDebounce(w.opt.Quiet, w.opt.MaxWait)
	defer wait.timer.Stop()
	hint := func(now time.Time) {
		wait.fired(now)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.signal()
	}
	for {
		select {
		case ev, ok := <-n.Events:
			if !ok {
				return
			}
			settle, now := w.weigh(ev), time.Now()
			if settle > 0 && wait.event(now, settle) {
				hint(now)
			}
		case err, ok := <-n.Errors:
			if !ok {
				return
			}
			if errors.Is(err, unix.EINVAL) {
				continue // a watch that fsnotify meant to end had ended with its directory
			}
			w.trouble(err)
			wait.event(time.Now(), w.opt.Quiet)
		case <-wait.timer.C:
			hint(time.Now())
		}
	}
}

// trouble forgets all that events may have been lost about.
func (w *watcher) trouble(err error) {
	w.mu.Lock()
	clear(w.arrived)
	clear(w.dirs) // the next Fetch adds them anew, which is free where they exist
	w.more = true
	w.mu.Unlock()
	w.tell(fmt.Errorf("file system events were lost: %w; the periodic rescan finds what changed; if it happens often, raise fs.inotify.max_queued_events", err))
}

// weigh returns how long after ev a hint is due, or 0 if ev is of no interest, and
// remembers what the next scan has to look at. That is more than what gives a hint: the
// names of unwanted files are in a snapshot, too, and may be hard links of wanted ones.
func (w *watcher) weigh(ev fsnotify.Event) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken := ev.Has(fsnotify.Remove) || ev.Has(fsnotify.Rename)
	_, isDir := w.dirs[ev.Name]
	if isDir && taken {
		delete(w.dirs, ev.Name) // fsnotify has dropped it as well
		w.more = true
		return w.opt.Quiet
	}

	parent, name := filepath.Dir(ev.Name), filepath.Base(ev.Name)
	dir := w.dirs[parent]
	onTheWay := slices.Contains(w.routes[parent], name)
	_, passed := w.passed[ev.Name]
	switch {
	case onTheWay, dir != nil && dir.tree != 0 && name == volumeLink:
		w.more = true
		if ev.Has(fsnotify.Create) {
			return atOnce // a directory or a link, which are there as a whole
		}
		return w.opt.Quiet
	case dir == nil && w.routes[parent] == nil:
		w.more = true
		return w.opt.Quiet // a directory on its way out: better one hint too many
	case passed:
	case dir == nil || dir.tree == 0 || source.Ignored(dir.path, name):
		return 0
	}

	entry := dir != nil && dir.tree != 0 && !source.Ignored(dir.path, name)
	wanted := passed || w.opt.Wanted(path.Join(dir.path, name))
	w.note(ev.Name, entry)
	existed := entry && w.sure.event(path.Join(dir.path, name))
	switch {
	case ev.Has(fsnotify.Create):
		return w.created(ev.Name, wanted, existed)
	case !wanted && (!ev.Has(fsnotify.Chmod) || !isDirectory(ev.Name)):
		return 0
	}
	delete(w.arrived, ev.Name)
	return w.opt.Quiet
}

// isDirectory is for a chmod: that of a directory decides whether all in it can be
// read, and an unreadable one is not watched itself.
func isDirectory(name string) bool {
	_, mode, err := lstatAt(unix.AT_FDCWD, name)
	return err == nil && mode == unix.S_IFDIR
}

// created looks at what a new name is. Only what is whole already needs no quiet: a
// link, and a file that took the place of one that existed, or whose times show that it
// was renamed after it was written.
func (w *watcher) created(name string, wanted, existed bool) time.Duration {
	var st unix.Stat_t
	_, err := retry(func() (int, error) { return 0, unix.Lstat(name, &st) })
	switch mode := uint32(st.Mode) & unix.S_IFMT; {
	case err != nil || mode == unix.S_IFDIR:
		return w.opt.Quiet
	case mode == unix.S_IFLNK:
		return settleRename
	case !wanted:
		return 0
	}
	now := stampOf(&st)
	if now.size == 0 || now.wholePages() && now.ctime <= now.mtime {
		return w.opt.Quiet
	}
	seen, settle := time.Now(), settleRename
	_, there := w.arrived[name]
	if there || existed || now.ctime > now.mtime { // over a name that exists only a rename creates
		seen, settle = seen.Add(-settleRename), atOnce
	}
	if !there && len(w.arrived) >= maxArrivals {
		clear(w.arrived)
	}
	w.arrived[name] = arrival{now, seen}
	return settle
}

package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/source"
)

const (
	// maxDepth bounds how deep directories may nest, and so the descriptors a
	// scan holds open.
	maxDepth = 64
	// maxProblems bounds what one error lists.
	maxProblems = 32
	// volumeLink is the symlink of a Kubernetes volume (ConfigMap, Secret,
	// projected) whose replacement by rename publishes all its files at once.
	volumeLink = "..data"
)

// node is what is known of one directory, kept from one Fetch to the next.
type node struct {
	entries []*entry
	volume  *node  // set when the directory is a Kubernetes volume: what ..data points to
	seen    int    // how many names the listing had, ignored ones included
	stamp   stamp  // of the directory when it was listed
	racy    bool   // stamp may be shared by a later state
	round   uint64 // the content check that listed it last
}

// entry is one name in a directory: a file, or a directory when dir is set.
type entry struct {
	name string
	path string // as in source.File
	content
	dir    *node
	target string    // where a symlink leads, relative to the root; else empty
	missed time.Time // when a listing was without it first; zero when none was
}

// scan is one walk over the source. It descends by open descriptors and follows
// no symlink on its own, so that a tree that moves under it cannot lead it out.
//
// A whole scan looks at everything. A partial one looks at the changes only, and takes
// the rest as the last scan found it. Only a whole scan may fail: where a partial one
// comes upon anything but good files, it is in doubt, and a whole one follows.
type scan struct {
	d      *directory
	ctx    context.Context
	now    time.Time
	rootFd int
	only   *changes // nil in a whole scan
	doubt  bool     // of a partial scan

	leaves []*content
	files  []*source.File // the files of leaves
	wanted int
	links  int   // symlinks among the leaves
	names  int   // counted against MaxFiles
	bytes  int64 // counted against MaxTotal

	unasked int64 // bytes that were read since Options.Room was asked last

	problems []error // persist until the source is fixed
	unstable error   // the first thing that was not at rest
	fatal    error   // the scan ended here
}

// place is a directory in the walk. Its two paths differ inside a volume: real
// leads through the directory that ..data points to, path does not.
type place struct {
	fd         int
	stamp      stamp
	real, path string // relative to the root, "" being the root
	depth      int
	linked     int64 // ctime of the newest symlink on the way here
	known      bool  // what is not among the changes of a partial scan is as the last scan found it
}

// scan looks at the changes, or at everything where only is nil. A partial scan does not
// follow the way to the root by name: a change of it has an event, and ends at another
// inode than the root's.
func (d *directory) scan(ctx context.Context, only *changes) *scan {
	s := &scan{d: d, ctx: ctx, now: time.Now(), only: only}
	s.leaves = make([]*content, 0, len(d.walked))
	s.files = make([]*source.File, 0, len(d.walked))
	d.sound = false // also after a panic
	if only == nil {
		d.route, d.whole = trace(d.path), s.now
		d.watch.begin(d.route, d.round)
	}

	// The scan reads this directory and no other, also when git-sync swaps the link
	// to it.
	fd, err := retry(func() (int, error) {
		return unix.Open(d.path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		switch {
		case only != nil:
			s.doubt = true
		case errors.Is(err, unix.ENOENT) && (d.route.real != "" || !d.route.equal(trace(d.path))):
			// The kernel may have followed a link whose target was deleted under it.
			s.moved("", errVanished)
		default:
			s.fatal = missing(err)
		}
		return s
	}
	defer closeFd(fd)
	s.rootFd = fd
	st, _, err := fstat(fd)
	if err != nil {
		s.fatal = missing(err)
		return s
	}
	if only != nil && d.links > 0 && !only.addLinks(&d.root, false) {
		s.doubt = true
		return s
	}
	s.git()
	s.directory(place{fd: fd, stamp: st, linked: d.route.linked, known: only != nil}, &d.root)

	// A program that replaces the tree moves the link before it deletes the old
	// tree. If the link still leads here, no deletion had begun.
	var end unix.Stat_t
	_, err = retry(func() (int, error) { return 0, unix.Stat(d.path, &end) })
	if s.fatal == nil && (err != nil || stampOf(&end).inode != st.inode) {
		s.moved("", errVanished)
	}
	d.watch.end(only == nil && s.fatal == nil && s.unstable == nil)
	s.judge()
	return s
}

// gitLock is there while Git changes a work tree, one file after the other. One that is
// older than maxGitLock was left by a Git that died.
const (
	gitLock    = ".git/index.lock"
	maxGitLock = 30 * time.Second
)

// git waits for Git, if the source is a work tree that it is changing.
func (s *scan) git() {
	st, _, err := lstatAt(s.rootFd, gitLock)
	switch {
	case err != nil:
	case s.now.Sub(time.Unix(0, st.mtime)).Abs() < maxGitLock:
		s.unsettled(gitLock, "Git is changing the tree")
	case s.now.Sub(s.d.lockTold) > watchRetry:
		s.d.lockTold = s.now
		s.d.opt.OnWatchError(fmt.Errorf("%s/%s is older than %v: a Git that died may have left half of a change, which is read now; "+
			"see git status, and remove the file", plain.Text(s.d.path), gitLock, maxGitLock))
	}
}

// judge decides whether the next scan may go by this one, and whether this one, if it
// is a partial one, may go by the last.
func (s *scan) judge() {
	d := s.d
	good := s.fatal == nil && s.problems == nil
	switch {
	case s.only == nil:
		d.left = nil
		d.sound = good && s.unstable == nil && d.watch.seesAll()
	case !good, s.bytes > d.opt.MaxTotal, s.wanted == 0 && !d.opt.AllowEmpty,
		s.unstable == nil && len(s.only.unseen) > 0:
		s.doubt = true
	case s.unstable != nil:
		d.left, d.sound = s.only, true
	default:
		d.left, d.sound = nil, d.watch.seesAll()
	}
	if s.unstable == nil {
		d.links = s.links
	}
}

// directory reads what is in one directory. n is its state from the last scan.
func (s *scan) directory(at place, n *node) {
	if at.depth > maxDepth {
		s.fail(at.path, fmt.Errorf("is nested more than %d directories deep; flatten the source", maxDepth))
		return
	}
	if err := s.ctx.Err(); err != nil {
		s.fatal = err
		return
	}
	if s.only != nil {
		delete(s.only.unseen, at.real)
	}
	if at.known {
		s.revisit(at, n)
		return
	}
	s.d.watch.directory(at)
	if !s.list(at, n) {
		return
	}
	if n.volume != nil {
		s.volume(at, n.volume)
		return
	}
	for _, e := range n.entries {
		if s.fatal == nil {
			s.fatal = s.ctx.Err()
		}
		if s.fatal != nil {
			return
		}
		s.entry(at, n, e)
	}
}

// entry looks at one entry of the directory at.
func (s *scan) entry(at place, n *node, e *entry) {
	st, mode, err := lstatAt(at.fd, e.name)
	switch {
	case gone(err):
		n.racy = true
		s.moved(e.path, errVanished)
	case err != nil:
		s.fail(e.path, unreadable(err))
	case mode == unix.S_IFDIR:
		e.content, e.target = content{}, ""
		if e.dir == nil {
			e.dir = &node{}
		}
		s.descend(at, e.name, e.path, e.dir)
	case mode == unix.S_IFREG:
		e.dir, e.target = nil, ""
		s.file(at, e.name, e.path, st, &e.content)
	case mode == unix.S_IFLNK:
		e.dir = nil
		s.link(at, e.name, e.path, st, e)
	default:
		s.fail(e.path, fmt.Errorf("is %s, not a regular file; move it out of the source", typeName(mode)))
	}
}

// descend reads the directory name, and makes sure at the end that it was still
// this one: else what was listed may be the rest of a tree being deleted.
func (s *scan) descend(at place, name, rel string, n *node) {
	fd, err := openAt(at.fd, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		if gone(err) {
			s.moved(rel, errVanished)
		} else {
			s.fail(rel, unreadable(err))
		}
		return
	}
	defer closeFd(fd)
	st, _, err := fstat(fd)
	if err != nil {
		s.fail(rel, unreadable(err))
		return
	}
	s.directory(place{
		fd: fd, stamp: st, real: path.Join(at.real, name), path: rel,
		depth: at.depth + 1, linked: at.linked, known: at.known,
	}, n)
	if end, _, err := lstatAt(at.fd, name); err != nil || end.inode != st.inode {
		s.moved(rel, errVanished)
	}
}

// volume reads a Kubernetes volume through the one directory that ..data points
// to when the reading begins, and makes sure that it still does at the end.
func (s *scan) volume(at place, n *node) {
	link, _, err := lstatAt(at.fd, volumeLink)
	if err != nil {
		s.moved(at.path, errVanished)
		return
	}
	target, err := readlinkAt(at.fd, volumeLink)
	if err != nil {
		s.moved(at.path, errVanished)
		return
	}
	at.linked = max(at.linked, link.ctime)
	s.descend(at, target, at.path, n)
	if end, err := readlinkAt(at.fd, volumeLink); err != nil || end != target {
		s.moved(at.path, errVanished)
	}
}

// list brings n.entries up to date. The names are read again only when stat says
// that they may have changed, and when a content check is due.
func (s *scan) list(at place, n *node) bool {
	if n.stamp == at.stamp && !n.racy && n.round == s.d.round {
		return s.count(n.seen)
	}
	names, err := s.readNames(at)
	if err != nil {
		return false
	}
	volume, err := s.isVolume(at, names)
	if err != nil {
		s.fail(at.path, err)
		return false
	}

	before := len(s.problems)
	known := make(map[string]*entry, len(n.entries))
	for _, e := range n.entries {
		known[e.name] = e
	}
	entries := make([]*entry, 0, len(n.entries))
	for _, name := range names {
		if source.Ignored(at.path, name) {
			continue
		}
		if !utf8.ValidString(name) {
			s.fail(path.Join(at.path, name), errors.New("has a name that is not UTF-8; rename it"))
			continue
		}
		if volume {
			s.besideVolume(at, name)
			continue
		}
		e := known[name]
		if e == nil {
			e = &entry{name: name, path: path.Join(at.path, name)}
		}
		e.missed = time.Time{}
		delete(known, name)
		entries = append(entries, e)
	}

	// A program that replaces a file by removing it and writing it anew leaves a
	// moment without it. A listing of a directory that was itself replaced is not
	// such a moment.
	if n.stamp.inode == at.stamp.inode && !volume {
		missed := ""
		for _, e := range known {
			if s.justRemoved(at, e) {
				missed = e.path
			}
		}
		if missed != "" {
			s.unsettled(missed, "it has only just been removed")
			return false
		}
	}
	switch {
	case !volume:
		n.volume = nil
	case n.volume == nil:
		n.volume = &node{}
	}
	n.entries, n.seen = entries, len(names)
	n.stamp, n.round = at.stamp, s.d.round
	n.racy = at.stamp.age(s.now) < racyWindow || len(s.problems) > before // a bad name stays bad
	return true
}

// justRemoved reports whether e, which is gone from the directory at, went within the
// quiet time and would be missed. A directory that changes all the time does not
// show when that was: there, what was missed for MaxWait has gone.
func (s *scan) justRemoved(at place, e *entry) bool {
	if e.missed.IsZero() {
		e.missed = s.now
	}
	opt := &s.d.opt
	return (e.dir != nil || opt.Wanted(e.path)) && at.stamp.age(s.now) < opt.Quiet &&
		s.now.Sub(e.missed) < max(opt.Quiet, opt.MaxWait)
}

// readNames lists a directory, and stops where MaxFiles is exceeded.
func (s *scan) readNames(at place) ([]string, error) {
	fd, err := openAt(at.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		s.fail(at.path, unreadable(err))
		return nil, err
	}
	f := os.NewFile(uintptr(fd), at.path)
	defer func() { _ = f.Close() }()
	var names []string
	for {
		some, err := f.Readdirnames(1024)
		names = append(names, some...)
		switch {
		case !s.count(len(some)):
			return nil, s.fatal
		case errors.Is(err, io.EOF):
			slices.Sort(names)
			return names, nil
		case err != nil:
			s.fail(at.path, unreadable(err))
			return nil, err
		}
	}
}

// count counts n more names, as far as the limit allows.
func (s *scan) count(n int) bool {
	if s.names += n; s.names > s.d.opt.MaxFiles {
		s.fatal = fmt.Errorf("holds more than %d files and directories; is it the right directory?", s.d.opt.MaxFiles)
	}
	return s.fatal == nil
}

// isVolume reports whether a directory is a Kubernetes volume: whether it has a
// symlink ..data, which then must point to a directory beside it.
func (s *scan) isVolume(at place, names []string) (bool, error) {
	for _, name := range names {
		if name != volumeLink {
			continue
		}
		target, err := readlinkAt(at.fd, volumeLink)
		if err != nil || strings.Contains(target, "/") || !strings.HasPrefix(target, "..") || target == ".." {
			return false, fmt.Errorf("has a ..data that is not a symlink to a directory beside it (points to %q): not a Kubernetes volume; remove it", target)
		}
		return true, nil
	}
	return false, nil
}

// besideVolume refuses what is in a volume's directory without being one of the
// symlinks to the volume's own files: it would be left out silently.
func (s *scan) besideVolume(at place, name string) {
	target, err := readlinkAt(at.fd, name)
	if err == nil && strings.HasPrefix(target, volumeLink+"/") || errors.Is(err, unix.ENOENT) {
		return
	}
	s.fail(path.Join(at.path, name), errors.New("stands beside ..data but is not part of that Kubernetes volume; move it into the volume or elsewhere"))
}

// fail records a problem that persists until the source is fixed.
func (s *scan) fail(rel string, err error) {
	switch {
	case len(s.problems) < maxProblems:
		s.problems = append(s.problems, &source.FileError{Root: s.d.path, Path: rel, Err: err})
	case len(s.problems) == maxProblems:
		s.problems = append(s.problems, fmt.Errorf("%s: and more", s.d.name))
	}
}

// moved notes that the tree changed under the scan.
func (s *scan) moved(rel string, err error) {
	s.doubt = true
	s.unsettled(rel, "it "+err.Error())
}

// unsettled notes that a later scan will see more.
func (s *scan) unsettled(rel, why string) {
	if s.unstable == nil {
		s.unstable = &source.FileError{Root: s.d.path, Path: rel, Err: fmt.Errorf(
			"%w: %s; read again later, and replace files by rename to have them read at once", source.ErrUnstable, why)}
	}
}

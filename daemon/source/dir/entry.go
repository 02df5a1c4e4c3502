package dir

import (
	"errors"
	"fmt"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/source"
)

// file takes the regular file name of the directory at into the snapshot. c is
// what is known of it, rel its path there.
func (s *scan) file(at place, name, rel string, st stamp, c *content) {
	opt := &s.d.opt
	if !opt.Wanted(rel) {
		if c.file == nil || c.file.Data != nil {
			*c = content{file: &source.File{Path: rel}}
		}
		s.take(c)
		return
	}
	s.wanted++
	if st.size > opt.MaxFile {
		s.fail(rel, fmt.Errorf("is %d bytes, more than the limit of %d for a file; make it smaller or raise --max-image", st.size, opt.MaxFile))
		return
	}
	switch s.bytes += st.size; {
	case s.bytes > opt.MaxTotal:
		s.fatal = fmt.Errorf("with %s its files are more than the limit of %d bytes for all together; make it smaller or raise --max-image", plain.Text(rel), opt.MaxTotal)
		return
	case st == c.stamp && !c.racy && c.round == s.d.round:
		s.take(c)
		return
	case !s.settled(at, name, st, c):
		s.unsettled(rel, fmt.Sprintf("it was written %v ago", max(0, st.age(s.now)).Round(time.Millisecond)))
		return
	}

	if c.file == nil || int64(len(c.file.Data)) != st.size {
		if err := s.room(st.size); err != nil {
			s.fatal = fmt.Errorf("there is no memory for reading %s: %w", plain.Text(rel), err)
			return
		}
	}
	switch err := c.load(at.fd, name, rel, st, s.d.round); {
	case err == nil:
		s.take(c)
	case gone(err) || errors.Is(err, errChanged):
		s.moved(rel, err)
	default:
		s.fail(rel, unreadable(err))
	}
}

// askFor is how many bytes are read at most until Options.Room is asked again.
const askFor = 1 << 20

// room takes note of content that is about to be read.
func (s *scan) room(bytes int64) error {
	if s.unasked += bytes; s.unasked < askFor {
		return nil
	}
	bytes, s.unasked = s.unasked, 0
	return s.d.opt.Room(bytes)
}

func (s *scan) take(c *content) {
	s.leaves = append(s.leaves, c)
	s.files = append(s.files, c.file)
}

// settled reports whether a file can be taken to be whole. It can when it was not
// touched for the quiet time; else only if the last event was not a write to it:
//   - it was there before a symlink on the way to it was;
//   - a rename, a link or a chmod moved its ctime beyond its mtime;
//   - where the clock is too coarse to show that, the watcher saw it arrive whole.
//
// The times of a file are those of a write's beginning. While one may still be running
// its age says nothing, and it must be seen not to change.
func (s *scan) settled(at place, name string, st stamp, c *content) bool {
	// A truncation shows the new size a moment before the new times.
	truncated := st.inode == c.stamp.inode && st.ctime == c.stamp.ctime && st.size != c.stamp.size
	if truncated || st.size == 0 {
		return c.rest.stayed(st, s.now, s.d.opt.Quiet)
	}
	if st.ctime <= at.linked || st.ctime > st.mtime || s.d.watch.arrivedWhole(at.real, name, st, s.now) {
		return true
	}
	if st.wholePages() && st.age(s.now) < racyWindow {
		return c.rest.stayed(st, s.now, s.d.opt.Quiet)
	}
	return c.rest.rested(st, s.now, s.d.opt.Quiet)
}

// link takes a symlink to a regular file of the source into the snapshot. It is
// resolved here and not by the kernel, one real directory after the other, so that
// nothing outside is ever looked at, nothing turns in circles, and a link
// that is swapped meanwhile cannot mix two trees.
func (s *scan) link(at place, name, rel string, link stamp, e *entry) {
	target, err := readlinkAt(at.fd, name)
	if err != nil {
		s.moved(rel, errVanished)
		return
	}
	refuse := func(why string) { s.fail(rel, fmt.Errorf("is a symlink to %s, %s", plain.Text(target), why)) }
	inside, ok := resolve(at.real, target)
	if !ok {
		refuse("which leads out of the source; put the file itself there, or a relative link to a file of the source")
		return
	}

	names := parts(inside)
	if len(names) == 0 {
		refuse("the source itself; only files may be links inside a source")
		return
	}
	if len(names) > maxDepth+1 {
		refuse(fmt.Sprintf("which is nested more than %d directories deep; flatten the source", maxDepth))
		return
	}
	fd, err := s.parent(names, s.d.opt.Wanted(rel))
	switch {
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		refuse("which passes another symlink or a file; link to the real path")
		return
	case errors.Is(err, unix.ENOENT):
		refuse("which does not exist; remove it or link to a file of the source")
		return
	case err != nil:
		s.fail(rel, unreadable(err))
		return
	}
	defer closeFd(fd)

	last := names[len(names)-1]
	st, mode, err := lstatAt(fd, last)
	switch {
	case errors.Is(err, unix.ENOENT):
		refuse("which does not exist; remove it or link to a file of the source")
	case err != nil:
		s.fail(rel, unreadable(err))
	case mode == unix.S_IFREG:
		at.fd, at.real = fd, path.Join(names[:len(names)-1]...)
		at.linked = max(at.linked, link.ctime)
		e.target = inside
		s.links++
		s.file(at, last, rel, st, &e.content)
	case mode == unix.S_IFDIR:
		refuse("a directory; only files may be links inside a source (the source itself may be one: name it with --source)")
	case mode == unix.S_IFLNK:
		refuse("another symlink; link to the real path")
	default:
		refuse(typeName(mode) + "; only regular files can be configs")
	}
}

// parent opens the directory that the last of the names is in, from the root on
// and through real directories only. For a file that will be used each is watched
// before it is looked into.
func (s *scan) parent(names []string, wanted bool) (int, error) {
	fd, err := openAt(s.rootFd, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	for i, name := range names {
		if err != nil {
			break
		}
		if wanted {
			s.d.watch.passes(fd, path.Join(names[:i]...), name)
		}
		if i == len(names)-1 {
			break
		}
		var next int
		next, err = openAt(fd, name, unix.O_RDONLY|unix.O_DIRECTORY)
		closeFd(fd)
		fd = next
	}
	return fd, err
}

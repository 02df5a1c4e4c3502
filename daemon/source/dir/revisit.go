package dir

import (
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// revisit looks at the changes in a directory that the last scan has read, and keeps
// the rest.
func (s *scan) revisit(at place, n *node) {
	if n.volume != nil || n.stamp.inode != at.stamp.inode {
		s.doubt = true
		return
	}
	for _, name := range s.only.dirs[at.real] {
		if !s.update(at, n, name) {
			return
		}
	}
	if !s.count(n.seen) {
		return
	}
	fresh := at
	fresh.known = false
	for _, e := range n.entries {
		if s.fatal == nil {
			s.fatal = s.ctx.Err()
		}
		if s.fatal != nil || s.doubt {
			return
		}
		_, below := s.only.dirs[e.path]
		switch {
		case s.only.names[e.path]:
			s.entry(fresh, n, e)
		case below && e.dir != nil:
			s.descend(at, e.name, e.path, e.dir)
		default:
			s.keep(e)
		}
	}
}

// update brings n.entries up to date for one name, as list does for all. It returns
// false if the directory is not to be read now.
func (s *scan) update(at place, n *node, name string) bool {
	var st unix.Stat_t
	_, err := retry(func() (int, error) {
		return 0, unix.Fstatat(at.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	i, known := slices.BinarySearchFunc(n.entries, name, func(e *entry, name string) int {
		return strings.Compare(e.name, name)
	})
	switch {
	case err == nil && !isDir && st.Nlink > 1:
		s.doubt = true // a write to it is one to its other names, which no event has
	case err == nil && known:
		n.entries[i].missed = time.Time{}
		s.doubt = s.doubt || n.entries[i].dir != nil && !isDir
	case err == nil && utf8.ValidString(name):
		n.entries = slices.Insert(n.entries, i, &entry{name: name, path: path.Join(at.path, name)})
		n.seen++
		n.racy = true // its stamp is older than its entries: the next whole scan lists it anew
	case err == nil, !gone(err), known && n.entries[i].dir != nil:
		s.doubt = true
	case known && s.justRemoved(at, n.entries[i]):
		s.unsettled(n.entries[i].path, "it has only just been removed")
		return false
	case known:
		n.entries = slices.Delete(n.entries, i, i+1)
		n.seen--
		n.racy = true
	}
	return !s.doubt
}

// keep takes an entry as the last scan found it, with everything below it.
func (s *scan) keep(e *entry) {
	switch {
	case e.dir != nil:
		s.keepAll(e.dir)
		return
	case e.file == nil:
		s.doubt = true
		return
	case e.file.Data != nil:
		s.wanted++
		s.bytes += e.stamp.size
	}
	if e.target != "" {
		s.links++
	}
	s.take(&e.content)
}

func (s *scan) keepAll(n *node) {
	if !s.count(n.seen) {
		return
	}
	if n.volume != nil {
		s.keepAll(n.volume)
		return
	}
	for _, e := range n.entries {
		s.keep(e)
	}
}

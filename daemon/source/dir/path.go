package dir

import (
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is the kernel's own limit for the symlinks of one path.
const maxLinks = 40

// hop is a name in a directory that decides where a path leads.
type hop struct{ dir, name string }

// route is how a path is reached: what must be watched to notice that it leads
// somewhere else.
type route struct {
	hops   []hop  // each symlink on the way, and the last name that was looked up
	real   string // the path without symlinks; empty when it does not lead anywhere
	linked int64  // ctime of the newest symlink on the way; 0 when there is none
}

func (r route) equal(other route) bool {
	return r.real == other.real && r.linked == other.linked && slices.Equal(r.hops, other.hops)
}

// trace follows an absolute path. A path that ends early gives the name that is
// missing: when it appears, the path may lead on.
func trace(path string) route {
	var r route
	at, rest := "/", parts(path)
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			at = filepath.Dir(at)
			continue
		}
		full := filepath.Join(at, name)
		var st unix.Stat_t
		_, err := retry(func() (int, error) { return 0, unix.Lstat(full, &st) })
		link := err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK
		if err != nil || link || len(rest) == 0 {
			r.hops = append(r.hops, hop{at, name})
		}
		if err != nil {
			return r
		}
		if !link {
			at = full
			continue
		}
		target, err := readlinkAt(unix.AT_FDCWD, full)
		if links++; err != nil || links > maxLinks {
			return r
		}
		r.linked = max(r.linked, stampOf(&st).ctime)
		if target[0] == '/' {
			at = "/"
		}
		rest = append(parts(target), rest...)
	}
	r.real = at
	return r
}

// parts splits a path into its names, "." and nothing left out.
func parts(path string) []string {
	names := strings.Split(path, "/")
	kept := names[:0]
	for _, name := range names {
		if name != "" && name != "." {
			kept = append(kept, name)
		}
	}
	return kept
}

// resolve returns where a symlink in the directory dir leads, if that is inside;
// both are relative to the root, "" being the root. Parents are accepted at the
// target's beginning alone: further on they could come after a symlink, and would
// not mean what they say.
func resolve(dir, target string) (string, bool) {
	if target == "" || target[0] == '/' {
		return "", false
	}
	at := parts(dir)
	down := false
	for _, name := range parts(target) {
		if name != ".." {
			at, down = append(at, name), true
			continue
		}
		if down || len(at) == 0 {
			return "", false
		}
		at = at[:len(at)-1]
	}
	return strings.Join(at, "/"), true
}

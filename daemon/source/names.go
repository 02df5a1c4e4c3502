package source

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// leftovers are the endings of files that editors and careful writers put beside
// the file they are about to replace.
var leftovers = []string{"~", ".swp", ".swo", ".swx", ".tmp", "___jb_tmp___", "___jb_old___"}

// lostFound is the directory of a file system's own, in its root.
const lostFound = "lost+found"

// Ignored reports whether a name in the directory dir, which is relative to the root, is
// not part of the source.
func Ignored(dir, name string) bool {
	if dir == "" && name == lostFound {
		return true
	}
	if dir == "" && name == AcceptFile {
		return false
	}
	if name[0] == '.' || name == "4913" { // vim probes a directory with a file 4913
		return true
	}
	if len(name) > 1 && name[0] == '#' && name[len(name)-1] == '#' {
		return true
	}
	for _, end := range leftovers {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// IgnoredPath reports whether a path has a name that is not part of the source.
func IgnoredPath(path string) bool {
	for i := 0; i < len(path); {
		end := strings.IndexByte(path[i:], '/')
		if end < 0 {
			end = len(path) - i
		}
		if end == 0 {
			return false // an empty name is no name: see IsPath
		}
		if Ignored(strings.TrimSuffix(path[:i], "/"), path[i:i+end]) {
			return true
		}
		i += end + 1
	}
	return false
}

// IsPath reports whether a text of at most so many bytes is a relative path that leads
// nowhere else: names that slashes separate, none of them empty, . or .., in UTF-8 without
// control characters.
func IsPath(path string, most int) bool {
	if len(path) > most || !utf8.ValidString(path) || strings.ContainsFunc(path, unicode.IsControl) {
		return false
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

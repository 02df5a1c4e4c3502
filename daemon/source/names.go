package source

import (
	"strings"
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

package source

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// leftovers are the endings of files that editors and careful writers put beside
// the file they are about to replace.
var leftovers = []string{"~", ".swp", ".swo", ".swx", ".tmp", "___jb_tmp___", "___jb_old___"}

// ignored reports whether a directory entry is not part of the source.
func ignored(name string) bool {
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

// printable returns a path as it is, or quoted where that would not show it
// faithfully on one line.
func printable(path string) string {
	if utf8.ValidString(path) {
		odd := strings.ContainsFunc(path, func(r rune) bool { return !strconv.IsPrint(r) })
		if !odd {
			return path
		}
	}
	return strconv.Quote(path)
}

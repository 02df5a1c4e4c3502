package decode

import (
	"bytes"

	"github.com/statesync/statesync/daemon/plan/tree"
)

// What reading a file takes, in bytes. TestMemory of package plan has the files
// that these were measured with and holds them to what is alive at one time; they
// have room for the garbage that is beside it.
const (
	// Of a mark, as a format has them between its values. It stands for a value or
	// a key: in the library's tree, if there is one, and in ours.
	perMarkJSON = 200
	perMarkYAML = 500
	perMarkTOML = 300

	// At least, where there is a schema: it is applied to a copy of the tree, and
	// each value may have something wrong.
	perMarkChecked = 420
)

// Marks is how many marks a file has: it says what reading it takes, and is found by
// counting and not by parsing.
func Marks(file string, data []byte) int64 {
	if _, limit := format(file); len(data) > limit {
		return 0 // it is refused unread
	}
	n := 0
	count := func(marks ...string) {
		for _, mark := range marks {
			n += bytes.Count(data, []byte(mark))
		}
	}
	switch extensionOf(file) {
	case ".json":
		count(",", ":", "[", "{")
		n = min(n, 3*tree.MaxValues) // as many as are read: each value has up to three
	case ".toml":
		count(",", "=", ".", "[", "{", "\n")
	default:
		n = marksYAML(data)
	}
	return int64(n)
}

// marksYAML counts the marks of the longest line twice: a list or mapping in brackets
// may be a key as long as its first line has not ended, and until then the library
// keeps the line's tokens beside the tree.
func marksYAML(data []byte) (n int) {
	line, longest := 0, 0
	for i, c := range data {
		switch c {
		case ',', ':', '[', '{':
			line++
		case '-':
			if i+1 < len(data) && data[i+1] == ' ' {
				line++
			}
		case '\n':
			n += line + 1
			line, longest = 0, max(longest, line)
		}
	}
	return n + line + max(longest, line)
}

// Memory is about how much memory the trees of a file with that many marks take, in
// bytes; checked, if a schema is applied to it.
func Memory(file string, marks int64, checked bool) int64 {
	each := int64(perMarkYAML)
	switch extensionOf(file) {
	case ".json":
		each = perMarkJSON
	case ".toml":
		each = perMarkTOML
	}
	if checked {
		each = max(each, perMarkChecked)
	}
	return marks * each
}

package tree

import (
	"fmt"
	"strconv"
	"strings"
)

// maxPaths is how many bytes the dotted keys of all values of a config may take
// together: a long key with many values under it is a small file, and a section
// with a huge index.
const maxPaths = 256 << 20

// CheckPaths refuses two paths that join to the same dotted key, as {"a.b": 1,
// "a": {"b": 2}} has them. At least one of the two has a dot inside a key, so
// that most configs need no second look. Sections refuse them too, but not in
// the part of a long array that is not indexed, and without places.
func CheckPaths(r *Report, root *Node) {
	dotted := map[string]Place{} // the paths that end in a key with a dot
	before, total := r.errors, 0
	walkPaths(root, nil, func(path []byte, at Place, key string) bool {
		total += len(path)
		if total > maxPaths {
			r.Error(at, "", fmt.Sprintf("the dotted keys up to here take more than %d MiB; shorten the keys above", maxPaths>>20))
			return false
		}
		if strings.Contains(key, ".") {
			if first, ok := dotted[string(path)]; ok {
				ambiguous(r, path, at, first)
			} else {
				dotted[string(path)] = at
			}
		}
		return true
	})
	if len(dotted) == 0 || r.errors > before {
		return
	}
	walkPaths(root, nil, func(path []byte, at Place, _ string) bool {
		if other, ok := dotted[string(path)]; ok && other != at {
			ambiguous(r, path, at, other)
		}
		return true
	})
}

func ambiguous(r *Report, path []byte, at, other Place) {
	if at.Compare(other) < 0 {
		at, other = other, at
	}
	r.Error(at, Clip(string(path), 200), fmt.Sprintf(
		"another path joins to the same dotted key, at %s; rename one of the two keys", r.Other(at, other)))
}

// walkPaths visits each value in n, which path leads to: with its dotted key,
// the place of its own key, or of itself in a list, and that key. It ends when
// visit returns false.
func walkPaths(n *Node, path []byte, visit func(path []byte, at Place, key string) bool) bool {
	if path != nil {
		path = append(path, '.')
	}
	base := len(path)
	for i, item := range n.Items {
		path = strconv.AppendInt(path[:base], int64(i), 10)
		if !visit(path, item.Place(), "") || !walkPaths(item, path, visit) {
			return false
		}
	}
	for _, f := range n.Fields {
		path = append(path[:base], f.Key...)
		if path == nil {
			path = []byte{} // the empty key, which is not the top
		}
		if !visit(path, f.Place(), f.Key) || !walkPaths(f.Value, path, visit) {
			return false
		}
	}
	return true
}

package tree

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// CaseClashes calls report for keys of a mapping that differ only in case, the
// later one first.
func CaseClashes(fields []Field, report func(later, earlier Field)) {
	if len(fields) < 2 || !slices.ContainsFunc(fields, func(f Field) bool { return mixed(f.Key) }) {
		return
	}
	seen := make(map[string]Field, len(fields))
	for _, f := range fields {
		folded := fold(f.Key)
		other, ok := seen[folded]
		if !ok {
			seen[folded] = f
			continue
		}
		if f.Place().Compare(other.Place()) < 0 {
			f, other = other, f
		}
		report(f, other)
	}
}

// CaseClash is the warning about the key at a place and another one.
func (r *Report) CaseClash(at Place, other *Field) string {
	return fmt.Sprintf("the key differs only in case from %s at %s, and encoding/json takes them for one; rename one of them",
		Quoted(other.Key), r.Other(at, other.Place()))
}

// mixed reports whether a key is other than lower-case ASCII: two keys that differ
// only in case are not both of that kind.
func mixed(key string) bool {
	for i := 0; i < len(key); i++ {
		if c := key[i]; c >= 'A' && c <= 'Z' || c >= utf8.RuneSelf {
			return true
		}
	}
	return false
}

// fold maps keys that encoding/json takes for one to the same string.
func fold(key string) string {
	return strings.Map(func(r rune) rune {
		for {
			next := unicode.SimpleFold(r)
			if next <= r {
				return next
			}
			r = next
		}
	}, key)
}

package layer

import (
	"slices"
	"strings"

	"github.com/statesync/statesync/daemon/plan/tree"
)

// Origin is what one layer says of a key.
type Origin struct {
	Place tree.Place
	Value *tree.Node // nil: it deletes what the layers below say
}

// Why is what the documents of a config say of a dotted key, the one that wins first
// and then what it beats. The key "" is the whole document. Of a mapping it has what
// each layer contributes. The result is empty if no layer mentions the key.
func Why(docs []*tree.Node, key string) []Origin {
	var origins []Origin // the lowest layer's first
	below := false       // a null here deletes
	for _, doc := range docs {
		l := find(doc, key)
		switch {
		case l.value != nil && l.value.Kind == tree.Null && !l.inList && (below || key == ""):
			origins = append(origins, Origin{Place: l.value.Place()})
			below = key != ""
		case l.value != nil:
			origins = append(origins, Origin{Place: l.value.Place(), Value: l.value})
			below = true
		case l.end != nil && below: // what is above the key was deleted or replaced
			origins = append(origins, Origin{Place: l.end.Place()})
			below = false
		}
	}
	slices.Reverse(origins)
	return origins
}

// found is where a dotted key leads to.
type found struct {
	value  *tree.Node // nil if it leads to nothing
	inList bool       // value is part of a list
	end    *tree.Node // if value is nil: a list, scalar or null above it
}

func find(n *tree.Node, key string) found {
	if key == "" {
		return found{value: n}
	}
	return within(n, key)
}

// within finds a key below n.
func within(n *tree.Node, key string) (result found) {
	switch n.Kind {
	case tree.Map:
		for end := range parts(key) {
			f := n.Field(key[:end])
			if f == nil {
				continue
			}
			next := found{value: f.Value}
			if end < len(key) {
				next = within(f.Value, key[end+1:])
			}
			if next.value != nil {
				return next
			}
			if result.end == nil {
				result = next
			}
		}
		return result
	case tree.List:
		end := len(key)
		if i := strings.IndexByte(key, '.'); i >= 0 {
			end = i
		}
		item := n.Item(key[:end])
		next := found{value: item}
		if item != nil && end < len(key) {
			next = within(item, key[end+1:])
		}
		if next.value == nil {
			return found{end: n}
		}
		next.inList = true
		return next
	}
	return found{end: n}
}

// parts are the ends of all beginnings of a dotted key that may be a key of their own.
func parts(key string) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for i := 0; i <= len(key); i++ {
			if (i == len(key) || key[i] == '.') && !yield(i) {
				return
			}
		}
	}
}

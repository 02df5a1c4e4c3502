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
	var way []string     // the keys to the newest of them: a key may have dots of its own
	for _, doc := range docs {
		l := find(doc, key)
		if l.value != nil {
			way = l.way
		}
		switch {
		case l.value != nil && l.value.Kind == tree.Null && !l.inList && (below || key == ""):
			origins = append(origins, Origin{Place: l.value.Place()})
			below = key != ""
		case l.value != nil:
			origins = append(origins, Origin{Place: l.value.Place(), Value: l.value})
			below = true
		case below: // what is above the key may have been deleted or replaced
			for _, end := range l.ends {
				if len(end.way) <= len(way) && slices.Equal(end.way, way[:len(end.way)]) {
					origins = append(origins, Origin{Place: end.node.Place()})
					below = false
					break
				}
			}
		}
	}
	slices.Reverse(origins)
	return origins
}

// found is where a dotted key leads to.
type found struct {
	value  *tree.Node // nil if it leads to nothing
	way    []string   // the keys that lead to value
	inList bool       // value is part of a list
	ends   []end      // if value is nil: the lists, scalars and nulls above it
}

// end is where a way to a key ends before it.
type end struct {
	node *tree.Node
	way  []string
}

// under puts a key before all ways.
func (f found) under(key string) found {
	f.way = append([]string{key}, f.way...)
	for i := range f.ends {
		f.ends[i].way = append([]string{key}, f.ends[i].way...)
	}
	return f
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
			next = next.under(key[:end])
			if next.value != nil {
				return next
			}
			result.ends = append(result.ends, next.ends...)
		}
		return result
	case tree.List:
		stop := len(key)
		if i := strings.IndexByte(key, '.'); i >= 0 {
			stop = i
		}
		item := n.Item(key[:stop])
		next := found{value: item}
		if item != nil && stop < len(key) {
			next = within(item, key[stop+1:])
		}
		if next.value == nil {
			return found{ends: []end{{node: n}}}
		}
		next.inList = true
		return next.under(key[:stop])
	}
	return found{ends: []end{{node: n}}}
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

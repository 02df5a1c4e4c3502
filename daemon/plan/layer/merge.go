// Package layer merges the documents that several layers have for one config, and
// says where a value of the result comes from.
//
// The rules, for what a higher layer has over what the layers below come to:
//
//   - A mapping over a mapping is merged key by key.
//   - A list over a list, and a scalar over a scalar, replaces it whole.
//   - A mapping, list or scalar over another of the three is an error.
//   - A null deletes what lies below. Where no layer below has the key, it is a
//     null value, so that one layer alone means what it says. Where a layer between
//     deleted the key already, it stays deleted.
//   - Anything replaces a null, and what was deleted.
//   - A document that is just null removes the config.
package layer

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/statesync/statesync/daemon/plan/tree"
	"github.com/statesync/statesync/shm/image"
)

// Merge merges the documents of a config, of which the lowest layer's is the first.
// The result shares nodes with them. It is nil if there are errors, which are
// then in r, or if a layer removed the config.
func Merge(r *tree.Report, docs []*tree.Node) *tree.Node {
	if len(docs) == 1 && docs[0].Kind != tree.Null {
		return docs[0] // its bounds were checked when it was read
	}
	before := r.Errors()
	m := merger{report: r, made: map[*tree.Node]bool{}}
	var result *tree.Node
	for _, doc := range docs {
		if result == nil && doc.Kind == tree.Null {
			r.Warning(doc.Place(), "", "null removes the config, but no layer below has it; remove the file")
			result = deleted(doc)
			continue
		}
		result = m.over(result, doc)
	}
	if r.Errors() > before || result.Kind == tree.Deleted {
		return nil
	}
	if m.finish(result, 1) {
		tree.CheckPaths(r, result)
	}
	if r.Errors() > before {
		return nil
	}
	return result
}

type merger struct {
	report       *tree.Report
	path         []string
	made         map[*tree.Node]bool // mappings that are merged of two: the only ones with deleted keys
	values, text int
}

// deleted stands for what the null deletes until all layers are merged.
func deleted(null *tree.Node) *tree.Node {
	return &tree.Node{Kind: tree.Deleted, Doc: null.Doc, At: null.At}
}

// over is high over low, which is nil where there is nothing.
func (m *merger) over(low, high *tree.Node) *tree.Node {
	switch {
	case low == nil:
		return high
	case high.Kind == tree.Null:
		return deleted(high)
	case low.Kind == tree.Null || low.Kind == tree.Deleted:
		return high
	case shape(low) != shape(high):
		m.report.Error(high.Place(), tree.DottedKey(m.path), fmt.Sprintf(
			"a %s here, but a %s at %s; make both of one kind", shape(high), shape(low), m.report.Other(high.Place(), low.Place())))
		return high
	case high.Kind == tree.Map:
		return m.mapping(low, high)
	}
	return high
}

// shape is what a higher layer cannot change.
func shape(n *tree.Node) string {
	switch n.Kind {
	case tree.Map:
		return "mapping"
	case tree.List:
		return "list"
	default:
		return "scalar"
	}
}

// mapping merges two mappings, whose fields are sorted.
func (m *merger) mapping(low, high *tree.Node) *tree.Node {
	n := &tree.Node{Kind: tree.Map, Doc: high.Doc, At: high.At, Fields: make([]tree.Field, 0, max(len(low.Fields), len(high.Fields)))}
	m.made[n] = true
	a, b := low.Fields, high.Fields
	for len(a) > 0 || len(b) > 0 {
		order := 0
		switch {
		case len(b) == 0:
			order = -1
		case len(a) == 0:
			order = 1
		default:
			order = strings.Compare(a[0].Key, b[0].Key)
		}
		switch {
		case order < 0:
			n.Fields, a = append(n.Fields, a[0]), a[1:]
		case order > 0:
			n.Fields, b = append(n.Fields, b[0]), b[1:]
		default:
			m.path = append(m.path, b[0].Key)
			f := tree.Field{Key: b[0].Key, At: b[0].At, Value: m.over(a[0].Value, b[0].Value)}
			m.path = m.path[:len(m.path)-1]
			n.Fields, a, b = append(n.Fields, f), a[1:], b[1:]
		}
	}
	return n
}

// finish drops the keys that were deleted, checks what the documents can only
// violate together, and counts. It is false after an error that ends it.
func (m *merger) finish(n *tree.Node, depth int) bool {
	m.values++
	m.text += len(n.Text)
	if m.made[n] {
		n.Fields = keep(n.Fields)
		tree.CaseClashes(n.Fields, func(f, other tree.Field) {
			if f.Place().Doc != other.Place().Doc { // else that was said when the file was read
				m.report.Warning(f.Place(), tree.DottedKey(append(m.path, f.Key)), m.report.CaseClash(f.Place(), &other))
			}
		})
	}
	for i := range n.Fields {
		m.text += len(n.Fields[i].Key)
	}
	switch {
	case depth > image.MaxDepth && (n.Kind == tree.List || n.Kind == tree.Map):
		return m.stop(n, tree.TooDeep)
	case m.values > tree.MaxValues:
		return m.stop(n, tree.TooMany)
	case m.text > tree.MaxText:
		return m.stop(n, tree.TooMuch)
	}
	for i, item := range n.Items {
		m.path = append(m.path, strconv.Itoa(i))
		if !m.finish(item, depth+1) {
			return false
		}
		m.path = m.path[:len(m.path)-1]
	}
	for _, f := range n.Fields {
		m.path = append(m.path, f.Key)
		if !m.finish(f.Value, depth+1) {
			return false
		}
		m.path = m.path[:len(m.path)-1]
	}
	return true
}

func (m *merger) stop(n *tree.Node, what string) bool {
	m.report.Error(n.Place(), tree.DottedKey(m.path), "with the layers below: "+what)
	return false
}

func keep(fields []tree.Field) []tree.Field {
	kept := fields[:0]
	for _, f := range fields {
		if f.Value.Kind != tree.Deleted {
			kept = append(kept, f)
		}
	}
	return kept
}

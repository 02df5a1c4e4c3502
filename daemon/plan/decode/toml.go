package decode

import (
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/statesync/statesync/daemon/plan/tree"
	"github.com/statesync/statesync/shm/image"
)

// parseTOML reads a TOML document. The library parses the expressions; what
// tables they make up is decided here, because the library looks for a key
// among all the keys it has seen, which takes minutes for a file of some MiB,
// and says nothing of where the first of two equal keys is.
func parseTOML(b *builder, text []byte) *tree.Node {
	t := tomlReader{builder: b, cur: newCursor(text)}
	t.parser.Reset(text)
	root := &tomlTable{origin: header, at: tree.Pos{Line: 1, Column: 1}}
	current, path, some := root, 0, false
	for t.parser.NextExpression() {
		some = true
		var ok bool
		if e := t.parser.Expression(); e.Kind == unstable.KeyValue {
			ok = t.keyValue(current, e)
		} else {
			t.path = t.path[:0]
			current, ok = t.header(root, e)
			path = len(t.path)
		}
		if !ok {
			return nil
		}
		t.path = t.path[:path]
	}
	t.path = t.path[:0]
	if err := t.parser.Error(); err != nil {
		offset, what := t.explain(text, err)
		b.stop(t.cur.at(offset), "%s", what)
		return nil
	}
	if !some {
		b.stop(tree.Pos{Line: 1, Column: 1}, "empty: a file that was cut off looks the same; "+
			"remove the file, or write {} in a .yaml or .json one for a config without keys")
		return nil
	}
	n, ok := t.finish(root)
	if !ok || !t.nest(n) {
		return nil
	}
	return n
}

// nest checks how deep the whole is nested: the values of keys were read
// before it was known how deep their tables are.
func (t *tomlReader) nest(n *tree.Node) bool {
	if n.Kind != tree.List && n.Kind != tree.Map {
		return true
	}
	if !t.open(n.At) {
		return false
	}
	for _, item := range n.Items {
		if !t.nest(item) {
			return false
		}
	}
	for _, f := range n.Fields {
		if !t.nest(f.Value) {
			return false
		}
	}
	t.close()
	return true
}

// origin is how a table came to be, which decides what may be added to it.
type origin uint8

const (
	implied origin = iota // a step of a [header]: may have a header of its own
	header                // has had its header
	dotted                // a step of a dotted key: more such keys, no header
)

// tomlTable is a table in the making.
type tomlTable struct {
	origin origin
	at     tree.Pos
	keys   []*tomlKey
	index  map[string]*tomlKey
}

// tomlKey is a key of a table with one of the three things it can have.
type tomlKey struct {
	name  string
	at    tree.Pos
	value *tree.Node   // closed: nothing can be added
	table *tomlTable   // open
	array []*tomlTable // [[…]]: the last is open
}

func (t *tomlTable) add(k *tomlKey) *tomlKey {
	if t.index == nil {
		t.index = map[string]*tomlKey{}
	}
	t.index[k.name] = k
	t.keys = append(t.keys, k)
	return k
}

// tomlReader builds a document's tables. Its methods are false after a stop.
type tomlReader struct {
	*builder
	parser unstable.Parser
	cur    cursor
}

func (t *tomlReader) at(n *unstable.Node) tree.Pos { return t.cur.at(int(n.Raw.Offset)) }

// dive follows all parts of a key but the last, making what is not there yet.
// The key that it returns is the last part, not looked up.
func (t *tomlReader) dive(table *tomlTable, e *unstable.Node, o origin) (*tomlTable, *tomlKey, bool) {
	parts := e.Key()
	for n := 1; parts.Next(); n++ {
		part := parts.Node()
		k := &tomlKey{name: string(part.Data), at: t.at(part)}
		t.enter(k.name)
		if n > image.MaxDepth {
			t.stop(k.at, tree.TooDeep)
			return nil, nil, false
		}
		if !t.count(k.at, 1, len(k.name)) {
			return nil, nil, false
		}
		if parts.IsLast() {
			return table, k, true
		}
		old := table.index[k.name]
		switch {
		case old == nil:
			k.table = &tomlTable{origin: o, at: k.at}
			table = table.add(k).table
		case old.array != nil && o == implied:
			table = old.array[len(old.array)-1]
		case old.table != nil && (o == implied || old.table.origin == dotted):
			table = old.table
		default:
			t.taken(k, old)
			return nil, nil, false
		}
	}
	return nil, nil, false // a key has a part
}

// taken reports a key that can't be used in this way, because of an earlier one.
func (t *tomlReader) taken(k, old *tomlKey) {
	t.stop(k.at, "the key is already defined at %v, and can't be defined or added to here; merge the two", old.at)
}

func (t *tomlReader) keyValue(table *tomlTable, e *unstable.Node) bool {
	depth := len(t.path)
	table, k, ok := t.dive(table, e, dotted)
	if !ok {
		return false
	}
	if old := table.index[k.name]; old != nil {
		t.taken(k, old)
		return false
	}
	k.value, ok = t.value(k.at, e.Value())
	table.add(k)
	if ok {
		t.path = t.path[:depth]
	}
	return ok
}

// header opens the table that a [header] or a [[header]] names.
func (t *tomlReader) header(root *tomlTable, e *unstable.Node) (*tomlTable, bool) {
	parent, k, ok := t.dive(root, e, implied)
	if !ok {
		return nil, false
	}
	old := parent.index[k.name]
	table := &tomlTable{origin: header, at: k.at}
	switch {
	case e.Kind == unstable.ArrayTable && old == nil:
		k.array = []*tomlTable{table}
		parent.add(k)
	case e.Kind == unstable.ArrayTable && old.array != nil:
		old.array = append(old.array, table)
	case e.Kind == unstable.Table && old == nil:
		k.table = table
		parent.add(k)
	case e.Kind == unstable.Table && old.table != nil && old.table.origin == implied:
		table = old.table
		table.origin = header
	default:
		t.taken(k, old)
		return nil, false
	}
	return table, true
}

// value reads what stands after a key's '=', or in an array. The parser gives
// no place for arrays: near stands in for it.
func (t *tomlReader) value(near tree.Pos, v *unstable.Node) (*tree.Node, bool) {
	at := near
	if v.Raw.Length > 0 {
		at = t.at(v)
	}
	if !t.count(at, 1, 0) {
		return nil, false
	}
	switch text := string(v.Data); v.Kind {
	case unstable.String:
		return t.string(at, text), t.count(at, 0, len(text))
	case unstable.Bool:
		return t.bool(at, text == "true"), true
	case unstable.Integer:
		digits, base := strings.ReplaceAll(text, "_", ""), 10
		if len(digits) > 1 && strings.IndexByte("xob", digits[1]) >= 0 {
			base = 0
		}
		return t.integer(at, digits, base), true
	case unstable.Float:
		return t.float(at, strings.ReplaceAll(text, "_", "")), true
	case unstable.LocalDate, unstable.LocalTime, unstable.LocalDateTime, unstable.DateTime:
		return t.time(at, text), true
	case unstable.Array:
		return t.array(at, v)
	case unstable.InlineTable:
		return t.inline(at, v)
	default:
		t.stop(at, "a value of a kind that is not known here (%s); write it as a string", v.Kind)
		return nil, false
	}
}

func (t *tomlReader) array(at tree.Pos, v *unstable.Node) (*tree.Node, bool) {
	if !t.open(at) {
		return nil, false
	}
	defer t.close()
	var items []*tree.Node
	for children := v.Children(); children.Next(); {
		t.enterItem(len(items))
		item, ok := t.value(at, children.Node())
		if !ok {
			return nil, false
		}
		t.leave()
		items = append(items, item)
	}
	return t.list(at, items), true
}

func (t *tomlReader) inline(at tree.Pos, v *unstable.Node) (*tree.Node, bool) {
	if !t.open(at) {
		return nil, false
	}
	defer t.close()
	table := &tomlTable{origin: header, at: at}
	for children := v.Children(); children.Next(); {
		if !t.keyValue(table, children.Node()) {
			return nil, false
		}
	}
	return t.fields(table)
}

// time is a date or time as written, in RFC 3339 form: with 'T', 'Z', and
// seconds, which TOML can do without. The parser takes impossible ones, the
// library's decoder does not.
func (t *tomlReader) time(at tree.Pos, text string) *tree.Node {
	var checked map[string]any
	if err := toml.Unmarshal([]byte("time = "+text), &checked); err != nil {
		t.errorf(at, "%s is not a date or time (%s); correct it, or quote it", tree.Value(text), tree.AboutValue(strings.TrimPrefix(err.Error(), "toml: ")))
		return t.null(at)
	}
	s := strings.Map(func(r rune) rune {
		switch r {
		case ' ', 't':
			return 'T'
		case 'z':
			return 'Z'
		}
		return r
	}, text)
	if hour, rest, ok := strings.Cut(s, ":"); ok && (len(rest) == 2 || rest[2] != ':') {
		s = hour + ":" + rest[:2] + ":00" + rest[2:]
	}
	return t.string(at, s)
}

// finish turns a table that is complete into a mapping.
func (t *tomlReader) finish(table *tomlTable) (*tree.Node, bool) {
	if !t.open(table.at) {
		return nil, false
	}
	defer t.close()
	return t.fields(table)
}

func (t *tomlReader) fields(table *tomlTable) (*tree.Node, bool) {
	fields := make([]tree.Field, 0, len(table.keys))
	for _, k := range table.keys {
		value, ok := k.value, true
		t.enter(k.name)
		switch {
		case k.table != nil:
			value, ok = t.finish(k.table)
		case k.array != nil:
			value, ok = t.finishArray(k)
		}
		if !ok {
			return nil, false
		}
		t.leave()
		fields = append(fields, tree.Field{Key: k.name, At: k.at, Value: value})
	}
	return t.mapping(table.at, fields), true
}

func (t *tomlReader) finishArray(k *tomlKey) (*tree.Node, bool) {
	if !t.open(k.at) {
		return nil, false
	}
	defer t.close()
	items := make([]*tree.Node, len(k.array))
	for i, table := range k.array {
		t.enterItem(i)
		var ok bool
		if items[i], ok = t.finish(table); !ok {
			return nil, false
		}
		t.leave()
	}
	return t.list(k.at, items), true
}

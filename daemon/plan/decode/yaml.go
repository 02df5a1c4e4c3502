package decode

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"

	"github.com/statesync/statesync/daemon/plan/tree"
	"github.com/statesync/statesync/shm/image"
)

// limitsYAML stops the library at a nesting that no config has. Aliases are expanded
// here, and counted.
var limitsYAML = yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(image.MaxDepth)))

// parseYAML reads a file of one YAML document. The library's own tree has the
// places; what scalars mean is decided here, because the library turns what it
// can't hold exactly into floats and strings, without a word. A text that is JSON is
// read as JSON, of which YAML has no surrogate pairs, and some line separators.
func parseYAML(b *builder, text []byte) *tree.Node {
	if isJSON(text) {
		return parseJSON(b, text)
	}
	text, second, ok := b.yamlText(text)
	if !ok {
		return nil
	}
	first, err := loadYAML(text)
	switch {
	case err != nil:
		at, what := explainYAML(text, err)
		b.stop(at, "%s", what)
		return nil
	case second.Line > 0:
		b.stop(second, "a second document begins here; a file is one config, move it to a file of its own")
		return nil
	case first.Kind == 0 || isEmptyYAML(first.Content[0]):
		b.stop(tree.Pos{Line: 1, Column: 1}, tree.EmptyFile)
		return nil
	}
	y := yamlReader{builder: b, within: map[*yaml.Node]bool{}}
	root, _ := y.node(first.Content[0])
	return root
}

// loadYAML parses a text of one document. The node has no kind if there is none.
func loadYAML(text []byte) (*yaml.Node, error) {
	var first, second yaml.Node
	loader, err := yaml.NewLoader(bytes.NewReader(text), limitsYAML)
	if err == nil {
		err = loader.Load(&first)
	}
	if err == nil {
		err = loader.Load(&second)
	}
	if err == nil {
		return nil, errors.New("the file has a second document")
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return &first, err
}

func isEmptyYAML(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Value == "" && n.Style == 0
}

func yamlPos(n *yaml.Node) tree.Pos { return tree.Pos{Line: int32(n.Line), Column: int32(n.Column)} }

// yamlReader turns the library's tree into ours, with aliases expanded and
// merge keys followed.
type yamlReader struct {
	*builder
	within map[*yaml.Node]bool // the anchored mappings and lists that are open
}

// node is false after a stop.
func (y *yamlReader) node(n *yaml.Node) (*tree.Node, bool) {
	at := yamlPos(n)
	if !y.count(at, 1, 0) {
		return nil, false
	}
	switch n.Kind {
	case yaml.AliasNode:
		if y.within[n.Alias] {
			y.stop(at, "the alias *%s is inside what it stands for; write the value out", tree.Shown(n.Value))
			return nil, false
		}
		y.muted++
		defer func() { y.muted-- }()
		return y.node(n.Alias)
	case yaml.ScalarNode:
		if !y.count(at, 0, len(n.Value)) {
			return nil, false
		}
		return y.scalar(n), true
	}
	if tag := n.ShortTag(); tag != "!!map" && tag != "!!seq" || tag == "!!map" != (n.Kind == yaml.MappingNode) {
		y.unknownTag(at, tag)
		return y.null(at), true
	}
	if n.Anchor != "" {
		y.within[n] = true
		defer delete(y.within, n)
	}
	if !y.open(at) {
		return nil, false
	}
	defer y.close()
	if n.Kind == yaml.MappingNode {
		return y.mappingNode(n)
	}
	items := make([]*tree.Node, len(n.Content))
	for i, item := range n.Content {
		y.enterItem(i)
		var ok bool
		if items[i], ok = y.node(item); !ok {
			return nil, false
		}
		y.leave()
	}
	return y.list(at, items), true
}

func (y *yamlReader) mappingNode(n *yaml.Node) (*tree.Node, bool) {
	fields := make([]tree.Field, 0, len(n.Content)/2)
	var merged *yaml.Node // the value of <<
	var mergedAt tree.Pos
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind == yaml.ScalarNode && k.ShortTag() == "!!merge" {
			if merged != nil {
				y.twice(k.Value, yamlPos(k), mergedAt)
				continue
			}
			merged, mergedAt = v, yamlPos(k)
			continue
		}
		f := tree.Field{At: yamlPos(k)}
		var usable, ok bool
		if f.Key, usable, ok = y.keyText(k); !ok {
			return nil, false
		}
		y.enter(f.Key)
		if f.Value, ok = y.node(v); !ok {
			return nil, false
		}
		y.leave()
		if usable {
			fields = append(fields, f)
		}
	}
	if merged != nil {
		var ok bool
		if fields, ok = y.merge(fields, merged); !ok {
			return nil, false
		}
	}
	return y.mapping(yamlPos(n), fields), true
}

// merge adds to fields those of the merged mapping, or of each of a list of
// mappings, whose keys are not there yet.
func (y *yamlReader) merge(fields []tree.Field, merged *yaml.Node) ([]tree.Field, bool) {
	sources := []*yaml.Node{merged}
	if list := resolved(merged); list.Kind == yaml.SequenceNode {
		sources = list.Content
	}
	has := make(map[string]bool, len(fields))
	for _, f := range fields {
		has[f.Key] = true
	}
	for _, source := range sources {
		if resolved(source).Kind != yaml.MappingNode {
			y.errorf(yamlPos(source), "<< merges something that is not a mapping; give it a mapping, or an alias of one")
			continue
		}
		y.depth-- // what is merged is not deeper than what it is merged into
		m, ok := y.node(source)
		y.depth++
		if !ok {
			return nil, false
		}
		for _, f := range m.Fields {
			if !has[f.Key] {
				has[f.Key] = true
				fields = append(fields, f)
			}
		}
	}
	return fields, true
}

// resolved is n, or what it is an alias of.
func resolved(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// keyText is the text of a mapping's key. usable is false for a key of a type
// that can't be one, ok after a stop.
func (y *yamlReader) keyText(n *yaml.Node) (text string, usable, ok bool) {
	at := yamlPos(n)
	alias := n.Kind == yaml.AliasNode
	n = resolved(n)
	if !y.count(at, 1, len(n.Value)) {
		return "", false, false
	}
	if n.Kind != yaml.ScalarNode {
		y.errorf(at, "a mapping or list is the key here; keys are strings, quote it")
		return "", false, true
	}
	switch tag := n.ShortTag(); tag {
	case "!!str", "!!int", "!!timestamp", "!!merge":
		if !alias && isPlain(n) {
			y.ambiguousKey(at, tag, n.Value)
		}
		return n.Value, true, true
	case "!!null", "!!bool", "!!float":
		if tag == "!!float" && isPlain(n) && decimalYAML.MatchString(n.Value) {
			return n.Value, true, true // an integer of any size
		}
		if n.Value == "" {
			y.errorf(at, "the ':' has no key before it; write the key")
			break
		}
		y.errorf(at, "the key %s is a %s; quote it to make it a string", tree.Shown(n.Value), tag[2:])
	default:
		y.unknownTag(at, tag)
	}
	return n.Value, false, true
}

func (y *yamlReader) unknownTag(at tree.Pos, tag string) {
	if tag == "!!binary" {
		y.errorf(at, "!!binary has no counterpart in JSON; write it as a string")
		return
	}
	y.errorf(at, "%s is a tag without a meaning here; remove it, or quote the value", tree.Value(tag))
}

var (
	decimalYAML = regexp.MustCompile(`^[-+]?[0-9]+$`)
	radixYAML   = regexp.MustCompile(`^[-+]?(0x[0-9a-fA-F]+|0o[0-7]+|0b[01]+)$`)
	floatYAML   = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
	nullYAML    = []string{"", "~", "null", "Null", "NULL"}
	trueYAML    = []string{"true", "True", "TRUE"}
	falseYAML   = []string{"false", "False", "FALSE"}
	oldBoolYAML = []string{"yes", "Yes", "YES", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF"} // of YAML 1.1 only
)

// isPlain reports whether a scalar is neither quoted nor tagged.
func isPlain(n *yaml.Node) bool { return n.Style == 0 && n.Tag != "!" }

// ambiguousInt warns about an integer that other YAML readers take for another one or
// for a string. text is its text, and number that without underscores.
func (y *yamlReader) ambiguousInt(v *tree.Node, text, number string) {
	if v.Kind == tree.Null {
		return // it was refused
	}
	decimal := tree.Value(string(v.AppendCanonical(nil)))
	digits := strings.TrimLeft(number, "+-")
	switch {
	case text != number || strings.HasPrefix(digits, "0b"):
		y.warnf(v.At, "%s is the number %s here and a string to other YAML readers; write %s, or quote it", tree.Value(text), decimal, decimal)
	case hasLeadingZero(digits):
		y.warnf(v.At, "%s is octal here, the number %s, and decimal to other YAML readers; write %s, or quote it", tree.Value(text), decimal, decimal)
	}
}

// ambiguousKey warns about a key that other YAML readers do not take for its text.
func (y *yamlReader) ambiguousKey(at tree.Pos, tag, key string) {
	other := "a bool"
	if digits := strings.TrimLeft(key, "+-"); tag == "!!int" && (strings.Contains(key, "_") || strings.HasPrefix(digits, "0b") || hasLeadingZero(digits)) {
		other = "a number"
	} else if !isOldBool(key) {
		return
	}
	y.enter(key)
	y.warnf(at, "the key is a string here and %s to other YAML readers; quote it", other)
	y.leave()
}

func isOldBool(s string) bool { return len(s) <= 3 && slices.Contains(oldBoolYAML, s) }

// hasLeadingZero reports whether digits begin with a 0 that is neither all of them nor
// part of a prefix such as 0x.
func hasLeadingZero(digits string) bool {
	return len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9'
}

// scalar gives a scalar the meaning that the library's tag for it says, and
// refuses what the library took for a float or string because it is a number
// that it can't hold.
func (y *yamlReader) scalar(n *yaml.Node) *tree.Node {
	at, s := yamlPos(n), n.Value
	plain := isPlain(n)
	number := strings.ReplaceAll(s, "_", "") // as the library reads it
	switch tag := n.ShortTag(); tag {
	case "!!str":
		if plain && isOldBool(s) {
			y.warnf(at, "%s is a string here and a bool to other YAML readers; quote it, or write true or false", tree.Value(s))
		}
		if !plain || s == "" || strings.IndexByte("+-.0123456789", s[0]) < 0 {
			return y.string(at, s)
		}
		if radixYAML.MatchString(number) {
			return y.integer(at, number, 0)
		}
		if _, err := strconv.ParseFloat(number, 64); errors.Is(err, strconv.ErrRange) && floatYAML.MatchString(number) {
			return y.float(at, number)
		}
		return y.string(at, s)
	case "!!timestamp", "!!merge":
		return y.string(at, s)
	case "!!null":
		if slices.Contains(nullYAML, s) {
			return y.null(at)
		}
	case "!!bool":
		if slices.Contains(trueYAML, s) || slices.Contains(falseYAML, s) {
			return y.bool(at, s[0]|0x20 == 't')
		}
	case "!!int":
		if decimalYAML.MatchString(number) || radixYAML.MatchString(number) {
			v := y.integer(at, number, 0)
			y.ambiguousInt(v, s, number)
			return v
		}
	case "!!float":
		if plain && decimalYAML.MatchString(number) {
			if hasLeadingZero(strings.TrimLeft(number, "+-")) {
				y.errorf(at, "%s begins with 0 like an octal number but is none; remove the 0, or quote it", tree.Value(s))
				return y.null(at)
			}
			return y.integer(at, number, 10)
		}
		if floatYAML.MatchString(number) {
			if number != s {
				y.warnf(at, "%s is a number here and a string to other YAML readers; write %s, or quote it", tree.Value(s), tree.Value(number))
			}
			return y.float(at, number)
		}
		if word := strings.ToLower(strings.TrimLeft(s, "+-")); word == ".inf" || word == ".nan" {
			return y.float(at, strings.Replace(s, ".", "", 1))
		}
	default:
		y.unknownTag(at, tag)
		return y.null(at)
	}
	y.errorf(at, "%s can't be read as %s; correct it, or quote it to make it a string", tree.Value(s), n.ShortTag())
	return y.null(at)
}

package decode

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/statesync/statesync/daemon/plan/tree"
)

// maxDirectives bounds the time for %TAG directives, which are compared with one
// another.
const maxDirectives = 100

// parseYAML reads a file of one YAML document. The library's own tree has the
// places; what scalars mean is decided here, because the library turns what it
// can't hold exactly into floats and strings, without a word.
func parseYAML(b *builder, text []byte) *tree.Node {
	if n := bytes.Count(text, []byte("\n%")); n > maxDirectives {
		b.stop(tree.Pos{}, "%d lines begin with %%, as directives do, and there may be at most %d; remove them", n, maxDirectives)
		return nil
	}
	in := &lineReader{rest: text}
	decoder := yaml.NewDecoder(in)
	var first, second yaml.Node
	err := decoder.Decode(&first)
	if err == nil {
		err = decoder.Decode(&second)
	}
	switch {
	case err == nil:
		b.stop(yamlPos(&second), "a second document begins here; a file is one config, move it to a file of its own")
		return nil
	case !errors.Is(err, io.EOF):
		line, what := explainYAML(err, text, in.lines)
		b.stop(tree.Pos{Line: int32(line)}, "%s", tree.Printable(tree.Clip(what, 300)))
		return nil
	case first.Kind == 0 || isEmptyYAML(first.Content[0]):
		b.stop(tree.Pos{Line: 1, Column: 1}, tree.EmptyFile)
		return nil
	}
	y := yamlReader{builder: b, within: map[*yaml.Node]bool{}}
	root, _ := y.node(first.Content[0])
	return root
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
		return n.Value, true, true
	case "!!null", "!!bool", "!!float":
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
	y.errorf(at, "the tag %s has no meaning here; remove it", tree.Shown(tag))
}

var (
	decimalYAML = regexp.MustCompile(`^[-+]?[0-9]+$`)
	radixYAML   = regexp.MustCompile(`^[-+]?(0x[0-9a-fA-F]+|0o[0-7]+|0b[01]+)$`)
	floatYAML   = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
	nullYAML    = []string{"", "~", "null", "Null", "NULL"}
	trueYAML    = []string{"true", "True", "TRUE"}
	falseYAML   = []string{"false", "False", "FALSE"}
)

// scalar gives a scalar the meaning that the library's tag for it says, and
// refuses what the library took for a float or string because it is a number
// that it can't hold.
func (y *yamlReader) scalar(n *yaml.Node) *tree.Node {
	at, s := yamlPos(n), n.Value
	plain := n.Style == 0                    // not quoted, no tag of its own
	number := strings.ReplaceAll(s, "_", "") // as the library reads it
	switch tag := n.ShortTag(); tag {
	case "!!str":
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
			return y.integer(at, number, 0)
		}
	case "!!float":
		if plain && decimalYAML.MatchString(number) {
			if digits := strings.TrimLeft(number, "+-"); len(digits) > 1 && digits[0] == '0' {
				y.errorf(at, "%s begins with 0 like an octal number but is none; remove the 0, or quote it", tree.Value(s))
				return y.null(at)
			}
			return y.integer(at, number, 10)
		}
		if floatYAML.MatchString(number) {
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

// lineReader hands out a text line by line and counts: as many lines as were
// asked for is how far the YAML parser had to look.
type lineReader struct {
	rest   []byte
	lines  int
	within bool // the last line was not handed out to its end
}

func (r *lineReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	if !r.within {
		r.lines++
	}
	n := min(len(p), len(r.rest))
	i := bytes.IndexByte(r.rest[:n], '\n')
	if i >= 0 {
		n = i + 1
	}
	r.within = i < 0
	copy(p, r.rest[:n])
	r.rest = r.rest[n:]
	return n, nil
}

var yamlError = regexp.MustCompile(`(?s)^yaml: (?:line (\d+): )?(.*)$`)

// explainYAML finds the line of a syntax error, after the parser has read that
// many lines. The library's own line is right for what its scanner finds. For
// what its grammar finds, it is the line before the one where the block or
// bracket begins, and for some errors there is none.
func explainYAML(err error, text []byte, read int) (line int, what string) {
	line, what = splitYAMLError(err)
	switch {
	case strings.HasPrefix(what, "did not find expected ',' or"):
		return line + 1, "a bracket that opens here or above is not closed (YAML: " + what + "); close it, or add the missing comma"
	case strings.HasPrefix(what, "mapping values are not allowed"):
		return max(line, 1), "a second ':' in one line (YAML: " + what + "); check the indentation, or quote the value"
	case slices.Contains(grammarErrors, what):
		return cutBack(text, read, what), "the line does not continue what is above it (YAML: " + what + "); check its indentation"
	case strings.HasPrefix(what, "unknown anchor"):
		return cutBack(text, read, what), what + "; define the anchor above"
	case strings.HasPrefix(what, "control characters"):
		return cutBack(text, read, what), what + "; write it as an escape in double quotes"
	case strings.HasPrefix(what, "found unexpected end of stream"):
		return max(line, 1), "a quoted string does not end; close it"
	case strings.HasPrefix(what, "exceeded max depth"):
		return max(line, 1), tree.TooDeep
	case strings.HasPrefix(what, "found character that cannot start any token"):
		return max(line, 1), what + "; indent with spaces, and quote a value that begins with one of @ ` %"
	default:
		return max(line, 1), what
	}
}

var grammarErrors = []string{
	"did not find expected key",
	"did not find expected '-' indicator",
	"did not find expected <document start>",
	"did not find expected node content",
	"found undefined tag handle",
}

func splitYAMLError(err error) (line int, what string) {
	m := yamlError.FindStringSubmatch(err.Error())
	if m == nil {
		return 0, err.Error()
	}
	line, _ = strconv.Atoi(m[1])
	return line, m[2]
}

// cutBack is the line of the error: the parser reads a line or two ahead, and
// an error stays while the text is cut off behind the line that is wrong.
func cutBack(text []byte, read int, what string) int {
	for try := 0; try < 3 && read > 1; try++ {
		decoder, err := yaml.NewDecoder(bytes.NewReader(firstLines(text, read-1))), error(nil)
		for err == nil {
			err = decoder.Decode(&yaml.Node{})
		}
		if _, same := splitYAMLError(err); same != what {
			break
		}
		read--
	}
	return read
}

func firstLines(text []byte, n int) []byte {
	end := 0
	for ; n > 0; n-- {
		i := bytes.IndexByte(text[end:], '\n')
		if i < 0 {
			return text
		}
		end += i + 1
	}
	return text[:end]
}

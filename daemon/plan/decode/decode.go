// Package decode reads one file's bytes into a tree: JSON, YAML or TOML, which is
// decided by the file's name. A file that is read well obeys the bounds of one
// config; a file that is not has its problems in a report, each with line, column
// and key. Input is taken to be hostile: time and memory are bounded by the size
// of the file, Memory says beforehand what it takes, and a panic of a parser
// becomes a problem of the file.
package decode

import (
	"bytes"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/statesync/statesync/daemon/plan/tree"
	"github.com/statesync/statesync/shm/failpoint"
)

// Source is a file to read, and which document of the report it is.
type Source struct {
	Path string // as in the report; its extension decides the format
	Data []byte
	Doc  uint16
	// Wide makes floats of integers beyond 64 bits, as a schema has for bounds.
	Wide bool
}

// Config reads a file that is a config, or a part of one. It returns nil if there
// are errors, which are then in r. Only with null may the top level be null:
// it says that the layers below have nothing to say.
func Config(r *tree.Report, s Source, null bool) *tree.Node {
	before := r.Errors()
	root := Parse(r, s)
	switch {
	case root == nil:
		return nil
	case root.Kind == tree.Null && null:
		return root
	case root.Kind != tree.Map && root.Kind != tree.List:
		r.Error(root.Place(), "", "the top level is neither a mapping nor a list; give the value a key")
	default:
		tree.CheckPaths(r, root)
	}
	if r.Errors() > before {
		return nil
	}
	return root
}

// Parse reads a file of any content. It returns nil if there are errors, which are
// then in r.
func Parse(r *tree.Report, s Source) (root *tree.Node) {
	b := &builder{report: r, doc: s.Doc, wide: s.Wide}
	before := r.Errors()
	defer func() {
		if p := recover(); p != nil {
			b.path = nil
			b.stop(tree.Pos{}, "the parser failed (%s); please report this with the file", tree.Shown(fmt.Sprint(p)))
		}
		if r.Errors() > before {
			root = nil
		}
	}()
	failpoint.File("plan.file", s.Path)
	text := s.Data
	parse, limit := format(s.Path)
	if len(text) > limit {
		b.stop(tree.Pos{}, "the file has %d bytes, and this format's limit is %d MiB; split it, or make it an opaque config", len(text), limit>>20)
		return nil
	}
	text = withoutMark(text)
	if i := invalidUTF8(text); i >= 0 {
		cur := newCursor(text)
		b.stop(cur.at(i), "the byte 0x%02x is not UTF-8; save the file as UTF-8, or make it an opaque config", text[i])
		return nil
	}
	return parse(b, text)
}

// parsers are those of the extensions that are not YAML's.
var parsers = map[string]func(*builder, []byte) *tree.Node{".json": parseJSON, ".toml": parseTOML}

// Reads reports whether a file's extension is that of a format.
func Reads(file string) bool {
	switch extensionOf(file) {
	case ".json", ".yaml", ".yml", ".toml":
		return true
	}
	return false
}

// format is the parser of a file, and how many bytes the file may have.
func format(file string) (parse func(*builder, []byte) *tree.Node, limit int) {
	extension := extensionOf(file)
	limit = maxMarkup
	if extension == ".json" {
		limit = tree.MaxText
	}
	if parse = parsers[extension]; parse == nil {
		parse = parseYAML
	}
	return parse, limit
}

// extensionOf is a file's extension in small letters.
func extensionOf(file string) string { return strings.ToLower(path.Ext(file)) }

// byteOrderMark may begin a file, and in YAML a document.
const byteOrderMark = "\ufeff"

// withoutMark is a text without a byte order mark.
func withoutMark(text []byte) []byte { return bytes.TrimPrefix(text, []byte(byteOrderMark)) }

// invalidUTF8 is where b stops being UTF-8; -1: nowhere.
func invalidUTF8(b []byte) int {
	if utf8.Valid(b) {
		return -1
	}
	for i := 0; ; {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
}

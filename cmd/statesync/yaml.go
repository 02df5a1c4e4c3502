package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"
)

// toYAML writes canonical JSON as YAML of the same meaning: integers stay
// exact, floats stay floats, and strings that an old or a new parser would take
// for something else are quoted. What is not plain is an escape.
func toYAML(canonical []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(canonical))
	d.UseNumber()
	root, err := yamlNode(d)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(root); err != nil {
		return nil, err
	}
	if err := e.Close(); err != nil {
		return nil, err
	}
	// Strings with such runes were put between double quotes, where this is
	// how they are written.
	return escapeRunes(b.Bytes(), func(dst []byte, r rune) []byte { return fmt.Appendf(dst, `\U%08X`, r) }), nil
}

// yamlNode makes a node of the value that comes next.
func yamlNode(d *json.Decoder) (*yaml.Node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case nil:
		return scalar("!!null", "null"), nil
	case bool:
		return scalar("!!bool", fmt.Sprint(v)), nil
	case string:
		return yamlString(v), nil
	case json.Number:
		return yamlNumber(v.String()), nil
	}
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	if token == json.Delim('{') {
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
	}
	for d.More() { // a key is a string and comes before its value
		child, err := yamlNode(d)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, child)
	}
	if len(n.Content) == 0 {
		n.Style = yaml.FlowStyle
	}
	_, err = d.Token()
	return n, err
}

func scalar(tag, value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
}

// yamlNumber keeps a number's text. YAML 1.1 wants a point in a float, before
// the exponent.
func yamlNumber(text string) *yaml.Node {
	if !strings.ContainsAny(text, ".e") {
		return scalar("!!int", text)
	}
	if mantissa, exponent, ok := strings.Cut(text, "e"); ok && !strings.Contains(mantissa, ".") {
		text = mantissa + ".0e" + exponent
	}
	return scalar("!!float", text)
}

// yamlString leaves the choice of the style to the encoder where it knows
// better: it quotes what YAML 1.2 would not read as a string.
func yamlString(s string) *yaml.Node {
	n := scalar("!!str", s)
	odd := strings.ContainsFunc(s, func(r rune) bool { return !plain(r) && r != '\n' })
	if odd || oldWord(s) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// oldTime begins as a timestamp of YAML 1.1 does.
var oldTime = regexp.MustCompile(`^\d{4}-\d\d?-\d\d?([Tt \t]|$)`)

// oldWord reports whether YAML 1.1 takes s for a bool, or could take it for a
// timestamp, a number in base 60, a merge key or a default.
func oldWord(s string) bool {
	switch strings.ToLower(s) {
	case "y", "yes", "on", "n", "no", "off", "<<", "=":
		return true
	}
	return oldTime.MatchString(s) || strings.Contains(s, ":") && strings.Trim(s, "+-0123456789_:.") == ""
}

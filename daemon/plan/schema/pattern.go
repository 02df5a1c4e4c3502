package schema

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/statesync/statesync/daemon/plan/tree"
)

const (
	maxPattern = 4 << 10 // bytes of one regular expression
	maxProgram = 200_000 // instructions of all those of one schema, with all files that it refers to
)

// patternError is why a regular expression is refused that is one.
type patternError string

func (e patternError) Error() string { return string(e) }

// pattern is a regular expression of a schema that counts its steps. Go's take
// time in proportion to the text and to their own length, but x{1000} is as long
// as a thousand x.
type pattern struct {
	*regexp.Regexp
	meter        *meter
	instructions int64
}

// MatchString implements [jsonschema.Regexp]. For each byte an instruction takes
// 16 ns at worst, and much less in what people write: 128 of them are a step.
func (p *pattern) MatchString(s string) bool {
	p.meter.spend(1 + int64(len(s))*p.instructions/128)
	return p.Regexp.MatchString(s)
}

// pattern compiles a regular expression, once. While a config is validated it
// only reports whether the text is one, as a format may ask it.
func (m *meter) pattern(text string) (jsonschema.Regexp, error) {
	if p := m.patterns[text]; p != nil {
		return p, nil
	}
	if len(text) > maxPattern {
		return nil, patternError(fmt.Sprintf("the regular expression has %d bytes, and may have at most %d; shorten it", len(text), maxPattern))
	}
	if m.validating {
		m.spend(8 * int64(len(text))) // a class like \pL is short, and slow to parse
		_, err := syntax.Parse(text, syntax.Perl)
		return nil, err
	}
	compiled, err := regexp.Compile(text)
	if err != nil {
		return nil, explainPattern(text, err)
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	instructions, _ := program(parsed)
	p := &pattern{compiled, m, instructions}
	m.patterns[text] = p
	return p, nil
}

// measure is what a regular expression takes, see maxProgram; nothing if it is not one
// that is compiled.
func measure(text string) int64 {
	if len(text) > maxPattern {
		return 0
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return 0
	}
	instructions, ranges := program(parsed)
	return instructions + ranges
}

// lacking are constructs of other engines, by how they begin, and what to do without
// them.
var lacking = []struct{ begins, what string }{
	{"(?!", `a negative lookahead; write what may not match as {"not": {"pattern": …}} beside the pattern of the rest`},
	{"(?=", `a lookahead; write each condition as a pattern of its own, in an allOf`},
	{"(?<!", `a negative lookbehind; write what may not match as {"not": {"pattern": …}} beside the pattern of the rest`},
	{"(?<=", `a lookbehind; write each condition as a pattern of its own, in an allOf`},
	{"(?>", `an atomic group; write (?: instead, which matches the same here`},
	{`\u`, `a \u escape; write \x{…} with the same digits`},
	{`\c`, `a \c escape; write \x and two digits`},
	{`\k`, `a backreference; write out what it may repeat`},
}

// explainPattern says what is wrong with a regular expression of a schema.
func explainPattern(text string, err error) error {
	bad, ok := errors.AsType[*syntax.Error](err)
	if !ok {
		return err
	}
	rest := text
	if i := strings.Index(text, bad.Expr); i >= 0 {
		rest = text[i:]
	}
	for _, l := range lacking {
		if strings.HasPrefix(rest, l.begins) {
			return patternError(fmt.Sprintf("%s has %s, %s", tree.Quoted(text), l.begins, lack(l.what)))
		}
	}
	if bad.Code == syntax.ErrInvalidEscape && len(rest) > 1 && rest[1] >= '1' && rest[1] <= '9' {
		return patternError(fmt.Sprintf("%s has %s, %s", tree.Quoted(text), rest[:2], lack("a backreference; write out what it may repeat")))
	}
	return patternError(fmt.Sprintf("%s is not a regular expression in Go's syntax: %s: %s", tree.Quoted(text), bad.Code, tree.Shown(bad.Expr)))
}

// lack puts what is lacking into words.
func lack(what string) string {
	name, advice, _ := strings.Cut(what, "; ")
	return name + ", which Go's regular expressions do not have; " + advice
}

// program is about how many instructions a regular expression becomes, and what
// its classes of characters take beside them, in the memory of instructions.
func program(re *syntax.Regexp) (instructions, ranges int64) {
	instructions = 1
	switch re.Op {
	case syntax.OpLiteral:
		instructions = int64(len(re.Rune))
	case syntax.OpCharClass:
		ranges = int64(len(re.Rune)) / 8
	case syntax.OpCapture:
		instructions = 2
	}
	for _, sub := range re.Sub {
		i, r := program(sub)
		instructions, ranges = instructions+i, ranges+r
	}
	if re.Op == syntax.OpRepeat {
		instructions *= int64(max(re.Min, re.Max, 1))
	}
	return instructions, ranges
}

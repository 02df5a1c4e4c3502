package schema

import (
	"fmt"
	"regexp"
	"regexp/syntax"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const (
	maxPattern = 4 << 10 // bytes of one regular expression
	maxProgram = 200_000 // instructions of all those that one schema reaches
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
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil || m.validating {
		return nil, err
	}
	instructions, ranges := program(tree)
	if m.program += instructions + ranges; m.program > maxProgram {
		return nil, patternError(fmt.Sprintf("up to here the schema's regular expressions take more than %d instructions; "+
			"simplify them, and repeat less", maxProgram))
	}
	compiled, err := regexp.Compile(text)
	if err != nil {
		return nil, err
	}
	if m.patterns == nil {
		m.patterns = map[string]*pattern{}
	}
	p := &pattern{compiled, m, instructions}
	m.patterns[text] = p
	return p, nil
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

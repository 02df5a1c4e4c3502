package decode

import (
	"testing"

	"github.com/statesync/statesync/daemon/plan/plantest"
)

// TestYAMLPlaces has a mistake of each kind, with its place and the whole message.
func TestYAMLPlaces(t *testing.T) {
	const (
		continues = "the line does not continue what is above it; check its indentation"
		noColon   = "no ':' after the key; write KEY: VALUE"
		twoColons = "a second ':' in the line; quote the value, or write its keys on lines of their own"
		tab       = "a tab in the indentation; indent with spaces"
		openQuote = "the quoted string that begins here does not end; close it"
	)
	var samples []sample
	for _, row := range [][2]string{ // the text, and the problem
		{"top:\n  a: 1\n  b:\n    - c\n   d: 1\nlast: 2\n", "5:4: " + continues},
		{"x:\n  y: |\n    foo\n   bar\n  z: 1\nk: 1\n", "4:4: " + continues},
		{"a:\n  b: 1\n c: 2\n", "3:2: " + continues},
		{"a: 1\n- b\n", "2:1: " + continues},
		{"- a\nb: c\nd: 1\n", "2:1: the line does not continue the list above it; begin it with '- ', or check its indentation"},

		{"a\nb: 1\n", "1:1: " + noColon},
		{"a:b\nc: 1\n", "1:1: " + noColon},
		{"# c\n- a\n  b: 1\n", "2:3: " + noColon},
		{"a: 1\nb\n", "2:1: " + noColon},
		{"a: 1\nb\nc: 2\n", "2:1: " + noColon},
		{"a:\n  b: 1\n  'c'\n", "3:3: " + noColon},
		{"a: 1\nb: c: d\n", "2:5: " + twoColons},
		{"key: value\n  other: 1\n", "2:3: a key inside the value of the key in line 1; check the indentation, or quote the value"},
		{"key: value\n  goes on\n  other: 1\n", "3:3: a key inside the value of the key in line 1; check the indentation, or quote the value"},
		{"a: - b\n", "1:4: a list cannot begin behind its key; begin its first '- ' on the next line, or quote the value"},
		{"a: ? b\n", "1:4: a '?' begins a key here, where none can be; quote a value that begins with it"},

		{"a: \"open\nb: 1\n", "1:4: " + openQuote},
		{"a: 'open", "1:4: " + openQuote},
		{"x: 1\na: \"open\nb: 1\n", "2:4: " + openQuote},
		{"a: 1\r\nb: \"\r\n", "2:4: " + openQuote},
		{"a: \"\n... x\"\n", "1:4: the quoted string that begins here does not end before line 2; close it"},
		{"a: 'it's'\n", "1:8: 's' behind the end of the value; remove it, or quote the whole value (in single quotes, write ' as '')"},
		{"a: \"x\" y\n", "1:8: 'y' behind the end of the value; remove it, or quote the whole value"},
		{"\"a\":b\n", "1:4: ':' behind the end of the value; remove it, or quote the whole value"},
		{"a: &x &y 1\n", "1:7: a second tag or anchor ('&') before one value; remove it, or quote the value"},

		{"x:\n  y: 1\n  l: [1, 2\n  - 3\nz: 1\n", "3:6: the bracket that opens here is not closed before line 5; add the ']', or the missing comma"},
		{"l: [1, 2\nz: 1\n", "1:4: the bracket that opens here is not closed before line 2, column 2; add the ']', or the missing comma"},
		{"l: [\n  \"a\"\n  \"b\"\n]\n", "1:4: the bracket that opens here is not closed before line 3, column 3; add the ']', or the missing comma"},
		{"l: [1, 2\n", "1:4: the bracket that opens here is not closed; add the ']'"},
		{"{a: 1", "1:1: the bracket that opens here is not closed; add the '}'"},
		{"l: {a: 1, b: c: 2}", "1:15: ':' where ',' or '}' should be; add it, or quote the value"},
		{"a: {b: [1, 2}", "1:13: '}' where ',' or ']' should be; add it, or quote the value"},
		{"a: 1\n}\nx: 1\n", "2:1: the bracket '}' closes none; remove it, or quote the value"},
		{"a: [1]]\n", "1:7: the bracket ']' closes none; remove it, or quote the value"},
		{"a: [\n", "1:5: the file ends where a value should be; write the value, and close the brackets that are open"},
		{"[1,,2]", "1:4: ',' where a value should be; write the value, or quote it"},

		{"a:\n\t- b\n", "2:1: " + tab},
		{"a:\n  b: 1\n\tc: 2\n", "3:1: " + tab},
		{"a: |\n\tx\n", "2:1: " + tab},
		{"\ta: 1\n", "1:1: " + tab},
		{"a: 1\nb: @x\n", "2:4: a value cannot begin with '@'; quote it"},
		{"a: `x`\n", "1:4: a value cannot begin with '`'; quote it"},
		{"a: %x\n", "1:4: a value cannot begin with '%'; quote it"},
		{"a: >x\n b\n", "1:5: text behind | or >; begin it on the next line"},
		{"a: |0\n b\n", "1:5: the digit behind | or > says how far the text is indented, 1 to 9; correct or remove it"},

		{"a: 1\nb: \"é\n  \\q\"\n", "3:3: double quotes have no escape for \"q\"; write a backslash as \\\\, or use single quotes"},
		{"a: \"\\x4\"", "1:5: \\x needs two hexadecimal digits, \\u four and \\U eight; complete it, or write a backslash as \\\\"},
		{"a: \"\\ud83d\\ude00\"", "1:5: the escape is no character, or half of a surrogate pair; write the character itself, or \\U and eight hexadecimal digits"},

		{"a: [*y]\n", "1:5: *y is an alias, and no anchor of that name stands above it; define the anchor, or quote the value"},
		{"- &é x", "1:4: 'é' in the name of an alias or anchor, which can only be ASCII here; rename it, or quote the value"},
		{"- &aé x", "1:5: 'é' in the name of an alias or anchor, which can only be ASCII here; rename it, or quote the value"},
		{"a: *\nb: 1", "1:4: a name has to follow the '*' of an alias or anchor; add it, or quote the value"},
		{"a: !x!y 1\n", "1:4: the tag's handle is defined by no %TAG directive; remove the tag, or quote a value that begins with !"},
		{"a: !<tag b\n", "1:4: a malformed tag; remove it, or quote a value that begins with !"},
		{"# c\n%TAG !a\n---\na: 1\n", "2:1: a malformed or second %TAG directive; remove the line"},
		{"%TAG !a! b\n%TAG !a! b\n---\na: 1\n", "2:1: a malformed or second %TAG directive; remove the line"},
		{"%YAML 2.0\n---\na: 1\n", "1:1: the directive is not %YAML 1.2 or an earlier version; correct it, or remove the line"},
		{"# c\n%YAML\n---\na: 1\n", "2:1: the directive is not %YAML 1.2 or an earlier version; correct it, or remove the line"},
		{"%YAML 1.2\n%YAML 1.2\n---\na: 1\n", "2:1: a second %YAML directive; keep one of them"},
		{"%YAML 1.2\n\na: 1\n", "3:1: a line --- has to be between directives (lines that begin with %) and the document; add it, or remove them"},
		{"a: 1\n... x\n", "2:5: text behind the ... that ends the document; remove it"},

		{"a: 1\n\ufeffb: 2\n", `2:1: a byte order mark (U+FEFF) inside the document; remove it, or write it as \ufeff in double quotes`},
		{"a: é\ufeffy\n", `1:5: a byte order mark (U+FEFF) inside the document; remove it, or write it as \ufeff in double quotes`},
		{"x: 1\ny: \x01\nz: 1\n", `2:4: a control character (U+0001); remove it, or write it as \u0001 in double quotes`},
		{"a: x\u2028b: y\n", `1:5: a line separator (U+2028) that YAML 1.1 and 1.2 take differently; remove it, or write it as \u2028 in double quotes`},

		{"a: 1\n---\nb: [\n", "2:1: a second document begins here; a file is one config, move it to a file of its own"},
		{"# c\na: 1\n...\n# c\nb: 1\n", "5:1: a second document begins here; a file is one config, move it to a file of its own"},
		{"a: 1\n...\n%YAML 1.2\n---\nb: 1\n", "3:1: a second document begins here; a file is one config, move it to a file of its own"},
	} {
		samples = append(samples, sample{in: row[0], problems: []string{"c.yaml:" + row[1]}})
	}
	testSamples(t, "c.yaml", samples)
}

// TestYAMLValues has what YAML readers are known to take wrongly.
func TestYAMLValues(t *testing.T) {
	testSamples(t, "c.yaml", []sample{
		{in: "{a:, b: 1}", want: `{"a":null,"b":1}`},
		{in: "{?foo: 1, b?: 2}", want: `{"?foo":1,"b?":2}`},
		{in: "a: &x:y 1\nb: *x:y\n", want: `{"a":1,"b":1}`},
		{in: "a: ! 12\nb: ! 0x10000000000000000\nc: ! [1]\nd: ! yes\n", want: `{"a":"12","b":"0x10000000000000000","c":[1],"d":"yes"}`},
		{in: "a: \"\\/\\u00e9\\x41\\U0001F600\\e\"", want: `{"a":"/éA😀\u001b"}`},
		{in: "111222333444555666777: a\n-1: b\n", want: `{"-1":"b","111222333444555666777":"a"}`},
		{in: "a: x\rb: y\r", want: `{"a":"x","b":"y"}`},
		{in: "a: \x7f\u0080\n", want: "{\"a\":\"\x7f\u0080\"}"},

		{in: "# c\n\ufeffa: 1\n", want: `{"a":1}`},
		{in: "\ufeff# c\n\ufeff%YAML 1.2\n\ufeff---\na: 1\n...\n\ufeff# c\n", want: `{"a":1}`},
		{in: "%YAML 1.2 # c\n---\na: [1,\n 2]\n", want: `{"a":[1,2]}`},
		{in: "%YAML\t1.3\n--- {a: 1}\n", want: `{"a":1}`},
		{in: "%TAG !e! tag:yaml.org,2002:\n---\na: !e!str 1\n", want: `{"a":"1"}`},
		{in: "...\n---\na: |\n --- b\n ...\n...\n...\n", want: `{"a":"--- b\n...\n"}`},
		{in: "a: '%b'\nc: \"x\n  %d\"\n", want: `{"a":"%b","c":"x %d"}`},
		{
			in: "# c\n%FOO bar\n---\na: 1\n", want: `{"a":1}`,
			problems: []string{"c.yaml:2:1: warning: the directive %FOO is not known and has no effect; remove the line"},
		},

		{in: "\ufeff\n {\"a\": \"\\/\\ud83d\\ude00\", \"b\":\t[1e3]}\n", want: `{"a":"/😀","b":[1000.0]}`},
		{in: "{\"a\": \"x\u2028\"}", want: "{\"a\":\"x\u2028\"}"},
		{in: `{"a": "\ud83d"}`, problems: []string{`c.yaml:1:8: a: \ud83d is half of a surrogate pair; write the character itself`}},
		{in: "[1, 2,] # not JSON\n", want: `[1,2]`},
	})
}

// TestYAMLWarnings has the scalars that YAML readers take differently.
func TestYAMLWarnings(t *testing.T) {
	one := func(at, problem string) []string { return []string{"c.yaml:" + at + ": warning: " + problem} }
	testSamples(t, "c.yaml", []sample{
		{in: "a: 0644", want: `{"a":420}`, problems: one("1:4", "a: 0644 is octal here, the number 420, and decimal to other YAML readers; write 420, or quote it")},
		{in: "a: -01234", want: `{"a":-668}`, problems: one("1:4", "a: -01234 is octal here, the number -668, and decimal to other YAML readers; write -668, or quote it")},
		{in: "a: 1_000", want: `{"a":1000}`, problems: one("1:4", "a: 1_000 is the number 1000 here and a string to other YAML readers; write 1000, or quote it")},
		{in: "a: 1_0.5", want: `{"a":10.5}`, problems: one("1:4", "a: 1_0.5 is a number here and a string to other YAML readers; write 10.5, or quote it")},
		{in: "a: [0b11]", want: `{"a":[3]}`, problems: one("1:5", "a.0: 0b11 is the number 3 here and a string to other YAML readers; write 3, or quote it")},
		{in: "a: -0b1_1", want: `{"a":-3}`, problems: one("1:4", "a: -0b1_1 is the number -3 here and a string to other YAML readers; write -3, or quote it")},
		{in: "a: yes", want: `{"a":"yes"}`, problems: one("1:4", "a: yes is a string here and a bool to other YAML readers; quote it, or write true or false")},
		{in: "a: Off", want: `{"a":"Off"}`, problems: one("1:4", "a: Off is a string here and a bool to other YAML readers; quote it, or write true or false")},
		{in: "on: 1", want: `{"on":1}`, problems: one("1:1", "on: the key is a string here and a bool to other YAML readers; quote it")},
		{in: "0644: 1", want: `{"0644":1}`, problems: one("1:1", "0644: the key is a string here and a number to other YAML readers; quote it")},
		{in: "a: &x no\nb: *x\n*x : 1\n", want: `{"a":"no","b":"no","no":1}`, problems: one("1:4", "a: no is a string here and a bool to other YAML readers; quote it, or write true or false")},
		{
			in:   "a: ['0644', \"yes\", !!str off, 'on', '0b11', '1_000', 0, 0x1F, 0o17, 0.5, y, n, 2020-01-01, a_b, _1]\n'yes': 1\n",
			want: `{"a":["0644","yes","off","on","0b11","1_000",0,31,15,0.5,"y","n","2020-01-01","a_b","_1"],"yes":1}`,
		},
	})
}

// TestYAMLPlain says that the log, which leaves values out, has none of the file.
func TestYAMLPlain(t *testing.T) {
	for in, want := range map[string]string{
		"a: 0644":  "the value is octal here, the number the value, and decimal to other YAML readers; write the value, or quote it",
		"a: 64_4":  "the value is the number the value here and a string to other YAML readers; write the value, or quote it",
		"a: 6_4.4": "the value is a number here and a string to other YAML readers; write the value, or quote it",
		"a: yes":   "the value is a string here and a bool to other YAML readers; quote it, or write true or false",
		"a: *pass": "the value is an alias, and no anchor of that name stands above it; define the anchor, or quote the value",
		"a: !pass": "the value is a tag without a meaning here; remove it, or quote the value",
	} {
		_, problems := canonical("c.yaml", []byte(in))
		if len(problems) != 1 || problems[0].WithoutValues().What != want {
			t.Errorf("%s: %q, want %s", in, plantest.Messages(problems), want)
		}
	}
}

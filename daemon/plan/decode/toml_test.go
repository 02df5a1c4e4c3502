package decode

import "testing"

// TestTOMLPlaces has a mistake of each kind, with its place and the whole message.
func TestTOMLPlaces(t *testing.T) {
	const (
		bareKeys = "; write KEY = VALUE, and quote a key that has other characters than A-Z, a-z, 0-9, - and _"
		noKey    = " where a key should be" + bareKeys
		noEquals = " where '=' should be" + bareKeys
		noValue  = " where a value should be; put a string in quotes, and write bools as true or false"
		missing  = "the line's end where a value should be; write the value, or remove the key"
		open     = `the string that begins here does not end; close it (one of several lines is between """ and """)`
		bracket  = "the bracket that opens here is not closed; close it"
		header   = "the name of the table is not closed; write [NAME], or [[NAME]] for one of a list, and quote a key that has other characters than A-Z, a-z, 0-9, - and _"
		behind   = " behind the end of the value or name; begin a new line, or put the whole value in quotes"
		number   = "an incomplete number; complete it, or put the value in quotes"
		radix    = "0x, 0o or 0b without a digit of that base; add it, or put the value in quotes"
		score    = "an underscore in a number needs a digit on each side; remove it, or put the value in quotes"
		digits   = `\x needs two hexadecimal digits, \u four and \U eight; complete it, or write a backslash as \\`
		control  = `a control character (U+0001); remove it, or write it as \u0001 in double quotes`
		carriage = "a carriage return without a line feed; end lines with LF or CR LF"
	)
	var samples []sample
	for _, row := range [][2]string{ // the text, and the problem
		{"μ = 1", "1:1: 'μ'" + noKey},
		{"= 1", "1:1: '='" + noKey},
		{"[]", "1:2: ']'" + noKey},
		{"a = {,}", "1:6: ','" + noKey},
		{"x.y. = 1", "1:6: '='" + noKey},
		{"a.", "1:3: the line's end where a key should be; write KEY = VALUE"},
		{"aμ = 1", "1:2: 'μ'" + noEquals},
		{"x = 1\n a: 1", "2:3: ':'" + noEquals},
		{"a 1", "1:3: '1'" + noEquals},
		{"a\nb = 1", "1:2: the line's end" + noEquals},
		{"  a", "1:4: the line's end" + noEquals},
		{"a = {b", "1:7: the line's end" + noEquals},
		{"a = {b: 1}", "1:7: ':'" + noEquals},

		{"a = ", "1:5: " + missing},
		{"a = \nb = 1", "1:5: " + missing},
		{"a = {b =", "1:9: " + missing},
		{"a = μ", "1:5: 'μ'" + noValue},
		{"a = yes", "1:5: 'y'" + noValue},
		{"a = True", "1:5: 'T'" + noValue},
		{"a = nil", "1:5: 'n'" + noValue},
		{"a = .5", "1:5: '.'" + noValue},
		{"a = [1,,2]", "1:8: ',' where a value should be; write the value, or remove the comma"},
		{"x = 1\n a = 1 b = 2", "2:8: 'b'" + behind},
		{"[a]]", "1:4: ']'" + behind},
		{"a = 'it's'", "1:9: 's'" + behind},

		{"a = \"é\ny\"", "1:5: " + open},
		{"b = 1\na = 'x", "2:5: " + open},
		{"b = '\"'\na = \"x\\", "2:5: " + open},
		{"a = \"x\\\ny\"", "1:5: " + open},
		{"a = \"\"\"x\ny", "1:5: " + open},
		{"[\"a", "1:2: " + open},
		{"a = [1, 2\n", "1:5: " + bracket},
		{"a = ['''x''''', \"[\\\"\", # [\n 1, {b = [1", "2:10: " + bracket},
		{"a = [1 2]", "1:8: '2' where ',' or ']' should be; add it, or put the value in quotes"},
		{"a = {b = 1 c = 2}", "1:12: 'c' where ',' or '}' should be; add it, or put the value in quotes"},
		{"[a\nb = 1", "1:3: " + header},
		{"[[a]\n", "1:4: " + header},

		{"a = 01", "1:5: a number with a leading 0; remove the 0, or put the value in quotes"},
		{"a = 1_", "1:6: " + score},
		{"a = 0xg", "1:5: " + radix},
		{"a = 0b2", "1:5: " + radix},
		{"a = +0x1", "1:5: a number with 0x, 0o or 0b has no sign; write it in decimal, or put it in quotes"},
		{"a = 1.", "1:6: " + number},
		{"a = 1e", "1:6: " + number},
		{"a = +", "1:5: " + number},

		{"a = \"\\q\"", `1:6: TOML has no escape for 'q'; write a backslash as \\, or use single quotes`},
		{"a = \"\"\"\nx\\q\"\"\"", `2:2: TOML has no escape for 'q'; write a backslash as \\, or use single quotes`},
		{"a = \"\\u12\"", "1:6: " + digits},
		{"a = \"\\u12x4\"", "1:6: " + digits},
		{"a = \"\\ud800\"", `1:6: the escape is no character, or half of a surrogate pair; write the character itself, or \U and eight hexadecimal digits`},
		{"a = \"\"\"x\"\"\"\"\"\"", `1:9: more than two quotes before those that end the string; write a quote in it as \"`},
		{"a = '\x01'", "1:6: " + control},
		{"# \x01", "1:3: " + control},
		{"a = 1\rb = 2", "1:6: " + carriage},
		{"# a\rb = 2", "1:4: " + carriage},
	} {
		samples = append(samples, sample{in: row[0], problems: []string{"c.toml:" + row[1]}})
	}
	testSamples(t, "c.toml", samples)
}

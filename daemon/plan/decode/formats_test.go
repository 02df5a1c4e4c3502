package decode

import "testing"

const (
	emptyHere = "empty: a file that was cut off looks the same; write {} for a config without keys, or remove the file"
	flatHere  = "the top level is neither a mapping nor a list; give the value a key"
)

func TestJSON(t *testing.T) {
	one := func(problem string) []string { return []string{"c.json:" + problem} }
	testSamples(t, "c.json", []sample{
		{in: "{}", want: "{}"},
		{in: " [ ] ", want: "[]"},
		{in: "\ufeff{\"a\":1}", want: `{"a":1}`},
		{in: `{"b":{"y":2,"x":[]},"a":[null,true,false,"s"]}`, want: `{"a":[null,true,false,"s"],"b":{"x":[],"y":2}}`},
		{in: `[18446744073709551615,-9223372036854775808,-0,9007199254740993]`, want: `[18446744073709551615,-9223372036854775808,0,9007199254740993]`},
		{in: `[1.0,1,1e3,-0.0,1E-7,1e21,0.1]`, want: `[1.0,1,1000.0,-0.0,1e-07,1e+21,0.1]`},
		{in: `["\u00e9\ud83d\uDE00\"\\\/\b\f\n\r\t\u0001"]`, want: `["é😀\"\\/\b\f\n\r\t\u0001"]`},

		{in: "", problems: one("1:1: " + emptyHere)},
		{in: " \n", problems: one("1:1: " + emptyHere)},
		{in: "\ufeff", problems: one("1:1: " + emptyHere)},
		{in: "1", problems: one("1:1: " + flatHere)},
		{in: "null", problems: one("1:1: " + flatHere)},
		{in: `"s"`, problems: one("1:1: " + flatHere)},

		{in: `{"a":{"b":[1,18446744073709551616]}}`, problems: one("1:14: a.b.1: 18446744073709551616 does not fit in 64 bits; write it as a string")},
		{in: `{"a":-9223372036854775809}`, problems: one("1:6: a: -9223372036854775809 does not fit in 64 bits; write it as a string")},
		{in: `{"a":1e999}`, problems: one("1:6: a: 1e999 is beyond a 64-bit float; write it as a string")},
		{in: `{"a":01}`, problems: one("1:6: a: 01 has a leading zero; remove it, or write a string")},
		{in: `{"a":NaN}`, problems: one("1:6: a: 'N' where a value should be")},
		{in: `{"a":-}`, problems: one("1:7: a: '}' where a digit should be")},
		{in: `{"a":1.}`, problems: one("1:8: a: '}' where a digit should be")},
		{in: `{"a":1e+}`, problems: one("1:9: a: '}' where a digit of the exponent should be")},

		{in: "{\n \"a\": 1,\n \"b\": {\"x\":1,\n \"x\":2}\n}", problems: one("4:2: b.x: the key is already defined at line 3, column 8; keep one of them")},
		{in: "{\"a.b\":1,\n\"a\":{\n\"b\":2}}", problems: one("3:1: a.b: another path joins to the same dotted key, at line 1, column 2; rename one of the two keys")},
		{in: "{\"a\":[[],\n7],\n\"a.1\":2}", problems: one("3:1: a.1: another path joins to the same dotted key, at line 2, column 1; rename one of the two keys")},
		{
			in:       "{\"Elo\":1,\n\"elo\":2}",
			want:     `{"Elo":1,"elo":2}`,
			problems: one("2:1: warning: elo: the key differs only in case from \"Elo\" at line 1, column 2, and encoding/json takes them for one; rename one of them"),
		},
		{
			in:       "{\"k\":1,\n\"\u212a\":2}", // the Kelvin sign, which encoding/json takes for a k
			want:     "{\"k\":1,\"\u212a\":2}",
			problems: one("2:1: warning: \u212a: the key differs only in case from \"k\" at line 1, column 2, and encoding/json takes them for one; rename one of them"),
		},

		{in: "{\n\"é\": \"\xff\"}", problems: one("2:7: the byte 0xff is not UTF-8; save the file as UTF-8, or make it an opaque config")},
		{in: "{\"\xc3\": 1}", problems: one("1:3: the byte 0xc3 is not UTF-8; save the file as UTF-8, or make it an opaque config")},
		{in: `{"a":"\ud800"}`, problems: one(`1:7: a: \ud800 is half of a surrogate pair; write the character itself`)},
		{in: `{"a":"\ud800\u0041"}`, problems: one(`1:7: a: \ud800 is half of a surrogate pair; write the character itself`)},
		{in: `{"\udc00":1}`, problems: one(`1:3: \udc00 is half of a surrogate pair; write the character itself`)},
		{in: `{"a":"x\q"}`, problems: one(`1:8: a: JSON has no escape for "q"; write a backslash as \\`)},
		{in: `{"a":"\u12G4"}`, problems: one(`1:7: a: \u needs four hexadecimal digits`)},
		{in: "{\"a\":\"\t\"}", problems: one(`1:7: a: a control character (0x09) in a string; write it as \u0009`)},

		{in: "{} x", problems: one("1:4: 'x' where the end of the file should be")},
		{in: "{}\n{}", problems: one("2:1: '{' where the end of the file should be")},
		{in: "{\n// c\n}", problems: one("2:1: JSON has no comments; remove it, or make the file a .yaml one")},
		{in: "[1, /* c */ 2]", problems: one("1:5: 1: JSON has no comments; remove it, or make the file a .yaml one")},
		{in: "{\"a\":1,\n}", problems: one("1:7: a comma before '}'; JSON has no trailing commas, remove it")},
		{in: "[1,]", problems: one("1:3: a comma before ']'; JSON has no trailing commas, remove it")},
		{in: "[1 2]", problems: one("1:4: '2' where ',' or ']' should be")},
		{in: "{a:1}", problems: one("1:2: 'a' where a key in double quotes should be")},
		{in: "{'a':1}", problems: one("1:2: a single quote where a key in double quotes should be; JSON's strings are in double quotes")},
		{in: "{\"a\" 1}", problems: one("1:6: a: '1' where the ':' after the key should be")},
		{in: "[1", problems: one("1:3: the file ends where ',' or ']' should be; is it cut off?")},
		{in: "{\"a\": \"b", problems: one("1:7: a: the string that begins here does not end; is the file cut off?")},
		{in: "[\"\\", problems: one("1:3: 0: '\\' at the end of the file; is it cut off?")},
	})
}

func TestYAML(t *testing.T) {
	one := func(problem string) []string { return []string{"c.yaml:" + problem} }
	testSamples(t, "c.yaml", []sample{
		{in: "{}", want: "{}"},
		{in: "- a\n- b: 1\n", want: `["a",{"b":1}]`},
		{in: "\ufeffa: 1\n...\n", want: `{"a":1}`},
		{in: "%YAML 1.1\n---\na: 1\n", want: `{"a":1}`},
		{in: "a: [0x10, 0o17, +5, -0, 0xFFFFFFFFFFFFFFFF, 190:20:30]", want: `{"a":[16,15,5,0,18446744073709551615,"190:20:30"]}`},
		{in: "a: [18446744073709551615, +18446744073709551615, -9223372036854775808]", want: `{"a":[18446744073709551615,18446744073709551615,-9223372036854775808]}`},
		{in: "a: [1.0, 1, 1e3, .5, 1., -0.0]", want: `{"a":[1.0,1,1000.0,0.5,1.0,-0.0]}`},
		{in: "a: [y, n, ~, null, '', true, False, \"1\", '.nan', 0b2, <<, _0, .5__0]", want: `{"a":["y","n",null,null,"",true,false,"1",".nan","0b2","<<","_0",".5__0"]}`},
		{in: "a: [2020-01-01, 2020-01-01T00:00:00Z, !!timestamp 2020-1-1]", want: `{"a":["2020-01-01","2020-01-01T00:00:00Z","2020-1-1"]}`},
		{in: "a: [!!str 1, !!float 1, !!int '5', !!null '', !!bool 'true', !!float '1e3']", want: `{"a":["1",1.0,5,null,true,1000.0]}`},
		{in: "a: |\n  x\n  y\nb: >\n  x\n  y\n", want: `{"a":"x\ny\n","b":"x y\n"}`},
		{in: "1: a\n0x10: b\n2020-01-01: c\n", want: `{"0x10":"b","1":"a","2020-01-01":"c"}`},
		{in: "a: &x [1, &y {k: v}]\nb: *x\nc: *y\n*y2 : 1\n", problems: one("4:1: *y2 is an alias, and no anchor of that name stands above it; define the anchor, or quote the value")},
		{in: "k: &k name\nb: &x {c: 1}\n*k : *x\n", want: `{"b":{"c":1},"k":"name","name":{"c":1}}`},

		{in: "base: &b {x: 1, y: 2}\nz:\n  <<: *b\n  x: 3\n", want: `{"base":{"x":1,"y":2},"z":{"x":3,"y":2}}`},
		{in: "l: [&a {x: 1}, &b {x: 2, y: 3}]\nz: {<<: [*a, *b], w: 1}\n", want: `{"l":[{"x":1},{"x":2,"y":3}],"z":{"w":1,"x":1,"y":3}}`},
		{in: "a: &a {x: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: *b, <<: *a}", problems: one("3:13: c.<<: the key is already defined at line 3, column 5; keep one of them")},
		{in: "a: &a {x: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: *b}", want: `{"a":{"x":1},"b":{"x":1,"y":2},"c":{"x":1,"y":2}}`},
		{in: "'<<': {a: 1}\n", want: `{"<<":{"a":1}}`},
		{in: "z: {<<: 1}", problems: one("1:9: z: << merges something that is not a mapping; give it a mapping, or an alias of one")},
		{in: "z:\n  <<:\n  - {a: 1}\n  - [b]\n", problems: one("4:5: z: << merges something that is not a mapping; give it a mapping, or an alias of one")},

		{in: "", problems: one("1:1: " + emptyHere)},
		{in: "# only\n# comments\n", problems: one("1:1: " + emptyHere)},
		{in: "---\n", problems: one("1:1: " + emptyHere)},
		{in: "~\n", problems: one("1:1: " + flatHere)},
		{in: "# c\nword\n", problems: one("2:1: " + flatHere)},
		{in: "a: 1\n---\nb: 2\n", problems: one("2:1: a second document begins here; a file is one config, move it to a file of its own")},
		{in: "a: 1\n---\n", problems: one("2:1: a second document begins here; a file is one config, move it to a file of its own")},

		{in: "a:\n  b: 18446744073709551616\n", problems: one("2:6: a.b: 18446744073709551616 does not fit in 64 bits; write it as a string")},
		{in: "a: -9_223_372_036_854_775_809", problems: one("1:4: a: -9223372036854775809 does not fit in 64 bits; write it as a string")},
		{in: "a: [0x10000000000000000, 0o7777777777777777777777, -0b" + ones(65) + "]", problems: []string{
			"c.yaml:1:5: a.0: 0x10000000000000000 does not fit in 64 bits; write it as a string",
			"c.yaml:1:26: a.1: 0o7777777777777777777777 does not fit in 64 bits; write it as a string",
			"c.yaml:1:52: a.2: -0b111111111111111111111111111111111111111111111111111111111… does not fit in 64 bits; write it as a string",
		}},
		{in: "a: 0888", problems: one("1:4: a: 0888 begins with 0 like an octal number but is none; remove the 0, or quote it")},
		{in: "a: 1e400", problems: one("1:4: a: 1e400 is beyond a 64-bit float; write it as a string")},
		{in: "a: .nan\nb: -.Inf\n", problems: []string{
			"c.yaml:1:4: a: nan has no counterpart in JSON; leave the key out, or write a string",
			"c.yaml:2:4: b: -Inf has no counterpart in JSON; leave the key out, or write a string",
		}},

		{in: "a: 1\nb: 2\na: 3\n", problems: one("3:1: a: the key is already defined at line 1, column 1; keep one of them")},
		{in: "1: a\n\"1\": b\n", problems: one("2:1: 1: the key is already defined at line 1, column 1; keep one of them")},
		{in: "a.b: 1\na:\n  b: 2\n", problems: one("3:3: a.b: another path joins to the same dotted key, at line 1, column 1; rename one of the two keys")},
		{
			in:   "a: &a {X: 1, x: 2}\nb: *a\n",
			want: `{"a":{"X":1,"x":2},"b":{"X":1,"x":2}}`,
			problems: one("1:14: warning: a.x: the key differs only in case from \"X\" at line 1, column 8, " +
				"and encoding/json takes them for one; rename one of them"),
		},
		{in: "true: y\n", problems: one("1:1: the key true is a bool; quote it to make it a string")},
		{in: "a:\n  : x\n", problems: one("2:3: a: the ':' has no key before it; write the key")},
		{in: "a:\n  ~: x\n", problems: one("2:3: a: the key ~ is a null; quote it to make it a string")},
		{in: "1.5: x\n", problems: one("1:1: the key 1.5 is a float; quote it to make it a string")},
		{in: "? [a]\n: b\n", problems: one("1:3: a mapping or list is the key here; keys are strings, quote it")},

		{in: "a: !!binary aGk=\n", problems: one("1:4: a: !!binary has no counterpart in JSON; write it as a string")},
		{in: "a: !foo 1\nb: !!set {x}\nc: !bar [1]\n", problems: []string{
			"c.yaml:1:4: a: !foo is a tag without a meaning here; remove it, or quote the value",
			"c.yaml:2:4: b: !!set is a tag without a meaning here; remove it, or quote the value",
			"c.yaml:3:4: c: !bar is a tag without a meaning here; remove it, or quote the value",
		}},
		{in: "a: !!bool yes\n", problems: one("1:4: a: yes can't be read as !!bool; correct it, or quote it to make it a string")},
		{in: "a: &x [1, *x]\n", problems: one("1:11: a.1: the alias *x is inside what it stands for; write the value out")},
		{in: "a: &x {<<: *x}\n", problems: one("1:12: a: the alias *x is inside what it stands for; write the value out")},

		{in: "é: \"\xff\"", problems: one("1:5: the byte 0xff is not UTF-8; save the file as UTF-8, or make it an opaque config")},
	})
}

func TestTOML(t *testing.T) {
	const taken = ", and can't be defined or added to here; merge the two"
	one := func(problem string) []string { return []string{"c.toml:" + problem} }
	testSamples(t, "c.toml", []sample{
		{in: "\ufeffa = 1", want: `{"a":1}`},
		{
			in:   "a = 1\nb.c = [1, [2.0]]\n[t]\nx = {y = 1, z.w = 2}\n[[l]]\na = 1\n[[l]]\na = 2\n[l.sub]\nq = 1\n[[l.m]]\n",
			want: `{"a":1,"b":{"c":[1,[2.0]]},"l":[{"a":1},{"a":2,"m":[{}],"sub":{"q":1}}],"t":{"x":{"y":1,"z":{"w":2}}}}`,
		},
		{in: "[a.b]\nx = 1\n[a]\ny = 2\n[a.c.d]\n", want: `{"a":{"b":{"x":1},"c":{"d":{}},"y":2}}`},
		{in: "a.b = 1\na.c = 2\n[a.d]\ne = 1\n", want: `{"a":{"b":1,"c":2,"d":{"e":1}}}`},
		{in: "a = 18446744073709551615\nb = 0xffffffffffffffff\nc = -9223372036854775808\nd = 1_000\ne = 0o17\nf = 0b11\ng = +5\nh = -0", want: `{"a":18446744073709551615,"b":18446744073709551615,"c":-9223372036854775808,"d":1000,"e":15,"f":3,"g":5,"h":0}`},
		{in: "a = [1.0, 1e3, -0.0, 1_0.5]", want: `{"a":[1.0,1000.0,-0.0,10.5]}`},
		{
			in:   "a = [1979-05-27 07:32:00z, 1979-05-27t07:32:00.50+01:00, 1979-05-27T07:32-07:00, 1979-05-27T07:32:00, 1979-05-27, 07:32, 07:32:01]",
			want: `{"a":["1979-05-27T07:32:00Z","1979-05-27T07:32:00.50+01:00","1979-05-27T07:32:00-07:00","1979-05-27T07:32:00","1979-05-27","07:32:00","07:32:01"]}`,
		},
		{in: "\"a b\" = 'x\\n'\nc = \"\"\"\nx\\n\\\n  y\"\"\"", want: `{"a b":"x\\n","c":"x\ny"}`},

		{in: "", problems: one("1:1: empty: a file that was cut off looks the same; remove the file, or write {} in a .yaml or .json one for a config without keys")},
		{in: "# c\n", problems: one("1:1: empty: a file that was cut off looks the same; remove the file, or write {} in a .yaml or .json one for a config without keys")},
		{in: "[t]\na = 18446744073709551616", problems: one("2:5: t.a: 18446744073709551616 does not fit in 64 bits; write it as a string")},
		{in: "a = [1, inf]\nb = -nan", problems: []string{
			"c.toml:1:9: a.1: inf has no counterpart in JSON; leave the key out, or write a string",
			"c.toml:2:5: b: -nan has no counterpart in JSON; leave the key out, or write a string",
		}},
		{in: "a = 1e999", problems: one("1:5: a: 1e999 is beyond a 64-bit float; write it as a string")},
		{in: "a = 1979-02-30", problems: one("1:5: a: 1979-02-30 is not a date or time (impossible date); correct it, or quote it")},

		{in: "a = 1\nb = 2\na = 2\n", problems: one("3:1: a: the key is already defined at line 1, column 1" + taken)},
		{in: "a = 1\n[a]\n", problems: one("2:2: a: the key is already defined at line 1, column 1" + taken)},
		{in: "a = 1\n[a.b]\n", problems: one("2:2: a: the key is already defined at line 1, column 1" + taken)},
		{in: "[a]\n[b]\n[a]\n", problems: one("3:2: a: the key is already defined at line 1, column 2" + taken)},
		{in: "a.b = 1\n[a]\n", problems: one("2:2: a: the key is already defined at line 1, column 1" + taken)},
		{in: "[a.b]\n[a]\nb.c = 1", problems: one("3:1: a.b: the key is already defined at line 1, column 4" + taken)},
		{in: "a = {b = 1}\na.c = 1", problems: one("2:1: a: the key is already defined at line 1, column 1" + taken)},
		{in: "a = {b = 1, b = 2}", problems: one("1:13: a.b: the key is already defined at line 1, column 6" + taken)},
		{in: "a = []\n[[a]]\n", problems: one("2:3: a: the key is already defined at line 1, column 1" + taken)},
		{in: "[[a]]\n[a]\n", problems: one("2:2: a: the key is already defined at line 1, column 3" + taken)},
		{in: "\"a.b\" = 1\na.b = 2\n", problems: one("2:3: a.b: another path joins to the same dotted key, at line 1, column 1; rename one of the two keys")},
		{
			in: "A = 1\na = 2", want: `{"A":1,"a":2}`,
			problems: one("2:1: warning: a: the key differs only in case from \"A\" at line 1, column 1, and encoding/json takes them for one; rename one of them"),
		},

		{in: "a = \"\xff\"", problems: one("1:6: the byte 0xff is not UTF-8; save the file as UTF-8, or make it an opaque config")},
	})
}

func ones(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = '1'
	}
	return string(b)
}

package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/quick"
	"unicode/utf8"
)

func TestCanonicalForm(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		// numbers
		{`[0,-0,1,-1]`, `[0,0,1,-1]`},
		{`[9007199254740993]`, `[9007199254740993]`},
		{`[9223372036854775807,9223372036854775808]`, `[9223372036854775807,9223372036854775808]`},
		{`[18446744073709551615,-9223372036854775808]`, `[18446744073709551615,-9223372036854775808]`},
		{`[1.0,-0.0,0.0,0e0,-0e5,1.50,2.5E0]`, `[1.0,-0.0,0.0,0.0,-0.0,1.5,2.5]`},
		{`[1e2,1E+2,1e-2,100e-2,1e20]`, `[100.0,100.0,0.01,1.0,100000000000000000000.0]`},
		{`[1e21,1e22,-1e21,1.5e300]`, `[1e+21,1e+22,-1e+21,1.5e+300]`},
		{`[999999999999999900000.0,123456789012345678901.0]`, `[999999999999999900000.0,123456789012345680000.0]`},
		{`[1e-6,0.000001,9.99e-7,1e-7,1e-100]`, `[0.000001,0.000001,9.99e-07,1e-07,1e-100]`},
		{`[5e-324,4e-324,2e-324,1e-400,-1e-400]`, `[5e-324,5e-324,0.0,0.0,-0.0]`},
		{`[1.7976931348623157e308,0.1,0.30000000000000004]`, `[1.7976931348623157e+308,0.1,0.30000000000000004]`},
		{`[9007199254740993.0]`, `[9007199254740992.0]`}, // a tie, to even
		{`[18446744073709551616.0]`, `[18446744073709552000.0]`},
		{`[1.` + strings.Repeat("0", 1000) + `1]`, `[1.0]`},

		// strings
		{`["","a","\"\\\/\b\f\n\r\t"]`, `["","a","\"\\/\b\f\n\r\t"]`},
		{`["\u0000\u001f\u0020\u007f\u0022\u005C\u002F"]`, "[\"\\u0000\\u001f \x7f\\\"\\\\/\"]"},
		{`["\u0008\u000c\u000A\u000d\u0009\u000b"]`, `["\b\f\n\r\t\u000b"]`},
		{`["\u00e9\u20AC\uD83D\ude00\ufffd\uffff"]`, "[\"é€😀\ufffd\uffff\"]"},
		{"[\"é€😀\ufffd\u2028\x7f\u0080<>&\"]", "[\"é€😀\ufffd\u2028\x7f\u0080<>&\"]"},
		{`["` + strings.Repeat(`x\n`, 5000) + `"]`, `["` + strings.Repeat(`x\n`, 5000) + `"]`},

		// objects
		{`{"b":1,"a":2,"":3,"aa":4,"A":5,"é":6,"\u0001":7}`, `{"":3,"\u0001":7,"A":5,"a":2,"aa":4,"b":1,"é":6}`},
		{`{"\u0061b":1,"a":2}`, `{"a":2,"ab":1}`},
		{"{\"\uffff\":1,\"😀\":2}", "{\"\uffff\":1,\"😀\":2}"}, // UTF-16 would sort them the other way
		{`{"a\tb":1,"a b":2,"a":3}`, `{"a":3,"a\tb":1,"a b":2}`},
		{`{"a.b":{"c":{}},"a":[[],{}]}`, `{"a":[[],{}],"a.b":{"c":{}}}`},

		// white space and literals
		{" \t\r\n{ \"a\" :\n[ true , false,null ] , \"b\":{ } } \n", `{"a":[true,false,null],"b":{}}`},
		{`[]`, `[]`},
		{`{}`, `{}`},
		{` [ [ ] , [ ] ] `, `[[],[]]`},
		{strings.Repeat("[", 100) + strings.Repeat("]", 100), strings.Repeat("[", 100) + strings.Repeat("]", 100)},
		{strings.Repeat(`{"a":`, 99) + `[]` + strings.Repeat("}", 99), strings.Repeat(`{"a":`, 99) + `[]` + strings.Repeat("}", 99)},
	} {
		got, err := Canonical([]byte(test.in))
		if err != nil || string(got) != test.want {
			t.Errorf("%.80q: %.80q, %v instead of %.80q", test.in, got, err, test.want)
			continue
		}
		checkCanonical(t, []byte(test.in), got)
	}
}

// checkCanonical makes sure that a text's canonical form is a fixed point, has
// the text's value, and is accepted by the index with all of its keys.
func checkCanonical(t *testing.T, text, canonical []byte) {
	t.Helper()
	again, err := Canonical(canonical)
	if err != nil || !bytes.Equal(again, canonical) {
		t.Fatalf("%.80q: the canonical form of the canonical form %.80q is %.80q, %v", text, canonical, again, err)
	}
	if bytes.ContainsAny(canonical, "\n\r\t") || !utf8.Valid(canonical) {
		t.Fatalf("%.80q: %.80q has white space, or is not UTF-8", text, canonical)
	}
	if want, got := decode(t, text), decode(t, canonical); !reflect.DeepEqual(got, want) {
		t.Fatalf("%.80q: %.80q has another value: %v, not %v", text, canonical, got, want)
	}
	_, err = NewDocument("c", canonical)
	if duplicate := (*DuplicateKeyError)(nil); err != nil && !errors.As(err, &duplicate) {
		t.Fatalf("%.80q: no index over %.80q: %v", text, canonical, err)
	}
}

// decode is what encoding/json sees in a text, with its numbers told apart as
// the format does it.
func decode(t *testing.T, text []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%.80q: encoding/json: %v", text, err)
	}
	return exact(v)
}

func exact(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			v[key] = exact(v[key])
		}
	case []any:
		for i := range v {
			v[i] = exact(v[i])
		}
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			f, _ := strconv.ParseFloat(v.String(), 64)
			return math.Float64bits(f)
		}
		i, _ := new(big.Int).SetString(v.String(), 10)
		return i.String()
	}
	return v
}

func TestCanonicalRefuses(t *testing.T) {
	for in, reason := range map[string]string{
		`[18446744073709551616]`:    "64 bits",
		`[-9223372036854775809]`:    "64 bits",
		`[1e999]`:                   "float64",
		`[-1.7976931348623159e308]`: "float64",
		"[\"\xff\"]":                "UTF-8",
		"[\"\xed\xa0\x80\"]":        "UTF-8",
		`[] []`:                     "follows",
		`{}x`:                       "follows",
		`[]]`:                       "follows",
		`[1,]`:                      "invalid character",
		`{"a":`:                     "EOF",
		``:                          "EOF",
	} {
		if got, err := Canonical([]byte(in)); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%q: %q, %v; that should be …%s…", in, got, err, reason)
		}
	}
}

// TestErrorsStayShort is about texts of which a part gets into a message.
func TestErrorsStayShort(t *testing.T) {
	long := strings.Repeat("9", 1<<16)
	for _, in := range []string{`[` + long + `]`, `[1e` + long + `]`} {
		_, err := Canonical([]byte(in))
		if err == nil || len(err.Error()) > 1000 {
			t.Errorf("a text of %d bytes has an error of %d", len(in), len(fmt.Sprint(err)))
		}
	}
	long = long[:MaxKey-len("a.")]
	canonical := []byte(`{"a":{"` + long + `":1},"a.` + long + `":2}`)
	if _, err := NewDocument("c", canonical); err == nil || len(err.Error()) > 1000 {
		t.Errorf("a duplicate key has an error of %d bytes", len(fmt.Sprint(err)))
	}
}

func TestAppendFloat(t *testing.T) {
	check := func(bits uint64) bool {
		f := math.Float64frombits(bits)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return true
		}
		text := string(AppendFloat(nil, f))
		back, err := strconv.ParseFloat(text, 64)
		v, ok := number(text)
		canonical, refused := Canonical([]byte("[" + text + "]"))
		switch {
		case err != nil || math.Float64bits(back) != bits:
			t.Errorf("%s does not read back as %x", text, bits)
		case !strings.ContainsAny(text, ".e") || !json.Valid([]byte(text)):
			t.Errorf("%s is not a JSON float", text)
		case !ok || v.Type != Float || v.Bits != bits:
			t.Errorf("%s is indexed as %v", text, v)
		case refused != nil || string(canonical) != "["+text+"]":
			t.Errorf("%s is not canonical: %s, %v", text, canonical, refused)
		case len(text) > len(strconv.FormatFloat(f, 'f', -1, 64))+2 && len(text) > len(strconv.FormatFloat(f, 'e', -1, 64)):
			t.Errorf("%s is longer than need be", text)
		default:
			return true
		}
		return false
	}
	if err := quick.Check(check, &quick.Config{MaxCount: 5000}); err != nil {
		t.Error(err)
	}
	for _, f := range []float64{
		0, math.Copysign(0, -1), 1, 0.1, 1e-6, math.Nextafter(1e-6, 0), 1e21, math.Nextafter(1e21, 0), 1 << 53, 1<<53 + 2,
		math.MaxFloat64, math.SmallestNonzeroFloat64, 0x1p-1022, math.Nextafter(0x1p-1022, 0), 1e23, math.Pi,
	} {
		check(math.Float64bits(f))
		check(math.Float64bits(-f))
	}
	if got := string(AppendFloat([]byte("x."), 2)); got != "x.2.0" {
		t.Errorf("appended to what has a point already: %s", got)
	}
}

func TestAppendString(t *testing.T) {
	check := func(s string) bool {
		s = strings.ToValidUTF8(s, "\ufffd")
		text := AppendString(nil, s)
		var back string
		if err := json.Unmarshal(text, &back); err != nil || back != s {
			t.Errorf("%q reads back as %q: %v", s, back, err)
			return false
		}
		canonical, err := Canonical(slices.Concat([]byte("["), text, []byte("]")))
		return err == nil && string(canonical) == "["+string(text)+"]"
	}
	if err := quick.Check(check, &quick.Config{MaxCount: 500}); err != nil {
		t.Error(err)
	}
	for r := range rune(0x300) {
		check("x" + string(r) + "y")
	}
}

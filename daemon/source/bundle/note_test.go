package bundle

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
)

const good = `statesync bundle 1
origin example.com/prod
sequence 7
not-before 2026-01-10T11:00:00Z
expires 2026-02-09T12:00:00Z
sha256 6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b
size 4711
`

func TestNoteHasOneText(t *testing.T) {
	n, err := ParseNote(good)
	if err != nil {
		t.Fatal(err)
	}
	if n.Origin != "example.com/prod" || n.Sequence != 7 || !n.NotBefore.Equal(today.Add(-time.Hour)) || !n.Expires.Equal(today.Add(30*24*time.Hour)) ||
		!strings.HasPrefix(n.ArchiveName(), "6b86b273") || n.Size != 4711 {
		t.Errorf("it is %+v", n)
	}
	if n.Text() != good {
		t.Errorf("its text is\n%s", n.Text())
	}
	replace := func(old, now string) string { return strings.Replace(good, old, now, 1) }
	for name, text := range map[string]string{
		"nothing":               "",
		"another version":       replace("bundle 1", "bundle 2"),
		"no end of line":        strings.TrimSuffix(good, "\n"),
		"a line more":           good + "more 1\n",
		"an empty line more":    good + "\n",
		"a line less":           replace("sequence 7\n", ""),
		"a line twice":          replace("sequence 7\n", "sequence 7\nsequence 7\n"),
		"another order":         replace("origin example.com/prod\nsequence 7\n", "sequence 7\norigin example.com/prod\n"),
		"a space":               replace("sequence 7", "sequence  7"),
		"a space at the end":    replace("sequence 7", "sequence 7 "),
		"a carriage return":     replace("sequence 7", "sequence 7\r"),
		"a zero in front":       replace("sequence 7", "sequence 07"),
		"a sign":                replace("sequence 7", "sequence +7"),
		"sequence 0":            replace("sequence 7", "sequence 0"),
		"a sequence too large":  replace("sequence 7", "sequence 18446744073709551616"),
		"a fraction":            replace("11:00:00Z", "11:00:00.5Z"),
		"another zone":          replace("11:00:00Z", "11:00:00+00:00"),
		"no such day":           replace("2026-01-10", "2026-02-30"),
		"in capitals":           replace("sha256 6b86b273ff34f", "sha256 6B86B273FF34F"),
		"a digest too short":    replace("75b4b\n", "75b4\n"),
		"a size of 0":           replace("size 4711", "size 0"),
		"a negative size":       replace("size 4711", "size -4711"),
		"no origin":             replace("origin example.com/prod", "origin "),
		"an origin with spaces": replace("example.com/prod", "example.com prod"),
		"a long origin":         replace("example.com/prod", strings.Repeat("x", MaxOrigin+1)),
		"expires before":        replace("2026-02-09", "2026-01-09"),
	} {
		if n, err := ParseNote(text); err == nil {
			t.Errorf("%s: it is %+v", name, n)
		}
	}
}

func TestOpenVerifies(t *testing.T) {
	a, b, c := newKey(t, "a@example.com"), newKey(t, "b@example.com"), newKey(t, "c@example.com")
	a2 := newKey(t, "a@example.com")
	keys, err := ParseKeys(a.public + "\n" + a2.public + "\n" + b.public + "\n")
	if err != nil {
		t.Fatal(err)
	}
	m := bundled(t, 7, "x: 1\n", a)
	by := func(keys ...*key) []byte { return m.sign(t, keys...).msg }
	odd := func(text string) []byte {
		msg, err := note.Sign(&note.Note{Text: text}, a)
		if err != nil {
			t.Fatal(err)
		}
		return msg
	}
	for _, test := range []struct {
		name      string
		msg       []byte
		threshold int
		want      string // of the error; empty: none
	}{
		{"one", by(a), 1, ""},
		{"an unknown one beside", by(c, a), 1, ""},
		{"two", by(a, b), 2, ""},
		{"two keys of one name", by(a, a2), 2, "threshold=2"},
		{"a known and an unknown one", by(a, c), 2, "threshold=2"},
		{"one twice", by(a, a), 2, "threshold=2"},
		{"an unknown one", by(c), 1, `none of the known keys, but by "c@example.com"`},
		{"changed", []byte(strings.Replace(string(by(a)), "sequence 7", "sequence 8", 1)), 1, "was changed"},
		{"no signature", []byte(m.Text()), 1, "is not a signed note"},
		{"garbage", []byte("<html>"), 1, "is not a signed note"},
		{"another text", odd("hello\n"), 1, "begins with"},
		{"text around it", odd(m.Text() + "\nmore\n"), 1, "lines"},
		{"large", make([]byte, MaxNote+1), 1, "larger than"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := keys.Open(test.msg, test.threshold)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want == "" && s.Sequence != 7:
				t.Errorf("it is %+v", s)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("the error is %v, want %q", err, test.want)
			}
		})
	}
}

func TestCosign(t *testing.T) {
	a, b := newKey(t, "a@example.com"), newKey(t, "b@example.com")
	m := bundled(t, 7, "x: 1\n", a)
	msg, err := Cosign(m.msg, b)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Cosign(msg, b)
	if err != nil || len(again) != len(msg) {
		t.Errorf("signed twice by one key it has %d bytes and not %d: %v", len(again), len(msg), err)
	}
	keys, err := ParseKeys(a.public + "\n" + b.public)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := keys.Open(again, 2); err != nil || strings.Join(s.Signers, " ") != "a@example.com b@example.com" {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range [][]byte{nil, []byte("x"), []byte(m.Text()), []byte(strings.Replace(string(m.msg), "sequence 7", "sequence 07", 1))} {
		if _, err := Cosign(bad, b); err == nil {
			t.Errorf("signed: %q", bad)
		}
	}
}

func TestKeys(t *testing.T) {
	a, b := newKey(t, "a@example.com"), newKey(t, "b@example.com")
	// The key of a under the name of another one.
	_, data, _ := strings.Cut(strings.TrimPrefix(a.public, "a@example.com+"), "+")
	alias := renamed(t, "z@example.com", data)
	for name, test := range map[string]struct{ text, want string }{
		"fine":               {"# x\n\n  " + a.public + "  \n" + b.public, ""},
		"none":               {"# x\n", "1: there is no key"},
		"twice":              {a.public + "\n" + a.public, "2: is a key that the file has already"},
		"under another name": {a.public + "\n" + alias, "2: is the key of a@example.com under another name"},
		"private":            {"PRIVATE+KEY+a+00000000+AAAA", "1: is a private key"},
		"garbage":            {"x", "1: is not a public key"},
		"another hash":       {strings.Replace(a.public, "+", "+0", 1), "1: is not a public key"},
		"too many":           {manyKeys(t, maxKeys+1), "more than 100 keys"},
	} {
		_, err := ParseKeys(test.text)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: the error is %v, want %q", name, err, test.want)
		}
	}
	for _, name := range []string{"", "a b", "a+b", "a\x01b", "ä", strings.Repeat("x", maxName+1)} {
		if _, _, err := GenerateKey(name, nil); err == nil {
			t.Errorf("there is a key of the name %q", name)
		}
	}
}

// renamed is a public key under another name.
func renamed(t *testing.T, name, data string) string {
	raw, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		t.Fatal(err)
	}
	public, err := note.NewEd25519VerifierKey(name, raw[1:])
	if err != nil {
		t.Fatal(err)
	}
	return public
}

func manyKeys(t *testing.T, n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(newKey(t, fmt.Sprintf("s%d", i)).public + "\n")
	}
	return b.String()
}

// FuzzNote holds that what is read as a note is the text of that note.
func FuzzNote(f *testing.F) {
	f.Add(good)
	f.Add(strings.Replace(good, "sequence 7", "sequence 18446744073709551615", 1))
	f.Add(strings.Replace(good, "2026-02-09", "9999-12-31", 1))
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := ParseNote(text)
		if err != nil {
			return
		}
		if n.Text() != text {
			t.Errorf("%q is read as %q", text, n.Text())
		}
		if err := n.Check(); err != nil {
			t.Error(err)
		}
	})
}

// FuzzOpen holds that nothing is opened that no known key signed.
func FuzzOpen(f *testing.F) {
	known, other := newKey(f, "a"), newKey(f, "b")
	keys, err := ParseKeys(known.public)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bundled(f, 1, "x", other).msg)
	f.Add([]byte("\n\n— a AAAAAAAA\n"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		if s, err := keys.Open(msg, 1); err == nil {
			t.Errorf("it is %+v", s)
		}
		if s, err := Inspect(msg); err == nil && s.Check() != nil {
			t.Errorf("it is shown as %+v", s)
		}
	})
}

package image

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{
		"a", "matchmaker", "team/matchmaker", "a/b/c", "A b", "..a", "a..", "...", "é", "a.b", "-", "~", strings.Repeat("x", MaxName),
	} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{
		"", "/", "a/", "/a", "a//b", ".", "..", "a/.", "../a", "a/../b", "a\n", "\x00", "a\x7f", "\x1f", "\u0085", "\xff", "a\xc3",
		strings.Repeat("x", MaxName+1), strings.Repeat("x/", 10000),
	} {
		err := CheckName(name)
		if err == nil || len(err.Error()) > 300 {
			t.Errorf("%.20q: %v", name, err)
		}
		for _, make := range []func() (*Section, error){
			func() (*Section, error) { return NewOpaque(name, nil) },
			func() (*Section, error) { return NewDocument(name, []byte("[]")) },
		} {
			if _, err := make(); err == nil {
				t.Errorf("%.20q: a section has this name", name)
			}
		}
	}
}

func TestSections(t *testing.T) {
	for n := range 30 { // all remainders of name and content
		name, content := strings.Repeat("n", n+1), strings.Repeat("\x00\xff", n)
		s := opaque(t, name, content)
		if s.Name() != name || string(s.Content()) != content || s.Kind() != Opaque || s.KeyCount() != 0 {
			t.Fatalf("%q %q %v %d", s.Name(), s.Content(), s.Kind(), s.KeyCount())
		}
		if s.Size()%64 != 0 || s.Size() < 32+n+1+2*n || s.Size() > 32+n+1+2*n+16+64 {
			t.Fatalf("%d bytes for a name of %d and a content of %d", s.Size(), n+1, 2*n)
		}
		if _, err := lookup(s, "n"); err != ErrNotFound {
			t.Fatal(err)
		}
		if cap(s.Content()) != len(s.Content()) {
			t.Fatal("an append to the content would go over what is behind it")
		}
	}
	if !opaque(t, "a", "x").Equal(opaque(t, "a", "x")) || opaque(t, "a", "x").Equal(opaque(t, "a", "y")) ||
		opaque(t, "a", "x").Equal(opaque(t, "b", "x")) || opaque(t, "a", "[]").Equal(document(t, "a", "[]")) {
		t.Fatal("Equal is wrong")
	}
}

func TestNewDocumentRefuses(t *testing.T) {
	for _, text := range []string{
		"", "1", `"a"`, "null", "[", "[1", "[1,", "{", `{"a"`, `{"a":`, `{"a":1`, "[1]]", "[] ", "[1]x", "[01]", "[-0]", "[1e5]", "[1.50]",
		"[+1]", "[0x1p-2]", "[Inf]", "[nan]", "[tru]", "[1_0]", `["a]`, `{1:2}`, `{"a"1}`, "[1 ]", "[.5]", "[18446744073709551616]", "[018446744073709551615]",
		strings.Repeat("[", 101) + strings.Repeat("]", 101),
	} {
		s, err := NewDocument("c", []byte(text))
		if err == nil {
			t.Errorf("%.20q: is %q", text, s.Content())
		}
		if syntax := (*SyntaxError)(nil); !errors.As(err, &syntax) || !strings.Contains(err.Error(), "config c") {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

func TestTooLarge(t *testing.T) {
	// The memory of the data is never touched, and so takes none.
	if _, err := NewOpaque("c", make([]byte, MaxSection-32)); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "config c") {
		t.Errorf("an opaque config of 1 GiB: %v", err)
	}
}

func TestStringsOfKindsAndTypes(t *testing.T) {
	if Document.String() != "document" || Opaque.String() != "opaque" || Kind(3).String() != "unknown kind" {
		t.Error("kinds have wrong names")
	}
	want := []string{"null", "bool", "int", "uint", "float", "string", "array", "object", "unknown type"}
	for i, name := range want {
		if Type(i).String() != name {
			t.Errorf("type %d is %s", i, Type(i))
		}
	}
}

package source

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
)

func TestOpenSpecs(t *testing.T) {
	for _, test := range []struct{ spec, want string }{
		{"", "has no scheme"},
		{"/etc/app", "write dir:/etc/app"},
		{"./a:b", "write dir:./a:b"},
		{"dir:", "names no directory"},
		{"git:https://host/repo", `unknown scheme "git"; known: dir:PATH`},
	} {
		s, err := Open(test.spec, Options{})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Open(%q) = %v, %v, want an error with %q", test.spec, s, err, test.want)
		}
	}
}

func TestNames(t *testing.T) {
	s := open(t, "/etc/app\n", Options{NoWatch: true})
	if got, want := s.Name(), `dir:"/etc/app\n"`; got != want {
		t.Errorf("Name is %s, want %s", got, want)
	}
	err := &FileError{Root: "/etc/app", Path: "team/\xff.yaml", Err: ErrUnstable}
	if got, want := err.Error(), `"/etc/app/team/\xff.yaml": is still being changed`; got != want {
		t.Errorf("the error is %s, want %s", got, want)
	}
	if !errors.Is(err, ErrUnstable) {
		t.Error("a FileError hides its cause")
	}
}

func TestClosed(t *testing.T) {
	root := t.TempDir()
	put(t, root, "a.yaml", "a: 1")
	for _, noWatch := range []bool{false, true} {
		s := open(t, root, Options{NoWatch: noWatch})
		read(t, s)
		must(t, s.Close())
		must(t, s.Close())
		if _, err := s.Read(context.Background()); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("Read after Close: %v", err)
		}
	}
}

func TestReadEndsWithItsContext(t *testing.T) {
	root := t.TempDir()
	put(t, root, "a.yaml", "a: 1")
	s := open(t, root, Options{NoWatch: true})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Read(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Read with a cancelled context: %v", err)
	}
}

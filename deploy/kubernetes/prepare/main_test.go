//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const user = 47147

// ownerOf returns a directory's owner and mode.
func ownerOf(t *testing.T, dir string) (uid int, mode os.FileMode) {
	t.Helper()
	info, err := os.Lstat(dir)
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Sys().(*syscall.Stat_t).Uid), info.Mode().Perm()
}

func asRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("giving directories to another user needs root")
	}
}

func TestMakesBoth(t *testing.T) {
	asRoot(t)
	defer syscall.Umask(syscall.Umask(0o077))
	dir := filepath.Join(t.TempDir(), "statesync", "default")
	for range 2 { // again, as in the next pod
		if err := prepare(dir, user); err != nil {
			t.Fatal(err)
		}
		if uid, mode := ownerOf(t, dir); uid != user || mode != 0o700 {
			t.Errorf("the directory has the owner %d and the mode %04o", uid, mode)
		}
		if uid, mode := ownerOf(t, filepath.Dir(dir)); uid != 0 || mode != 0o755 {
			t.Errorf("its parent has the owner %d and the mode %04o", uid, mode)
		}
	}
}

// Killed between making a directory and giving it away, or a kubelet made it.
func TestGoesOn(t *testing.T) {
	asRoot(t)
	dir := filepath.Join(t.TempDir(), "default")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := prepare(dir, user); err != nil {
		t.Fatal(err)
	}
	if uid, _ := ownerOf(t, dir); uid != user {
		t.Errorf("the directory still belongs to %d", uid)
	}
}

// What a daemon of this user has in its directory, and the mode that it gave
// it, stays.
func TestLeavesWhatIsThere(t *testing.T) {
	asRoot(t)
	dir := filepath.Join(t.TempDir(), "default")
	if err := prepare(dir, user); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "region.v1")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := prepare(dir, user); err != nil {
		t.Fatal(err)
	}
	if _, mode := ownerOf(t, dir); mode != 0o750 {
		t.Errorf("the mode became %04o", mode)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

func TestRefuses(t *testing.T) {
	asRoot(t)
	for name, test := range map[string]struct {
		there func(parent, dir string) error
		want  string
	}{
		"a parent that all may write": {
			func(parent, _ string) error { return os.Chmod(parent, 0o777) }, "others than its owner",
		},
		"a stranger's parent": {
			func(parent, _ string) error { return os.Chown(parent, 1234, -1) }, "belongs to uid 1234",
		},
		"a stranger's directory": {
			func(_, dir string) error {
				if err := os.Mkdir(dir, 0o755); err != nil {
					return err
				}
				return os.Chown(dir, 1234, -1)
			}, "belongs to uid 1234",
		},
		"a link": {
			os.Symlink, "not a directory",
		},
		"another daemon's directory": {
			func(_, dir string) error {
				if err := os.Mkdir(dir, 0o755); err != nil {
					return err
				}
				return os.WriteFile(filepath.Join(dir, "region.v1"), nil, 0o644)
			}, "not empty",
		},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			if err := os.Chmod(parent, 0o755); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(parent, "default")
			if err := test.there(parent, dir); err != nil {
				t.Fatal(err)
			}
			err := prepare(dir, user)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want something about %q", err, test.want)
			}
			if uid, _ := ownerOf(t, parent); uid == user {
				t.Error("it gave the parent away")
			}
		})
	}
}

//go:build unix

// Package shmtest supports the tests of this module that need other processes
// and users: child processes of the test binary that play a role, waits with a
// bound, and directories in memory.
package shmtest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for an event that must happen, in milliseconds that
// are counted one by one: a machine that stands still for a while does not use it
// up.
const patience = 20_000

// Patience is about how long a wait lasts at most.
const Patience = patience * time.Millisecond

// Must fails the test at once if there is an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// RemoveAll deletes a directory that another process may make files in at the same time,
// such as a daemon that runs in that of its region.
func RemoveAll(path string) error {
	for range patience {
		if err := os.RemoveAll(path); !errors.Is(err, syscall.ENOTEMPTY) {
			return err
		}
	}
	return &os.PathError{Op: "remove", Path: path, Err: syscall.ENOTEMPTY}
}

// WantError fails the test unless err matches target and names every word.
func WantError(t testing.TB, err, target error, words ...string) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("the error is %v, and %q was expected", err, target)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error does not name %q: %v", word, err)
		}
	}
}

// Eventually polls until done returns true.
func Eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for n := 0; !done(); n++ {
		if n == patience {
			t.Fatalf("it never came to be that %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// Within receives from a channel, in time. It is not ok if the channel is closed.
func Within[T any](t testing.TB, what string, from <-chan T) (v T, ok bool) {
	t.Helper()
	for range patience {
		select {
		case v, ok = <-from:
			return v, ok
		case <-time.After(time.Millisecond):
		}
	}
	t.Fatalf("it never came to be that %s", what)
	return v, false
}

// NeedRoot skips a test that other users cannot run.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("this takes root: other users, mounts, cgroups or inode flags")
	}
}

// OpenTemp is a temporary directory that other users can enter.
func OpenTemp(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	Must(t, errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755)))
	return dir
}

// MemoryTemp is a temporary directory in memory, if there is such a file system:
// publications at full speed are then not written to a disk.
func MemoryTemp(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "statesync-shmtest-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// RegionIn is the path of a region that is yet to be made, in a fresh directory.
func RegionIn(t testing.TB) string {
	t.Helper()
	return filepath.Join(MemoryTemp(t), "region")
}

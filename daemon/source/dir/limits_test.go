package dir

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/daemon/source"
)

// childEnv names, for a copy of the test program, what to do instead of testing.
const childEnv = "STATESYNC_SOURCE_TEST_CHILD"

// Without watches, and without inotify, the source works by its rescans alone. The
// limits are those of a user namespace of its own, so no other process is affected.
func TestInotifyLimits(t *testing.T) {
	t.Parallel()
	for _, limit := range []string{"max_inotify_watches", "max_inotify_instances"} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), childEnv+"="+limit)
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit) && exit.ExitCode() == childSkips:
			t.Skipf("%s: %s", limit, out)
		case errors.As(err, &exit):
			t.Errorf("%s: %v\n%s", limit, err, out)
		case err != nil:
			t.Skipf("no user namespace: %v", err)
		}
	}
}

const childSkips = 77

func runChild(limit string) int {
	if err := os.WriteFile("/proc/sys/user/"+limit, []byte("1"), 0o644); err != nil {
		fmt.Println(err)
		return childSkips
	}
	if limit == "max_inotify_instances" {
		if _, err := unix.InotifyInit1(unix.IN_CLOEXEC); err != nil { // the one that is allowed
			fmt.Println(err)
			return childSkips
		}
	}
	err := readUnderLimits(limit)
	if err == nil && limit == "max_inotify_watches" {
		err = readWhatIsNotWatched()
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// readWhatIsNotWatched has watches for the source's parent, the source and a, and none
// for a/b: a hint of a change in a makes a whole scan.
func readWhatIsNotWatched() error {
	if err := os.WriteFile("/proc/sys/user/max_inotify_watches", []byte("3"), 0o644); err != nil {
		return err
	}
	root, err := os.MkdirTemp("", "statesync-source-test-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(root) }()
	if err := os.MkdirAll(filepath.Join(root, "a/b"), 0o755); err != nil {
		return err
	}
	o := onlyHints()
	o.AllowEmpty = true
	opened, err := Open(root, o)
	if err != nil {
		return err
	}
	defer func() { _ = opened.Close() }()
	s := opened.(*directory)
	if _, err := fetch(s); err != nil {
		return err
	}
	for n := range 3 {
		text := fmt.Sprint("n: ", n)
		if err := errors.Join(save(root, "a/b/x.yaml", text), save(root, "a/y.yaml", text)); err != nil {
			return err
		}
		select {
		case <-s.Hint():
		case <-time.After(20 * time.Second):
			return errors.New("no hint of a change in a")
		}
		snap, err := fetch(s)
		if err != nil {
			return err
		}
		if got, want := contents(snap), map[string]string{"a/b/x.yaml": text, "a/y.yaml": text}; !maps.Equal(got, want) {
			return fmt.Errorf("read %q, want %q", got, want)
		}
	}
	return nil
}

func readUnderLimits(limit string) error {
	root, err := os.MkdirTemp("", "statesync-source-test-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(root) }()
	if err := os.MkdirAll(filepath.Join(root, "a/b/c"), 0o755); err != nil {
		return err
	}
	var told atomic.Int32
	var mu sync.Mutex
	var first error
	opened, err := Open(root, source.Options{OnWatchError: func(err error) {
		told.Add(1)
		mu.Lock()
		defer mu.Unlock()
		if first == nil {
			first = err
		}
	}})
	if err != nil {
		return err
	}
	defer func() { _ = opened.Close() }()
	s := opened.(*directory)
	for n := range 5 {
		text := fmt.Sprintf("n: %d", n)
		if err := save(root, "a/b/c/x.yaml", text); err != nil {
			return err
		}
		snap, err := fetch(s)
		if err != nil {
			return err
		}
		if got := string(snap.Files[0].Data); got != text {
			return fmt.Errorf("read %q, want %q", got, text)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if told.Load() != 1 || !strings.Contains(first.Error(), "raise fs.inotify.max_user_"+strings.TrimPrefix(limit, "max_inotify_")) {
		return fmt.Errorf("told %d times of %v", told.Load(), first)
	}
	return nil
}

// Memory is asked for before content is read, and what was read is kept.
func TestRoom(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		put(t, root, name+".yaml", strings.Repeat("#", 1<<20))
	}
	full, left, asked := errors.New("full"), int64(1<<20), int64(0)
	s := open(t, root, source.Options{NoWatch: true, Room: func(bytes int64) error {
		if asked += bytes; asked > left {
			return full
		}
		return nil
	}})
	if _, err := s.Fetch(t.Context(), nil); !errors.Is(err, full) || !strings.Contains(err.Error(), "b.yaml") {
		t.Errorf("without room: %v", err)
	}
	asked, left = 0, 2<<20 // a is there already
	if snap, err := s.Fetch(t.Context(), nil); err != nil || len(snap.Files) != 3 || asked != 2<<20 {
		t.Errorf("with room for the rest: %v, asked for %d", err, asked)
	}
	asked = 0
	s.Recheck()
	if _, err := s.Fetch(t.Context(), nil); err != nil || asked != 0 {
		t.Errorf("comparing takes no memory: %v, asked for %d", err, asked)
	}
}

//go:build unix

package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.uber.org/atomic"
	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm/failpoint"
)

// The files of a state directory.
const (
	lockFile       = "lock"
	generationFile = "generation"
	historyFile    = "history.db"
	sourcesDir     = "sources"      // what sources keep
	lastGoodFile   = "last-good.v1" // of an earlier version
)

// reserveBlock is how many generations are reserved at once, so that nearly no
// publication has to wait for the disk.
const reserveBlock = 1024

// lockPoll is how often a daemon that waits for the lock tries it.
const lockPoll = 50 * time.Millisecond

// stateDir is the state directory. A nil stateDir is that of a daemon without one,
// and does nothing.
type stateDir struct {
	path   string
	root   *os.Root
	lock   *os.File
	log    *slog.Logger
	errors *atomic.Uint64 // failures to write; of several goroutines

	reserved uint64 // on stable storage
	unread   error  // why it cannot be read
	trouble  string // why the last reservation failed
}

// openState makes the directory if need be, and takes its lock, for which it
// waits until ctx ends.
func openState(ctx context.Context, path string, errs *atomic.Uint64, log *slog.Logger) (_ *stateDir, err error) {
	root, err := openStateDir(path)
	if err != nil {
		return nil, err
	}
	s := &stateDir{path: path, root: root, log: log, errors: errs}
	if s.lock, err = s.acquire(ctx); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	failpoint.Here("state.locked")
	if s.reserved, err = s.readReserved(); err != nil {
		// Only the generation that was published last is left: see assume.
		s.reserved, s.unread = 0, err
		if h, headErr := s.readHeader(); headErr == nil {
			s.assume(h.generation, true)
		}
	}
	failpoint.Here("state.read")
	return s, nil
}

// assume stands in for reserved generations that cannot be read. At most one block was
// reserved above the generation that was recorded last, unless recording failed for long.
// Where it is sure that none was recorded, and none are reserved, none was given out.
func (s *stateDir) assume(newest uint64, sure bool) {
	if s == nil || s.unread == nil || newest == 0 && sure && errors.Is(s.unread, fs.ErrNotExist) {
		return
	}
	s.reserved = max(s.reserved, min(newest+reserveBlock, seqlock.MaxGeneration-reserveBlock))
	s.log.Warn("the reserved generations cannot be read", "state_dir", s.path, "assumed", s.reserved, "error", s.unread)
}

// openStateDir opens the directory, and refuses one that others may write. An
// existing one keeps its mode.
func openStateDir(path string) (*os.Root, error) {
	const advice = "give the daemon a directory of its own with --state-dir, or --state-dir '' to do without"
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("making the state directory: %w; %s", err, advice)
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("making the state directory: %w; %s", err, advice)
	}
	failpoint.Here("state.made")
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("the state directory: %w; %s", err, advice)
	}
	if err := ownedAlone(root); err != nil {
		return nil, errors.Join(fmt.Errorf("the state directory %s: %w, or %s", path, err, advice), root.Close())
	}
	return root, nil
}

// ownedAlone returns an error if other users could have written a directory.
func ownedAlone(root *os.Root) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return err
	}
	if int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("it belongs to uid %d, and this process runs as uid %d: chown it", st.Uid, os.Geteuid())
	}
	if st.Mode&0o022 != 0 {
		return fmt.Errorf("users other than its owner can write it (mode %04o): chmod go-w", st.Mode&0o7777)
	}
	return nil
}

// acquire takes the directory's lock. A lock file that was unlinked while this
// process waited for it is not the one that the next daemon will find.
func (s *stateDir) acquire(ctx context.Context) (*os.File, error) {
	for {
		f, err := s.root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("the state directory %s: %w", s.path, err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			if s.isLock(f) {
				return f, nil
			}
		} else if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(&os.PathError{Op: "lock", Path: filepath.Join(s.path, lockFile), Err: err}, f.Close())
		}
		_ = f.Close()
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the state directory %s is in use by another daemon; stop it, or give this daemon another --state-dir", s.path)
		case <-time.After(lockPoll):
		}
	}
}

// isLock reports whether an open file is the lock file that others find.
func (s *stateDir) isLock(f *os.File) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := s.root.Lstat(lockFile)
	return err == nil && os.SameFile(open, named)
}

// readReserved reads the highest reserved generation. A directory that was
// never used has none reserved.
func (s *stateDir) readReserved() (uint64, error) {
	f, err := s.root.Open(generationFile)
	if errors.Is(err, fs.ErrNotExist) {
		for _, used := range []string{historyFile, lastGoodFile} {
			if _, there := s.root.Lstat(used); there == nil {
				return 0, err
			}
		}
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return 0, err
	}
	line, whole := strings.CutSuffix(string(text), "\n")
	g, err := strconv.ParseUint(line, 10, 64)
	if !whole || err != nil || g > seqlock.MaxGeneration {
		return 0, fmt.Errorf("%s: %.40q is not a generation", filepath.Join(s.path, generationFile), text)
	}
	return g, nil
}

// reserve makes sure that a new region will start above g. When that fails the
// publication continues all the same; see the package comment.
func (s *stateDir) reserve(g uint64) {
	if s == nil || g <= s.reserved {
		return
	}
	reserve := min(g+reserveBlock-1, seqlock.MaxGeneration)
	failpoint.Here("reservation.begin")
	err := s.replace(generationFile, func(f *os.File) error {
		_, err := fmt.Fprintf(f, "%d\n", reserve)
		failpoint.Here("reservation.written")
		return err
	})
	if err != nil {
		s.errors.Inc()
		if text := err.Error(); text != s.trouble {
			s.trouble = text
			s.log.Error("generations cannot be reserved: if the region is lost before they are, some are given out twice",
				"state_dir", s.path, "generation", g, "error", err)
		}
		return
	}
	failpoint.Here("reservation.done")
	s.reserved, s.trouble = reserve, ""
	s.log.Debug("reserved generations", "state_dir", s.path, "up_to", reserve)
}

// replace writes a file of the directory: whole, on stable storage, or not at
// all.
func (s *stateDir) replace(name string, write func(*os.File) error) error {
	temp := "." + name + ".new"
	f, err := s.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	failpoint.Here("replace.opened")
	if err = errors.Join(write(f), f.Sync(), f.Close()); err == nil {
		failpoint.Here("replace.synced")
		err = s.root.Rename(temp, name)
	}
	if err != nil {
		_ = s.root.Remove(temp) // what is left of it is in the way of nothing
		return err
	}
	failpoint.Here("replace.renamed")
	dir, err := s.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// close gives the lock back.
func (s *stateDir) close() error {
	return errors.Join(s.lock.Close(), s.root.Close())
}

package history

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/shm/failpoint"
)

const (
	// lockWait is how long Open waits for the lock of a file that another process has
	// open. The state directory has a lock of its own, so this is for an accident.
	lockWait = time.Second
	lockPoll = 20 * time.Millisecond

	// growBy is by how much the file grows. bbolt's 16 MiB would make the smallest history
	// that long.
	growBy = 1 << 20
)

// openFile opens a file, or makes an empty one. One with content is locked and verified
// before bbolt maps it.
func (s *Store) openFile(path string) (*database, error) {
	d := &database{}
	o := &bbolt.Options{
		Timeout: lockWait,
		// The hash map finds a run of free pages in constant time. An array searches, in
		// a list that pruning makes long.
		FreelistType: bbolt.FreelistMapType,
		// The list of free pages is stored. Without it, opening and each failed commit
		// read the whole file, in a goroutine in which a fault ends the process.
		NoFreelistSync:  false,
		InitialMmapSize: s.mapBytes(),
		NoStatistics:    true,
		OpenFile: func(path string, flag int, mode os.FileMode) (*os.File, error) {
			f, err := openLocked(path, flag, mode)
			if err != nil {
				return nil, err
			}
			if err := checkOpen(f); err != nil {
				return nil, errors.Join(err, f.Close())
			}
			d.file = f
			return f, nil
		},
	}
	if path == "" {
		// No sync is needed for what ends with the process.
		o.NoSync, o.NoGrowSync = true, true
		o.OpenFile = func(string, int, os.FileMode) (*os.File, error) {
			f, err := memoryFile()
			d.file = f
			return f, err
		}
	}
	err := d.guard(func() (err error) {
		d.bolt, err = bbolt.Open(path, 0o600, o)
		return err
	})
	switch {
	case errors.Is(err, ErrDamaged) && d.file != nil:
		_ = d.abandon() // bbolt may be in the middle of anything
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("%s: another process has it open", path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the history: %w", err)
	}
	d.bolt.AllocSize = growBy
	return d, nil
}

// mapBytes is how long the mapping is from the start. A file that outgrows it waits for all
// readers. The pages of a file take up to twice the bytes in them; bbolt rounds up to a
// power of two, so more than that would double what counts against RLIMIT_AS.
func (s *Store) mapBytes() int {
	const least, most = 64 << 20, 1 << 30
	return int(min(max(s.options.Bytes, least/2), most/2) * 2)
}

// openLocked opens a file and takes its lock, which bbolt then finds taken by itself.
func openLocked(path string, flag int, mode os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flag, mode)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(lockWait); ; time.Sleep(lockPoll) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return f, nil
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EWOULDBLOCK):
			return nil, errors.Join(&os.PathError{Op: "lock", Path: path, Err: err}, f.Close())
		case time.Now().After(deadline):
			return nil, errors.Join(berrors.ErrTimeout, f.Close())
		}
	}
}

// checkOpen verifies the pages of an open file. An empty one has none.
func checkOpen(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return nil
	}
	if err := checkFile(f, info.Size()); err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	return nil
}

// setAside moves a damaged file away.
func (s *Store) setAside() error {
	if err := os.Rename(s.path, s.damaged()); err != nil {
		return err
	}
	failpoint.Here("history.set-aside")
	return s.syncDirectory()
}

// syncDirectory makes the names of the store's files durable.
func (s *Store) syncDirectory() error {
	if s.path == "" {
		return nil
	}
	dir, err := os.Open(filepath.Dir(s.path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

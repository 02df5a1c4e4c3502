package history

import (
	"errors"
	"os"

	"go.etcd.io/bbolt"

	"github.com/statesync/statesync/shm/failpoint"
)

// rewriteBytes is how much a transaction of the copy has. One for everything would hold
// all pages in memory.
const rewriteBytes = 16 << 20

// rewrite copies what is in use into a new file and puts that in the place of the old
// one. What was deleted is then in neither. Readers go on beside the copying. The caller
// holds s.write.
func (s *Store) rewrite() error {
	failpoint.Here("history.rewrite-begin")
	s.handle.RLock()
	old := s.db
	s.handle.RUnlock()
	if old == nil {
		return errClosed
	}
	path := ""
	if s.path != "" {
		path = s.rewritten()
	}
	next, err := s.copyTo(path, old)
	if err != nil {
		return err
	}
	failpoint.Here("history.rewrite-copied")
	if path != "" {
		if err := os.Rename(path, s.path); err != nil {
			return errors.Join(err, next.close(), os.Remove(path))
		}
	}
	failpoint.Here("history.rewrite-renamed")
	// From here on only the new file has a name, whatever fails.
	s.handle.Lock()
	s.db = next
	s.handle.Unlock()
	err = errors.Join(old.close(), s.syncDirectory())
	failpoint.Here("history.rewrite-done")
	return err
}

// copyTo copies a database into a new one, on stable storage. If it fails, the new file is
// removed; that of a process that died in the middle is removed by Open.
func (s *Store) copyTo(path string, from *database) (*database, error) {
	to, err := s.openFile(path)
	if err != nil {
		return nil, err
	}
	err = from.guard(func() error {
		to.bolt.NoSync = true
		if err := bbolt.Compact(to.bolt, from.bolt, rewriteBytes); err != nil {
			return err
		}
		if path == "" {
			return nil
		}
		to.bolt.NoSync = false
		return to.file.Sync()
	})
	if err != nil {
		err = errors.Join(err, to.close())
		if path != "" {
			err = errors.Join(err, os.Remove(path))
		}
		return nil, err
	}
	return to, nil
}

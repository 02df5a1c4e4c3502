package history

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"github.com/statesync/statesync/shm/failpoint"
)

// Options bound a store. The zero value is the default.
type Options struct {
	// Records is how many records are kept (default 1000).
	Records int
	// Bytes is how many bytes of contents, records and changes are kept (default
	// 256 MiB). What is live and what is pinned counts and is kept whatever it has, and so
	// is the newest record.
	Bytes int64
}

// Defaults of the Options that are zero.
const (
	DefaultRecords = 1000
	DefaultBytes   = 256 << 20
)

func (o Options) withDefaults() Options {
	if o.Records <= 0 {
		o.Records = DefaultRecords
	}
	if o.Bytes <= 0 {
		o.Bytes = DefaultBytes
	}
	return o
}

// Store is an open history. Its methods are safe for any goroutine.
type Store struct {
	path    string // "": in memory
	options Options
	stats   atomic.Pointer[Stats]

	write sync.Mutex // one transaction writes at a time
	head  *head      // of the last Record, guarded by write; nil: not read yet

	// db is used under the lock shared, and replaced or closed under it alone.
	handle sync.RWMutex
	db     *database
}

// Open opens the history in the file of a path, which it creates if there is none, or a
// new one in memory if path is "". If the file is damaged, it is moved to path+".damaged",
// where the last one of these is kept, and the store is a new one; Open then returns both
// the store and an error that matches ErrDamaged. A file of a newer version is refused.
func Open(path string, o Options) (*Store, error) {
	s := &Store{path: path, options: o.withDefaults()}
	if path != "" {
		// What a rewrite left behind that did not end.
		if err := os.Remove(s.rewritten()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("the history: %w", err)
		}
	}
	err := s.open()
	if path != "" && errors.Is(err, ErrDamaged) {
		damage := err
		if err = s.setAside(); err == nil {
			err = s.open()
		}
		if err != nil {
			return nil, fmt.Errorf("%w; replacing it: %w", damage, err)
		}
		return s, fmt.Errorf("%w; it was moved to %s, and a new one begins", damage, s.damaged())
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// damaged is the path of a damaged file, and rewritten that of a file in the making.
func (s *Store) damaged() string   { return s.path + ".damaged" }
func (s *Store) rewritten() string { return s.path + ".new" }

// open opens the file, and verifies what is in it.
func (s *Store) open() error {
	db, err := s.openFile(s.path)
	if err != nil {
		return err
	}
	if err := s.begin(db); err != nil {
		_ = s.db.close() // a rewrite may have replaced it
		s.db = nil
		return fmt.Errorf("%s: %w", s.name(), err)
	}
	return nil
}

// name is what messages call the store.
func (s *Store) name() string {
	if s.path == "" {
		return "the history in memory"
	}
	return s.path
}

// begin makes the tables of an empty file, verifies those of another one, and finishes
// a Purge that did not end.
func (s *Store) begin(db *database) error {
	s.db = db
	fresh := false
	err := db.guard(func() error {
		t, err := db.start(true)
		if err != nil {
			return err
		}
		defer func() { _ = t.Rollback() }()
		if key, _ := t.Cursor().First(); key != nil {
			return checkFormat(t)
		}
		fresh = true
		if err := createTables(t); err != nil {
			return err
		}
		return t.Commit()
	})
	if err != nil {
		return err
	}
	if fresh {
		failpoint.Here("history.created")
		if err := s.syncDirectory(); err != nil {
			return err
		}
	}
	purge := uint64(0)
	var n Stats
	err = db.view(func(t *tx) error {
		if err := t.verify(); err != nil {
			return err
		}
		if purge, err = t.rewriteDue(); err != nil {
			return err
		}
		n, err = t.figures()
		return err
	})
	if err != nil {
		return err
	}
	s.publish(n)
	if purge == 0 {
		return nil
	}
	// A failure leaves the store usable, and the next Open or Purge tries again.
	if err := s.finishPurge(purge); errors.Is(err, ErrDamaged) {
		return err
	}
	return nil
}

// checkFormat refuses a file of another version.
func checkFormat(t *bbolt.Tx) error {
	b := t.Bucket([]byte("meta"))
	if b == nil {
		return fmt.Errorf("%w: it has no meta", ErrDamaged)
	}
	value, err := table{b, "meta"}.get(formatKey)
	if err != nil {
		return err
	}
	if len(value) != 8 {
		return fmt.Errorf("%w: it has no format", ErrDamaged)
	}
	if v := binary.LittleEndian.Uint64(value); v != format {
		return fmt.Errorf("it has format %d, and this build reads format %d; run a newer build, or move the file away", v, format)
	}
	return nil
}

// Close closes the store. It waits for the transactions that run.
func (s *Store) Close() error {
	s.write.Lock()
	defer s.write.Unlock()
	s.handle.Lock()
	defer s.handle.Unlock()
	if s.db == nil {
		return nil
	}
	db := s.db
	s.db = nil
	return db.close()
}

var errClosed = fmt.Errorf("the history: %w", fs.ErrClosed)

// view runs f in a transaction that reads.
func (s *Store) view(f func(*tx) error) error {
	s.handle.RLock()
	defer s.handle.RUnlock()
	if s.db == nil {
		return errClosed
	}
	return s.db.view(f)
}

// errNothing makes update end without a commit and without an error.
var errNothing = errors.New("nothing to write")

// update runs f in a transaction that writes. The caller holds s.write.
func (s *Store) update(f func(*tx) error) error {
	s.handle.RLock()
	defer s.handle.RUnlock()
	if s.db == nil {
		return errClosed
	}
	var n Stats
	err := s.db.update(func(t *tx) (err error) {
		if err := f(t); err != nil {
			return err
		}
		if err := t.settle(); err != nil {
			return err
		}
		if n, err = t.figures(); err != nil {
			return err
		}
		return t.writeTotals()
	})
	if errors.Is(err, errNothing) {
		return nil
	}
	if err == nil {
		s.publish(n)
	}
	return err
}

// figures are those of the transaction, without the file's.
func (t *tx) figures() (n Stats, err error) {
	n = Stats{Records: int(t.totals.records), Objects: int(t.totals.objects), Bytes: t.totals.bytes}
	if n.Oldest, err = t.records.first(); err == nil {
		n.Newest, err = t.records.last()
	}
	return n, err
}

// publish makes figures those of Stats. The file's length is not known if stat fails.
func (s *Store) publish(n Stats) {
	if info, err := s.db.file.Stat(); err == nil {
		n.FileBytes = info.Size()
	}
	s.stats.Store(&n)
}

// Stats returns the store's figures. It reads no file.
func (s *Store) Stats() Stats { return *s.stats.Load() }

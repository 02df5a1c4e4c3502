package history

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"sync"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

// database is an open bbolt file.
//
// bbolt panics on pages that are not as they must be, and faults if the file is shorter
// than it was or cannot be read. Each transaction turns both into an error, after which
// nothing but close touches the file: locks that bbolt held at that moment may never be
// released, and what it has in memory may be half of a change.
type database struct {
	bolt *bbolt.DB
	file *os.File // bolt's; closed here if bolt cannot be

	// begin is held while a transaction begins, so that no other one waits within bbolt
	// for locks that are not released after a panic.
	begin  sync.Mutex
	broken error // why the file cannot be used any more; guarded by begin
}

// callerPanic is a panic of a function that the caller of this package passed. It is
// not the file's.
type callerPanic struct{ value any }

// outside runs a function that a caller passed.
func outside(f func()) {
	defer func() {
		if p := recover(); p != nil {
			panic(callerPanic{p})
		}
	}()
	f()
}

// guard runs f, and returns an error that matches ErrDamaged if it panics or faults.
func (d *database) guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if c, ok := p.(callerPanic); ok {
			panic(c.value)
		}
		err = fmt.Errorf("%w: %v", ErrDamaged, p)
		d.fail(err)
	}()
	return f()
}

// fail ends the use of the file. The first reason counts.
func (d *database) fail(err error) {
	d.begin.Lock()
	defer d.begin.Unlock()
	d.broken = errors.Join(d.broken, err)
}

// start begins a transaction of bbolt.
func (d *database) start(writable bool) (*bbolt.Tx, error) {
	d.begin.Lock()
	defer d.begin.Unlock()
	if d.broken != nil {
		return nil, d.broken
	}
	d.broken = fmt.Errorf("%w: a transaction could not begin", ErrDamaged) // if Begin panics
	t, err := d.bolt.Begin(writable)
	d.broken = nil
	if errors.Is(err, berrors.ErrInvalidMapping) { // mapping the grown file failed
		d.broken = fmt.Errorf("%w: the file is not mapped", ErrDamaged)
		return nil, d.broken
	}
	return t, err
}

// view runs f in a transaction that reads.
func (d *database) view(f func(*tx) error) error {
	return d.guard(func() error {
		t, err := d.start(false)
		if err != nil {
			return err
		}
		defer func() { _ = t.Rollback() }()
		x, err := newTx(t)
		if err != nil {
			return err
		}
		return f(x)
	})
}

// update runs f in a transaction that writes, and commits unless f returns an error. An
// error of the commit itself leaves open whether the transaction counts: the next one
// tells.
func (d *database) update(f func(*tx) error) error {
	return d.guard(func() error {
		t, err := d.start(true)
		if err != nil {
			return err
		}
		defer func() { _ = t.Rollback() }() // after a commit it does nothing
		x, err := newTx(t)
		if err != nil {
			return err
		}
		if err := f(x); err != nil {
			return err
		}
		return t.Commit()
	})
}

// close closes the file.
func (d *database) close() error {
	d.begin.Lock()
	broken := d.broken
	d.broken = fmt.Errorf("the history: %w", fs.ErrClosed)
	d.begin.Unlock()
	if broken != nil {
		return d.abandon()
	}
	return d.bolt.Close()
}

// abandon closes a file whose mapping stays until the process ends, because bbolt may
// hold its locks for ever. The mapping keeps the file's lock, too, unless that is released.
func (d *database) abandon() error {
	return errors.Join(unix.Flock(int(d.file.Fd()), unix.LOCK_UN), d.file.Close())
}

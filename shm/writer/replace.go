//go:build unix

package writer

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/failpoint"
	"github.com/statesync/statesync/shm/internal/access"
	"github.com/statesync/statesync/shm/internal/futex"
	"github.com/statesync/statesync/shm/internal/layout"
)

// Create makes a new region, with a new id and with generation g as its first,
// and puts it at the path. The file that was there is retired once the new one is
// whole: its readers are woken, and find the new file when Create returns. A
// Create that is killed before the rename leaves the old file, retired or not,
// and no reader finds half a region.
//
// Errors that match ErrNoSpace, ErrTooLarge or ErrSealed leave the old file as it
// was. ErrLocked says that the lock's file was removed and another writer has a
// new one: this writer has released the region. Any other error, as of a rename
// onto a directory, may leave the old file retired or, if the seal cannot be set,
// the new file in place and attached.
func (w *Writer) Create(g uint64, image [][]uint64) error {
	var id shm.ID
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	return w.replace(id, g, image)
}

// replace puts a new file at the path, for Create and for a region that grows.
func (w *Writer) replace(id shm.ID, g uint64, image [][]uint64) (err error) {
	if g == 0 || g > seqlock.MaxGeneration {
		return fmt.Errorf("generation %d: it must be from 1 to %d", g, uint64(seqlock.MaxGeneration))
	}
	size, err := w.sizeOf(image)
	if err != nil {
		return err
	}
	failpoint.Here("create.begin")
	if err := w.relock(); err != nil {
		return errors.Join(err, w.release())
	}
	// Readers have to find and trust the directory: give it back its mode and group.
	if err := setAccess(w.dirFD, w.dir, dirMode(w.options.Mode), w.options.Group); err != nil {
		return err
	}
	if err := ownsDir(w.dirFD, w.dir); err != nil {
		return err
	}
	if err := w.unseal(); err != nil {
		return err
	}
	failpoint.Here("create.unsealed")
	defer func() {
		if err != nil && w.Attached() {
			err = errors.Join(err, w.seal())
		}
	}()
	file, err := w.createTemp()
	if err != nil {
		return err
	}
	l, err := w.fill(file, id, g, size, image)
	if err == nil {
		failpoint.Here("create.filled")
		err = w.retireOld()
	}
	if err == nil {
		failpoint.Here("create.retired")
		err = unix.Renameat(w.dirFD, access.TempName, w.dirFD, shm.FileName)
	}
	if err != nil {
		if l != nil {
			err = errors.Join(err, access.Unmap(l))
		}
		return errors.Join(fmt.Errorf("making %s: %w", w.path, err), unix.Unlinkat(w.dirFD, access.TempName, 0), file.Close())
	}
	failpoint.Here("create.renamed")
	old := w.release() // of a mapping whose file is not at the path any more
	failpoint.Here("create.released")
	w.adopt(l, file, g)
	failpoint.Here("create.adopted")
	return errors.Join(old, w.seal())
}

// createTemp makes the file under its temporary name, with its final owner and
// mode, and with no memory. It removes what a writer that died here left.
func (w *Writer) createTemp() (*os.File, error) {
	path := filepath.Join(w.dir, access.TempName)
	if err := unix.Unlinkat(w.dirFD, access.TempName, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, &os.PathError{Op: "remove", Path: path, Err: err}
	}
	failpoint.Here("create.cleared")
	fd, err := unix.Openat(w.dirFD, access.TempName, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "create", Path: path, Err: w.outOfSpace(err)}
	}
	failpoint.Here("create.made")
	file := os.NewFile(uintptr(fd), path)
	if err := setAccess(fd, path, w.options.Mode, w.options.Group); err != nil {
		return nil, errors.Join(err, file.Close(), unix.Unlinkat(w.dirFD, access.TempName, 0))
	}
	failpoint.Here("create.accessible")
	return file, nil
}

// fill makes a file a region whose current generation is g, and maps it.
func (w *Writer) fill(file *os.File, id shm.ID, g uint64, size int64, image [][]uint64) (l *layout.Layout, err error) {
	i := layout.Identity{Geometry: geometryFor(w.options.Slots, size, w.options.MaxImage), ID: id, Created: time.Now()}
	if err := file.Truncate(i.FileSize()); err != nil {
		return nil, w.outOfSpace(err)
	}
	failpoint.Here("create.sized")
	n := int64(g % uint64(i.Slots))
	if err := w.reserve(file, 0, layout.SlotsAt); err != nil {
		return nil, err
	}
	failpoint.Here("create.head-reserved")
	if size > 0 {
		if err := w.reserve(file, layout.SlotsAt+n*i.SlotSize, size); err != nil {
			return nil, err
		}
	}
	data, err := unix.Mmap(int(file.Fd()), 0, int(i.FileSize()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, &os.PathError{Op: "mmap", Path: file.Name(), Err: err}
	}
	failpoint.Here("create.mapped")
	i.Raw = i.Encode()
	made := layout.New(i, layout.WordsOf(data))
	l = &made
	defer func() {
		if err != nil {
			err = errors.Join(err, access.Unmap(l))
			l = nil
		}
	}()
	defer l.RecoverFault(debug.SetPanicOnFault(true), &err)
	copy(l.Words, i.Raw[:])
	failpoint.Here("create.identified")
	l.Ring.Begin(g)
	failpoint.Here("create.begun")
	w.kept = store(l, g, size, image, new(inventory))
	l.Ring.Commit(g)
	failpoint.Here("create.committed")
	w.status.Heartbeat = shm.Boottime()
	return l, writeStatus(l, w.status)
}

// retireOld retires the attached file, and the file at the path if that is another
// one that this process owns. Readers of a file that is too damaged for this find
// the successor when its heartbeat is missing.
func (w *Writer) retireOld() error {
	if w.Attached() {
		if err := retire(w.l); err != nil || isAt(w.file, w.dirFD, shm.FileName) {
			return err
		}
		// Another file was put at the path, and readers may have opened it.
	}
	fd, err := w.openOwn()
	switch {
	case errors.Is(err, shm.ErrNoRegion), errors.Is(err, shm.ErrUntrusted), errors.Is(err, unix.EACCES):
		return nil // the rename replaces it
	case err != nil:
		return err
	}
	defer unix.Close(fd)
	data, err := unix.Mmap(fd, 0, layout.SlotsAt, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil // the file system does not support it
	}
	// Only the hot word is touched, so the damaged rest does not matter.
	damaged := layout.New(layout.Identity{Geometry: shm.Geometry{Slots: seqlock.MinSlots}}, layout.WordsOf(data))
	return errors.Join(retire(&damaged), access.Unmap(&damaged))
}

// retire marks a file, and wakes its waiters, which look for the successor. Memory
// that is gone is not an error: there is nothing left to retire.
func retire(l *layout.Layout) error {
	err := l.Guarded(func() error {
		failpoint.Here("retire.begin")
		l.Ring.Retire()
		failpoint.Here("retire.marked")
		return futex.Wake(l.HotWord(), futex.EveryWaiter)
	})
	failpoint.Here("retire.woken")
	if errors.Is(err, shm.ErrFault) || errors.Is(err, unix.EFAULT) {
		return nil
	}
	return err
}

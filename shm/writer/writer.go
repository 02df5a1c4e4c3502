//go:build unix

package writer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/failpoint"
	"github.com/statesync/statesync/shm/internal/access"
	"github.com/statesync/statesync/shm/internal/futex"
	"github.com/statesync/statesync/shm/internal/layout"
)

// Options are the settings of a region.
type Options struct {
	Slots    int         // K; 0 is shm.DefaultSlots
	MaxImage int64       // the greatest size of an image, in bytes
	Mode     fs.FileMode // of the file: 0600, 0640 or 0644; 0 is 0644
	Group    int         // gid of directory and file; negative leaves it as it is
	Seal     bool        // make the file append-only, see seal_linux.go
	// Room is called before so many bytes of pages are reserved, and returns an
	// error if the process must not take them; nil allows all. The writer's error
	// then matches ErrNoSpace.
	Room func(bytes int64) error
}

// Writer is the one process that may write a region. It belongs to one
// goroutine; Close it when done.
type Writer struct {
	dir     string
	path    string // of the region's file
	options Options
	dirFD   int
	lock    *os.File

	// The attached file; nil and 0 before Attach or Create, and after a release.
	l             *layout.Layout
	file          *os.File
	reserved      []int64     // by slot: bytes from its start that have pages for its image
	stored        []inventory // by slot: the parts that this writer stored there; nil: not known
	kept          bool        // the last store left parts as the slot had them
	current       uint64      // the generation that the hot word must name
	currentLength uint64      // of its image, in bytes

	status shm.Status // as the next Beat writes it
	waker  waker
}

// Own makes this process the writer of the region in dir: it makes the
// directory if need be and takes the lock, for which it waits until ctx ends.
// Errors match ErrLocked, shm.ErrUntrusted or fs errors. The directory gets the
// mode and group of the options; readers see no other change before Attach or
// Create.
func Own(ctx context.Context, dir string, o Options) (*Writer, error) {
	if o.Slots == 0 {
		o.Slots = shm.DefaultSlots
	}
	if o.Mode == 0 {
		o.Mode = 0o644
	}
	if o.Mode&^0o644 != 0 || o.Mode&0o600 != 0o600 {
		return nil, fmt.Errorf("a region of mode %04o: it must be 0600, 0640 or 0644", o.Mode)
	}
	if err := CheckLimits(o.Slots, o.MaxImage); err != nil {
		return nil, err
	}
	dir = filepath.Clean(dir)
	fd, err := ownDir(dir)
	if err != nil {
		return nil, err
	}
	failpoint.Here("own.directory")
	lock, err := acquire(ctx, fd, dir, uint32(os.Geteuid()))
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	if err := setAccess(fd, dir, dirMode(o.Mode), o.Group); err != nil {
		return nil, errors.Join(err, lock.Close(), unix.Close(fd))
	}
	failpoint.Here("own.accessible")
	return &Writer{
		dir: dir, path: filepath.Join(dir, shm.FileName), options: o, dirFD: fd, lock: lock,
		status: shm.Status{State: shm.Running, PID: os.Getpid(), Incarnation: rand.Uint64(), Started: time.Now()},
	}, nil
}

// Attach continues the region file at the path. shm.ErrNoRegion says that there is
// none; any other error says why it cannot be used, so that Create must replace
// it. Waiters are woken, since the previous writer may have died just before it
// woke them.
func (w *Writer) Attach() error {
	failpoint.Here("attach.begin")
	if err := w.relock(); err != nil {
		return err
	}
	fd, err := w.openOwn()
	if err != nil {
		return err
	}
	failpoint.Here("attach.opened")
	l, _, err := access.Map(fd, w.path, uint32(os.Geteuid()), shm.Trust{}, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	failpoint.Here("attach.mapped")
	g, err := w.usable(l)
	if err != nil {
		return errors.Join(err, access.Unmap(l), unix.Close(fd))
	}
	failpoint.Here("attach.usable")
	if err := setAccess(fd, w.path, w.options.Mode, w.options.Group); err != nil {
		return errors.Join(err, access.Unmap(l), unix.Close(fd))
	}
	failpoint.Here("attach.accessible")
	if err := w.release(); err != nil {
		return errors.Join(err, access.Unmap(l), unix.Close(fd))
	}
	w.adopt(l, os.NewFile(uintptr(fd), w.path), g)
	failpoint.Here("attach.adopted")
	// A writer that died in Create left a file with the pages of an image. It is
	// removed before the seal, which forbids that.
	_ = unix.Unlinkat(w.dirFD, access.TempName, 0)
	if err := w.seal(); err != nil {
		return errors.Join(err, w.release())
	}
	if err := w.Beat(); err != nil {
		return errors.Join(err, w.release())
	}
	failpoint.Here("attach.told")
	return futex.Wake(w.l.HotWord(), futex.EveryWaiter)
}

// usable returns the current generation of a mapped file, or an error that says
// why the file cannot be continued.
func (w *Writer) usable(l *layout.Layout) (g uint64, err error) {
	if l.Slots != w.options.Slots {
		return 0, fmt.Errorf("%s: it has %d slots, and %d are wanted", w.path, l.Slots, w.options.Slots)
	}
	err = l.Guarded(func() error {
		hot := l.Ring.Hot()
		g = hot.Generation()
		switch {
		case hot.Retired():
			return fmt.Errorf("%s: it is retired", w.path)
		case g == 0 || g > seqlock.MaxGeneration || !l.Ring.Whole(g):
			return fmt.Errorf("%s: %w: generation %d is not whole", w.path, shm.ErrCorrupt, g)
		}
		return nil
	})
	return g, err
}

// openOwn opens the region's file for writing.
func (w *Writer) openOwn() (int, error) {
	if err := w.unseal(); err != nil {
		return -1, err
	}
	fd, err := access.OpenFile(w.dirFD, w.path, unix.O_RDWR|unix.O_NONBLOCK)
	if errors.Is(err, unix.EPERM) {
		return -1, fmt.Errorf("%s: %w", w.path, errSealed)
	}
	return fd, err
}

// errSealed is the error of a writer that lacks the capability to lift the seal.
var errSealed = fmt.Errorf("%w: an append-only file cannot be opened for writing, and this process lacks CAP_LINUX_IMMUTABLE", ErrSealed)

// adopt makes a mapped file the writer's.
func (w *Writer) adopt(l *layout.Layout, file *os.File, g uint64) {
	w.l, w.file, w.current = l, file, g
	_ = l.Guarded(func() error { // the next Check finds memory that is gone
		w.currentLength = *l.Length(l.Ring.Slot(g))
		return nil
	})
	w.reserved, w.stored = w.survey(), make([]inventory, l.Slots)
}

// release unmaps and closes the attached file.
func (w *Writer) release() error {
	if w.l == nil {
		return nil
	}
	w.waker.wait() // a wake uses the mapping
	err := errors.Join(access.Unmap(w.l), w.file.Close())
	w.l, w.file, w.reserved, w.stored = nil, nil, nil, nil
	return err
}

// Kept reports whether the last publication left parts of the image as the slot had them,
// where memory may have been damaged since they were stored.
func (w *Writer) Kept() bool { return w.kept }

// Attached reports whether there is a file that can be published into.
func (w *Writer) Attached() bool { return w.l != nil }

// ID is the attached region's id.
func (w *Writer) ID() shm.ID { return w.l.ID }

// Geometry is how the attached file is divided. It changes when the region
// grows.
func (w *Writer) Geometry() shm.Geometry { return w.l.Geometry }

// Path is the path of the region's file.
func (w *Writer) Path() string { return w.path }

// Generation is the current generation of the attached file. shm.ErrFault says
// that its memory is gone.
func (w *Writer) Generation() (uint64, error) {
	hot, err := w.l.Hot()
	return hot.Generation(), err
}

// Current calls fn with the current generation's image. Only this writer writes
// it.
func (w *Writer) Current(fn func(generation uint64, image []uint64) error) error {
	g, err := w.Generation()
	if err != nil {
		return err
	}
	return w.l.Guarded(func() error {
		image, err := w.l.Image(w.l.Ring.Slot(g))
		if err != nil {
			return fmt.Errorf("%s: %w", w.path, err)
		}
		return fn(g, image)
	})
}

// Observe sets what the status says of the sources. The next Beat writes it.
func (w *Writer) Observe(o shm.Observation) { w.status.Observation = o }

// Beat writes the status with a new heartbeat. It makes one syscall.
func (w *Writer) Beat() error {
	w.status.Heartbeat = shm.Boottime()
	return writeStatus(w.l, w.status)
}

// Close writes into the status that the writer has stopped, closes the file and
// releases the lock. The region stays, and its readers keep reading.
func (w *Writer) Close() error {
	var err error
	failpoint.Here("close.begin")
	if w.Attached() {
		w.status.State = shm.Stopped
		err = w.Beat()
		if errors.Is(err, shm.ErrFault) {
			err = nil // there is no status to write
		}
	}
	failpoint.Here("close.told")
	return errors.Join(err, w.release(), w.lock.Close(), unix.Close(w.dirFD))
}

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
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/internal/access"
	"github.com/statesync/statesync/shm/shmtest"
)

func init() {
	// hold DIR: takes the lock, says so, and keeps it until it is killed or
	// hears something.
	roles["hold"] = func(args []string) error {
		w, err := Own(context.Background(), args[0], small())
		if err != nil {
			return err
		}
		fmt.Println("locked")
		var word string
		_, _ = fmt.Scan(&word)
		return w.Close()
	}
	// contend DIR: contends for the lock.
	roles["contend"] = func(args []string) error {
		times, err := strconv.Atoi(args[1])
		if err == nil {
			err = contend(args[0], times)
		}
		return err
	}
}

// try is Own without waiting for the lock.
func try(dir string) (*Writer, error) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return Own(ctx, dir, small())
}

func TestSecondWriter(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 1)
	lock := filepath.Join(dir, access.LockName)

	_, err := try(dir)
	wantError(t, err, ErrLocked, lock, "process "+strconv.Itoa(os.Getpid()))
	ctx, cancel := context.WithTimeout(t.Context(), 3*lockPoll)
	defer cancel()
	_, err = Own(ctx, dir, small())
	wantError(t, err, ErrLocked, lock)
	if ctx.Err() == nil {
		t.Error("Own did not wait for the lock")
	}

	// One that waits gets the lock when the first gives it back.
	got := make(chan error, 1)
	go func() {
		next, err := Own(t.Context(), dir, small())
		if err == nil {
			err = errors.Join(next.Attach(), next.Close())
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("two writers, or %v", err)
	case <-time.After(2 * lockPoll):
	}
	must(t, w.Close())
	must(t, result(t, got))
}

// The death of a writer's process gives the lock back.
func TestLockOfTheDead(t *testing.T) {
	dir := regionIn(t)
	holder := start(t, "hold", dir)
	holder.Scan("locked")
	_, err := try(dir)
	wantError(t, err, ErrLocked, fmt.Sprintf("process %d", holder.Cmd.Process.Pid))
	holder.Kill()
	w, err := try(dir)
	must(t, err)
	must(t, w.Close())
}

// A writer that is refused the lock has changed nothing that readers see.
func TestRefusedWriterLeavesAccessAlone(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o := small()
	o.Mode = 0o600
	_, err := Own(ctx, dir, o)
	wantError(t, err, ErrLocked)
	wantMode(t, dir, 0o755)
	wantMode(t, w.Path(), 0o644)
}

// contend takes the lock so many times, looks that it is alone, and often takes the
// lock's file away at the end, as a writer that cleans up does. It does not
// wait, so that many are between opening and locking when that happens.
func contend(dir string, times int) error {
	alone := dir + ".alone"
	for times > 0 {
		w, err := try(dir)
		if errors.Is(err, ErrLocked) {
			continue
		}
		if err != nil {
			return err
		}
		// Made exclusively: a writer that finds it there is not alone.
		f, err := os.OpenFile(alone, os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fmt.Errorf("two writers at once: %w", err)
		}
		time.Sleep(rand.N(200 * time.Microsecond))
		err = errors.Join(f.Close(), os.Remove(alone))
		if rand.N(4) != 0 {
			err = errors.Join(err, os.Remove(filepath.Join(dir, access.LockName)))
		}
		if err = errors.Join(err, w.Close()); err != nil {
			return err
		}
		times--
	}
	return nil
}

// Lock files that vanish under waiting writers never admit two.
func TestUnlinkedLock(t *testing.T) {
	dir := filepath.Join(memoryTemp(t), "region")
	times := shmtest.Times(40, 10)
	others := []*child{start(t, "contend", dir, strconv.Itoa(times)), start(t, "contend", dir, strconv.Itoa(times))}
	var group sync.WaitGroup
	for range 6 {
		group.Go(func() {
			if err := contend(dir, times); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, c := range others {
		if said, err := c.End(); err != nil {
			t.Errorf("%v: %s", err, said)
		}
	}
}

// The file that was locked is not the one that the next writer will find.
func TestLockIsAtItsPath(t *testing.T) {
	dir := regionIn(t)
	w := own(t, dir, small())
	if !isAt(w.lock, w.dirFD, access.LockName) {
		t.Error("a fresh lock is not at its path")
	}
	must(t, os.Remove(w.lock.Name()))
	if isAt(w.lock, w.dirFD, access.LockName) {
		t.Error("a lock that was removed is at its path")
	}
	must(t, os.WriteFile(w.lock.Name(), nil, 0o600))
	if isAt(w.lock, w.dirFD, access.LockName) {
		t.Error("a lock that was replaced is at its path")
	}
}

// A writer whose lock was taken away while it held it finds that out, since it
// may not be alone any more. It takes the new one, if no other writer has.
func TestLockTakenAway(t *testing.T) {
	for name, take := range map[string]func(lock string) error{
		"removed":  os.Remove,
		"replaced": func(lock string) error { return errors.Join(os.Remove(lock), os.WriteFile(lock, nil, 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := regionIn(t)
			w := created(t, dir, small(), 1)
			must(t, w.Check())
			must(t, take(w.lock.Name()))
			wantError(t, w.Check(), ErrLost, access.LockName)
			must(t, w.Create(2, proofs(2, 10)))
			must(t, w.Check())
			_, err := try(dir)
			wantError(t, err, ErrLocked)

			must(t, take(w.lock.Name()))
			other := attached(t, dir, small())
			wantError(t, w.Check(), ErrLost, access.LockName)
			wantError(t, w.Attach(), ErrLocked)
			wantError(t, w.Create(3, proofs(3, 10)), ErrLocked)
			if w.Attached() {
				t.Error("a writer holds on to a region that is another's")
			}
			must(t, w.Close())
			must(t, other.Check())
			wantGeneration(t, open(t, dir), publish(t, other, 10))
		})
	}
}

// A file at the lock's path that another user put there or can lock is not a
// lock.
func TestForeignLocks(t *testing.T) {
	root := os.Geteuid() == 0
	write := func(path string, mode fs.FileMode) error {
		return errors.Join(os.WriteFile(path, nil, mode), os.Chmod(path, mode))
	}
	for name, c := range map[string]struct {
		put  func(path string) error
		root bool
	}{
		"symlink":          {put: func(p string) error { return errors.Join(write(p+"2", 0o600), os.Symlink(p+"2", p)) }},
		"dangling symlink": {put: func(p string) error { return os.Symlink(p+"2", p) }},
		"fifo":             {put: func(p string) error { return unix.Mkfifo(p, 0o600) }},
		"directory":        {put: func(p string) error { return os.Mkdir(p, 0o700) }},
		"socket":           {put: func(p string) error { return unix.Mknod(p, unix.S_IFSOCK|0o600, 0) }},
		"hard link":        {put: func(p string) error { return errors.Join(write(p+"2", 0o600), os.Link(p+"2", p)) }},
		"mode 0644":        {put: func(p string) error { return write(p, 0o644) }},
		"mode 0660":        {put: func(p string) error { return write(p, 0o660) }},
		"mode 0604":        {put: func(p string) error { return write(p, 0o604) }},
		"mode 0610":        {put: func(p string) error { return write(p, 0o610) }},
		"foreign owner":    {put: func(p string) error { return errors.Join(write(p, 0o600), os.Chown(p, 12345, -1)) }, root: true},
		"unmapped":         {put: func(p string) error { return errors.Join(write(p, 0o600), os.Chown(p, unmapped, -1)) }, root: true},
	} {
		t.Run(name, func(t *testing.T) {
			if c.root && !root {
				t.Skip("giving files away takes root")
			}
			dir := regionIn(t)
			must(t, os.Mkdir(dir, 0o755))
			path := filepath.Join(dir, access.LockName)
			must(t, c.put(path))
			_, err := try(dir)
			wantError(t, err, shm.ErrUntrusted, path)
		})
	}
}

// Readers can't hold the lock up: they can't open it, and locks on what they
// can open disturb no writer.
func TestReadersDelayNoWriter(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(openTemp(t), "region")
	w := created(t, dir, small(), 1)
	must(t, w.Close())
	reader := shmtest.StartAs(t, 12345, "lock-all", nil, dir)
	reader.Scan("denied")
	reader.Scan("locked")
	w, err := try(dir)
	must(t, err)
	must(t, w.Attach())
	publish(t, w, 10)
	must(t, w.Close())
}

func init() {
	// lock-all DIR: locks everything in a region that it can open, and keeps it.
	roles["lock-all"] = func(args []string) error {
		if _, err := os.Open(filepath.Join(args[0], access.LockName)); errors.Is(err, fs.ErrPermission) {
			fmt.Println("denied")
		}
		for _, path := range []string{args[0], filepath.Join(args[0], shm.FileName)} {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
				return err
			}
			defer f.Close()
		}
		fmt.Println("locked")
		var word string
		_, _ = fmt.Scan(&word)
		return nil
	}
}

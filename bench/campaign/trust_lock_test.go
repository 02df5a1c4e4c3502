//go:build linux

package campaign

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/shm"
)

var trustPublications = flag.Int("trust.publications", 1, "how many revisions are published while waiters are requeued away")

func init() {
	// trust-grab DIR tries every kind of lock on the files of a region that it may
	// open, prints how many it has, and keeps them until its input ends.
	roles["trust-grab"] = func(ctx context.Context, args []string) error {
		dir, got := args[0], []string{}
		take := func(what string, err error) {
			if err == nil {
				got = append(got, what)
			}
		}
		for _, path := range []string{dir, filepath.Join(dir, "region.v1"), filepath.Join(dir, "lock")} {
			name := filepath.Base(path)
			for _, c := range []struct {
				what string
				call func(fd int) error
			}{
				{"flock", func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) }},
				{"ofd-read", trustLock(unix.F_OFD_SETLK, unix.F_RDLCK)},
				{"ofd-write", trustLock(unix.F_OFD_SETLK, unix.F_WRLCK)},
				{"posix-read", trustLock(unix.F_SETLK, unix.F_RDLCK)},
				{"posix-write", trustLock(unix.F_SETLK, unix.F_WRLCK)},
				{"lease-read", trustLease(unix.F_RDLCK)},
				{"lease-write", trustLease(unix.F_WRLCK)},
			} {
				f, err := os.Open(path)
				if err == nil {
					defer f.Close() // only at the end: it has the lock
					err = c.call(int(f.Fd()))
				}
				take(c.what+":"+name, err)
			}
		}
		fmt.Println(len(got), strings.Join(got, " "))
		<-ctx.Done()
		return nil
	}
	// trust-requeue DIR moves all threads that sleep on a region to a word of its
	// own, again and again, and says in the end how many it moved.
	roles["trust-requeue"] = func(ctx context.Context, args []string) error {
		const requeue, cmpRequeue, most = 3, 4, 1<<31 - 1
		own, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
		if err != nil {
			return err
		}
		fmt.Println("ready")
		var moved [2]int
		for ctx.Err() == nil { // each region that comes
			f, err := os.Open(filepath.Join(args[0], "region.v1"))
			if err != nil {
				time.Sleep(time.Millisecond)
				continue
			}
			region, err := unix.Mmap(int(f.Fd()), 0, 0x1000, unix.PROT_READ, unix.MAP_SHARED)
			_ = f.Close()
			if err != nil {
				return err
			}
			hot := (*uint32)(unsafe.Pointer(&region[memoryHot]))
			for n := 0; n < 500 && ctx.Err() == nil; n++ {
				how := n % 2
				n, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(hot)), []uintptr{requeue, cmpRequeue}[how], 0, most,
					uintptr(unsafe.Pointer(&own[0])), uintptr(atomic.LoadUint32(hot)))
				if errno == 0 {
					moved[how] += int(n)
				}
				time.Sleep(200 * time.Microsecond)
			}
			if err := unix.Munmap(region); err != nil {
				return err
			}
		}
		runtime.KeepAlive(own)
		fmt.Println("moved", moved[0], moved[1])
		return nil
	}
}

func trustLock(cmd int, kind int16) func(fd int) error {
	return func(fd int) error { return unix.FcntlFlock(uintptr(fd), cmd, &unix.Flock_t{Type: kind}) }
}

func trustLease(kind int) func(fd int) error {
	return func(fd int) error {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, kind)
		return err
	}
}

// Another user's locks on a region delay neither its daemon, nor a successor, nor a
// replacement, nor a reader.
func TestTrustLocks(t *testing.T) {
	parent := trustParent(t)
	h := newMemoryHost(t, parent, "--slots=2", "--max-image=64KiB", "--lock-wait=0s")
	h.start()
	h.reader = memoryReadAs(t, trustOther, h.region)
	h.reader.sees("at first", 1)
	grabber := trustSpawn(t, trustAs(trustStranger), "trust-grab", h.region)
	got := grabber.line(t)
	taken := 0
	if _, err := fmt.Sscanf(got, "%d ", &taken); err != nil || taken < 4 || strings.Contains(got, ":lock") || strings.Contains(got, "lease") {
		t.Errorf("it took %s", got)
	}
	h.publish(1000)
	h.reader.sees("under locks", 2)
	h.stop() // a successor attaches
	h.start()
	h.publish(1000)
	h.reader.sees("from a successor", 3)
	ok(t, os.Truncate(h.file(), 0)) // a replacement
	h.publish(1000)
	h.reader.sees("in a new region", 4)
	h.alive()
	if n := strings.Count(h.daemon.log(), "level=ERROR"); n != 1 {
		t.Errorf("%d errors, and the loss of the region is one:\n%s", n, h.daemon.log())
	}
	grabber.finish(t)
	h.reader.end()
	h.stop()
	report(t, "another user's locks delay neither daemon nor readers",
		fmt.Sprintf("21 locks tried, %d taken (flock, OFD, POSIX on directory and file), under a publication, a restart and a replacement", taken), "nothing")
}

// Another user moves all waiters away, again and again. Followers are late by their
// bounded wait at most; exact readers are not late.
func TestTrustRequeue(t *testing.T) {
	t.Parallel()
	parent := trustParent(t)
	h := newMemoryHost(t, parent, "--slots=2", "--max-image=64KiB")
	h.start()
	h.reader = memoryReadAs(t, trustOther, h.region)
	h.reader.sees("at first", 1)
	// A follower alone in its client: no exact reader refreshes it.
	follower := trustSpawn(t, trustAs(trustOther), "trust-follow", h.region)
	if said := follower.line(t); said != "follows 1" {
		t.Fatal(said)
	}
	thief := trustSpawn(t, trustAs(trustStranger), "trust-requeue", h.region)
	if said := thief.line(t); said != "ready" {
		t.Fatal(said)
	}
	var worst, exactly time.Duration
	for range *trustPublications {
		time.Sleep(100 * time.Millisecond) // which the thief uses
		g := trustGeneration(t, h.region)
		h.publish(1000)
		await(t, "the publication", func() bool { return trustGeneration(t, h.region) > g })
		began := time.Now()
		await(t, "an exact reader", func() bool { exact, _, _ := h.reader.numbers(); return exact == h.number })
		exactly = max(exactly, time.Since(began))
		if said := follower.line(t); said != fmt.Sprint("follows ", h.number) {
			t.Fatal(said)
		}
		worst = max(worst, time.Since(began))
	}
	moved := thief.finish(t)
	follower.finish(t)
	h.alive()
	h.reader.end()
	h.stop()
	var requeued, compared int
	if _, err := fmt.Sscanf(strings.Join(moved, " "), "moved %d %d", &requeued, &compared); err != nil || requeued+compared == 0 {
		t.Errorf("no waiter was moved: %v", moved)
	}
	report(t, "waiters that are requeued away are late by their bounded wait of 2 s and no more",
		fmt.Sprintf("%d publications, %d waiters moved (%d by FUTEX_REQUEUE, %d by FUTEX_CMP_REQUEUE)", *trustPublications, requeued+compared, requeued, compared),
		fmt.Sprintf("at most %v for a follower, %v for an exact reader", worst.Round(time.Millisecond), exactly.Round(time.Millisecond)))
}

// trustGeneration is a region's generation, by its hot word.
func trustGeneration(t testing.TB, dir string) uint64 {
	t.Helper()
	r, err := shm.Open(dir, shm.Trust{})
	ok(t, err)
	hot, err := r.Hot()
	ok(t, err)
	return hot.Generation()
}

func init() {
	// trust-follow DIR has a binding and nothing else, and says "follows N" when
	// its value changes.
	roles["trust-follow"] = func(ctx context.Context, args []string) error {
		return trustFollow(ctx, args[0])
	}
}

var errTrustBack = errors.New("a follower went back")

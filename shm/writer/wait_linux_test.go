package writer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/internal/layout"
	"github.com/statesync/statesync/shm/shmtest"
)

// forever is a bound that no test waits for.
const forever = 10 * time.Minute

const futexRequeue = 3

func init() {
	// wait DIR: waits for each next generation, and says which it then sees.
	roles["wait"] = func(args []string) error {
		r, err := shm.Open(args[0], shm.Trust{})
		if err != nil {
			return err
		}
		for {
			hot, err := r.Hot()
			if err != nil || hot.Retired() {
				fmt.Println("retired", err)
				return err
			}
			fmt.Println("waiting at", hot.Generation())
			for now := hot; now == hot && err == nil; now, err = r.Hot() {
				if err := r.Wait(hot, forever); err != nil {
					return err
				}
			}
			if err != nil {
				return err
			}
		}
	}
	// requeue DIR: moves the processes that wait for the region's next generation to a
	// word of its own, where nothing will wake them.
	roles["requeue"] = func(args []string) error {
		l, err := mapped(filepath.Join(args[0], shm.FileName))
		if err != nil {
			return err
		}
		var aside uint64
		var word string
		fmt.Println("ready")
		_, _ = fmt.Scan(&word)
		moved, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(l.HotWord())), futexRequeue,
			0, 1<<30, uintptr(unsafe.Pointer(&aside)), 0)
		if errno != 0 {
			return errno
		}
		fmt.Println("moved", moved)
		_, _ = fmt.Scan(&word)
		return nil
	}
}

// futexNumbers are what the syscall is called on amd64 and on arm64. Under an
// emulator it is that of the machine, and not that of this binary.
var futexNumbers = []string{"202", "98"}

// sleepers counts the threads of a process that sleep in Wait on a word whose
// address ends as the hot word's does.
func sleepers(t testing.TB, pid int) (n int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
	must(t, err)
	for _, task := range tasks {
		data, err := os.ReadFile(task)
		if os.IsPermission(err) {
			t.Skipf("what a thread waits for can't be seen here: %v", err)
		}
		f := strings.Fields(string(data))
		if len(f) < 4 || !slices.Contains(futexNumbers, f[0]) || f[2] != "0x9" {
			continue
		}
		if address, err := strconv.ParseUint(f[1], 0, 64); err == nil && address%page == layout.HotAt {
			n++
		}
	}
	return n
}

// asleep waits until n threads of a process sleep in Wait.
func asleep(t testing.TB, pid, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d threads of process %d wait", n, pid), func() bool { return sleepers(t, pid) == n })
}

// A publication wakes the waiters of other processes, and so do an attached
// successor and a replacement.
func TestWaitInAnotherProcess(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 1)
	var waiters []*child
	for range 2 {
		waiters = append(waiters, start(t, "wait", dir))
	}
	each := func(format string, args ...any) {
		t.Helper()
		for _, c := range waiters {
			if said, want := c.Line(), fmt.Sprintf(format, args...); said != want {
				t.Fatalf("the waiter says %q, and %q was expected", said, want)
			}
		}
	}
	allAsleep := func() {
		t.Helper()
		for _, c := range waiters {
			asleep(t, c.Cmd.Process.Pid, 1)
		}
	}
	each("waiting at 1")
	for range 5 {
		allAsleep()
		each("waiting at %d", publish(t, w, 10))
	}

	// Dead between commit and wake.
	allAsleep()
	w.l.Ring.Begin(7)
	store(w.l, 7, 0, nil, new(inventory))
	w.l.Ring.Commit(7)
	die(t, w)
	allAsleep()
	w = attached(t, dir, small())
	each("waiting at 7")

	// Neither a heartbeat nor a writer that stops is a new generation.
	allAsleep()
	must(t, w.Beat())
	must(t, w.Close())
	w = attached(t, dir, small())
	allAsleep()
	must(t, w.Create(8, proofs(8, 10)))
	each("retired <nil>")
}

// A wait that begins after the word has changed does not sleep.
func TestWaitMissesNothing(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 1)
	r := open(t, dir)
	for range 100 {
		hot, err := r.Hot()
		must(t, err)
		publish(t, w, 10)
		must(t, result(t, wait(r, hot, forever)))
	}
	hot, err := r.Hot()
	must(t, err)
	must(t, w.Create(200, nil))
	must(t, result(t, wait(r, hot, forever))) // retired
}

// wait waits in the background.
func wait(r *shm.Region, hot seqlock.Hot, bound time.Duration) <-chan error {
	done := make(chan error, 1)
	go func() { done <- r.Wait(hot, bound) }()
	return done
}

// Wake ends the waiting on its own Region, and not that on others: of four
// others, at least one has another bit.
func TestWake(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 1)
	mine := open(t, dir)
	hot, err := mine.Hot()
	must(t, err)
	first, second := wait(mine, hot, forever), wait(mine, hot, forever)
	others := make(chan error, 4)
	for range cap(others) {
		r := open(t, dir)
		go func() { others <- r.Wait(hot, forever) }()
	}
	asleep(t, os.Getpid(), 6)
	must(t, mine.Wake())
	must(t, result(t, first))
	must(t, result(t, second))
	if len(others) == cap(others) {
		t.Fatal("the waiters of all other Regions were woken")
	}
	publish(t, w, 10)
	for range cap(others) {
		must(t, result(t, others))
	}
	must(t, mine.Wake()) // without waiters
}

// Wake ends the waiting also when there is no memory any more to wait on.
func TestWakeWithoutMemory(t *testing.T) {
	for range 20 {
		dir := regionIn(t)
		w := created(t, dir, small(), 1)
		r := open(t, dir)
		hot, err := r.Hot()
		must(t, err)
		done := wait(r, hot, forever)
		asleep(t, os.Getpid(), 1)
		must(t, os.Truncate(w.Path(), 0))
		eventually(t, "the waiter ends", func() bool {
			must(t, r.Wake())
			return len(done) == 1
		})
		if err := <-done; err != nil {
			wantError(t, err, shm.ErrFault)
		}
	}
}

func TestWaitIsBounded(t *testing.T) {
	dir := regionIn(t)
	created(t, dir, small(), 1)
	r := open(t, dir)
	hot, err := r.Hot()
	must(t, err)
	for _, bound := range []time.Duration{-forever, -1, 0, 1, 20 * time.Millisecond} {
		begin := time.Now()
		must(t, result(t, wait(r, hot, bound)))
		if time.Since(begin) < bound {
			t.Errorf("a wait of %v ended after %v", bound, time.Since(begin))
		}
	}
	// The largest bound does not overflow into a short one.
	done := wait(r, hot, 1<<63-1)
	eventually(t, "the waiter sleeps", func() bool {
		select {
		case err := <-done:
			t.Fatalf("a wait of 292 years ended: %v", err)
		default:
		}
		return sleepers(t, os.Getpid()) == 1
	})
	must(t, r.Wake())
	must(t, result(t, done))
}

// A process that may only read can move waiters away, so that they are not
// woken. They wake at their bound.
func TestStolenWaiter(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(openTemp(t), "region")
	w := created(t, dir, small(), 1)
	r := open(t, dir)
	hot, err := r.Hot()
	must(t, err)
	thief := shmtest.StartAs(t, someone, "requeue", nil, dir)
	thief.Scan("ready")
	const bound = time.Second / 2
	done := wait(r, hot, bound)
	asleep(t, os.Getpid(), 1)
	var moved int
	thief.Say("go")
	thief.Scan("moved %d", &moved)
	publish(t, w, 10)
	t.Logf("%d waiters were moved", moved)
	must(t, result(t, done))
	if now, _ := r.Hot(); now == hot {
		t.Error("the waiter does not see the publication")
	}
}

// The clock is one for all processes.
func TestBoottime(t *testing.T) {
	var st unix.Sysinfo_t
	before := shm.Boottime()
	must(t, unix.Sysinfo(&st))
	after := shm.Boottime()
	if up := time.Duration(st.Uptime) * time.Second; up < before-time.Second || up > after+time.Second {
		t.Errorf("the machine is up for %v, and Boottime is %v", up, after)
	}
}

//go:build unix

package client_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/shmtest"
)

// sharedWord is a word of memory that processes share through a file.
func sharedWord(path string) (*atomic.Uint64, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(int64(os.Getpagesize())); err != nil {
		return nil, err
	}
	data, err := unix.Mmap(int(f.Fd()), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return (*atomic.Uint64)(unsafe.Pointer(&data[0])), nil
}

func init() {
	// A daemon that goes on where the one before it was killed, and publishes
	// without a pause. The word has the last generation that Publish returned
	// from.
	roles["publish flat out"] = func(args []string) error {
		committed, err := sharedWord(args[1])
		if err != nil {
			return err
		}
		p, err := newPublisher(args[0], small)
		if err != nil {
			return err
		}
		if err = p.attach(); errors.Is(err, shm.ErrNoRegion) {
			err = p.create(1, numbered(1))
		}
		for n := 0; err == nil; n++ {
			if n == 1 {
				fmt.Println("publishing")
			}
			err = p.publish(numbered(p.current.Generation() + 1))
			committed.Store(p.current.Generation())
		}
		return err
	}
}

// Daemons are killed at any moment and others come after them. Their readers
// go on, forward, and never miss what a publication that returned has brought.
func TestReadersSurviveTheirWriters(t *testing.T) {
	t.Parallel()
	rounds := shmtest.Times(6, 2)
	temp := memoryTemp(t)
	dir, word := filepath.Join(temp, "region"), filepath.Join(temp, "committed")
	committed, err := sharedWord(word)
	must(t, err)
	daemon := start(t, "publish flat out", dir, word)
	daemon.Want("publishing")
	c := open(t, dir)
	id := c.Snapshot().RegionID()
	r := startReading(t, c)
	for round := range rounds {
		var readers sync.WaitGroup
		until := committed.Load() + 100
		for range 2 {
			readers.Go(func() {
				for g := uint64(0); g < until && !t.Failed(); {
					published := committed.Load()
					if g = c.Snapshot().Generation(); g < published {
						t.Errorf("the snapshot is of generation %d, after %d was published", g, published)
					}
				}
			})
		}
		readers.Wait()
		daemon.Kill()
		last := committed.Load()
		r.see(last)
		r.goOn()
		s := c.Snapshot()
		want(t, "the region's id", s.RegionID(), id)
		if g := s.Generation(); g < last || g > last+1 {
			t.Errorf("after generation %d was published the snapshot is of %d", last, g)
		}
		if round < rounds-1 {
			daemon = start(t, "publish flat out", dir, word)
			daemon.Want("publishing")
			r.see(s.Generation() + 1)
		}
	}
	must(t, c.Stats().Err)
}

func init() {
	roles["default region"] = func([]string) error {
		if _, err := client.Get("a"); !errors.Is(err, client.ErrNoRegion) {
			return fmt.Errorf("Get without a region: %w", err)
		}
		b := client.Bind(nil, "a", client.Options[number]{Default: number{42}})
		k := client.BindKey(nil, "a", "N", 43)
		if c := client.Default(); c != client.Default() || b.Get().N != 42 || k.Get() != 43 {
			return fmt.Errorf("without a region the bindings have %d and %d", b.Get().N, k.Get())
		}
		fmt.Println("no region")
		for deadline := time.Now().Add(patience); b.Get().N != 7 || k.Get() != 7; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				return fmt.Errorf("the bindings have %d and %d", b.Get().N, k.Get())
			}
		}
		d, err := client.Get("a")
		fmt.Println("value", d.IntOr("N", 0), err)
		return nil
	}
	roles["default region, wrong owner"] = func([]string) error {
		defer func() { fmt.Println("panic:", recover()) }()
		_, err := client.Get("a")
		return err
	}
}

func TestPackageLevelFunctionsUseTheDefaultRegion(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	c := shmtest.StartAs(t, 0, "default region", []string{client.EnvRegion + "=" + dir})
	c.Want("no region")
	created(t, dir, 7, numbered(7))
	c.Want("value 7 <nil>")
	c.Finish()

	c = shmtest.StartAs(t, 0, "default region, wrong owner", []string{client.EnvOwner + "=somebody"})
	if line := c.Line(); !strings.HasPrefix(line, "panic: ") || !strings.Contains(line, client.EnvOwner) {
		t.Errorf("with a wrong %s: %s", client.EnvOwner, line)
	}
	c.Finish()
}

func init() {
	roles["idle"] = func(args []string) error {
		c, err := client.Open(args[0])
		if err != nil {
			return err
		}
		client.Bind[number](c, "a")
		fmt.Println("idle")
		_, _ = io.Copy(io.Discard, os.Stdin)
		fmt.Println("closing")
		return c.Close()
	}
}

// An idle client costs next to nothing: it looks no more than once in two
// seconds whether its region is still there. What is counted is what a kernel
// has to do for it: sleeps that end because their time is over, on the
// region's futex and in the Go scheduler, which is where a timer would show.
func TestIdleClientSleeps(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("needs Debian's package strace")
	}
	const idle = 4500 * time.Millisecond
	dir := regionIn(t)
	created(t, dir, 1, numbered(1))
	self, err := os.Executable()
	must(t, err)
	log := filepath.Join(t.TempDir(), "strace")
	c := shmtest.StartCommand(t, exec.Command(strace, "-f", "-e", "trace=futex,futex_waitv,epoll_wait,epoll_pwait,epoll_pwait2,poll,ppoll,"+
		"select,pselect6,clock_nanosleep,write", "-o", log, self, dir), "idle")
	if line, ok := c.Next(); !ok {
		_ = c.Cmd.Wait()
		if strings.Contains(c.Err.String(), "ptrace") || strings.Contains(c.Err.String(), "PTRACE") {
			t.Skipf("strace may not trace here: %s", &c.Err)
		}
		t.Fatalf("the child said %q: %s", line, &c.Err)
	}
	time.Sleep(idle)
	must(t, c.In.Close())
	c.Want("closing")
	c.Finish()
	text, err := os.ReadFile(log)
	must(t, err)
	_, text, ok := bytes.Cut(text, []byte(`"idle\n"`))
	text, _, also := bytes.Cut(text, []byte(`"closing\n"`))
	if !ok || !also {
		t.Fatalf("strace did not see the child write: %s", text)
	}
	expired := regexp.MustCompile(`ETIMEDOUT|(epoll|poll|select|nanosleep).* = 0( \(Timeout\))?\n`)
	var woke []string
	for line := range strings.Lines(string(text)) {
		if expired.MatchString(line) && !strings.Contains(line, ", 0, NULL") { // a poll that does not sleep
			woke = append(woke, line)
		}
	}
	if n := len(woke); n == 0 || n > 3 {
		t.Errorf("%d sleeps ended by themselves in %v; 1 to 3 are expected:\n%s", n, idle, text)
	}
}

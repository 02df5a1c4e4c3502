package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/shmtest"
)

// roleEnv makes the test binary another process: the one that waits.
const roleEnv = "STATESYNC_BENCH_ROLE"

func TestMain(m *testing.M) {
	var err error
	slog.SetDefault(slog.New(slog.DiscardHandler)) // publishers here have no heart that beats
	switch role, arg, _ := strings.Cut(os.Getenv(roleEnv), ":"); role {
	case "":
		goleak.VerifyTestMain(m)
	case "region":
		err = waitOnRegion(arg)
	case "futex":
		err = waitOnFutex(arg)
	case "client":
		err = followClient(arg)
	case "reader":
		err = openInMemory(arg, "VmRSS", 0)
	case "locked":
		err = openInMemory(arg, "VmLck", unix.MCL_CURRENT|unix.MCL_FUTURE)
	case "naked":
		err = sleepNaked(arg)
	case "plain", "validated":
		err = sleepWithClient(arg, role)
	case "busy-plain", "busy-validated":
		err = computeAndFollow(arg, strings.TrimPrefix(role, "busy-"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// waiter is another process that says, for each change, when it saw it.
type waiter struct {
	b   *testing.B
	out *bufio.Reader
}

func startWaiter(b *testing.B, role string) *waiter {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	w := &waiter{b: b, out: bufio.NewReader(out)}
	w.next() // it is about to wait
	return w
}

// next is when the waiter saw the next change, on the clock of monotonic.
func (w *waiter) next() time.Duration {
	var buf [8]byte
	if _, err := io.ReadFull(w.out, buf[:]); err != nil {
		w.b.Fatal(err)
	}
	return time.Duration(binary.LittleEndian.Uint64(buf[:]))
}

func saw(at time.Duration) error {
	_, err := os.Stdout.Write(binary.LittleEndian.AppendUint64(nil, uint64(at)))
	return err
}

// monotonic is a clock that all processes share.
func monotonic() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return time.Duration(t.Nano())
}

// pause lets the waiter fall asleep.
const pause = 2 * time.Millisecond

// BenchmarkWake is from a publication to a waiting reader in another process,
// beside a bare futex wake of the same two processes in turn.
func BenchmarkWake(b *testing.B) {
	p := newPublisher(b, 1<<20, config(b, "matchmaker", 1))
	word, path := futexWord(b)
	region, futex := startWaiter(b, "region:"+p.dir), startWaiter(b, "futex:"+path)
	var published, bare []time.Duration
	for version := uint32(2); b.Loop(); version++ {
		s := config(b, "matchmaker", int(version))
		time.Sleep(pause)
		start := monotonic()
		p.publish(0, s)
		published = append(published, region.next()-start)
		time.Sleep(pause)
		start = monotonic()
		atomic.StoreUint32(word, version)
		futexCall(word, 1, 1<<31-1, nil)
		bare = append(bare, futex.next()-start)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(percentile(published, 0.5), "publish-p50-ns")
	b.ReportMetric(percentile(published, 0.99), "publish-p99-ns")
	b.ReportMetric(percentile(bare, 0.5), "futex-p50-ns")
	b.ReportMetric(percentile(bare, 0.99), "futex-p99-ns")
}

// waitOnRegion waits for generations as a client's follower does.
func waitOnRegion(dir string) error {
	r, err := shm.Open(dir, shm.Trust{})
	if err != nil {
		return err
	}
	for {
		hot, err := r.Hot()
		if err == nil {
			err = saw(monotonic())
		}
		for now := hot; err == nil && now == hot; {
			if err = r.Wait(hot, time.Minute); err == nil {
				now, err = r.Hot()
			}
		}
		if err != nil {
			return err
		}
	}
}

func futexWord(b *testing.B) (*uint32, string) {
	b.Helper()
	path := filepath.Join(filepath.Dir(regionDir(b)), "futex")
	if err := os.WriteFile(path, make([]byte, os.Getpagesize()), 0o600); err != nil {
		b.Fatal(err)
	}
	word, err := mapWord(path, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		b.Fatal(err)
	}
	return word, path
}

func mapWord(path string, prot int) (*uint32, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := unix.Mmap(int(f.Fd()), 0, os.Getpagesize(), prot, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return (*uint32)(unsafe.Pointer(&data[0])), nil
}

// futexCall is FUTEX_WAIT (0) or FUTEX_WAKE (1) with nothing around it.
func futexCall(word *uint32, op, value uintptr, timeout *unix.Timespec) {
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), op, value, uintptr(unsafe.Pointer(timeout)), 0, 0)
}

func waitOnFutex(path string) error {
	word, err := mapWord(path, unix.PROT_READ)
	if err != nil {
		return err
	}
	for {
		old := atomic.LoadUint32(word)
		if err := saw(monotonic()); err != nil {
			return err
		}
		for atomic.LoadUint32(word) == old {
			futexCall(word, 0, uintptr(old), &unix.Timespec{Sec: 60})
		}
	}
}

// BenchmarkRename is from the rename of a file to the new value in another
// process: the daemon, with its debounce, is between them.
func BenchmarkRename(b *testing.B) {
	region, dir := regionDir(b), b.TempDir()
	write := func(version int) (renamed time.Duration) {
		temp := filepath.Join(dir, ".matchmaker.yaml")
		if err := os.WriteFile(temp, fmt.Appendf(nil, "version: %d\nweights: {elo: 1500}\n", version), 0o644); err != nil {
			b.Fatal(err)
		}
		renamed = monotonic()
		if err := os.Rename(temp, filepath.Join(dir, "matchmaker.yaml")); err != nil {
			b.Fatal(err)
		}
		return renamed
	}
	write(1)
	binary := filepath.Join(b.TempDir(), "statesyncd")
	shmtest.Go(b, "build", "-o", binary, "../cmd/statesyncd")
	daemon := exec.Command(binary, "--source", "dir:"+dir, "--region", region, "--state-dir", b.TempDir(), "--listen", "off", "--log-level", "warn")
	daemon.Stderr = os.Stderr
	if err := daemon.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = daemon.Process.Signal(unix.SIGTERM)
		_ = daemon.Wait()
	})
	reader := startWaiter(b, "client:"+region)
	var took []time.Duration
	for version := 2; b.Loop(); version++ {
		time.Sleep(20 * time.Millisecond)
		renamed := write(version)
		took = append(took, reader.next()-renamed)
	}
	report(b, took)
}

// followClient says when each new value has arrived.
func followClient(region string) error {
	c, err := client.Open(region, client.Wait(time.Minute))
	if err != nil {
		return err
	}
	defer c.Close()
	for change := range c.WatchKey(context.Background(), "matchmaker", "version") {
		if change.Err != nil {
			return change.Err
		}
		if err := saw(monotonic()); err != nil {
			return err
		}
	}
	return nil
}

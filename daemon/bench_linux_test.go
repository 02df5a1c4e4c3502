package daemon

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/shmtest"
)

// program is statesyncd as a process of its own: what a benchmark does to watch it is not
// among what it has taken of the processors.
type program struct {
	testing.TB
	pid    int
	region *shm.Region
}

// startProgram builds and starts statesyncd, and waits until it has published.
func startProgram(t testing.TB, base string) *program {
	t.Helper()
	file := filepath.Join(base, "statesyncd")
	shmtest.Go(t, "build", "-o", file, "github.com/statesync/statesync/cmd/statesyncd")
	region := filepath.Join(base, "region")
	cmd := exec.Command(file, "--source", "dir:"+filepath.Join(base, "source"), "--region", region,
		"--state-dir", filepath.Join(base, "state"), "--resync", "1h")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	p := &program{TB: t, pid: cmd.Process.Pid}
	await(t, "the publication", func() (ok bool) {
		r, err := shm.Open(region, shm.Trust{})
		p.region = r
		return err == nil
	})
	return p
}

// cpu is what the program has taken of the processors, all of its threads.
func (p *program) cpu() time.Duration {
	const sched = 2 // of the kernel's clocks of a process
	var at unix.Timespec
	if err := unix.ClockGettime(int32(^p.pid<<3|sched), &at); err != nil {
		p.Fatal(err)
	}
	return time.Duration(at.Nano())
}

func (p *program) generation() uint64 {
	hot, err := p.region.Hot()
	if err != nil {
		p.Fatal(err)
	}
	return hot.Generation()
}

// BenchmarkChangeOneOf10000 changes one of 10,000 files of 1 KiB, again and again, with
// a pause after each change in which it is recorded: cpu-ms/op is all that the daemon
// does in that time, and idle-ms/op what it does in 1.5 s without a change. The first 30
// changes are made before the daemon compares all content, as it does once a minute.
func BenchmarkChangeOneOf10000(b *testing.B) {
	base := memory(b)
	put := func(i, n int) {
		dir := filepath.Join(base, "source", fmt.Sprintf("team-%02d", i%100))
		if n == 0 {
			_ = os.MkdirAll(dir, 0o755)
		}
		text := fmt.Sprintf(`{"n": %d, "i": %d, "text": %q}`, n, i, strings.Repeat("x", 980))
		temp := filepath.Join(dir, ".temp")
		if err := os.WriteFile(temp, []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
		if err := os.Rename(temp, filepath.Join(dir, fmt.Sprintf("config-%d.json", i))); err != nil {
			b.Fatal(err)
		}
	}
	for i := range 10_000 {
		put(i, 0)
	}
	p := startProgram(b, base)
	const pause = 1500 * time.Millisecond
	n := 0
	change := func() (arrives time.Duration) {
		n++
		generation := p.generation()
		began := time.Now()
		put(n%10_000, n)
		for p.generation() == generation {
			time.Sleep(200 * time.Microsecond)
		}
		return time.Since(began)
	}
	for range 2 * shm.DefaultSlots { // until each slot has all of it
		change()
	}
	time.Sleep(2 * pause)
	idle := p.cpu()
	time.Sleep(2 * pause)
	idle = (p.cpu() - idle) / 2
	var arrives time.Duration
	used := p.cpu()
	for b.Loop() {
		arrives += change()
		time.Sleep(pause)
	}
	used = p.cpu() - used
	b.ReportMetric(float64(used.Microseconds())/1000/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(idle.Microseconds())/1000, "idle-ms/op")
	b.ReportMetric(float64(arrives.Microseconds())/1000/float64(b.N), "arrives-ms/op")
}

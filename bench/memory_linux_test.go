package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/shm"
)

// BenchmarkMemory is what a region takes whose slots all hold an image, in its
// file, and what it takes of a process that opens it and uses a config of 1 KiB:
// of its memory, and when it locks all of that (mlockall of what is there and of
// what comes).
func BenchmarkMemory(b *testing.B) {
	for _, size := range []struct {
		name  string
		bytes int
	}{{"2KiB", 2 << 10}, {"1MiB", 1 << 20}, {"16MiB", 16 << 20}, {"60MiB", 60 << 20}} {
		b.Run(size.name, func(b *testing.B) {
			p := newPublisher(b, 64<<20, config(b, "matchmaker", 1), ballast(b, "rest", size.bytes-2<<10))
			for g := range 4 {
				p.publish(0, config(b, "matchmaker", 2+g))
			}
			var st unix.Stat_t
			if err := unix.Stat(filepath.Join(p.dir, shm.FileName), &st); err != nil {
				b.Fatal(err)
			}
			reader, locked := startMemoryReader(b, "reader", p.dir), startMemoryReader(b, "locked", p.dir)
			for b.Loop() {
				time.Sleep(time.Millisecond)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(st.Size>>10), "file-KiB")
			b.ReportMetric(float64(st.Blocks/2), "pages-KiB")
			b.ReportMetric(reader.kib, "reader-KiB")
			b.ReportMetric(locked.kib, "locked-KiB")
			b.ReportMetric(locked.open, "locked-open-ms")
		})
	}
}

// memoryReader is what opening a region took a process.
type memoryReader struct{ kib, open float64 }

func startMemoryReader(b *testing.B, role, dir string) (r memoryReader) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+role+":"+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err == nil {
		_, err = fmt.Sscan(string(out), &r.kib, &r.open)
	}
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// openInMemory opens a region, uses a config, and says by how many KiB a line of
// /proc/self/status grew, and how many milliseconds Open took.
func openInMemory(dir, line string, flags int) error {
	if flags != 0 {
		if err := unix.Mlockall(flags); err != nil {
			return err
		}
	}
	before := memoryOf(line)
	begin := time.Now()
	c, err := client.Open(dir)
	if err != nil {
		return err
	}
	took := time.Since(begin)
	client.Bind[ranking](c, "matchmaker")
	fmt.Println(memoryOf(line)-before, float64(took.Microseconds())/1e3)
	return c.Close()
}

// memoryOf is a line of /proc/self/status in KiB.
func memoryOf(line string) (kib float64) {
	status, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(status), line+":")
	_, _ = fmt.Sscan(rest, &kib)
	return kib
}

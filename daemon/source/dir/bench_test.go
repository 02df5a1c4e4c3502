package dir

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/daemon/source"
)

// BenchmarkRescan10000 is the periodic rescan of an unchanged source: by stat, as
// at every --resync, and by content, as every minute. The floor is the bare stat
// calls. cpu-ms/op is what the process used, by getrusage.
func BenchmarkRescan10000(b *testing.B) {
	root := b.TempDir()
	old := time.Now().Add(-time.Hour)
	for i := range 10_000 {
		dir := filepath.Join(root, fmt.Sprintf("team%02d", i%20))
		if i < 20 {
			if err := os.Mkdir(dir, 0o755); err != nil {
				b.Fatal(err)
			}
		}
		name := filepath.Join(dir, fmt.Sprintf("config-%05d.yaml", i))
		if err := os.WriteFile(name, fmt.Appendf(nil, "weights:\n  elo: %d\n", i), 0o644); err != nil {
			b.Fatal(err)
		}
		if err := os.Chtimes(name, old, old); err != nil {
			b.Fatal(err)
		}
	}
	time.Sleep(racyWindow) // until then every look reads
	b.Run("floor", func(b *testing.B) {
		fd, err := unix.Open(filepath.Join(root, "team00"), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		defer closeFd(fd)
		var names [500]string
		for i := range names {
			names[i] = fmt.Sprintf("config-%05d.yaml", i*20)
		}
		b.ResetTimer()
		before := cpu(b)
		for range b.N {
			for i := range 10_000 {
				var st unix.Stat_t
				if err := unix.Fstatat(fd, names[i%len(names)], &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64((cpu(b)-before).Microseconds())/1e3/float64(b.N), "cpu-ms/op")
	})
	for _, check := range []struct {
		name  string
		every time.Duration
	}{{"stat", time.Hour}, {"content", -1}} {
		b.Run(check.name, func(b *testing.B) {
			s := open(b, root, source.Options{ContentCheck: check.every})
			first, err := fetch(s)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			before := cpu(b)
			for range b.N {
				snap, err := fetch(s)
				if err != nil || snap != first {
					b.Fatal(snap, err)
				}
			}
			b.ReportMetric(float64((cpu(b)-before).Microseconds())/1e3/float64(b.N), "cpu-ms/op")
		})
	}
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

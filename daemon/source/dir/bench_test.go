package dir

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
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

// BenchmarkChange10000 is one file of 10,000 that is replaced by rename, by a caller
// that fetches at the hint: partial looks at that file, whole at all of them. ms-to-read
// is the median from the rename to the snapshot, cpu-ms/op what the process used for
// writing, events and Fetch. NewSnapshot alone is the floor of any change.
func BenchmarkChange10000(b *testing.B) {
	const files = 10_000
	for _, layout := range []struct {
		name string
		dirs int
	}{{"flat", 1}, {"nested", 20}, {"sparse", 5_000}} {
		root := memDir(b)
		name := func(i int) string { return fmt.Sprintf("team%04d/config-%05d.yaml", i%layout.dirs, i) }
		for i := range files {
			put(b, root, name(i), fmt.Sprintf("weights:\n  elo: %d\n", i))
		}
		for _, kind := range []struct {
			name   string
			rescan time.Duration
		}{{"partial", time.Hour}, {"whole", 1}} {
			b.Run(layout.name+"/"+kind.name, func(b *testing.B) {
				s := open(b, root, source.Options{ContentCheck: time.Hour, Rescan: kind.rescan})
				time.Sleep(racyWindow)
				quietly(b, s)
				took := make([]time.Duration, 0, b.N)
				b.ResetTimer()
				before := cpu(b)
				for n := range b.N {
					file := name(n * 7919 % files)
					old := s.newest
					began := time.Now()
					if err := save(root, file, fmt.Sprintf("change: %d %d\n", n, began.UnixNano())); err != nil {
						b.Fatal(err)
					}
					for s.newest == old {
						awaitHint(b, s)
						read(b, s)
					}
					took = append(took, time.Since(began))
				}
				b.ReportMetric(float64((cpu(b)-before).Microseconds())/1e3/float64(b.N), "cpu-ms/op")
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2].Microseconds())/1e3, "ms-to-read")
			})
		}
	}
}

// BenchmarkNewSnapshot10000 is what a snapshot of 10,000 files costs without looking at
// any of them.
func BenchmarkNewSnapshot10000(b *testing.B) {
	var files []*source.File
	for i := range 10_000 {
		files = append(files, source.NewFile(fmt.Sprintf("team%02d/config-%05d.yaml", i/500, i), fmt.Appendf(nil, "weights:\n  elo: %d\n", i)))
	}
	version := func(source.Digest) string { return "v" }
	have := source.NewSnapshot(slices.Clone(files), nil, version)
	b.ReportAllocs()
	for b.Loop() {
		changed := slices.Clone(files)
		changed[5000] = source.NewFile(changed[5000].Path, []byte("new"))
		source.NewSnapshot(changed, have, version)
	}
}

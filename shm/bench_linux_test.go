package shm

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/seqlock"
)

// BenchmarkHot is a look at the hot word, beside its two floors: a load of
// private memory, and the same load under the guard that every touch of shared
// memory needs.
func BenchmarkHot(b *testing.B) {
	dir := regionIn(b)
	created(b, dir, small(), 1)
	r := open(b, dir)
	b.Run("Hot", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := r.Hot(); err != nil {
				b.Fatal(err)
			}
		}
	})
	word := new(uint64)
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			atomic.LoadUint64(word)
		}
	})
	b.Run("load under SetPanicOnFault", func(b *testing.B) {
		for b.Loop() {
			guardedLoad(word)
		}
	})
}

//go:noinline
func guardedLoad(word *uint64) uint64 {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	return atomic.LoadUint64(word)
}

// BenchmarkPublish is a publication that nobody waits for, beside the copying
// of as many bytes from private into shared memory.
func BenchmarkPublish(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20} {
		dir := filepath.Join(memoryTemp(b), "region")
		w := created(b, dir, WriterOptions{Slots: 4, MaxImage: 1 << 20, Group: -1}, 1)
		images := make([][][]uint64, w.Slots+1) // one more than slots, so that no slot holds what it is given
		for n := range images {
			images[n] = proofs(uint64(n), size/wordBytes)
		}
		for range w.Slots { // until every slot has its pages
			publish(b, w, size/wordBytes)
		}
		g := generation(b, w)
		b.Run(fmt.Sprintf("Publish/%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				g++
				if err := w.Publish(g, images[g%uint64(len(images))]); err != nil {
					b.Fatal(err)
				}
			}
		})
		words := slices.Concat(images[0]...)
		b.Run(fmt.Sprintf("memmove/%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				copy(w.slot(w.ring.Slot(g+1)), words)
			}
		})
	}
}

// BenchmarkRead is a reader's copy of a whole image.
func BenchmarkRead(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20} {
		dir := filepath.Join(memoryTemp(b), "region")
		w := created(b, dir, WriterOptions{Slots: 2, MaxImage: 1 << 20, Group: -1}, 1)
		publish(b, w, size/wordBytes)
		r := open(b, dir)
		words := make([]uint64, size/wordBytes)
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				_, err := r.Read(func(_ seqlock.Hot, image []uint64) error {
					seqlock.LoadWords(words, image)
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// barePage is a page in a file whose word at the hot word's place two processes
// wake each other with, and nothing else.
func barePage(path string, flags int, prot int) ([]uint64, error) {
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if flags&os.O_CREATE != 0 {
		if err := f.Truncate(page); err != nil {
			return nil, err
		}
	}
	data, err := unix.Mmap(int(f.Fd()), 0, page, prot, unix.MAP_SHARED)
	return wordsOf(data), err
}

func monotonic() uint64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return uint64(t.Nano())
}

func init() {
	// wake DIR PAGE: waits in turn for the region's next generation and for the
	// page's word, and says how many nanoseconds after the time that it then
	// finds there it was awake.
	roles["wake"] = func(args []string) error {
		r, err := Open(args[0], Trust{})
		if err != nil {
			return err
		}
		bare, err := barePage(args[1], os.O_RDONLY, unix.PROT_READ)
		if err != nil {
			return err
		}
		word := &bare[hotAt/wordBytes]
		for {
			hot, err := r.Hot()
			for now := hot; now == hot && err == nil; now, err = r.Hot() {
				if err := r.Wait(hot, forever); err != nil {
					return err
				}
			}
			awake := monotonic()
			var since uint64
			if _, err := r.Read(func(_ seqlock.Hot, image []uint64) error {
				since = atomic.LoadUint64(&image[0])
				return nil
			}); err != nil {
				return err
			}
			fmt.Println(awake - since)

			was := atomic.LoadUint64(word)
			for atomic.LoadUint64(word) == was {
				_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWaitBitset,
					uintptr(uint32(was)), 0, 0, uintptr(everyWaiter))
			}
			awake = monotonic()
			fmt.Println(awake - bare[0])
		}
	}
}

// BenchmarkWake is the time from a publication's beginning until a process that
// waits for it is awake, beside a bare futex wake, in turn.
func BenchmarkWake(b *testing.B) {
	dir := filepath.Join(memoryTemp(b), "region")
	w := created(b, dir, small(), 1)
	bare, err := barePage(dir+".bare", os.O_RDWR|os.O_CREATE, unix.PROT_READ|unix.PROT_WRITE)
	must(b, err)
	word := &bare[hotAt/wordBytes]
	c := start(b, "wake", dir, dir+".bare")
	var publishes, wakes []float64
	took := func() float64 {
		n, err := strconv.ParseUint(c.line(), 10, 64)
		must(b, err)
		return float64(n)
	}
	g := uint64(1)
	for b.Loop() {
		asleep(b, c.cmd.Process.Pid, 1)
		g++
		image := make([]uint64, 128)
		image[0] = monotonic()
		if err := w.Publish(g, [][]uint64{image}); err != nil {
			b.Fatal(err)
		}
		publishes = append(publishes, took())

		asleep(b, c.cmd.Process.Pid, 1)
		atomic.StoreUint64(&bare[0], monotonic())
		atomic.AddUint64(word, 1)
		must(b, wake(word, everyWaiter))
		wakes = append(wakes, took())
	}
	slices.Sort(publishes)
	slices.Sort(wakes)
	at := func(sorted []float64, percent int) float64 { return sorted[len(sorted)*percent/100] }
	b.ReportMetric(at(publishes, 50), "p50-ns")
	b.ReportMetric(at(publishes, 99), "p99-ns")
	b.ReportMetric(at(wakes, 50), "bare-p50-ns")
	b.ReportMetric(at(wakes, 99), "bare-p99-ns")
	b.ReportMetric(at(publishes, 50)/at(wakes, 50), "p50-ratio")
	b.ReportMetric(0, "ns/op") // mostly the waiting until the other is asleep
}

package writer

import (
	"fmt"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm/internal/layout"
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

// BenchmarkPublish is a publication without waiters, beside the copying
// of as many bytes from private into shared memory.
func BenchmarkPublish(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20} {
		dir := filepath.Join(memoryTemp(b), "region")
		w := created(b, dir, Options{Slots: 4, MaxImage: 1 << 20, Group: -1}, 1)
		images := make([][][]uint64, w.l.Slots+1) // one more than slots, so that no slot holds what it is given
		for n := range images {
			images[n] = proofs(uint64(n), size/layout.WordBytes)
		}
		for range w.l.Slots { // until every slot has its pages
			publish(b, w, size/layout.WordBytes)
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
				copy(w.l.Slot(w.l.Ring.Slot(g+1)), words)
			}
		})
	}
}

// BenchmarkRead is a reader's copy of a whole image.
func BenchmarkRead(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20} {
		dir := filepath.Join(memoryTemp(b), "region")
		w := created(b, dir, Options{Slots: 2, MaxImage: 1 << 20, Group: -1}, 1)
		publish(b, w, size/layout.WordBytes)
		r := open(b, dir)
		words := make([]uint64, size/layout.WordBytes)
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

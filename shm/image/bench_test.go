package image

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/statesync/statesync/seqlock"
)

// benchDocument is JSON of about a KiB for every 30 keys.
func benchDocument(random *rand.Rand, keys int) string {
	var b strings.Builder
	group := func(n int) string {
		return [...]string{"weights", "pools", "limits", "flags", "routes"}[n%5] + fmt.Sprint(n/5)
	}
	b.WriteString("{")
	for i := range (keys + 5) / 6 {
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, `%q:{"elo":%d,"enabled":true,"name":"a name of some length, and of some more %d","ping":%v,"rule":"region == \"eu-%d\" && players > 20"}`,
			group(i), random.IntN(3000), random.IntN(1e6), random.Float64(), random.IntN(100))
	}
	b.WriteString("}")
	return b.String()
}

func benchSections(b *testing.B, n, keys int) []*Section {
	random := rand.New(rand.NewPCG(1, 2))
	sections := make([]*Section, n)
	for i := range sections {
		sections[i] = document(b, fmt.Sprintf("team-%d/config-%d", i%10, i), benchDocument(random, keys))
	}
	return sections
}

func BenchmarkLookupKey(b *testing.B) {
	s := benchSections(b, 1, 30)[0]
	b.Logf("%d bytes, %d keys", len(s.Content()), s.KeyCount())
	b.Run("to", func(b *testing.B) {
		b.ReportAllocs()
		var v Value
		for b.Loop() {
			if err := s.Lookup(&v, "weights0.elo"); err != nil || v.Type != Int {
				b.Fatal(v, err)
			}
		}
	})
	for _, bench := range []struct{ name, key string }{{"present", "weights0.elo"}, {"absent", "weights0.el"}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if v, err := lookup(s, bench.key); err == nil && v.Type != Int {
					b.Fatal(v)
				}
			}
		})
	}
}

func BenchmarkFind(b *testing.B) {
	for _, n := range []int{1, 10000} {
		sections := benchSections(b, n, 6)
		v := open(b, flatten(build(b, 1, "r", sections, nil)))
		name := sections[n/2].Name()
		b.Run(fmt.Sprintf("%d/present", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Find(HashName(name)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("%d/absent", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Find(HashName("absent")); err != ErrNotFound {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSectionCopy(b *testing.B) {
	sections := benchSections(b, 100, 30)
	v := open(b, flatten(build(b, 1, "r", sections, nil)))
	e, err := v.Find(HashName(sections[50].Name()))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(e.length))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Section(e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	for _, bench := range []struct {
		name    string
		n, keys int
	}{{"1MiB", 400, 30}, {"10000", 10000, 6}} {
		sections := benchSections(b, bench.n, bench.keys)
		prev := build(b, 1, "r1", sections, nil)
		sections = slices.Clone(prev.Sections()) // sorted, as a daemon has them
		other := benchSections(b, 1, bench.keys+6)[0]
		changed, err := NewDocument(sections[bench.n/2].Name(), other.Content())
		if err != nil {
			b.Fatal(err)
		}
		sections[bench.n/2] = changed
		b.Run(bench.name, func(b *testing.B) {
			b.Logf("%d bytes, %d configs, %d bytes changed", prev.Size(), prev.Len(), changed.Size())
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Build(2, "r2", sections, prev); err != nil {
					b.Fatal(err)
				}
			}
		})
		// The yardstick of a publication: the image copied, and what changed hashed.
		b.Run(bench.name+"/floor", func(b *testing.B) {
			words := flatten(prev)
			to := make([]uint64, len(words))
			for b.Loop() {
				copy(to, words)
				xxhash.Sum64(seqlock.BytesOf(changed.words))
			}
		})
		b.Run(bench.name+"/store", func(b *testing.B) {
			to := make([]uint64, prev.Size()/wordBytes)
			b.ReportAllocs()
			for b.Loop() {
				slot := to
				for _, part := range prev.Words() {
					seqlock.StoreWords(slot, part)
					slot = slot[len(part):]
				}
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	words := flatten(build(b, 1, "r", benchSections(b, 300, 30), nil))
	b.SetBytes(int64(len(words) * wordBytes))
	for b.Loop() {
		if _, err := loadAny(words); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNewDocument(b *testing.B) {
	for _, bench := range []struct {
		name string
		keys int
	}{{"1KiB", 30}, {"1MiB", 30 << 10}} {
		text := benchDocument(rand.New(rand.NewPCG(1, 2)), bench.keys)
		canonical, err := Canonical([]byte(text))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(bench.name, func(b *testing.B) {
			b.SetBytes(int64(len(canonical)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := NewDocument("c", canonical); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(bench.name+"/canonical", func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Canonical([]byte(text)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkWalk is a key past the index.
func BenchmarkWalk(b *testing.B) {
	s := document(b, "c", long())
	for _, key := range []string{"past.1025.dotted.key.x", "absent"} {
		b.Run(key, func(b *testing.B) {
			for b.Loop() {
				_, _ = lookup(s, key)
			}
		})
	}
}

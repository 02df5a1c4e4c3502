package image

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/statesync/statesync/shm/shmtest"
)

// inverse is that of an odd number modulo 2^64, by Newton's method.
func inverse(n uint64) uint64 {
	x := n
	for range 5 {
		x *= 2 - n*x
	}
	return x
}

var inverse1, inverse2, inverse3 = inverse(prime1), inverse(prime2), inverse(prime3)

// withHash is the text that begins with a prefix of 0, 8 or 16 bytes, has 8
// more, and has that hash. It is not ok if these 8 are not all printable. Millions
// of calls find the texts of a test, and share no memory for the race detector to
// watch.
//
//go:norace
func withHash(prefix string, hash uint64) (text string, ok bool) {
	begin := uint64(prime5) + uint64(len(prefix)) + 8
	for at := 0; at < len(prefix); at += 8 {
		begin ^= round(0, binary.LittleEndian.Uint64([]byte(prefix[at:])))
		begin = bits.RotateLeft64(begin, 27)*prime1 + prime4
	}
	h := (hash ^ hash>>32) * inverse3 // the avalanche, backwards
	h = (h ^ h>>29 ^ h>>58) * inverse2
	h ^= h >> 33
	h = bits.RotateLeft64((h-prime4)*inverse1, -27) ^ begin // and the round of 8 bytes
	h = bits.RotateLeft64(h*inverse1, -31) * inverse2
	if h&0x8080808080808080 != 0 {
		return "", false
	}
	last := binary.LittleEndian.AppendUint64(nil, h)
	for _, c := range last {
		if c < ' ' || c == 0x7f || strings.IndexByte(`"\./`, c) >= 0 {
			return "", false
		}
	}
	return prefix + string(last), true
}

// textsWhere are n different keys or names whose hashes are what choose makes of
// random numbers.
func textsWhere(n int, choose func(random uint64) (hash uint64)) []string {
	random := rand.NewPCG(uint64(n), 1)
	seen := make(map[string]bool, n)
	texts := make([]string, 0, n)
	for len(texts) < n {
		if text, ok := withHash("", choose(random.Uint64())); ok && !seen[text] {
			seen[text] = true
			texts = append(texts, text)
		}
	}
	return texts
}

// textsOfOneHash are n different keys or names with one hash.
func textsOfOneHash(n int) []string {
	const hash = 0x0123456789abcdef
	var texts []string
	for i := 0; len(texts) < n; i++ {
		if text, ok := withHash(fmt.Sprintf("%08d", i), hash); ok {
			texts = append(texts, text)
		}
	}
	return texts
}

// What makes hashes of random numbers. With the first seed, those of oneHome are
// all of one cell and of one line in tables of so many keys and names;
// withinReach has nearly as many of one cell and one tag as a table may have.
func ordinary(random uint64) uint64 { return random }

func oneHome(random uint64) uint64 {
	line := 777<<32/uint64(linesFor(flooded)) + 1
	return (line+random>>47)<<32 | random&0x3fff<<18 | 12345
}

func withinReach(random uint64) uint64 {
	const groups = 60_000
	return random&0x00ffffff_fffc0000 | random%groups*4
}

// chosen are keys or names of one home, more than enough.
var chosen = sync.OnceValue(func() []string { return textsWhere(flooded+1000, oneHome) })

// keysDocument is the canonical JSON of a document with these keys.
func keysDocument(keys []string) []byte {
	text := []byte{'{'}
	for i, key := range slices.Sorted(slices.Values(keys)) {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(AppendString(text, key), ":true"...)
	}
	return append(text, '}')
}

func TestChosenKeysAreFoundWithinReach(t *testing.T) {
	keys, absent := chosen()[:flooded], chosen()[flooded:]
	s, err := NewDocument("c", keysDocument(keys))
	if err != nil {
		t.Fatal(err)
	}
	if s.seed != 1 {
		t.Errorf("the seed is %d, though the keys are chosen against 0 only", s.seed)
	}
	for _, key := range keys {
		if v, err := lookup(s, key); err != nil || !v.Bool() {
			t.Fatalf("%q: %v, %v", key, v, err)
		}
	}
	for _, key := range absent {
		if _, err := lookup(s, key); err != ErrNotFound {
			t.Fatalf("%q: %v", key, err)
		}
	}
	if m, err := loadAny(flatten(build(t, 1, "r", []*Section{s}, nil))); err != nil || !m.Same([]*Section{s}) {
		t.Error(err)
	}
}

func TestChosenNamesAreFoundWithinReach(t *testing.T) {
	if v := checkTable(t, chosen()[:flooded], chosen()[flooded:]); v.seed != 1 {
		t.Errorf("the seed is %d, though the names are chosen against 0 only", v.seed)
	}
}

func TestKeysThatNoSeedSpreadsAreRefused(t *testing.T) {
	keys := textsOfOneHash(keyReach + 1)
	_, err := NewDocument("team/c", keysDocument(append(keys, textsWhere(1000, ordinary)...)))
	crowded := (*CrowdedKeyError)(nil)
	if !errors.As(err, &crowded) || !slices.Contains(keys, crowded.Key) ||
		!strings.Contains(err.Error(), "team/c") || !strings.Contains(err.Error(), crowded.Key) {
		t.Errorf("%d keys of one hash: %v", len(keys), err)
	}
	// One less of them, among so many others, is an ordinary document.
	keys = keys[1:]
	s, err := NewDocument("c", keysDocument(append(keys, textsWhere(1000, ordinary)...)))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if _, err := lookup(s, key); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
}

func TestNamesThatNoSeedSpreadsAreRefused(t *testing.T) {
	var sections []*Section
	names := textsOfOneHash(lineReach*lineCells + 1)
	for _, name := range append(names, textsWhere(1000, ordinary)...) {
		sections = append(sections, opaque(t, name, ""))
	}
	_, err := Build(1, "r", sections, nil)
	if err == nil || !slices.ContainsFunc(names, func(name string) bool { return strings.Contains(err.Error(), name) }) {
		t.Errorf("%d names of one hash: %v", len(names), err)
	}
}

// TestOrdinaryTablesFit has the fullest tables of many hashes.
func TestOrdinaryTablesFit(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for _, n := range []int{1, 2, 3, 7, 8, 64, 1 << 10, shmtest.Times(1<<20, 1<<16)} {
		hashes := make([]uint64, n)
		for range max(4, 4096/n) {
			for i := range hashes {
				hashes[i] = random.Uint64()
			}
			if seed, _, crowded := keyTable(cellsFor(n)).arrange(hashes); crowded >= 0 {
				t.Fatalf("%d keys: no seed up to %d fits", n, seed)
			}
			if seed, _, crowded := nameTable(linesFor(n)).arrange(hashes); crowded >= 0 {
				t.Fatalf("%d names: no seed up to %d fits", n, seed)
			}
		}
	}
}

// BenchmarkFlood compares keys and names that an attacker has chosen with
// ordinary ones. Each step builds all, or looks all of them up.
func BenchmarkFlood(b *testing.B) {
	whats := []string{"ordinary", "chosen", "within"}
	texts := [][]string{textsWhere(flooded, ordinary), chosen()[:flooded], textsWhere(flooded, withinReach)}
	for i, what := range whats {
		text := keysDocument(texts[i])
		b.Run("keys/build/"+what, func(b *testing.B) {
			for b.Loop() {
				if _, err := NewDocument("c", text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	for i, what := range whats {
		s, err := NewDocument("c", keysDocument(texts[i]))
		if err != nil {
			b.Fatal(err)
		}
		if (s.seed != 0) != (what == "chosen") {
			b.Fatalf("%s keys have the seed %d", what, s.seed)
		}
		b.Run("keys/lookup/"+what, func(b *testing.B) {
			var v Value
			for b.Loop() {
				for _, key := range texts[i] {
					if err := s.Lookup(&v, key); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
	sections := make([][]*Section, 2)
	for i, what := range whats[:2] {
		for _, name := range slices.Sorted(slices.Values(texts[i])) {
			sections[i] = append(sections[i], opaque(b, name, ""))
		}
		b.Run("names/build/"+what, func(b *testing.B) {
			for b.Loop() {
				if _, err := Build(1, "r", sections[i], nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	for i, what := range whats[:2] {
		v := open(b, flatten(build(b, 1, "r", sections[i], nil)))
		b.Run("names/find/"+what, func(b *testing.B) {
			for b.Loop() {
				for _, name := range texts[i] {
					if _, err := v.Find(HashName(name)); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

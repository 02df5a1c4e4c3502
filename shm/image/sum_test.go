package image

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/statesync/statesync/seqlock"
)

// TestSeededSum holds the sum of 72 bytes to the library's.
func TestSeededSum(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range flooded {
		var words [9]uint64
		for i := range words {
			switch n % 4 {
			case 0: // all bits
				words[i] = r.Uint64()
			case 1: // few
				words[i] = 1 << r.IntN(64)
			case 2: // one word
				if i == n/4%9 {
					words[i] = r.Uint64()
				}
			}
		}
		text := make([]byte, 0, 72)
		for _, word := range words {
			text = binary.LittleEndian.AppendUint64(text, word)
		}
		if got, want := seededSum((*[7]uint64)(words[:7]), words[7], words[8]), xxhash.Sum64(text); got != want {
			t.Fatalf("%x is %#x in place of %#x", text, got, want)
		}
	}
}

// TestHashName holds the hash of names of all lengths to the library's.
func TestHashName(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for n := range 2 * flooded {
		key := make([]byte, n%70)
		for i := range key {
			key[i] = byte(r.Uint32())
		}
		if got, want := HashName(string(key)), xxhash.Sum64(key); got != want {
			t.Fatalf("%q is %#x in place of %#x", key, got, want)
		}
	}
}

func BenchmarkSeededSum(b *testing.B) {
	part := [7]uint64{1, 2, 3, 4, 5, 6, 7}
	b.Run("words", func(b *testing.B) {
		for n := uint64(0); b.Loop(); n++ {
			part[0] = seededSum(&part, 8, n)
		}
	})
	b.Run("library", func(b *testing.B) {
		for n := uint64(0); b.Loop(); n++ {
			text := [9]uint64{part[0], part[1], part[2], part[3], part[4], part[5], part[6], 8, n}
			part[0] = xxhash.Sum64(seqlock.BytesOf(text[:]))
		}
	})
}

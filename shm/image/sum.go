package image

import (
	"math/bits"
	"unsafe"

	"github.com/cespare/xxhash/v2"
)

// The primes of XXH64.
const (
	prime1 = 11400714785074694791
	prime2 = 14029467366897019727
	prime3 = 1609587929392839161
	prime4 = 9650029242287828579
	prime5 = 2870177450012600261
)

// seededSum is the sum of a part of the directory that is 56 bytes long, a
// line or an entry: xxhash64 over its bytes, the image's generation and its
// number, one after the other.
//
// A publication sums every entry, and a look-up two parts. So this is xxhash64
// of just 72 bytes, in words: nothing is copied together first, and the rounds
// of the four lanes run at the same time. The library has the general case.
func seededSum(part *[7]uint64, generation, number uint64) uint64 {
	// The lanes begin at prime1+prime2, prime2, 0 and -prime1.
	first, fourth := uint64(prime1), uint64(prime1)
	first, fourth = first+prime2, -fourth
	a := round(round(first, part[0]), part[4])
	b := round(round(prime2, part[1]), part[5])
	c := round(round(0, part[2]), part[6])
	d := round(round(fourth, part[3]), generation)
	h := bits.RotateLeft64(a, 1) + bits.RotateLeft64(b, 7) + bits.RotateLeft64(c, 12) + bits.RotateLeft64(d, 18)
	h = merge(merge(merge(merge(h, a), b), c), d)
	h += 72
	h ^= round(0, number)
	return avalanche(bits.RotateLeft64(h, 27)*prime1 + prime4)
}

// stripe is how many bytes XXH64 takes in a round of its lanes.
const stripe = 32

// HashName is xxhash64 of a config's name or of a key, which entries, cells and
// look-ups know it by. Most are shorter than a stripe, and for those
// the library's call costs more than the work.
func HashName(name string) uint64 {
	n := len(name)
	if n >= stripe {
		return xxhash.Sum64String(name)
	}
	p, at := unsafe.Pointer(unsafe.StringData(name)), 0
	h := uint64(prime5) + uint64(n)
	for ; at+8 <= n; at += 8 {
		h = mix8(h, unsafe.Add(p, at))
	}
	if n&4 != 0 {
		h = mix4(h, unsafe.Add(p, at))
		at += 4
	}
	for ; at < n; at++ {
		h = mix1(h, unsafe.Add(p, at))
	}
	return avalanche(h)
}

// mix8, mix4 and mix1 take so many bytes at p into the hash of less than a stripe.
func mix8(h uint64, p unsafe.Pointer) uint64 {
	return bits.RotateLeft64(h^round(0, *(*uint64)(p)), 27)*prime1 + prime4
}

func mix4(h uint64, p unsafe.Pointer) uint64 {
	return bits.RotateLeft64(h^uint64(*(*uint32)(p))*prime1, 23)*prime2 + prime3
}

func mix1(h uint64, p unsafe.Pointer) uint64 {
	return bits.RotateLeft64(h^uint64(*(*uint8)(p))*prime5, 11) * prime1
}

func avalanche(h uint64) uint64 {
	h ^= h >> 33
	h *= prime2
	h ^= h >> 29
	h *= prime3
	return h ^ h>>32
}

func round(lane, word uint64) uint64 { return bits.RotateLeft64(lane+word*prime2, 31) * prime1 }

func merge(h, lane uint64) uint64 { return (h^round(0, lane))*prime1 + prime4 }

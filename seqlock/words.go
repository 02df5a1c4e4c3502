package seqlock

import "sync/atomic"

// LoadWords copies len(dst) words from shared memory into private memory,
// each with an atomic load and in order: a reader's step 3. src must be at
// least as long as dst. It allocates nothing and makes no syscall; it faults
// where src does.
func LoadWords(dst, src []uint64) {
	src = src[:len(dst)]
	for len(dst) >= 4 {
		dst[0] = atomic.LoadUint64(&src[0])
		dst[1] = atomic.LoadUint64(&src[1])
		dst[2] = atomic.LoadUint64(&src[2])
		dst[3] = atomic.LoadUint64(&src[3])
		dst, src = dst[4:], src[4:]
	}
	for i := range dst {
		dst[i] = atomic.LoadUint64(&src[i])
	}
}

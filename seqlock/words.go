package seqlock

import (
	"sync/atomic"
	"unsafe"
)

// WordBytes is the size of a word.
const WordBytes = 8

// BytesOf is the memory of words as bytes. In shared memory they are not to be
// read or written through it while another process may write them.
func BytesOf(words []uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), len(words)*WordBytes)
}

// LoadWords copies len(dst) words from shared memory into private memory,
// each with an atomic load and in order: a reader's step 3. src must be at
// least as long as dst. It allocates nothing and makes no syscall; it faults
// where src does.
func LoadWords(dst, src []uint64) {
	src = src[:len(dst)]
	for len(dst) >= 8 {
		// Through array pointers there is one bounds check for eight words, which
		// makes this as fast as copy.
		d, s := (*[8]uint64)(dst), (*[8]uint64)(src)
		d[0] = atomic.LoadUint64(&s[0])
		d[1] = atomic.LoadUint64(&s[1])
		d[2] = atomic.LoadUint64(&s[2])
		d[3] = atomic.LoadUint64(&s[3])
		d[4] = atomic.LoadUint64(&s[4])
		d[5] = atomic.LoadUint64(&s[5])
		d[6] = atomic.LoadUint64(&s[6])
		d[7] = atomic.LoadUint64(&s[7])
		dst, src = dst[8:], src[8:]
	}
	for i := range dst {
		dst[i] = atomic.LoadUint64(&src[i])
	}
}

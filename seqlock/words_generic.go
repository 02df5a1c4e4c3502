//go:build !amd64

package seqlock

import "sync/atomic"

// StoreWords copies src from private into shared memory, in order: the
// writer's step 2. dst must be at least as long as src. It allocates nothing
// and makes no syscall; it faults where dst does.
//
// Every word is stored atomically: on weakly ordered machines a plain store
// may pass the store of the odd sequence before it; the package comment says
// what would follow.
func StoreWords(dst, src []uint64) {
	dst = dst[:len(src)]
	for i, word := range src {
		atomic.StoreUint64(&dst[i], word)
	}
}

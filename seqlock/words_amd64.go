package seqlock

// StoreWords copies src from private into shared memory, in order: the
// writer's step 2. dst must be at least as long as src. It allocates nothing
// and makes no syscall; it faults where dst does.
//
// Plain stores suffice on amd64 between the two stores of the sequence; the
// package comment says why. The race detector can't know that, so it is not
// asked.
//
//go:norace
func StoreWords(dst, src []uint64) {
	dst = dst[:len(src)]
	for len(src) >= 4 {
		dst[0] = src[0]
		dst[1] = src[1]
		dst[2] = src[2]
		dst[3] = src[3]
		dst, src = dst[4:], src[4:]
	}
	for i := range src {
		dst[i] = src[i]
	}
}

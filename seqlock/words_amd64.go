package seqlock

// StoreWords copies src from private into shared memory, in order: the
// writer's step 2. dst must be at least as long as src. It allocates nothing
// and makes no syscall; it faults where dst does.
//
// Plain stores suffice on amd64 between the two stores of the sequence; the
// package comment says why. The race detector cannot know that.
//
//go:norace
func StoreWords(dst, src []uint64) {
	dst = dst[:len(src)]
	for len(src) >= 8 {
		d, s := (*[8]uint64)(dst), (*[8]uint64)(src)
		d[0] = s[0]
		d[1] = s[1]
		d[2] = s[2]
		d[3] = s[3]
		d[4] = s[4]
		d[5] = s[5]
		d[6] = s[6]
		d[7] = s[7]
		dst, src = dst[8:], src[8:]
	}
	//nolint:staticcheck // S1001 wants copy, whose instructions are not tested
	for i := range src {
		dst[i] = src[i]
	}
}

//go:build amd64 || arm64

package seqlock

// Prefetch has the processor fetch the word's cache line while it goes on with
// something else. It is a hint: it never faults and never waits, also where
// there is no memory.
//
//go:noescape
func Prefetch(word *uint64)

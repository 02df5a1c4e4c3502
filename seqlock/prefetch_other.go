//go:build !amd64 && !arm64

package seqlock

// Prefetch is a hint for which this architecture has no code here.
func Prefetch(*uint64) {}

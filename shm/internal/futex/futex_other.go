//go:build unix && !linux

// Package futex has no wait queues here: readers poll.
package futex

// EveryWaiter are the bits that every waiter has one of.
const EveryWaiter = ^uint32(0)

// Wake does nothing: no wait lasts.
func Wake(*uint64, uint32) error { return nil }

// WakeSome does nothing, too.
func WakeSome(*uint64, uint32, int) (int, error) { return 0, nil }

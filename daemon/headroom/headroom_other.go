//go:build !linux

package headroom

// Check knows of no limits here.
func Check(int64) error { return nil }

// ForPages knows of no limits here.
func ForPages(int64) error { return nil }

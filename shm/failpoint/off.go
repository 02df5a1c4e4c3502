//go:build !failpoints || !linux

package failpoint

// Here says that a named point has been reached. In this build it does nothing.
func Here(string) {}

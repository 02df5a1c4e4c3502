//go:build !failpoints || !linux

package failpoint

// Here says that a named point has been reached. In this build it does nothing.
func Here(string) {}

// File is Here for a point that is reached once for each file. In this build it does
// nothing.
func File(string, string) {}

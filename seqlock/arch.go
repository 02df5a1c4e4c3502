//go:build !(amd64 || arm64 || riscv64 || loong64 || ppc64le || mips64le)

package seqlock

// Shared words are 64 bits wide and little-endian. This does not compile, so
// that nothing that reads or writes them is built for another machine.
var _ = stateSyncNeedsALittleEndian64BitMachine

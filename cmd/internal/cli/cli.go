// Package cli is what the commands have in common: an exit code, a size, a version.
package cli

import (
	"fmt"
	"math"
	"runtime/debug"
	"strconv"
	"strings"
)

// ExitUsage is the exit code for flags or an environment that make no sense, with which
// it is of no use to try again. It is EX_USAGE of sysexits.h, and not the usual 2: with
// that a Go program ends that panics, or that a watchdog ends by SIGABRT, and those are
// to be started again.
const ExitUsage = 64

// version is set by the Makefile.
var version string

// Version is what the build knows of itself.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// ByteSize is a flag's number of bytes.
type ByteSize int64

// units are what a size may end in, the greatest first.
var units = []struct {
	name  string
	bytes ByteSize
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// String is the size in the greatest unit that it is a whole number of.
func (b *ByteSize) String() string {
	for _, u := range units[:3] {
		if *b >= u.bytes && *b%u.bytes == 0 {
			return strconv.FormatInt(int64(*b/u.bytes), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(*b), 10)
}

// Set accepts a whole number, with a unit or without.
func (b *ByteSize) Set(text string) error {
	digits, unit := text, ByteSize(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(text, u.name); ok {
			digits, unit = rest, u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63) // no sign, no space
	if err != nil || n == 0 || n > math.MaxInt64/uint64(unit) {
		return fmt.Errorf("%q is not a valid size; write a whole number of bytes, or of KiB, MiB or GiB, such as 64MiB", text)
	}
	*b = ByteSize(n) * unit
	return nil
}

// Type is what the help calls the value.
func (b *ByteSize) Type() string { return "size" }

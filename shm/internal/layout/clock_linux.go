package layout

import (
	"time"

	"golang.org/x/sys/unix"
)

// Boottime is the time since the machine was started, suspension included. It
// is one clock for all processes, and does not jump.
func Boottime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

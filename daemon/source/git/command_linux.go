package git

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes put a command into a process group of its own, and end it with this process.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// limitFiles limits the size of each file that a process and its future children write.
func limitFiles(pid int, size int64) error {
	limit := unix.Rlimit{Cur: uint64(size), Max: uint64(size)}
	return unix.Prlimit(pid, unix.RLIMIT_FSIZE, &limit, nil)
}

// awaitExit waits until a child has ended, and leaves it to be reaped.
func awaitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

package history

import (
	"os"

	"golang.org/x/sys/unix"
)

// memoryFile is a file that has no name and ends with the process.
func memoryFile() (*os.File, error) {
	fd, err := unix.MemfdCreate("statesync-history", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), "history in memory"), nil
}

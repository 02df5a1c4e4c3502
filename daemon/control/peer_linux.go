package control

import (
	"fmt"
	"net"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// inDir is a short path of a file in an open directory.
func inDir(dir *os.File, name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name)
}

// peer is the process at the other end of a connection.
func peer(c *net.UnixConn) (*unix.Ucred, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return &unix.Ucred{}, err
	}
	cred := &unix.Ucred{}
	if controlErr := raw.Control(func(fd uintptr) {
		var got *unix.Ucred
		if got, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			cred = got
		}
	}); controlErr != nil {
		return cred, controlErr
	}
	return cred, err
}

// peerGroups are all groups of the process at the other end of a connection, as they were
// when it connected.
func peerGroups(c *net.UnixConn) (groups []int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	list := make([]uint32, 256)
	for {
		size := uint32(len(list) * 4)
		var errno unix.Errno
		if controlErr := raw.Control(func(fd uintptr) {
			_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
				uintptr(unsafe.Pointer(&list[0])), uintptr(unsafe.Pointer(&size)), 0)
		}); controlErr != nil {
			return nil, controlErr
		}
		switch {
		case errno == unix.ERANGE && len(list) < maxGroups:
			list = make([]uint32, maxGroups)
		case errno != 0:
			return nil, errno
		default:
			for _, g := range list[:size/4] {
				groups = append(groups, int(g))
			}
			return groups, nil
		}
	}
}

// maxGroups is how many groups a process can have.
const maxGroups = 65536

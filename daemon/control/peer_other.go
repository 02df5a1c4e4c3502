//go:build unix && !linux

package control

import (
	"errors"
	"net"
	"os"
	"path/filepath"
)

// inDir is the path of a file in a directory.
func inDir(dir *os.File, name string) string { return filepath.Join(dir.Name(), name) }

// ucred is the process at the other end of a connection.
type ucred struct {
	Pid int32
	Uid uint32
	Gid uint32
}

func peer(*net.UnixConn) (*ucred, error) { return &ucred{}, errors.ErrUnsupported }

func peerGroups(*net.UnixConn) ([]int, error) { return nil, errors.ErrUnsupported }

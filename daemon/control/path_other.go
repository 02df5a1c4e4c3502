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

func peer(*net.UnixConn) (int, error) { return 0, errors.ErrUnsupported }

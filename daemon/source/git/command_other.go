//go:build unix && !linux

package git

import "syscall"

// attributes put a command into a process group of its own.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// limitFiles knows of no limit here.
func limitFiles(int, int64) error { return nil }

// awaitExit leaves the waiting to the one that reaps.
func awaitExit(int) {}

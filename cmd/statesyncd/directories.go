//go:build unix

package main

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/statesync/statesync/daemon"
)

// lookup is a variable's value in an environment, as os.Getenv has it.
func lookup(environ []string, name string) string {
	for i := len(environ) - 1; i >= 0; i-- { // the last one counts
		if value, ok := strings.CutPrefix(environ[i], name+"="); ok {
			return value
		}
	}
	return ""
}

// defaultStateDir is where the state of a region is kept by default, and where it was
// before directories were named by the whole path; empty if it was nowhere else.
func defaultStateDir(environ []string, region string, euid int) (dir, before string, err error) {
	if dir := lookup(environ, "STATE_DIRECTORY"); dir != "" {
		if strings.Contains(dir, ":") {
			return "", "", fmt.Errorf("STATE_DIRECTORY has several directories, %s; name the daemon's with --state-dir", dir)
		}
		return dir, "", nil
	}
	parent := ""
	if euid == 0 {
		parent = "/var/lib"
	} else if xdg := lookup(environ, "XDG_STATE_HOME"); filepath.IsAbs(xdg) { // the specification has others ignored
		parent = xdg
	} else if home := lookup(environ, "HOME"); filepath.IsAbs(home) {
		parent = filepath.Join(home, ".local/state")
	} else {
		return "", "", errors.New("no directory for the state: neither STATE_DIRECTORY, XDG_STATE_HOME nor HOME is set; " +
			"give --state-dir DIR, or --state-dir '' to do without")
	}
	name, err := daemon.RegionName(region)
	if err != nil {
		return "", "", fmt.Errorf("--region: %w", err)
	}
	parent = filepath.Join(parent, "statesync")
	return filepath.Join(parent, name), filepath.Join(parent, filepath.Base(filepath.Clean(region))), nil
}

// controlDir is the directory of the control socket where none is given: the service
// manager's first one, else the state directory. It is empty if there is none.
func controlDir(environ []string, stateDir string) string {
	dir, _, _ := strings.Cut(lookup(environ, "RUNTIME_DIRECTORY"), ":")
	return cmp.Or(dir, stateDir)
}

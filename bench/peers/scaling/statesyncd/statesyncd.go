// Package statesyncd builds and starts the real daemon.
package statesyncd

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/statesync/statesync/bench/peers/process"
)

// module is where the daemon's source is.
const module = "github.com/statesync/statesync"

// Build builds the daemon into a folder, as its users do, and returns the
// program's path. It needs the go command and a working directory in this
// module.
func Build(ctx context.Context, dir string) (string, error) {
	root, err := process.Output(exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module))
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "statesyncd")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "./cmd/statesyncd")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	_, err = process.Output(build)
	return binary, err
}

// Start starts a daemon that publishes a folder into a region. Its state is
// kept in a folder, too.
func Start(binary, source, region, state string, flags ...string) (*process.Process, error) {
	return process.Command(binary, append([]string{
		"--source", "dir:" + source, "--region", region, "--state-dir", state, "--listen", "off", "--log-level", "warn",
	}, flags...)...)
}

package process

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// Output runs a command to its end and returns what it prints, without the
// space around it. An error has what the command complained of.
func Output(cmd *exec.Cmd) (string, error) {
	var problem strings.Builder
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, problem.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// Sleep sleeps, or returns the context's error when that ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

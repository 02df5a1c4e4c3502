//go:build linux

package campaign

import (
	"context"
	"errors"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon/control"
	"github.com/statesync/statesync/shm"
)

// A disk that hangs while the history is written keeps publications, looks and readers
// from nothing. A command that has to be stored waits, and has no effect. A second signal
// ends the daemon.
func TestHangingDisk(t *testing.T) {
	runtime.LockOSThread() // see crashHost.start
	defer runtime.UnlockOSThread()
	h := newActsHost(t)
	stop := h.read()
	defer stop()
	d := h.start("hang:memory.record")
	for range 3 {
		h.revise()
		await(t, "the publication", func() bool {
			found, err := (&crashHost{TB: t, region: h.region}).read()
			return err == nil && found.number == h.revised
		})
	}
	c := h.client()
	await(t, "the control socket", func() bool { _, err := c.Status(t.Context()); return err == nil })
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := c.Do(ctx, "pin", control.Command{}); err == nil {
		t.Error("a pin that cannot be stored was answered")
	}
	if status, err := c.Status(t.Context()); err != nil || status.Held || !status.Converged {
		t.Errorf("%+v, %v", status, err)
	}
	if _, err := c.Log(t.Context(), control.LogQuery{}); err != nil { // it waits for the disk, but not for ever
		t.Error(err)
	}

	ok(t, d.Process.Signal(syscall.SIGTERM))
	await(t, "the region to be given up", func() bool {
		r, err := shm.Open(h.region, shm.Trust{})
		if err != nil {
			return false
		}
		status, err := r.Status()
		return err == nil && status.State == shm.Stopped
	})
	for !d.hasEnded() {
		if err := d.Process.Signal(syscall.SIGTERM); err != nil && d.hasEnded() {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	h.current = nil
	var exit *exec.ExitError
	if !errors.As(d.err, &exit) || exit.ExitCode() != 1 || !strings.Contains(d.log(), "exiting at once") {
		t.Errorf("after the second signal: %v\n%s", d.err, d.log())
	}
	stop()
	report(t, "a disk that hangs holds up no publication", "3 publications, 1 pin, 1 status, 1 log and 2 signals while a write of the history hangs", "nothing")
}

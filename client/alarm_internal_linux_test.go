package client

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Close may overtake a follower that is about to set its alarm. The descriptor's
// number belongs to another part of the process by then.
func TestAlarmThatIsClosedSetsNoOtherTimer(t *testing.T) {
	a, ok := newAlarm(func() {}).(*kernelAlarm)
	if !ok {
		t.Fatal("there is no descriptor left")
	}
	a.close()
	other, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(other) }()
	if other != a.fd {
		t.Skipf("the number of the descriptor is %d, and %d was closed", other, a.fd)
	}
	a.set(time.Hour)
	var left unix.ItimerSpec
	if err := unix.TimerfdGettime(other, &left); err != nil {
		t.Fatal(err)
	}
	if left.Value != (unix.Timespec{}) {
		t.Errorf("an alarm that is closed has set another timer, to %v", left.Value)
	}
}

package client

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// kernelAlarm is an alarm of the kernel. To set a timer of Go's wakes a thread
// that waits for it, which costs a sleeping process as much again as a change
// does; see BenchmarkChange in package bench. This one wakes a thread only when it
// goes off.
type kernelAlarm struct {
	fd    int
	file  *os.File // of fd
	ended chan struct{}

	mu     sync.Mutex // guards what follows
	closed bool       // fd may be the number of another file
}

// newAlarm returns an alarm of Go's if there is no descriptor left.
func newAlarm(ring func()) alarm {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return newTimerAlarm(ring)
	}
	a := &kernelAlarm{fd: fd, file: os.NewFile(uintptr(fd), "timer"), ended: make(chan struct{})}
	go func() {
		defer close(a.ended)
		for expirations := make([]byte, 8); ; {
			if _, err := a.file.Read(expirations); err != nil {
				return
			}
			ring()
		}
	}()
	return a
}

func (a *kernelAlarm) set(after time.Duration) {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(after))}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		_ = unix.TimerfdSettime(a.fd, 0, &spec, nil) // its arguments are valid
	}
}

func (a *kernelAlarm) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	_ = a.file.Close()
	<-a.ended
}

//go:build unix

package notify

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/statesync/statesync/daemon"
	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/shm"
)

const (
	maxStatus    = 512              // bytes of the status line
	maxRevision  = 100              // bytes of it
	startSlack   = 30 * time.Second // what a start takes beside waiting
	closeTimeout = time.Second
)

// Notifier tells the manager. A nil one, of a process without a manager, does
// nothing. Only Close may block.
type Notifier struct {
	log      *slog.Logger
	watchdog time.Duration // how long the manager waits for a turn; 0: it does not
	wake     chan struct{} // capacity 1
	done     chan struct{}

	mu      sync.Mutex
	next    news
	ready   bool      // the start is over
	reload  bool      // a reload is under way
	status  string    // the last line
	fed     time.Time // the watchdog, last
	stopped bool      // nothing is to be said after STOPPING=1
	closed  bool
}

// New makes a notifier, which has to be closed, or nil if there is no manager.
// The daemon's start may wait that long for another one to end.
func New(log *slog.Logger, wait time.Duration) *Notifier {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil
	}
	n := &Notifier{log: log, wake: make(chan struct{}, 1), done: make(chan struct{})}
	var err error
	if n.watchdog, err = sd.SdWatchdogEnabled(false); err != nil {
		log.Warn("the service manager's watchdog is not fed; correct WATCHDOG_USEC", "error", err)
	} else if n.watchdog > 0 && n.watchdog < 2*shm.HeartbeatInterval {
		log.Warn("the service manager's watchdog is shorter than two heartbeats; raise WatchdogSec",
			"watchdog", n.watchdog, "heartbeat", shm.HeartbeatInterval)
	}
	n.next = news{
		extend: fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", (wait + startSlack).Microseconds()),
		status: fmt.Sprintf("STATUS=starting; a daemon that has the region is waited for up to %s", wait),
	}
	n.wake <- struct{}{}
	go n.run()
	return n
}

// Observe is for daemon.Options.
func (n *Notifier) Observe(s *daemon.State) {
	n.tell(func(next *news) {
		if n.stopped {
			return
		}
		switch {
		case s.Reloading && n.ready && !n.reload:
			n.reload = true
			next.reload, next.ready = sd.SdNotifyReloading+"\n"+sd.SdNotifyMonotonicUsec(), ""
		case !n.ready && s.Ready, n.reload && !s.Reloading:
			n.ready, n.reload = true, false
			next.ready = sd.SdNotifyReady
		}
		if !n.ready && !s.Planning.IsZero() { // a first revision may take long
			next.extend = fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", startSlack.Microseconds())
		}
		if line := "STATUS=" + plain.Line(status(s), maxStatus); line != n.status {
			n.status, next.status = line, line
		}
		// Half of the time is what a manager wants. A turn ends each second, so
		// that it is no more than a quarter and a second, or else each turn.
		if n.watchdog > 0 && !s.Stuck && time.Since(n.fed) >= n.watchdog/4 {
			n.fed, next.watchdog = time.Now(), sd.SdNotifyWatchdog
		}
	})
}

// Stopping says that the daemon has begun to end.
func (n *Notifier) Stopping() {
	n.tell(func(next *news) {
		n.stopped = true
		next.stopping, next.status = sd.SdNotifyStopping, "STATUS=stopping; the region stays, and readers keep reading"
	})
}

// Close waits for a bounded time until all messages are sent.
func (n *Notifier) Close() {
	n.tell(func(*news) { n.closed = true })
	if n == nil {
		return
	}
	select {
	case <-n.done:
	case <-time.After(closeTimeout):
	}
}

// tell changes the pending messages, and has them sent.
func (n *Notifier) tell(change func(next *news)) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	change(&n.next)
	if n.next == (news{}) && !n.closed {
		return
	}
	select {
	case n.wake <- struct{}{}:
	default: // it is awake
	}
}

// run sends the pending messages until the notifier is closed.
func (n *Notifier) run() {
	defer close(n.done)
	failing := false
	for closed := false; !closed; {
		<-n.wake
		n.mu.Lock()
		next := n.next
		n.next, closed = news{}, n.closed
		n.mu.Unlock()
		for _, text := range next.messages() {
			_, err := sd.SdNotify(false, text)
			if err != nil && !failing {
				n.log.Warn("the service manager can't be told how this daemon is doing", "error", err)
			}
			failing = err != nil
		}
	}
}

//go:build unix

package notify

import (
	"fmt"
	"strings"

	"github.com/statesync/statesync/daemon"
	"github.com/statesync/statesync/daemon/internal/plain"
)

// news are the newest lines of each kind that are not sent yet.
type news struct {
	reload                            string // a message of its own, before the other
	extend, ready, watchdog, stopping string
	status                            string
}

// messages are the news as datagrams.
func (n *news) messages() []string {
	var all, lines []string
	if n.reload != "" {
		all = append(all, n.reload)
	}
	for _, line := range []string{n.extend, n.ready, n.watchdog, n.stopping, n.status} {
		if line != "" {
			lines = append(lines, line)
		}
	}
	if lines != nil {
		all = append(all, strings.Join(lines, "\n"))
	}
	return all
}

// status is a line for people. It changes only when there is something new. Any user
// of the host can ask the service manager for it, so that it quotes no value.
func status(s *daemon.State) string {
	var line string
	switch {
	case s.Ready:
		line = fmt.Sprintf("generation %d, configs: %d, revision: %s", s.Generation, s.Configs, plain.Line(s.Revision, maxRevision))
	case s.Generation > 0:
		line = fmt.Sprintf("the region is lost, and generation %d can't be put into a new one", s.Generation)
	case s.Place == "":
		line = "waiting for a first good revision"
	default:
		line = "nothing is published yet"
	}
	if s.Place != "" {
		line += "; refused: " + s.Place
	}
	if s.Alarm != "" {
		line += "; alarm: " + s.Alarm
	}
	return line
}

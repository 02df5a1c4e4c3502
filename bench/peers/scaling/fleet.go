package scaling

import (
	"fmt"
	"strings"
	"time"

	"github.com/statesync/statesync/bench/peers/report"
)

// The fleet of the page, and how often it may ask.
const fleetHosts = 100_000

var intervals = []time.Duration{10 * time.Second, time.Minute, 10 * time.Minute}

// fleet carries what was measured on to a fleet, as arithmetic.
func (r *result) fleet() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n### The same for %s hosts\n\n", number(fleetHosts))
	if p := r.Polls; p != nil {
		fmt.Fprintf(&b, "Each host asks Git's server itself: %s hosts / interval, times %.1f requests, %s and %s of processor time.\n\n",
			number(fleetHosts), p.Poll.Requests, bytes(p.Poll.Bytes), report.Nanoseconds(p.Poll.CPU))
		var rows [][]string
		for _, interval := range intervals {
			polls := fleetHosts / interval.Seconds()
			rows = append(rows, []string{
				short(interval), number(polls), number(polls * p.Poll.Requests),
				bytes(polls*p.Poll.Bytes) + "/s", number(polls * p.Poll.CPU / 1e9),
				number(fleetHosts / interval.Seconds() * p.Change.CPU / 1e9),
			})
		}
		b.WriteString(report.Table([]string{
			"interval", "polls a second", "requests a second", "traffic", "busy processors, nothing new",
			"busy processors while a change is fetched",
		}, rows))
		fmt.Fprintf(&b, "\nA change costs every host a fetch besides: %s × %s = %s, and %s × %s = %.1f hours of a processor.\n",
			number(fleetHosts), bytes(p.Change.Bytes), bytes(fleetHosts*p.Change.Bytes),
			number(fleetHosts), report.Nanoseconds(p.Change.CPU), fleetHosts*p.Change.CPU/1e9/3600)
	}
	if len(r.Daemon) > 0 {
		b.WriteString("\nOn the hosts themselves, nothing grows with the fleet:\n\n")
		for _, d := range r.Daemon {
			fmt.Fprintf(&b, "- a daemon with %s files that are at rest takes %s of a processor: on %s hosts as much as %s processors;\n",
				number(float64(d.Files)), percent(d.Idle), number(fleetHosts), number(d.Idle*fleetHosts))
		}
		if n := len(r.Crowd); n > 0 {
			last := r.Crowd[n-1]
			change := report.Median(last.Change)
			fmt.Fprintf(&b, "- a change takes %d readers of a host %s together: on %s hosts %.2f hours of a processor, once.\n",
				last.Readers, report.Nanoseconds(change), number(fleetHosts), fleetHosts*change/1e9/3600)
		}
	}
	return b.String()
}

// short words an interval.
func short(d time.Duration) string {
	if d >= time.Minute {
		return fmt.Sprintf("%g min", d.Minutes())
	}
	return fmt.Sprintf("%g s", d.Seconds())
}

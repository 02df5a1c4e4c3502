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
	fmt.Fprintf(&b, "\n### The same for %s hosts\n\n", report.Count(fleetHosts))
	if p := r.Polls; p != nil {
		fmt.Fprintf(&b, "Each host asks Git's server itself: %s hosts / interval, times %.1f requests, %s and %s of processor time.\n\n",
			report.Count(fleetHosts), p.Poll.Requests, report.Bytes(p.Poll.Bytes), report.Nanoseconds(p.Poll.CPU))
		polls := func(interval time.Duration) float64 { return fleetHosts / interval.Seconds() }
		b.WriteString(report.Table(
			intervals,
			report.Text("interval", report.Duration),
			report.Value("polls a second", report.Count, polls),
			report.Value("requests a second", report.Count, func(i time.Duration) float64 { return polls(i) * p.Poll.Requests }),
			report.Text("traffic", func(i time.Duration) string { return report.Bytes(polls(i)*p.Poll.Bytes) + "/s" }),
			report.Value("busy processors, nothing new", report.Count, func(i time.Duration) float64 { return polls(i) * p.Poll.CPU / 1e9 }),
			report.Value("busy processors while a change is fetched", report.Count, func(i time.Duration) float64 { return polls(i) * p.Change.CPU / 1e9 }),
		))
		fmt.Fprintf(&b, "\nA change costs every host a fetch besides: %s × %s = %s, and %s × %s = %.1f hours of a processor.\n",
			report.Count(fleetHosts), report.Bytes(p.Change.Bytes), report.Bytes(fleetHosts*p.Change.Bytes),
			report.Count(fleetHosts), report.Nanoseconds(p.Change.CPU), fleetHosts*p.Change.CPU/1e9/3600)
	}
	if len(r.Daemon) > 0 {
		b.WriteString("\nOn the hosts themselves, nothing grows with the fleet:\n\n")
		for _, d := range r.Daemon {
			fmt.Fprintf(&b, "- a daemon with %s files that are at rest takes %s of a processor: on %s hosts as much as %s processors;\n",
				report.Count(float64(d.Files)), report.Percent(d.Idle), report.Count(fleetHosts), report.Count(d.Idle*fleetHosts))
		}
		if n := len(r.Crowd); n > 0 {
			last := r.Crowd[n-1]
			change := report.Median(last.Change)
			fmt.Fprintf(&b, "- a change takes %d readers of a host %s together: on %s hosts %.2f hours of a processor, once.\n",
				last.Readers, report.Nanoseconds(change), report.Count(fleetHosts), fleetHosts*change/1e9/3600)
		}
	}
	return b.String()
}

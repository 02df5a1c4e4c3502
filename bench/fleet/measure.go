//go:build linux

package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// patience is how long a fleet may take for what it does in seconds.
const patience = 5 * time.Minute

// meter tries one thing after the other, and writes a table of each.
type meter struct {
	fleet *fleet
	trial trial
	text  io.Writer
	calm  map[string]float64 // requests a second, by origin
}

func (m *meter) all(dir, shm string) error {
	fmt.Fprintf(m.text, "%d daemons, each with a region of its own, poll a repository and a bundle every %v, on %d processors, with `%s`.\n",
		m.trial.hosts, m.trial.interval, runtime.NumCPU(), m.trial.command)
	go m.fleet.watch()
	if m.trial.first > 0 {
		if err := m.start(m.trial.first, dir, shm); err != nil {
			return err
		}
		if err := m.changes(); err != nil {
			return err
		}
	}
	if err := m.start(m.trial.hosts-m.trial.first, dir, shm); err != nil {
		return err
	}
	for _, step := range []func() error{m.polls, m.changes, m.troubles} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// start starts that many more hosts, at once.
func (m *meter) start(n int, dir, shm string) error {
	progress("start %d hosts", n)
	began := time.Now()
	if err := m.fleet.start(n, m.trial.statesyncd, dir, shm); err != nil {
		return err
	}
	for k := range m.fleet.origins {
		if _, err := m.fleet.wait(k, patience); err != nil {
			return err
		}
	}
	fmt.Fprintf(m.text, "\n%d of them were started at once, and %v later the last one had both sources.\n", n, time.Since(began).Round(time.Second/10))
	return nil
}

// span is what all that happens between two moments costs.
type span struct {
	began      time.Time
	hosts      time.Duration // CPU of the daemons
	busy, idle time.Duration // of all processors
}

func (m *meter) begin() (s span, err error) {
	for _, o := range m.fleet.origins {
		if _, err := o.traffic(); err != nil {
			return s, err
		}
	}
	s = span{began: time.Now(), hosts: m.fleet.cpu()}
	s.busy, s.idle, err = processors()
	return s, err
}

// since returns what was used since, by the hosts, and which part of the processors was
// busy.
func (m *meter) since(s span) (hosts time.Duration, busy float64, err error) {
	b, i, err := processors()
	b, i = b-s.busy, i-s.idle
	return m.fleet.cpu() - s.hosts, float64(b) / float64(max(b+i, 1)), err
}

// polls measures the fleet at rest.
func (m *meter) polls() error {
	progress("polls, for %v", m.trial.calm)
	time.Sleep(m.trial.interval) // what the start delayed has settled
	s, err := m.begin()
	if err != nil {
		return err
	}
	time.Sleep(m.trial.calm)
	hosts, busy, err := m.since(s)
	if err != nil {
		return err
	}
	m.calm = map[string]float64{}
	polls := float64(m.trial.calm) / float64(m.trial.interval) * float64(m.trial.hosts)
	m.table("At rest", "source", "requests per host and poll", "bytes per poll, both ways", "CPU of the server per poll", "most requests in one second", "of them at one time")
	for _, o := range m.fleet.origins {
		t, err := o.traffic()
		if err != nil {
			return err
		}
		m.calm[o.config] = float64(len(t.Arrivals)) / m.trial.calm.Seconds()
		m.row(o.config, requests(t, polls), fmt.Sprintf("%.0f", float64(t.Bytes)/polls), each(t.CPU, polls), strconv.Itoa(busiest(t.Arrivals)), strconv.Itoa(t.Peak))
	}
	fmt.Fprintf(m.text, "\nA host used %v of CPU per interval for both, and has %.1f MiB of memory (median of VmRSS). The processors were busy for %.0f %% of the time.\n",
		each(hosts, polls), float64(m.fleet.resident())/(1<<20), 100*busy)
	return nil
}

// changes measures how a change arrives.
func (m *meter) changes() error {
	fleet := len(m.fleet.hosts)
	m.table(fmt.Sprintf("Changes, %d hosts", fleet), "change of", "p50", "p99", "last host", "requests per host", "bytes per host", "most at one time", "CPU of the server", "CPU of a host", "processors busy")
	for k, o := range m.fleet.origins {
		var took, last []time.Duration
		var bytes int64
		var hosts, server time.Duration
		var peak int
		var load float64
		kinds := map[string]int{}
		for n := range m.trial.changes {
			progress("change %d of %d of %s", n+1, m.trial.changes, o.config)
			time.Sleep(m.trial.interval/2 + time.Duration(n)*m.trial.interval/time.Duration(m.trial.changes))
			s, err := m.begin()
			if err != nil {
				return err
			}
			if err := o.change(); err != nil {
				return err
			}
			began := time.Now()
			there, err := m.fleet.wait(k, patience)
			if err != nil {
				return err
			}
			h, busy, err := m.since(s)
			if err != nil {
				return err
			}
			t, err := o.traffic()
			if err != nil {
				return err
			}
			var all []time.Duration
			for _, at := range there {
				all = append(all, max(at.Sub(began), 0))
			}
			took, last = append(took, all...), append(last, slices.Max(all))
			hosts, server, bytes, peak, load = hosts+h, server+t.CPU, bytes+t.Bytes, max(peak, t.Peak), load+busy
			for kind, n := range t.Requests {
				kinds[kind] += n
			}
		}
		per := float64(fleet * m.trial.changes)
		m.row(o.config, seconds(quantile(took, 0.5)), seconds(quantile(took, 0.99)), seconds(slices.Max(last)), requests(traffic{Requests: kinds}, per),
			fmt.Sprintf("%.0f", float64(bytes)/per), strconv.Itoa(peak), each(server, per), each(hosts, per), fmt.Sprintf("%.0f %%", 100*load/float64(m.trial.changes)))
	}
	fmt.Fprintf(m.text, "\nTimes are from the end of the push, or of the upload, to the value in an application, over %d changes of each; the polls until the last host has it are in all figures.\n", m.trial.changes)
	return nil
}

// troubles measures what servers in trouble do to the fleet, and it to them.
func (m *meter) troubles() error {
	m.table("Trouble", "server", "for", "hosts that say so", "requests a second meanwhile", "in the first second after", "in a calm second", "all hosts have the newest change after")
	for _, mode := range []string{down, hangs, slow, garbage} {
		for k, o := range m.fleet.origins {
			progress("%s %s", o.config, mode)
			if err := m.trouble(k, o, mode); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(m.text, "\nIn each, the source was changed while the server was in trouble. No host lost a value, went back, or saw a torn one: applications look at every region every 5 ms.\n")
	return nil
}

func (m *meter) trouble(k int, o *origin, mode string) error {
	lasts := m.trial.trouble
	if mode == down {
		lasts = m.trial.outage
	}
	if err := o.become(mode); err != nil {
		return err
	}
	if _, err := o.traffic(); err != nil {
		return err
	}
	if err := o.change(); err != nil {
		return err
	}
	time.Sleep(lasts)
	say, err := m.fleet.troubled(k)
	if err != nil {
		return err
	}
	before, err := o.traffic()
	if err != nil {
		return err
	}
	if err := o.become(serves); err != nil {
		return err
	}
	began := time.Now()
	there, err := m.fleet.wait(k, patience)
	if err != nil {
		return err
	}
	after, err := o.traffic()
	if err != nil {
		return err
	}
	first := 0
	for _, at := range after.Arrivals {
		if at.Sub(began) < time.Second {
			first++
		}
	}
	last := max(slices.MaxFunc(there, time.Time.Compare).Sub(began), 0)
	m.row(o.config+" "+mode, lasts.String(), fmt.Sprintf("%d of %d", say, m.trial.hosts), fmt.Sprintf("%.1f", float64(len(before.Arrivals))/lasts.Seconds()),
		strconv.Itoa(first), fmt.Sprintf("%.1f", m.calm[o.config]), seconds(last))
	return nil
}

// table begins a table.
func (m *meter) table(title string, columns ...string) {
	fmt.Fprintf(m.text, "\n### %s\n\n", title)
	m.row(columns...)
	m.row(slices.Repeat([]string{"---"}, len(columns))...)
}

func (m *meter) row(cells ...string) {
	fmt.Fprintf(m.text, "| %s |\n", strings.Join(cells, " | "))
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

// requests are those of each kind, divided.
func requests(t traffic, by float64) string {
	var list []string
	for _, kind := range []string{"poll", "refs", "body"} {
		if n := t.Requests[kind]; n > 0 {
			list = append(list, fmt.Sprintf("%.2f %s", float64(n)/by, kind))
		}
	}
	return strings.Join(list, ", ")
}

// busiest is how many were in the busiest second.
func busiest(arrivals []time.Time) (most int) {
	slices.SortFunc(arrivals, time.Time.Compare)
	from := 0
	for i, at := range arrivals {
		for at.Sub(arrivals[from]) >= time.Second {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}

func each(total time.Duration, by float64) string {
	return fmt.Sprintf("%.2f ms", float64(total)/by/float64(time.Millisecond))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// quantile returns the value below which that part of all is.
func quantile[T cmp.Ordered](all []T, part float64) (value T) {
	if len(all) == 0 {
		return value
	}
	slices.Sort(all)
	return all[min(int(part*float64(len(all))), len(all)-1)]
}

// processors is how long all processors together were busy and idle since the boot.
func processors() (busy, idle time.Duration, err error) {
	const tick = time.Second / 100
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	for i, field := range bytes.Fields(line)[1:9] { // the guests' times after them are in the first
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, 0, err
		}
		if i == 3 || i == 4 { // idle, and waiting for a disk
			idle += time.Duration(n) * tick
		} else {
			busy += time.Duration(n) * tick
		}
	}
	return busy, idle, nil
}

//go:build linux

package campaign

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
)

var (
	longrunFor     = flag.Duration("longrun.for", 3*time.Second, "how long TestLongRun publishes")
	longrunRate    = flag.Int("longrun.rate", 100, "how many publications a second TestLongRun tries")
	longrunReaders = flag.Int("longrun.readers", 4, "how many reader processes TestLongRun has, half of them exact and half following")
	longrunLook    = flag.Duration("longrun.look", time.Millisecond, "how often an exact reader of TestLongRun takes a Snapshot")
	longrunDaemon  = flag.Bool("longrun.daemon", false, "have TestLongRun change a file under a statesyncd, in place of a process that publishes directly")
)

// longrunSamples is how often a run looks at its processes: often enough that
// the quarters of a short run have some, and not more often for a long one.
const longrunSamples = 60

// longrunMember is a process of a run and what was seen of it.
type longrunMember struct {
	kind string
	*process
	pid     int
	samples []sample
	began   time.Duration // its processor time when the measuring began
	used    time.Duration // and since then
}

// TestLongRun publishes at a steady rate for a time. It verifies that publisher and
// readers leak no resources, and that every generation which a reader accepts is
// whole. It measures the slowest read, and how far followers are behind.
func TestLongRun(t *testing.T) {
	base := memory(t)
	region := filepath.Join(base, "region")
	interval := max(*longrunFor/longrunSamples, 20*time.Millisecond)
	members := longrunPublisher(t, base, region)
	for n := range *longrunReaders {
		kind := []string{"exact", "follow"}[n%2]
		members = append(members, &longrunMember{kind: kind, process: spawn(t, "longrun-"+kind, region, interval.String(), longrunLook.String())})
	}
	for _, m := range members {
		m.pid = m.Process.Pid
		if m.kind == "exact" || m.kind == "follow" {
			if line := <-m.Lines; line != "ready" {
				t.Fatalf("a reader said %q in place of ready: %s", line, m.log())
			}
		}
		m.began = cpuOf(m.pid)
	}
	longrunWatch(t, members, region, interval)

	for _, m := range members {
		m.used = cpuOf(m.pid) - m.began
	}
	var last int
	publications := "?"
	for _, m := range members {
		if m.kind != "publisher" {
			continue
		}
		lines := m.finish(t)
		if len(lines) == 0 {
			t.Fatalf("the publisher did not say what it published: %s", m.log())
		}
		if _, err := fmt.Sscanf(lines[len(lines)-1], "last %d", &last); err != nil {
			t.Fatal(err)
		}
		publications = lines[len(lines)-1]
	}
	if last == 0 {
		t.Fatalf("nothing was published: %s", publications)
	}
	longrunArrived(t, region, last)
	longrunJudge(t, members, last, publications)
}

// longrunArrived waits until the last stamp is in the region.
func longrunArrived(t *testing.T, region string, last int) {
	c, err := client.Open(region)
	ok(t, err)
	stamp := client.Bind[longrunStamp](c, longrunName)
	await(t, fmt.Sprintf("stamp %d in the region", last), func() bool { return stamp.Get().Number == last })
	ok(t, c.Close())
}

// longrunPublisher starts the publisher: one process, or a daemon and a process that
// changes its source.
func longrunPublisher(t *testing.T, base, region string) []*longrunMember {
	rate := strconv.Itoa(*longrunRate)
	if !*longrunDaemon {
		return []*longrunMember{{kind: "publisher", process: spawn(t, "longrun-publish", region, rate)}}
	}
	command := build(t, "github.com/statesync/statesync/cmd/statesyncd")
	source := filepath.Join(base, "source")
	publisher := &longrunMember{kind: "publisher", process: spawn(t, "longrun-change", source, rate)}
	if line := <-publisher.Lines; line != "ready" {
		t.Fatalf("the publisher said %q in place of ready", line)
	}
	daemon := start(t, exec.Command(command, "--source", "dir:"+source, "--region", region, "--state-dir", filepath.Join(base, "state"), "--log-level", "warn"))
	return []*longrunMember{publisher, {kind: "daemon", process: daemon}}
}

// longrunWatch samples the members until the run is over.
func longrunWatch(t *testing.T, members []*longrunMember, region string, interval time.Duration) {
	began, said := time.Now(), time.Now()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for time.Since(began) < *longrunFor {
		<-tick.C
		most := sample{}
		for _, m := range members {
			s, regions, err := sampleOf(m.pid, region)
			if err != nil {
				t.Fatalf("a process of kind %s has ended: %v: %s", m.kind, err, m.log())
			}
			if regions > 1 {
				t.Fatalf("a process of kind %s has the region mapped %d times", m.kind, regions)
			}
			m.samples = append(m.samples, s)
			most = sample{
				rss: max(most.rss, s.rss), descriptors: max(most.descriptors, s.descriptors),
				threads: max(most.threads, s.threads), mappings: max(most.mappings, s.mappings),
			}
		}
		if time.Since(said) >= max(5*time.Second, *longrunFor/60) {
			said = time.Now()
			t.Logf("%s of %s: at most %d KiB, %d descriptors, %d threads, %d mappings in one process",
				time.Since(began).Round(time.Second), *longrunFor, most.rss, most.descriptors, most.threads, most.mappings)
		}
	}
}

// longrunJudge ends the readers and evaluates what they saw.
func longrunJudge(t *testing.T, members []*longrunMember, last int, publications string) {
	seconds := longrunFor.Seconds()
	results := map[string]*longrunResult{"exact": {}, "follow": {}}
	used, count := map[string]time.Duration{}, map[string]int{}
	worst := map[string][]growth{}
	for _, m := range members {
		used[m.kind] += m.used
		count[m.kind]++
		var goroutines []int
		if sum := results[m.kind]; sum != nil {
			lines := m.finish(t)
			var r longrunResult
			if len(lines) == 0 {
				t.Fatalf("a reader of kind %s ended without a word: %s", m.kind, m.log())
			}
			ok(t, json.Unmarshal([]byte(lines[len(lines)-1]), &r))
			if r.Last != last {
				t.Errorf("a reader of kind %s ended at stamp %d of %d", m.kind, r.Last, last)
			}
			goroutines = r.Goroutines
			sum.merge(&r)
		}
		for n := range m.samples {
			if len(goroutines) > 0 { // the reader's own looks are as many, but not at the same moments
				m.samples[n].goroutines = goroutines[n*len(goroutines)/len(m.samples)]
			}
		}
		for n, g := range growths(m.samples) {
			if g.grew() {
				t.Errorf("a process of kind %s grew: %s", m.kind, g)
			}
			if worst[m.kind] == nil {
				worst[m.kind] = growths(m.samples)
			} else if w := &worst[m.kind][n]; g.now-g.before > w.now-w.before {
				*w = g
			}
		}
	}
	exact, follow := results["exact"], results["follow"]

	t.Logf("%s; %s", publications, longrunRates(exact, follow, count, last))
	for _, kind := range slices.Sorted(maps.Keys(used)) {
		t.Logf("%d of kind %s: %.2f %% of a processor each; most growth from the second quarter to the last: %s",
			count[kind], kind, 100*used[kind].Seconds()/seconds/float64(count[kind]), worst[kind])
	}
	t.Logf("exact readers: time of a Snapshot: %s\n%s", &exact.Read, exact.Read.table())
	t.Logf("exact readers that look every %s: age of a generation when first seen: %s\n%s", longrunLook, &exact.Lag, exact.Lag.table())
	t.Logf("followers: from before the publication to the decoded value: %s\n%s", &follow.Lag, follow.Lag.table())
	t.Logf("copies begun anew: exact %d, following %d; torn: exact %d, following %d; the daemon seemed dead at %d of %d looks",
		exact.Retries, follow.Retries, exact.Torn, follow.Torn, exact.Dead+follow.Dead,
		uint64(len(exact.Goroutines)+len(follow.Goroutines)))
	if exact.Seen == 0 || follow.Seen == 0 && *longrunReaders > 1 {
		t.Error("readers saw nothing")
	}
	report(t, "neither a daemon that publishes for long nor its readers leak resources",
		fmt.Sprintf("%s of up to %d publications a second (%s), %d readers, %d generations proven, %d reads, one every %s of an exact reader",
			*longrunFor, *longrunRate, publications, *longrunReaders, exact.Seen, exact.Read.total(), longrunLook),
		fmt.Sprintf("nothing; %d faults; worst read %s; followers behind: %s",
			exact.Faults+follow.Faults, brief(exact.Read.Worst), &follow.Lag))
}

// longrunRates is how much of what was published a reader sees.
func longrunRates(exact, follow *longrunResult, count map[string]int, last int) string {
	share := func(r *longrunResult, n int) float64 {
		if n == 0 {
			return 0
		}
		return 100 * float64(r.Seen) / float64(n) / float64(last)
	}
	return fmt.Sprintf("seen of all generations, the rest being passed over for a newer one: exact readers %.2f %%, followers %.2f %%",
		share(exact, count["exact"]), share(follow, count["follow"]))
}

// TestLongRunMeasures verifies that the measurement finds a growth, and none in noise.
func TestLongRunMeasures(t *testing.T) {
	var flat, leak []sample
	for n := range longrunSamples {
		flat = append(flat, sample{rss: 20<<10 + n%7*512, descriptors: 9 + n%2, threads: 8, mappings: 60, goroutines: 5 + n%3})
		leak = append(leak, sample{rss: 20<<10 + n<<10, descriptors: 9 + n, threads: 8 + n, mappings: 60 + n, goroutines: 5 + n})
	}
	for _, g := range growths(flat) {
		if g.grew() {
			t.Errorf("noise is taken for growth: %s", g)
		}
	}
	for _, g := range growths(leak) {
		if !g.grew() {
			t.Errorf("a leak goes unseen: %s", g)
		}
	}
	if s, _, err := sampleOf(os.Getpid(), "no such region"); err != nil || s.rss == 0 || s.descriptors < 3 || s.threads == 0 || s.mappings == 0 {
		t.Errorf("this process is measured as %+v: %v", s, err)
	}

	var h histogram
	for n := 1; n <= 1000; n++ {
		h.add(time.Duration(n) * time.Microsecond)
	}
	for part, want := range map[float64]time.Duration{0.5: 500 * time.Microsecond, 0.99: 990 * time.Microsecond, 1: time.Millisecond} {
		if got := h.percentile(part); got < want || got > want*9/8 {
			t.Errorf("percentile %v of 1 µs to 1 ms is %s", part, got)
		}
	}
	for _, d := range []time.Duration{0, 7, 8, 15, 16, 1023, time.Hour} {
		if n := bucketOf(d); bucketEnd(n) <= d || n > 0 && bucketEnd(n-1) > d {
			t.Errorf("%d ns are counted in bucket %d, which ends at %d ns", d, n, bucketEnd(n))
		}
	}
}

//go:build unix

package client_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/writer"
)

func TestStatsOfTheRegion(t *testing.T) {
	t.Parallel()
	began := time.Now()
	dir := regionIn(t)
	p := created(t, dir, 41, numbered(41))
	c := open(t, dir)
	stats := c.Stats()
	want(t, "RegionID", stats.RegionID, p.ID().String())
	want(t, "Generation", stats.Generation, 41)
	want(t, "DaemonAlive", stats.DaemonAlive, true)
	want(t, "Observed", stats.Observed, "")
	want(t, "Problem", stats.Problem, "")
	want(t, "SourceLastGood", stats.SourceLastGood, -1)
	want(t, "Err", stats.Err, nil)
	if stats.Age < 0 || stats.Age > time.Since(began) {
		t.Errorf("Age is %v", stats.Age)
	}

	const some = 15 * time.Second // not before the boot of a machine that was just started
	p.Observe(shm.Observation{Observed: "revision-43", SourceGood: shm.Boottime() - some, Problem: "a.yaml:3:1: no number"})
	must(t, p.Beat())
	stats = c.Stats()
	want(t, "Observed", stats.Observed, "revision-43")
	want(t, "Problem", stats.Problem, "a.yaml:3:1: no number")
	if good := stats.SourceLastGood; good < some || good > some+time.Since(began) {
		t.Errorf("SourceLastGood is %v", good)
	}

	p.next(t, numbered(42))
	want(t, "the snapshot's generation", c.Snapshot().Generation(), 42)
	want(t, "Generation", c.Stats().Generation, 42)

	p.close(t)
	want(t, "DaemonAlive after it stopped", c.Stats().DaemonAlive, false)
	want(t, "Observed after it stopped", c.Stats().Observed, "revision-43")
}

func TestStatsOfADaemonThatWasKilled(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	c := open(t, dir)
	want(t, "DaemonAlive", c.Stats().DaemonAlive, true)
	silence(t, p.Path())
	want(t, "DaemonAlive", c.Stats().DaemonAlive, false)
	must(t, p.Beat())
	want(t, "DaemonAlive", c.Stats().DaemonAlive, true)
}

// Age is that of the generation, not of what the client found in it since.
func TestStatsAgeIsThatOfTheGeneration(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	created(t, dir, 1, numbered(1))
	c := open(t, dir)
	const some = 20 * time.Millisecond
	eventually(t, "the generation has an age", func() bool { return c.Stats().Age > some })
	client.Bind[number](c, "a")
	_, err := c.Get("b")
	must(t, err)
	if age := c.Stats().Age; age < some {
		t.Errorf("the age went back from more than %v to %v", some, age)
	}
}

func TestStatsCountRefreshesAndFaults(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	c := open(t, dir)
	client.Bind[number](c, "a")
	before := c.Stats()
	for g := uint64(2); g < 12; g++ {
		p.next(t, numbered(g))
		c.Snapshot()
	}
	if n := c.Stats().Refreshes - before.Refreshes; n < 10 {
		t.Errorf("%d refreshes are counted after 10 publications", n)
	}
	want(t, "Faults", c.Stats().Faults, 0)
	want(t, "RefusedRegions", c.Stats().RefusedRegions, 0)
	must(t, os.Truncate(p.Path(), 0))
	eventually(t, "a fault is counted", func() bool { c.Snapshot(); return c.Stats().Faults > 0 })
	wantError(t, c.Stats().Err, client.ErrCorrupt)
	must(t, p.create(12, numbered(12)))
	eventually(t, "the error is gone", func() bool { c.Snapshot(); return c.Stats().Err == nil })
}

// A writer that laps its readers all the time is seen in their counters, and
// in nothing else.
func TestStatsCountTornReads(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p, err := newPublisher(dir, writer.Options{Slots: 2, MaxImage: 1 << 20, Group: -1})
	must(t, err)
	t.Cleanup(func() { p.close(t) })
	big := func(g uint64) configs {
		return configs{"a": number{g}, "big": strings.Repeat(string(rune('a'+g%26)), 256<<10)}
	}
	must(t, p.create(1, big(1)))
	c := open(t, dir)
	b := client.Bind(c, "big", client.Options[string]{Validate: func(text *string) error {
		if strings.Trim(*text, (*text)[:1]) != "" {
			t.Error("a torn config was accepted")
		}
		return nil
	}})
	stop := flatOut(t, func() error { return p.publish(big(p.current.Generation() + 1)) })
	eventually(t, "a torn read is counted", func() bool {
		b.In(c.Snapshot())
		stats := c.Stats()
		if stats.Retries < stats.TornReads {
			t.Errorf("%d retries and %d torn reads", stats.Retries, stats.TornReads)
		}
		return stats.TornReads > 0
	})
	stop()
	want(t, "the generation", c.Snapshot().Generation(), p.current.Generation())
	want(t, "Rejections", c.Stats().Rejections, 0)
}

//go:build linux

package campaign

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
)

func init() {
	roles["crash-reader"] = crashReader
	roles["crash-copier"] = crashCopier
}

// crashSeen is what a reader saw last. It never goes back.
type crashSeen struct {
	id         string
	generation uint64
	number     int
}

// next records what a reader sees, and fails if the reader went back.
func (s *crashSeen) next(id string, generation uint64, number int) error {
	was := *s
	*s = crashSeen{id, generation, number}
	switch {
	case id != was.id && generation <= was.generation:
		return fmt.Errorf("region %s has generation %d, and %s before it had %d", id, generation, was.id, was.generation)
	case generation < was.generation:
		return fmt.Errorf("generation %d came after %d", generation, was.generation)
	case number < was.number:
		return fmt.Errorf("generation %d has revision %d, and %d had %d", generation, number, was.generation, was.number)
	}
	return nil
}

// crashTally is what a reader reports all the time, as the difference to its last
// report: a reader that is killed cannot report at the end.
type crashTally struct {
	looks, images, torn, retries uint64
	said                         time.Time
}

func (c *crashTally) say(s *crashSeen, now bool) {
	if !now && time.Since(c.said) < 50*time.Millisecond {
		return
	}
	fmt.Println("tally", c.looks, c.images, c.torn, c.retries, s.generation, s.number)
	*c = crashTally{said: time.Now()}
}

// crashReader is an application: it takes snapshots all the time, follows bindings
// and a watch, and verifies every value.
func crashReader(ctx context.Context, args []string) error {
	c, err := client.Open(args[0], client.Wait(patience))
	if err != nil {
		return err
	}
	defer c.Close()
	var bindings []*client.Binding[proven]
	for _, name := range provenNames {
		bindings = append(bindings, client.Bind[proven](c, name))
	}
	watched := make(chan error, 1)
	go func() { watched <- crashWatch(ctx, c) }()
	var seen crashSeen
	var tally crashTally
	var before client.Stats
	got := make([]int, len(bindings))
	written := map[string]proven{} // the revision that a binding had last, as it was written
	for ctx.Err() == nil {
		tally.looks++
		s := c.Snapshot()
		if s.Generation() != seen.generation || s.RegionID() != seen.id {
			number, err := prove(s)
			if err == nil {
				err = seen.next(s.RegionID(), s.Generation(), number)
			}
			for n, b := range bindings {
				if in := b.In(s); err == nil && in.Number != number {
					err = fmt.Errorf("generation %d: %s has revision %d, and its binding in the snapshot %d",
						s.Generation(), provenNames[n], number, in.Number)
				}
			}
			if err != nil {
				return err
			}
			tally.images++
		}
		for n, b := range bindings {
			v := b.Get()
			if v.Number < got[n] {
				return fmt.Errorf("the binding of %s went back from revision %d to %d", provenNames[n], got[n], v.Number)
			}
			if v.Number > got[n] && v.Number != written[provenNames[n]].Number {
				written = crashRevision(v.Number)
			}
			if v.Number > got[n] && *v != written[provenNames[n]] {
				return fmt.Errorf("the binding of %s has another content than revision %d", provenNames[n], v.Number)
			}
			got[n] = v.Number
		}
		if time.Since(tally.said) >= 50*time.Millisecond {
			stats := c.Stats()
			if errors.Is(stats.Err, client.ErrCorrupt) || stats.Faults != 0 || stats.Rejections != 0 || stats.RefusedRegions != 0 {
				// No crash leaves damage, not even temporarily.
				return fmt.Errorf("the client says that the region is damaged: %+v", stats)
			}
			tally.torn, tally.retries = stats.TornReads-before.TornReads, stats.Retries-before.Retries
			before = stats
			tally.say(&seen, true)
		}
		select {
		case err := <-watched:
			return err
		case <-time.After(rand.N(4 * time.Millisecond)):
		}
	}
	tally.say(&seen, true)
	return <-watched
}

// crashWatch follows one config.
func crashWatch(ctx context.Context, c *client.Client) error {
	last := 0
	for change := range c.Watch(ctx, "b") {
		if change.Err != nil {
			return fmt.Errorf("watching b: %w", change.Err)
		}
		number, err := change.Doc.Int("number")
		if err != nil || number < last {
			return fmt.Errorf("watching b: revision %d after %d (%v)", number, last, err)
		}
		last = number
	}
	return nil
}

// crashCopier reads the region by its protocol, without package client. It copies
// slowly, so that nearly every crash happens during a copy.
func crashCopier(ctx context.Context, args []string) error {
	var r *shm.Region
	var seen crashSeen
	var tally crashTally
	var words []uint64
	for ctx.Err() == nil {
		tally.say(&seen, false)
		if r == nil || r.Replaced() {
			next, err := shm.Open(args[0], shm.Trust{})
			if err != nil && !errors.Is(err, shm.ErrNoRegion) {
				return err
			}
			if err == nil {
				r = next
			}
		}
		if r == nil {
			time.Sleep(time.Millisecond)
			continue
		}
		var hot seqlock.Hot
		effort, err := r.Read(func(now seqlock.Hot, in []uint64) error {
			hot, words = now, words[:0]
			step := max(64, len(in)/20)
			for len(in) > 0 {
				n := min(len(in), step)
				part := make([]uint64, n)
				seqlock.LoadWords(part, in[:n])
				words, in = append(words, part...), in[n:]
				time.Sleep(rand.N(time.Millisecond))
			}
			return nil
		})
		tally.looks++
		tally.torn += uint64(effort.Torn)
		tally.retries += uint64(effort.Torn + effort.Lapped)
		if errors.Is(err, shm.ErrBusy) {
			continue
		}
		number := 0
		if err == nil {
			number, err = crashProve(hot.Generation(), words)
		}
		fresh := hot.Generation() != seen.generation
		if err == nil {
			err = seen.next(r.ID().String(), hot.Generation(), number)
		}
		if err != nil {
			return err
		}
		if fresh {
			tally.images++
		}
	}
	tally.say(&seen, true)
	return nil
}

// crashCrowd are the readers of a campaign. They are stopped and killed, which must
// not affect the daemon.
type crashCrowd struct {
	testing.TB
	region  string
	members []*crashMember
	wait    sync.WaitGroup

	looks, images, torn, retries, stops, kills atomic.Uint64
}

// crashMember is one reader.
type crashMember struct {
	role string
	*process
	killed     atomic.Bool
	generation atomic.Uint64
}

func newCrashCrowd(t testing.TB, region string) *crashCrowd {
	t.Helper()
	c := &crashCrowd{TB: t, region: region}
	for _, role := range []string{"crash-reader", "crash-reader", "crash-reader", "crash-copier"} {
		c.members = append(c.members, c.join(role))
	}
	return c
}

// join starts a reader, and collects its reports.
func (c *crashCrowd) join(role string) *crashMember {
	m := &crashMember{role: role, process: spawn(c, role, c.region)}
	c.wait.Go(func() {
		for line := range m.Lines {
			var looks, images, torn, retries, generation uint64
			if _, err := fmt.Sscanf(line, "tally %d %d %d %d %d", &looks, &images, &torn, &retries, &generation); err != nil {
				c.Errorf("%s: %s", role, line)
				continue
			}
			c.looks.Add(looks)
			c.images.Add(images)
			c.torn.Add(torn)
			c.retries.Add(retries)
			m.generation.Store(generation)
		}
		<-m.ended
		if m.err != nil && !m.killed.Load() && !c.Failed() { // a failed test ends the readers, too
			c.Errorf("%s ended by itself: %v\n%s", role, m.err, m.log())
		}
	})
	return m
}

// replace kills a reader, and starts another one.
func (c *crashCrowd) replace(n int) {
	old := c.members[n]
	old.killed.Store(true)
	_ = old.Process.Kill()
	<-old.ended
	c.members[n] = c.join(old.role)
	c.kills.Add(1)
}

// molest stops and kills readers at random moments until the context ends. A message
// on renew has it replace all readers but one. In the short campaign it kills fewer:
// to start a reader takes more processor time than all it reads until the next kill.
func (c *crashCrowd) molest(ctx context.Context, renew <-chan struct{}) {
	random := chance("crash crowd")
	between := time.Second
	if *crashKills == 0 {
		between = 4 * time.Second
	}
	next := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-renew:
			for n := range c.members[1:] {
				c.replace(n + 1)
			}
			continue
		case <-time.After(chanceUpTo(random, 60*time.Millisecond)):
		}
		n := random.IntN(len(c.members))
		if time.Now().After(next) {
			next = time.Now().Add(between/2 + chanceUpTo(random, between))
			c.replace(n)
			continue
		}
		m := c.members[n]
		_ = m.Process.Signal(syscall.SIGSTOP) // one that ended by itself is an error already
		time.Sleep(chanceUpTo(random, []time.Duration{40, 40, 150}[random.IntN(3)]*time.Millisecond))
		_ = m.Process.Signal(syscall.SIGCONT)
		c.stops.Add(1)
	}
}

// arrive waits until every reader has seen a generation.
func (c *crashCrowd) arrive(generation uint64) {
	c.Helper()
	for n, m := range c.members {
		await(c, fmt.Sprintf("reader %d, %s, at generation %d to see %d", n, m.role, m.generation.Load(), generation), func() bool {
			select {
			case <-m.ended:
				c.Fatalf("reader %d, %s, has ended", n, m.role)
			default:
			}
			return m.generation.Load() >= generation
		})
	}
}

// leave ends the readers in an orderly way.
func (c *crashCrowd) leave() {
	for _, m := range c.members {
		_ = m.stdin.Close()
	}
	c.wait.Wait()
}

func (c *crashCrowd) String() string {
	return strings.Join([]string{
		fmt.Sprintf("%d images proven in %d looks", c.images.Load(), c.looks.Load()),
		fmt.Sprintf("%d torn reads begun anew", c.torn.Load()),
		fmt.Sprintf("readers stopped %d times", c.stops.Load()),
		fmt.Sprintf("and killed %d times", c.kills.Load()),
	}, ", ")
}

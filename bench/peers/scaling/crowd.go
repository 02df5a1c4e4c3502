package scaling

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/statesync/statesync/bench/peers/process"
	"github.com/statesync/statesync/bench/peers/scaling/cost"
	"github.com/statesync/statesync/shm/image"
)

// crowdPoint is what a number of reader processes cost.
type crowdPoint struct {
	Readers int
	// Nanoseconds of processor time for a read, over all readers.
	Get, In []float64 // one for each round
	// The same while the region is published 100 times a second.
	InPublishing []float64
	// Publish is how long a publication took with the readers waiting for it,
	// in nanoseconds, and Change the processor time of all readers for one.
	Publish []float64
	Change  []float64
}

// memory is what readers and their region take, in bytes.
type memory struct {
	Image   int64 // its size
	Region  int64 // the pages of the region's file
	Readers int
	Reader  cost.Memory // the median of the readers
	Bare    cost.Memory // a Go program that reads nothing
}

const (
	readFor      = 300 * time.Millisecond // by the clock, in each round
	publishEvery = 10 * time.Millisecond
	publications = 30 // for the readers' part in a change
)

// crowd is the readers that run, of one region.
type crowd struct {
	p       *publisher
	readers []*process.Process
	version int
}

// measureCrowd adds readers up to each number and has all of them read.
func measureCrowd(ctx context.Context, numbers []int, rounds int, say func(string, ...any)) (points []crowdPoint, m memory, err error) {
	sections := make([]*image.Section, 500)
	for i := range sections {
		name := fmt.Sprintf("config-%d", i)
		if i == 0 {
			name = used
		}
		if sections[i], err = document(name, 30, 1); err != nil {
			return nil, m, err
		}
	}
	p, err := newPublisher(ctx, 4<<20, sections)
	if err != nil {
		return nil, m, err
	}
	defer p.close()
	c := &crowd{p: p, version: 1}
	defer func() { err = errors.Join(err, c.stop()) }()
	for _, n := range numbers {
		say("%d readers", n)
		for len(c.readers) < n {
			r, err := process.Start(ctx, readerPart, p.dir, used)
			if err != nil {
				return nil, m, err
			}
			c.readers = append(c.readers, r)
		}
		point := crowdPoint{Readers: n}
		for range rounds {
			if err := c.round(ctx, &point); err != nil {
				return nil, m, fmt.Errorf("%d readers: %w", n, err)
			}
		}
		points = append(points, point)
	}
	m, err = c.memory(ctx)
	return points, m, err
}

func (c *crowd) round(ctx context.Context, point *crowdPoint) error {
	get, err := c.read(ctx, "get")
	if err != nil {
		return err
	}
	in, err := c.read(ctx, "in")
	if err != nil {
		return err
	}
	publishing, err := c.publishWhile(ctx, func() (float64, error) { return c.read(ctx, "in") })
	if err != nil {
		return err
	}
	took, change, err := c.changes(ctx)
	if err != nil {
		return err
	}
	point.Get, point.In = append(point.Get, get), append(point.In, in)
	point.InPublishing = append(point.InPublishing, publishing)
	point.Publish, point.Change = append(point.Publish, took), append(point.Change, change)
	return nil
}

// ask gives all readers an order at once, and then waits for their answers.
func ask[T any](ctx context.Context, readers []*process.Process, order string) ([]T, error) {
	for _, r := range readers {
		if _, err := fmt.Fprintln(r.In, order); err != nil {
			return nil, err
		}
	}
	answers := make([]T, len(readers))
	for i, r := range readers {
		line, err := r.Line(ctx)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(line), &answers[i]); err != nil {
			return nil, fmt.Errorf("a reader answers %q: %w", line, err)
		}
	}
	return answers, nil
}

// read has all readers read, and is the processor time of a read in
// nanoseconds.
func (c *crowd) read(ctx context.Context, how string) (float64, error) {
	answers, err := ask[done](ctx, c.readers, fmt.Sprintf("%s %s", how, readFor))
	if err != nil {
		return 0, err
	}
	var all done
	for _, a := range answers {
		all.Reads += a.Reads
		all.CPU += a.CPU
	}
	return float64(all.CPU) / float64(all.Reads), nil
}

// publish publishes another version of the config that all readers use.
func (c *crowd) publish() (time.Duration, error) {
	c.version++
	s, err := document(used, 30, c.version)
	if err != nil {
		return 0, err
	}
	return c.p.publish(s)
}

// publishWhile publishes all the time while fn runs.
func (c *crowd) publishWhile(ctx context.Context, fn func() (float64, error)) (float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	failed := make(chan error, 1)
	go func() {
		for tick := time.NewTicker(publishEvery); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				failed <- nil
				return
			case <-tick.C:
				if _, err := c.publish(); err != nil {
					tick.Stop()
					failed <- err
					return
				}
			}
		}
	}()
	v, err := fn()
	cancel()
	return v, errors.Join(err, <-failed)
}

// changes publishes while all readers sleep, and says how long a publication
// took (the median) and what one cost all readers, in nanoseconds.
func (c *crowd) changes(ctx context.Context) (took, change float64, err error) {
	before, err := cost.TotalCPU(pids(c.readers))
	if err != nil {
		return 0, 0, err
	}
	var times []float64
	for range publications {
		d, err := c.publish()
		if err != nil {
			return 0, 0, err
		}
		times = append(times, float64(d))
		if err := c.settled(ctx); err != nil {
			return 0, 0, err
		}
	}
	after, err := cost.TotalCPU(pids(c.readers))
	return median(times), float64(after-before) / publications, err
}

// settled waits until the readers use no more processor time.
func (c *crowd) settled(ctx context.Context) error {
	last := time.Duration(-1)
	for {
		now, err := cost.TotalCPU(pids(c.readers))
		if err != nil || now == last {
			return err
		}
		last = now
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(3 * time.Millisecond):
		}
	}
}

func pids(processes []*process.Process) []int {
	ids := make([]int, len(processes))
	for i, p := range processes {
		ids[i] = p.Pid()
	}
	return ids
}

// memory is what everything takes once it is at rest.
func (c *crowd) memory(ctx context.Context) (m memory, err error) {
	bare, err := process.Start(ctx, barePart)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, bare.Stop()) }()
	if _, err := ask[bool](ctx, append([]*process.Process{bare}, c.readers...), "rest"); err != nil {
		return m, err
	}
	m = memory{Image: int64(c.p.current.Size()), Readers: len(c.readers)}
	if m.Bare, err = cost.MemoryOf(bare.Pid()); err != nil {
		return m, err
	}
	var rss, pss, private, shmem []int64
	for _, r := range c.readers {
		one, err := cost.MemoryOf(r.Pid())
		if err != nil {
			return m, err
		}
		rss, pss = append(rss, one.RSS), append(pss, one.PSS)
		private, shmem = append(private, one.Private), append(shmem, one.Shmem)
	}
	m.Reader = cost.Memory{RSS: median(rss), PSS: median(pss), Private: median(private), Shmem: median(shmem)}
	m.Region, err = cost.Blocks(c.p.writer.Path())
	return m, err
}

func (c *crowd) stop() error {
	var errs []error
	for _, r := range c.readers {
		errs = append(errs, r.Stop())
	}
	return errors.Join(errs...)
}

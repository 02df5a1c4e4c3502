package scaling

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/statesync/statesync/bench/peers/process"
	"github.com/statesync/statesync/bench/peers/scaling/cost"
	"github.com/statesync/statesync/bench/peers/scaling/statesyncd"
	"github.com/statesync/statesync/client"
)

// daemonPoint is what the real daemon costs with so many files in its source.
type daemonPoint struct {
	Files  int
	Memory cost.Memory // once it is idle
	Idle   float64     // of one processor, in parts: 0.01 is 1 %
	Rates  []ratePoint
}

// ratePoint is the daemon while one file is replaced so many times a second.
type ratePoint struct {
	Rate    float64 // wanted
	Changes int     // made
	Seen    uint64  // generations that were published of them
	Busy    float64 // of one processor, in parts
}

// daemonPlan is how the daemon is measured.
type daemonPlan struct {
	files []int
	rates []float64     // changes a second
	idle  time.Duration // with rescans in it
	busy  time.Duration // for each rate
}

var usualPlan = daemonPlan{
	files: []int{1, 1000, 10_000}, rates: []float64{1, 10, 100},
	idle: 10 * time.Second, busy: 4 * time.Second,
}

func measureDaemon(ctx context.Context, plan daemonPlan, dir string, say func(string, ...any)) ([]daemonPoint, error) {
	binary, err := statesyncd.Build(ctx, dir)
	if err != nil {
		return nil, err
	}
	var points []daemonPoint
	for _, n := range plan.files {
		say("the daemon with %d files", n)
		p, err := plan.measure(ctx, n, binary, filepath.Join(dir, fmt.Sprint("daemon-", n)))
		if err != nil {
			return nil, fmt.Errorf("the daemon with %d files: %w", n, err)
		}
		points = append(points, p)
	}
	return points, nil
}

func (plan daemonPlan) measure(ctx context.Context, files int, binary, dir string) (p daemonPoint, err error) {
	p.Files = files
	source := filepath.Join(dir, "source")
	if err := os.MkdirAll(source, 0o755); err != nil {
		return p, err
	}
	for i := range files {
		if err := os.WriteFile(filepath.Join(source, fmt.Sprintf("config-%d.json", i)), text(30, 1), 0o644); err != nil {
			return p, err
		}
	}
	region, remove, err := tempRegion()
	if err != nil {
		return p, err
	}
	defer remove()
	daemon, err := statesyncd.Start(binary, source, region, filepath.Join(dir, "state"))
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, daemon.Stop()) }()
	c, err := client.Open(region, client.Wait(time.Minute))
	if err != nil {
		return p, err
	}
	defer c.Close()
	if err := process.Sleep(ctx, 2*time.Second); err != nil { // the last good image is saved
		return p, err
	}
	if p.Idle, err = busy(daemon, func() error { return process.Sleep(ctx, plan.idle) }); err != nil {
		return p, err
	}
	if p.Memory, err = cost.MemoryOf(daemon.Pid()); err != nil {
		return p, err
	}
	version := 1
	for _, rate := range plan.rates {
		r := ratePoint{Rate: rate}
		before := c.Snapshot().Generation()
		r.Busy, err = busy(daemon, func() error {
			return replaceAtRate(ctx, filepath.Join(source, "config-0.json"), rate, plan.busy, func() []byte {
				version++
				r.Changes++
				return text(30, version)
			})
		})
		if err != nil {
			return p, err
		}
		if err := awaitVersion(ctx, c, version); err != nil {
			return p, err
		}
		r.Seen = c.Snapshot().Generation() - before
		p.Rates = append(p.Rates, r)
	}
	return p, nil
}

// busy is the part of one processor that a process took while fn ran.
func busy(p *process.Process, fn func() error) (float64, error) {
	start := time.Now()
	before, err := cost.CPU(p.Pid())
	if err != nil {
		return 0, err
	}
	if err := fn(); err != nil {
		return 0, err
	}
	after, err := cost.CPU(p.Pid())
	return (after - before).Seconds() / time.Since(start).Seconds(), err
}

// replaceAtRate replaces a file so many times a second, for a time.
func replaceAtRate(ctx context.Context, path string, rate float64, d time.Duration, next func() []byte) error {
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	tick := time.NewTicker(time.Duration(float64(time.Second) / rate))
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); {
		if err := os.WriteFile(temp, next(), 0o644); err != nil {
			return err
		}
		if err := os.Rename(temp, path); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// awaitVersion waits until the newest version that was written is there.
func awaitVersion(ctx context.Context, c *client.Client, version int) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for change := range c.WatchKey(ctx, "config-0", "version") {
		if v, err := change.Doc.Int("version"); err == nil && v == version {
			return nil
		}
	}
	return fmt.Errorf("version %d did not arrive: %w", version, ctx.Err())
}

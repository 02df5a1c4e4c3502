package match

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/statesync/statesync/bench/peers/process"
)

// options are how long and how hard the service is loaded.
type options struct {
	rate    float64       // requests a second, the same for all modes
	rounds  int           // each mode has its turn in each round
	calm    time.Duration // without a change, in each turn
	changes int           // in each turn
	stop    time.Duration // how long a backend is stopped, once for each
	// A load runs for settle before anything counts. A change is watched until
	// settle after its value was served, and for twice that at least. A load
	// continues for after once a backend is back.
	settle, after time.Duration
	say           func(format string, args ...any)
}

// turn loads a mode for a while, calm at first, and then through changes.
func (m *mode) turn(ctx context.Context, o options, seed uint64) (t turn, err error) {
	l := m.load(o.rate, seed)
	defer l.stop()
	if err := process.Sleep(ctx, o.settle); err != nil {
		return t, err
	}
	if t.Quiet, err = l.watch(m, func() error { return process.Sleep(ctx, o.calm) }); err != nil {
		return t, err
	}
	var windows []window
	for range o.changes {
		if m.change == nil {
			break // nothing that could change
		}
		c, w, err := m.through(ctx, o, l)
		if err != nil {
			return t, fmt.Errorf("version %d in mode %s: %w", m.version, m.way.Mode, err)
		}
		t.Changes, windows = append(t.Changes, c), append(windows, w)
	}
	samples := l.stop()
	calm := within(samples, t.Quiet.window)
	t.Quiet.Requests = len(calm)
	t.Calm = latencyOf(calm)
	var late []time.Duration
	for _, s := range calm {
		late = append(late, s.sent-s.intended)
	}
	slices.Sort(late)
	t.Late = percentile(late, 0.99)
	var changing []sample
	for i, w := range windows {
		in := within(samples, w)
		changing = append(changing, in...)
		t.Changes[i].Seen, t.Changes[i].Stale = spread(in, w.from, m.version-len(windows)+1+i)
	}
	t.Changing = latencyOf(changing)
	return t, nil
}

// through makes a change under load, and says what it cost and when it was.
func (m *mode) through(ctx context.Context, o options, l *load) (c change, w window, err error) {
	if m.prepare != nil {
		if err := m.prepare(ctx); err != nil {
			return c, w, err
		}
		if err := process.Sleep(ctx, o.settle); err != nil {
			return c, w, err
		}
	}
	m.version++
	spent, err := l.watch(m, func() error {
		from := l.now()
		if err := m.change(ctx, m.version); err != nil {
			return err
		}
		c.Call = l.now() - from
		if err := l.await(ctx, m.version); err != nil {
			return err
		}
		return process.Sleep(ctx, max(from+2*o.settle, l.now()+o.settle)-l.now())
	})
	c.Reads, c.Spent, c.Long = spent.Usage.Reads, spent.Stack, spent.For
	return c, spent.window, err
}

// spread is how long a version took from the change to its first answer, and
// to the last request that was answered with an older one.
func spread(samples []sample, from time.Duration, version int) (seen, stale time.Duration) {
	for _, s := range samples {
		switch {
		case s.err != nil:
		case s.version >= version:
			if d := s.done - from; seen == 0 || d < seen {
				seen = d
			}
		default:
			stale = max(stale, s.intended-from)
		}
	}
	return seen, stale
}

// outage stops a backend under load.
func (m *mode) outage(ctx context.Context, o options, b backend) (outage, error) {
	out := outage{What: b.name}
	if m.ages {
		if err := m.age(ctx, o); err != nil {
			return out, err
		}
	}
	l := m.load(o.rate, 0)
	defer l.stop()
	if err := process.Sleep(ctx, o.settle); err != nil {
		return out, err
	}
	if err := b.Pause(); err != nil {
		return out, err
	}
	w := window{from: l.now()}
	err := process.Sleep(ctx, o.stop)
	err = cmp.Or(b.Resume(), err)
	w.to = l.now()
	if err == nil {
		err = process.Sleep(ctx, o.after)
	}
	if err != nil {
		return out, err
	}
	samples := l.stop()
	out.During = latencyOf(within(samples, w))
	for _, s := range samples {
		if s.err != nil && s.intended >= w.from {
			out.Reason = cmp.Or(out.Reason, s.err.Error())
			out.After = max(out.After, s.intended-w.to)
		}
	}
	return out, nil
}

// age fills the mode's cache, and returns when what is in it will run out in
// the middle of a stop that begins soon.
func (m *mode) age(ctx context.Context, o options) error {
	m.version++
	if err := m.change(ctx, m.version); err != nil {
		return err
	}
	for m.newest.Load() < int64(m.version) {
		if a := m.request(0); a.err != nil {
			return a.err
		}
	}
	wait := ttl - o.settle - min(o.stop/2, ttl/2)
	o.say("mode %s: %s until its TTL is about to run out", m.way.Mode, wait)
	return process.Sleep(ctx, wait)
}

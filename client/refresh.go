package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
)

type hot = seqlock.Hot

// why is what makes a refresh more than a look at the hot word.
type why uint8

const (
	moreConfigs  why = 1 << iota // some are carried that the newest snapshot lacks
	silentWriter                 // another region may have come to the path
)

// refresh brings the newest snapshot up to date, for the follower and for
// exact readers alike. An error leaves it as it is.
func (c *Client) refresh(reason why) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refreshLocked(reason)
}

// refreshLocked is refresh with mu held.
func (c *Client) refreshLocked(reason why) error {
	if c.isClosed() {
		return ErrClosed
	}
	c.counters.refreshes.Add(1)
	c.err = c.tryRefresh(reason&moreConfigs != 0, reason&silentWriter != 0 || c.err != nil)
	return c.err
}

func (c *Client) tryRefresh(more, look bool) error {
	prev := c.current.Load()
	var err error
	if prev.region != nil {
		err = c.refreshFrom(prev.region, prev, more)
		if err == nil && !look && !c.current.Load().retired {
			if c.retryAt.Load() != 0 {
				c.retryAt.Store(0)
			}
			return nil
		}
		// What we have is damaged, retired or silent.
	}
	found, openErr := c.lookAtPath(more)
	switch {
	case found:
		err = nil
	case prev.region == nil:
		err = openErr
	case openErr != nil:
		err = errors.Join(err, fmt.Errorf("another region is at the path, and can't be used: %w", openErr))
	}
	switch {
	case err != nil && !found && !errors.Is(err, shm.ErrBusy): // that is no damage: the next look may be lucky
		c.retryIn(retryDamaged)
	case c.current.Load().retired:
		c.retryIn(retryRetired)
	default:
		c.retryAt.Store(0)
	}
	if prev.region == nil && !found && more {
		c.move(c.withoutRegion(prev))
	}
	return damaged(err)
}

// lookAtPath goes over to the region at the path, if it is another one than we
// have. What can't be used stays unused until the path names another file.
func (c *Client) lookAtPath(more bool) (found bool, err error) {
	prev := c.current.Load()
	if prev.region != nil && !prev.region.Replaced() {
		return false, nil
	}
	next := c.refused
	if next == nil || next.Replaced() {
		if next, err = shm.Open(c.dir, c.trust); err != nil {
			c.refused = nil
			if prev.region != nil {
				c.counters.refusedRegions.Add(1)
			}
			return false, err
		}
	}
	if err = c.refreshFrom(next, prev, more); err != nil {
		if c.refused != next {
			c.counters.refusedRegions.Add(1)
		}
		c.refused = next // looked at again, but not mapped again
		return false, err
	}
	c.refused = nil
	return true, nil
}

// refreshFrom makes a snapshot of a region's current generation the newest,
// if it isn't.
func (c *Client) refreshFrom(region *shm.Region, prev *Snapshot, more bool) error {
	next := &Snapshot{client: c, region: region, serial: prev.serial, published: prev.published}
	same := region == prev.region
	effort, err := region.Read(func(h hot, words []uint64) error {
		next.hot, next.retired = h&^1, h.Retired()
		if same && next.hot == prev.hot && !more {
			next.configs = prev.configs
			return nil
		}
		return at(region, c.fill(next, prev, same, words))
	})
	if effort != (shm.Effort{}) {
		c.counters.lapped.Add(uint64(effort.Lapped))
		c.counters.torn.Add(uint64(effort.Torn))
	}
	if errors.Is(err, shm.ErrFault) {
		c.counters.faults.Add(1)
	}
	if err == nil && same && next.hot < prev.hot {
		err = fmt.Errorf("%s: %w: its generation went back from %d to %d",
			region.Path(), shm.ErrCorrupt, prev.Generation(), next.Generation())
	}
	if err == nil && (!same || next.hot != prev.hot || next.retired != prev.retired || more) {
		c.move(next)
	}
	return err
}

// at says which region an error is about.
func at(region *shm.Region, err error) error {
	if err != nil {
		err = fmt.Errorf("%s: %w", region.Path(), err)
	}
	return err
}

// fill copies the carried configs out of an image that may change meanwhile.
func (c *Client) fill(next, prev *Snapshot, same bool, words []uint64) error {
	view, err := image.OpenGeneration(words, next.Generation())
	if err != nil {
		return err
	}
	next.published = view.Published()
	next.serial = prev.serial
	if next.hot != prev.hot || !same {
		next.serial = c.serial + 1
	}
	next.configs = make([]held, len(c.carried))
	for n, k := range c.carried {
		var old held
		if n < len(prev.configs) {
			old = prev.configs[n]
		}
		if same && next.hot == prev.hot && old.config != nil {
			next.configs[n] = old
			continue
		}
		e, err := view.FindHash(k.hash)
		switch {
		case errors.Is(err, image.ErrNotFound):
			if old.config != nil && old.section == nil {
				next.configs[n] = old
				continue
			}
			next.configs[n] = held{config: &config{name: k.name, serial: next.serial}}
			continue
		case err != nil:
			return err
		case same && old.config != nil && old.section != nil && e.Changed == old.changed:
			next.configs[n] = old
			continue
		}
		found := &config{name: k.name, serial: next.serial}
		if err := found.load(&view, e); err != nil {
			return err
		}
		if old.config != nil && old.sameContent(found) {
			found = old.config // in another region: its generations say nothing
		}
		next.configs[n] = held{config: found, changed: e.Changed}
	}
	return nil
}

// load copies the config that an entry leads to out of an image; section stays
// nil where that is another name with the same hash.
func (c *config) load(view *image.View, e image.Entry) error {
	if err := view.SectionTo(&c.own, e); err != nil || c.own.Name() != c.name {
		return err
	}
	var err error
	if c.revision, err = view.SectionRevision(e); err != nil {
		return err
	}
	c.section, c.first = &c.own, e.Changed
	return nil
}

func (c *config) sameContent(other *config) bool {
	if c.section == nil || other.section == nil {
		return c.section == other.section
	}
	return c.section.Equal(other.section)
}

// withoutRegion is prev, which has no region, with all carried configs absent.
func (c *Client) withoutRegion(prev *Snapshot) *Snapshot {
	next := &Snapshot{client: c, serial: prev.serial, configs: make([]held, len(c.carried))}
	for n := copy(next.configs, prev.configs); n < len(next.configs); n++ {
		next.configs[n].config = &config{name: c.carried[n].name}
	}
	return next
}

// move makes a snapshot the newest, and tells everybody.
func (c *Client) move(next *Snapshot) {
	c.serial = max(c.serial, next.serial)
	c.current.Store(next)
	c.announce()
	for _, b := range c.bindings {
		b.advance(next)
	}
}

// announce wakes everybody who waits for the newest snapshot to change.
func (c *Client) announce() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// retryIn keeps exact readers from looking at the region for a while.
func (c *Client) retryIn(d time.Duration) { c.retryAt.Store(int64(time.Since(processStart) + d)) }

// processStart is where time is counted from by a clock that does not jump.
var processStart = time.Now()

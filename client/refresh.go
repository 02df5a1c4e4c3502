package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
)

// How long exact readers leave a region alone that is damaged, or that was
// retired and has no successor yet.
const (
	retryDamaged = 10 * time.Millisecond
	retryRetired = 100 * time.Microsecond
)

// retry keeps exact readers from refreshing in vain. A publication ends it: else
// they would miss one that returned before they asked.
type retry struct {
	region *shm.Region
	hot    seqlock.Hot // the region's before the refresh, 0 if its memory was gone
	at     time.Time
	// last is nil, or the region whose file is at the path while the next
	// publication will be in another one.
	last *shm.Region
}

// pending reports whether a refresh would still find what the last one found.
func (r *retry) pending(region *shm.Region, hot seqlock.Hot) bool {
	return r != nil && r.region == region && r.hot == hot && time.Now().Before(r.at) &&
		(r.last == nil || !r.last.Replaced())
}

// Snapshot is the newest committed generation: every publication that returned
// before the call is in it. Take one per request, and read everything of the
// request through it.
//
// While nothing was published it is one load of shared memory: it allocates
// nothing, makes no syscall and does not block. After a publication the first
// caller copies what changed of the configs that the client uses, and the
// others wait for that.
//
// While the region is damaged, gone or being replaced, it is the last good
// generation; Stats says why.
func (c *Client) Snapshot() *Snapshot {
	s := c.current.Load()
	if s.region == nil {
		return s
	}
	hot, err := s.region.Hot()
	if err == nil && hot == s.hot {
		return s
	}
	return c.catchUp(s.region, hot)
}

// catchUp refreshes for an exact reader that found a hot word in a region, unless
// that would be in vain, and returns the newest snapshot.
func (c *Client) catchUp(region *shm.Region, hot seqlock.Hot) *Snapshot {
	if c.retry.Load().pending(region, hot) {
		return c.current.Load()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.current.Load().isNewest() { // no other goroutine was faster
		_ = c.refreshLocked() // Stats has the error; the last good snapshot stays
	}
	return c.current.Load()
}

// refreshLocked brings the newest snapshot up to date: to the newest generation,
// with every tracked config in it, of the region that is at the path. An error
// leaves it as it is. The caller holds mu.
func (c *Client) refreshLocked() error {
	if c.isClosed() {
		return ErrClosed
	}
	c.counters.refreshes.Add(1)
	region := c.current.Load().region
	unchanged := false
	var err, openErr error
	var hot seqlock.Hot
	if region != nil {
		hot, _ = region.Hot() // 0 if its memory is gone
		unchanged, err = c.refreshFrom(region)
	}
	// A damaged, retired or silent region may have been replaced.
	if region == nil || err != nil || c.err != nil || c.current.Load().retired || unchanged && !region.Beating() {
		var switched bool
		switched, openErr = c.switchRegion()
		switch {
		case switched:
			err = nil
		case region == nil:
			err = openErr
		case openErr != nil:
			err = errors.Join(err, fmt.Errorf("the region that is now at the path is unusable: %w", openErr))
		}
	}
	if s := c.current.Load(); s.region == nil && len(s.versions) < len(c.tracked) {
		c.install(c.withoutRegion(s))
	}
	c.setRetry(region, hot, err, openErr)
	c.err = damaged(err)
	c.unfinished.Store(err != nil || len(c.current.Load().versions) < len(c.tracked))
	return c.err
}

// setRetry has exact readers pause after a refresh that found a hot word in a
// region and errors there and at the path. The caller holds mu.
func (c *Client) setRetry(region *shm.Region, hot seqlock.Hot, err, openErr error) {
	var pause time.Duration
	switch s := c.current.Load(); {
	case err != nil && !errors.Is(err, shm.ErrBusy): // a writer that was too fast is no damage
		pause = retryDamaged
	case s.retired && s.region == region:
		pause = retryRetired
	default:
		if c.retry.Load() != nil { // a store would take the cache line from exact readers
			c.retry.Store(nil)
		}
		return
	}
	next := &retry{region: region, hot: hot, at: time.Now().Add(pause)}
	switch {
	case hot != 0 && !hot.Retired():
	case openErr == nil:
		next.last = region
	default:
		next.last = c.refused
	}
	c.retry.Store(next)
}

// switchRegion goes over to the region at the path, and reports whether that is
// another one than the client has. An unusable region stays mapped and is tried
// again until the path names another file.
func (c *Client) switchRegion() (switched bool, err error) {
	old := c.current.Load().region
	if old != nil && !old.Replaced() {
		return false, nil
	}
	region := c.refused
	if region == nil || region.Replaced() {
		if region, err = shm.Open(c.dir, c.trust); err != nil {
			c.refused = nil
			if old != nil {
				c.counters.refusedRegions.Add(1)
			}
			return false, err
		}
	}
	if _, err = c.refreshFrom(region); err != nil {
		if c.refused != region {
			c.counters.refusedRegions.Add(1)
		}
		c.refused = region
		return false, err
	}
	c.refused = nil
	return true, nil
}

// refreshFrom makes the current generation of a region the newest snapshot,
// unless it is that already, unchanged and with every tracked config.
func (c *Client) refreshFrom(region *shm.Region) (unchanged bool, err error) {
	prev := c.current.Load()
	next := &Snapshot{client: c, region: region, serial: prev.serial, published: prev.published}
	// In another file the generations of the same region go on: it grew.
	sameFile := region == prev.region
	same := sameFile || prev.region != nil && region.ID() == prev.region.ID()
	effort, err := region.Read(func(hot seqlock.Hot, words []uint64) error {
		next.hot, next.retired = hot&^1, hot.Retired()
		unchanged = sameFile && next.hot == prev.hot && len(prev.versions) == len(c.tracked)
		if unchanged {
			next.versions = prev.versions
			return nil
		}
		return inRegion(region, c.fill(next, prev, same, words))
	})
	if effort != (shm.Effort{}) {
		c.counters.lapped.Add(uint64(effort.Lapped))
		c.counters.torn.Add(uint64(effort.Torn))
	}
	switch {
	case errors.Is(err, shm.ErrFault):
		c.counters.faults.Add(1)
	case err == nil && same && next.hot < prev.hot:
		err = fmt.Errorf("%s: %w: its generation went back from %d to %d",
			region.Path(), shm.ErrCorrupt, prev.Generation(), next.Generation())
	}
	if err == nil && (!unchanged || next.retired != prev.retired) {
		c.install(next)
	}
	return unchanged, err
}

// fill copies the tracked configs that changed since prev out of an image,
// which the writer may overwrite meanwhile, and takes the others from prev. same
// says that both are of one region.
func (c *Client) fill(next, prev *Snapshot, same bool, words []uint64) error {
	view, err := image.Open(words, next.Generation())
	if err != nil {
		return err
	}
	next.published = view.Published()
	next.serial = prev.serial
	if next.hot != prev.hot || !same {
		next.serial = c.serial + 1
	}
	next.versions = make([]entry, len(c.tracked))
	for n, name := range c.tracked {
		var old entry
		if n < len(prev.versions) {
			old = prev.versions[n]
		}
		if same && next.hot == prev.hot && old.version != nil {
			next.versions[n] = old
			continue
		}
		e, err := view.Find(name.hash)
		switch {
		case errors.Is(err, image.ErrNotFound):
			next.versions[n] = old
			if old.version == nil || old.section != nil {
				next.versions[n] = entry{version: &version{name: name.text, serial: next.serial}}
			}
		case err != nil:
			return err
		case same && old.version != nil && old.section != nil && e.Changed == old.changedHere && e.Sums(old.section):
			next.versions[n] = old
		default:
			found := &version{name: name.text, serial: next.serial}
			if err := found.load(&view, e); err != nil {
				return err
			}
			if old.version != nil && old.sameContent(found) {
				found = old.version // generations of two regions say nothing about it
			}
			next.versions[n] = entry{version: found, changedHere: e.Changed}
		}
	}
	return nil
}

// load copies the config that an entry leads to out of an image. It leaves
// section nil, and own empty, if that is another name with the same hash.
func (v *version) load(view *image.View, e image.Entry) error {
	section, err := view.Section(e)
	if err != nil || section.Name() != v.name {
		return err
	}
	if v.revision, err = view.SectionRevision(e); err != nil {
		return err
	}
	v.own = section
	v.section, v.changed = &v.own, e.Changed
	return nil
}

func (v *version) sameContent(other *version) bool {
	if v.section == nil || other.section == nil {
		return v.section == other.section
	}
	return v.section.Equal(other.section)
}

// inRegion adds to an error the region that it is about.
func inRegion(region *shm.Region, err error) error {
	if err != nil {
		err = fmt.Errorf("%s: %w", region.Path(), err)
	}
	return err
}

// withoutRegion is prev, which has no region, with all tracked configs absent.
func (c *Client) withoutRegion(prev *Snapshot) *Snapshot {
	next := &Snapshot{client: c, serial: prev.serial, versions: make([]entry, len(c.tracked))}
	for n := copy(next.versions, prev.versions); n < len(next.versions); n++ {
		next.versions[n].version = &version{name: c.tracked[n].text}
	}
	return next
}

// install makes a snapshot the newest, and tells waiters and bindings. The
// caller holds mu.
func (c *Client) install(next *Snapshot) {
	c.serial = max(c.serial, next.serial)
	c.current.Store(next)
	c.wakeWaiters()
	for _, b := range c.bindings {
		b.advance(next)
	}
}

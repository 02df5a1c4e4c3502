package client

import (
	"errors"
	"maps"

	"github.com/statesync/statesync/shm/image"
)

// maxTracked bounds how many configs that were only read by name a client keeps
// up to date. Later ones are looked up in the region each time.
const maxTracked = 4096

// maxOvertaken bounds how often Client.Get starts again because the writer was
// faster than the look-up of a new name.
const maxOvertaken = 256

// Get finds a config in the newest committed generation: it is Snapshot and
// Snapshot.Get.
func (c *Client) Get(name string) (Doc, error) {
	d, err := c.Snapshot().Get(name)
	for n := 0; n < maxOvertaken && errors.Is(err, ErrExpired); n++ {
		d, err = c.Snapshot().Get(name) // the writer was faster: there is a newer generation
	}
	return d, err
}

// Get finds a config in the snapshot's generation. Errors are *ConfigError
// and match ErrNotFound, ErrNoRegion, ErrExpired, ErrCorrupt or ErrClosed.
//
// For a config that was read before, or is bound, it allocates nothing, makes
// no syscall and does not block. The first time, it copies the config out of the
// region.
func (s *Snapshot) Get(name string) (Doc, error) {
	v, err := s.version(name)
	if err == nil && v.section != nil {
		return Doc{version: v, generation: s.Generation()}, nil
	}
	if err == nil {
		err = s.absent()
	}
	return Doc{}, &ConfigError{Config: name, Generation: s.Generation(), Err: err}
}

// absent is the error of a config that the snapshot does not have.
func (s *Snapshot) absent() error {
	if s.hot == 0 {
		return ErrNoRegion
	}
	return ErrNotFound
}

// version finds a config by name.
func (s *Snapshot) version(name string) (*version, error) {
	if n, ok := (*s.client.numbers.Load())[name]; ok && n < len(s.versions) {
		return s.versions[n].version, nil
	}
	if v, ok := s.late.Load(name); ok {
		return v.(*version), nil
	}
	return s.client.lookUp(s, name)
}

// numbered finds a tracked config.
func (s *Snapshot) numbered(n int, name string) (*version, error) {
	if n < len(s.versions) {
		return s.versions[n].version, nil
	}
	return s.version(name)
}

// lookUp finds a config that a snapshot does not hold in the region, if the
// snapshot's generation is still there. Later snapshots hold it.
func (c *Client) lookUp(s *Snapshot, name string) (*version, error) {
	var found *version
	err := s.view(func(view *image.View) error {
		found = &version{name: name, serial: s.serial}
		e, err := view.Find(image.HashName(name))
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err == nil {
			err = found.load(view, e)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if found.section == nil {
		return nil, ErrNotFound // and not remembered: names may come from untrusted users
	}
	kept, _ := s.late.LoadOrStore(name, found)
	if len(*c.numbers.Load()) < maxTracked {
		c.track(name)
	}
	return kept.(*version), nil
}

// track has every later snapshot hold a config, and returns its number. If the
// region cannot be read now, the follower tries again.
func (c *Client) track(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	numbers := *c.numbers.Load()
	if n, ok := numbers[name]; ok {
		return n
	}
	n := len(c.tracked)
	c.tracked = append(c.tracked, configName{text: name, hash: image.HashName(name)})
	numbers = maps.Clone(numbers)
	numbers[name] = n
	c.numbers.Store(&numbers)
	if err := c.refreshLocked(); err != nil {
		c.wakeFollower()
	}
	return n
}

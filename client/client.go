package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
)

// Environment variables that Open looks at.
const (
	EnvRegion = "STATESYNC_REGION" // the region's directory, where Open is given none
	EnvOwner  = "STATESYNC_OWNER"  // numbers of trusted users, separated by commas
)

// maxCarried bounds how many configs that were only ever got by name a client
// keeps up to date. Later ones are looked up in the region each time.
const maxCarried = 4096

// maxOvertaken bounds how often the look-up of a new name begins anew.
const maxOvertaken = 256

// How long a client that found the region damaged, or retired without a
// successor, leaves it before it looks again.
const (
	retryDamaged = 10 * time.Millisecond
	retryRetired = time.Millisecond
)

// Client reads one region. Open one for the life of the process and share it:
// it is safe for any number of goroutines. It has one goroutine of its own,
// the follower.
type Client struct {
	dir       string
	trust     shm.Trust
	verifying bool

	current atomic.Pointer[Snapshot]       // the newest; never nil
	numbers atomic.Pointer[map[string]int] // of the carried configs
	retryAt atomic.Int64                   // nanoseconds since processStart: when to look at a damaged region again; 0: any time

	sleepsOn atomic.Pointer[shm.Region] // where the follower is, or was last

	// mu is held by who refreshes. No user's code runs under it.
	mu       sync.Mutex
	carried  []carried
	bindings []bound
	serial   uint64
	changed  chan struct{} // closed when current moves; nil while nobody waits for that
	err      error         // of the last refresh
	refused  *shm.Region   // at the path, and of no use
	queue    *decodeQueue  // of the follower while it refreshes, else nil

	// These are the follower's own.
	sleptAt  time.Time     // when it last went to sleep
	sleptCPU time.Duration // what the process had used then
	started  bool          // its last refresh started goroutines

	closing   sync.Once
	closed    chan struct{}
	following chan struct{} // closed when the follower has ended

	counters counters
}

// carried is a config that each snapshot holds.
type carried struct {
	name string
	hash uint64
}

// bound is what a client needs of a binding, of whatever type.
type bound interface {
	// advance tells of a new snapshot. It does not block. The client's mutex is
	// held.
	advance(s *Snapshot)
	// await returns when the binding has settled what it has in s.
	await(ctx context.Context, s *Snapshot) error
	// verify says whether a value that was handed out has been changed since.
	verify() error
}

// Option is for Open.
type Option func(*openOptions)

type openOptions struct {
	lazy   bool
	wait   context.Context
	cancel context.CancelFunc
	owners []int

	verifying bool // see package clienttest
}

// Lazy lets Open succeed without a region: bindings have their defaults, and
// follow as soon as one appears. So an application runs where no daemon does.
func Lazy() Option { return func(o *openOptions) { o.lazy = true } }

// Wait lets Open wait for a region for a time.
func Wait(timeout time.Duration) Option {
	return func(o *openOptions) { o.wait, o.cancel = context.WithTimeout(context.Background(), timeout) }
}

// WaitContext lets Open wait for a region until the context ends.
func WaitContext(ctx context.Context) Option {
	return func(o *openOptions) { o.wait, o.cancel = ctx, func() {} }
}

// WithOwner names a user, by number, whose region is trusted besides root's
// and the process's own. STATESYNC_OWNER does the same.
func WithOwner(uid int) Option {
	return func(o *openOptions) { o.owners = append(o.owners, uid) }
}

// Open starts to read the region in a directory. The directory "" is
// $STATESYNC_REGION, or /dev/shm/statesync/default where that is not set.
//
// Without Lazy, a region that can't be opened is an error: it matches
// ErrNoRegion, ErrUntrusted, ErrLayout, ErrCorrupt, ErrUnsupported or
// fs.ErrPermission. With Lazy, that is left to Stats, and the client goes on
// looking.
func Open(dir string, options ...Option) (*Client, error) {
	var o openOptions
	for _, option := range options {
		option(&o)
	}
	if o.cancel != nil {
		defer o.cancel()
	}
	if dir == "" {
		dir = os.Getenv(EnvRegion)
	}
	if dir == "" {
		dir = shm.DefaultDir
	}
	owners, err := ownersFrom(os.Getenv(EnvOwner))
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	c := &Client{
		dir:       dir,
		trust:     shm.Trust{Owners: append(owners, o.owners...)},
		verifying: o.verifying,
		closed:    make(chan struct{}),
		following: make(chan struct{}),
	}
	c.current.Store(&Snapshot{client: c})
	c.numbers.Store(&map[string]int{})
	err = c.refresh(0)
	for err != nil && o.wait != nil {
		select {
		case <-o.wait.Done():
			err = fmt.Errorf("%w (waited for it: %w)", err, context.Cause(o.wait))
			o.wait = nil
		case <-time.After(lookFirst):
			err = c.refresh(0)
		}
	}
	if err != nil && !o.lazy {
		return nil, err
	}
	go c.follow()
	return c, nil
}

func ownersFrom(list string) ([]int, error) {
	if list == "" {
		return nil, nil
	}
	var owners []int
	for field := range strings.SplitSeq(list, ",") {
		uid, err := strconv.ParseUint(strings.TrimSpace(field), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%s=%q: it must be numbers of users, separated by commas", EnvOwner, list)
		}
		owners = append(owners, int(uid))
	}
	return owners, nil
}

// Snapshot is the newest committed generation at this moment: a publication
// that returned before it was called is in it. Take one per request, and read
// everything of the request through it.
//
// While nothing was published it is one load of shared memory: it allocates
// nothing and makes no syscall. After a publication the first caller copies
// what changed of the configs that the client uses.
//
// Where the region is damaged, gone or being replaced, it is the last good
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
	return c.catchUp()
}

// Get finds a config in the newest committed generation; see Snapshot.Get.
func (c *Client) Get(name string) (Doc, error) {
	d, err := c.Snapshot().Get(name)
	for n := 0; n < maxOvertaken && errors.Is(err, ErrExpired); n++ {
		d, err = c.Snapshot().Get(name) // a fast writer overtook us: there is a newer one
	}
	return d, err
}

// catchUp refreshes, and returns what is newest then, be it new or not.
func (c *Client) catchUp() *Snapshot {
	if at := c.retryAt.Load(); at == 0 || int64(time.Since(processStart)) >= at {
		_ = c.refresh(0) // Stats has the error; the last good snapshot stays
	}
	return c.current.Load()
}

// carry has every snapshot from now on hold a config, and returns its number.
func (c *Client) carry(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	numbers := *c.numbers.Load()
	if n, ok := numbers[name]; ok {
		return n
	}
	n := len(c.carried)
	c.carried = append(c.carried, carried{name: name, hash: image.HashName(name)})
	numbers = maps.Clone(numbers)
	numbers[name] = n
	c.numbers.Store(&numbers)
	_ = c.refreshLocked(moreConfigs)
	return n
}

// lateConfig finds a config that a snapshot does not carry, in the region if
// the snapshot's generation is still there, and carries it from now on.
func (c *Client) lateConfig(s *Snapshot, name string) (*config, error) {
	if s.region == nil {
		if c.isClosed() {
			return nil, ErrClosed
		}
		return nil, ErrNoRegion
	}
	found := &config{name: name, serial: s.serial}
	err := s.region.ReadGeneration(s.Generation(), func(_ hot, words []uint64) error {
		view, err := image.OpenGeneration(words, s.Generation())
		if err != nil {
			return at(s.region, err)
		}
		e, err := view.Find(name)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err == nil {
			err = found.load(&view, e)
		}
		return at(s.region, err)
	})
	if errors.Is(err, ErrExpired) {
		if now, hotErr := s.region.Hot(); hotErr == nil && now&^1 == s.hot {
			// It is the current one, whose slot nobody has a right to.
			err = fmt.Errorf("%s: %w: the slot of its generation %d is not whole", s.region.Path(), shm.ErrCorrupt, s.Generation())
		}
	}
	if err != nil {
		return nil, damaged(err)
	}
	if found.section == nil {
		return nil, ErrNotFound // which is not kept: names may come from anywhere
	}
	kept, _ := s.late.LoadOrStore(name, found)
	if len(*c.numbers.Load()) < maxCarried {
		c.carry(name)
	}
	return kept.(*config), nil
}

// WaitGeneration returns when every binding has settled generation g of the
// region or a later one: accepted its values, or refused them. The error is
// the context's, ErrReplaced when the region becomes another one meanwhile,
// or ErrClosed.
func (c *Client) WaitGeneration(ctx context.Context, g uint64) error {
	var region *shm.Region
	for {
		moved := c.moved()
		s := c.Snapshot()
		switch {
		case region == nil:
			region = s.region
		case s.region != nil && s.region.ID() != region.ID():
			return fmt.Errorf("waiting for generation %d of region %s: %w by %s", g, region.ID(), ErrReplaced, s.RegionID())
		}
		if s.hot != 0 && s.Generation() >= g {
			c.mu.Lock()
			bindings := slices.Clone(c.bindings)
			c.mu.Unlock()
			for _, b := range bindings {
				if err := b.await(ctx, s); err != nil {
					return err
				}
			}
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("waiting for generation %d, at %d: %w", g, s.Generation(), context.Cause(ctx))
		case <-c.closed:
			return ErrClosed
		}
	}
}

// moved is closed when the newest snapshot is not the present one any more.
func (c *Client) moved() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return c.changed
}

func (c *Client) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// Close ends the follower, and gives the region's memory back once no snapshot
// refers to it. Bindings and snapshots keep their last values. It may be
// called more than once, and from everywhere.
func (c *Client) Close() error {
	c.closing.Do(func() {
		close(c.closed)
		for ended := false; !ended; {
			if r := c.sleepsOn.Load(); r != nil {
				_ = r.Wake() // what can't be woken wakes by itself soon
			}
			select {
			case <-c.following:
				ended = true
			case <-time.After(time.Millisecond):
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		last := c.current.Load()
		c.refused = nil
		c.sleepsOn.Store(nil)
		c.current.Store(&Snapshot{
			client: c, hot: last.hot, serial: last.serial, published: last.published, configs: last.configs,
		})
		c.announce()
	})
	return nil
}

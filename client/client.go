package client

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/statesync/statesync/shm"
)

// Environment variables that Open looks at.
const (
	EnvRegion = "STATESYNC_REGION" // the region's directory, if Open is given none
	EnvOwner  = "STATESYNC_OWNER"  // numbers of trusted users, separated by commas
)

// Client reads one region. Open one for the life of the process and share it:
// it is safe for any number of goroutines. It has one goroutine of its own, the
// follower, and from the first change of a binding with validation or with a type
// that decodes itself a second one, with a file descriptor.
type Client struct {
	dir      string
	trust    shm.Trust
	opened   time.Time
	verifier *verifier // in tests, else nil
	counters counters
	log      reporter

	current atomic.Pointer[Snapshot]       // the newest; never nil
	numbers atomic.Pointer[map[string]int] // of the tracked configs
	retry   atomic.Pointer[retry]          // nil, or when exact readers refresh again

	// mu guards what follows. No code of the application runs under it.
	mu       sync.Mutex
	tracked  []configName // that each snapshot holds; a config's number is its place
	bindings []bound
	serial   uint64        // of the newest snapshot
	changed  chan struct{} // closed when current changes; nil without waiters
	err      error         // of the last refresh
	refused  *shm.Region   // at the path, mapped and unusable
	queue    *decodeQueue  // of the follower while it refreshes, else nil

	unfinished atomic.Bool // the last refresh failed, or left a tracked config out

	// Of the follower, which is one goroutine at a time.
	foreign []func()      // decodings that may run code of the application
	silent  time.Time     // since when the daemon is; zero: it is alive
	alarm   alarm         // passes the role on; nil until it is needed
	term    atomic.Uint64 // odd while such a decoding holds the follower up

	sleepsOn  atomic.Pointer[shm.Region] // the region that the follower last slept on
	closing   sync.Once
	closed    chan struct{} // closed by Close
	following chan struct{} // closed when the follower has ended
}

// configName is the name of a config.
type configName struct {
	text string
	hash uint64
}

// bound is what a client needs of a binding, of whatever type.
type bound interface {
	// advance tells of a new snapshot. It does not block. The caller holds the
	// client's mutex.
	advance(s *Snapshot)
	// await returns when the binding has settled its config in s.
	await(ctx context.Context, s *Snapshot) error
	// awaitHooks returns when the hooks of everything that is settled have returned.
	awaitHooks(ctx context.Context) error
	// describe returns the state, which must be asked for with the newest snapshot.
	describe(s *Snapshot) BindingState
	// unready returns the reason why the application cannot serve, if there is one.
	unready(s *Snapshot) error
}

// Option is for Open.
type Option func(*openOptions)

type openOptions struct {
	lazy   bool
	wait   context.Context
	cancel context.CancelFunc
	owners []int

	logger *slog.Logger

	verifier *verifier // see package clienttest
}

// Lazy lets Open succeed without a region: bindings have their defaults until
// one appears. With it an application runs on hosts without a daemon.
func Lazy() Option { return func(o *openOptions) { o.lazy = true } }

// Wait lets Open block until there is a region, for at most a timeout.
func Wait(timeout time.Duration) Option {
	return func(o *openOptions) { o.wait, o.cancel = context.WithTimeout(context.Background(), timeout) }
}

// WaitContext lets Open block until there is a region or the context ends.
func WaitContext(ctx context.Context) Option {
	return func(o *openOptions) { o.wait, o.cancel = ctx, func() {} }
}

// WithOwner names a user, by number, whose region is trusted besides root's
// and the process's own. STATESYNC_OWNER does the same.
func WithOwner(uid int) Option {
	return func(o *openOptions) { o.owners = append(o.owners, uid) }
}

// WithLogger has the client log through a logger, instead of slog.Default() at the
// time: each problem once at slog.LevelWarn, and once at slog.LevelInfo that it is
// over. Those are a region that is missing for 10 s, untrusted or unreadable, a
// daemon that is silent, a rejected value, a removed config, and a panic in a hook.
// A logger with slog.DiscardHandler silences it.
func WithLogger(logger *slog.Logger) Option {
	return func(o *openOptions) { o.logger = logger }
}

// Open opens the region in a directory. The directory "" is $STATESYNC_REGION,
// or /dev/shm/statesync/default if that is not set.
//
// Without Lazy, a region that cannot be opened is an error: it matches
// ErrNoRegion, ErrUntrusted, ErrLayout, ErrCorrupt, ErrBusy, ErrUnsupported or
// fs.ErrPermission. With Lazy, Stats has that error, and the client keeps
// looking for a region.
//
// It makes syscalls, and blocks only with Wait or WaitContext.
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
		opened:    time.Now(),
		verifier:  o.verifier,
		closed:    make(chan struct{}),
		following: make(chan struct{}),
	}
	c.log.logger = o.logger
	c.current.Store(&Snapshot{client: c})
	c.numbers.Store(&map[string]int{})
	refresh := func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.refreshLocked()
	}
	err = refresh()
	for err != nil && o.wait != nil {
		select {
		case <-o.wait.Done():
			err = fmt.Errorf("%w (waited for it: %w)", err, context.Cause(o.wait))
			o.wait = nil
		case <-time.After(firstPause):
			err = refresh()
		}
	}
	if err != nil && !o.lazy {
		return nil, advise(err)
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
			return nil, fmt.Errorf("%s=%q: it is not a list of numeric user ids, separated by commas", EnvOwner, list)
		}
		owners = append(owners, int(uid))
	}
	return owners, nil
}

func (c *Client) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// Close ends the follower, and releases the region's memory once no snapshot
// refers to it. Bindings and snapshots keep their last values. It waits for the
// follower, and never for code of the application. It may be called more than
// once and from any goroutine, and returns nil.
func (c *Client) Close() error {
	c.closing.Do(func() {
		close(c.closed)
		for ended := false; !ended; {
			if r := c.sleepsOn.Load(); r != nil {
				_ = r.Wake() // a failure is tried again below
			}
			select {
			case <-c.following:
				ended = true
			case <-time.After(time.Millisecond):
				ended = c.relieve()
			}
		}
		if c.alarm != nil {
			c.alarm.close()
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		last := c.current.Load()
		c.refused = nil
		c.retry.Store(nil)
		c.sleepsOn.Store(nil)
		c.current.Store(&Snapshot{
			client: c, hot: last.hot, serial: last.serial, published: last.published, versions: last.versions,
		})
		c.wakeWaiters()
	})
	return nil
}

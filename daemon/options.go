//go:build unix

package daemon

import (
	"io/fs"
	"log/slog"
	"time"

	"github.com/statesync/statesync/daemon/history"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/writer"
)

// Defaults of the command's flags.
const (
	DefaultResync   = 5 * time.Second
	DefaultLockWait = 10 * time.Second
	DefaultPlanTime = 30 * time.Second
	DefaultMaxImage = 64 << 20 // bytes
	DefaultMode     = fs.FileMode(0o644)

	DefaultMaxRemoved     = 50  // percent
	DefaultMaxRemovedKeys = 100 // percent
)

// Options say what a daemon publishes, where, and how.
type Options struct {
	// Sources are where configs come from, the lowest layer first: at most
	// shm.MaxLayers. Schemes.Parse makes them.
	Sources []source.Spec
	// Region is the region's directory. The default is shm.DefaultDir.
	Region string
	// Writer configures the region. Its MaxImage, in bytes, defaults to 64 MiB; it
	// also limits the size of each file of the source, and four times its value
	// limits the size of all files of a source together. Its Group is a group's number, also
	// if it is 0: -1 leaves the group as it is.
	Writer writer.Options
	// StateDir is where reserved generations and the history are kept. Without one, a
	// region that is recreated starts at generation 1, there is nothing to publish while
	// the source cannot be read, and nothing can be pinned.
	StateDir string
	// OldStateDir is where the state was kept by default before: it becomes StateDir
	// if there is none yet, and if what it has is what the region holds. It may be
	// empty.
	OldStateDir string
	// LockWait is how long to wait for another daemon to release the region and
	// the state directory. The daemon does not wait if it is 0.
	LockWait time.Duration
	// Resync is how often a source is looked at although it gave no hint. The
	// default is 5 s.
	Resync time.Duration
	// Opaque are globs of files that are published as they are, as in
	// plan.Options.
	Opaque []string
	// AllowEmpty accepts a source without any config.
	AllowEmpty bool
	// LogValues lets the log quote values of configs. The region's status quotes them
	// anyway, since its readers see all configs.
	LogValues bool
	// Log is where the daemon says what it does. The default is slog.Default().
	Log *slog.Logger
	// MaxAge is how long ago a source that is fresh was last looked at. The default
	// is three times Resync, and at least a minute.
	MaxAge time.Duration
	// History bounds what is kept of earlier generations.
	History history.Options
	// Guards are what a revision must not do although it is valid. The default allows
	// half of the configs to go, and all keys.
	Guards Guards
	// PlanTime is how long it may take to decode and validate a revision. What takes
	// longer is an alarm, and is no refusal. The default is 30 s.
	PlanTime time.Duration
	// Version is the daemon's.
	Version string
	// Observe is called at the end of each turn, at least once in
	// shm.HeartbeatInterval, on the owner's goroutine: it must not block. The default
	// does nothing.
	Observe func(*State)
}

func (o Options) withDefaults() Options {
	if o.Region == "" {
		o.Region = shm.DefaultDir
	}
	if o.Writer.Slots == 0 {
		o.Writer.Slots = shm.DefaultSlots
	}
	if o.Writer.MaxImage == 0 {
		o.Writer.MaxImage = DefaultMaxImage
	}
	if o.Resync <= 0 {
		o.Resync = DefaultResync
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.MaxAge <= 0 {
		o.MaxAge = max(3*o.Resync, time.Minute)
	}
	if o.PlanTime <= 0 {
		o.PlanTime = DefaultPlanTime
	}
	if o.Guards.MaxRemoved == 0 {
		o.Guards.MaxRemoved = DefaultMaxRemoved
	}
	if o.Guards.MaxRemovedKeys == 0 {
		o.Guards.MaxRemovedKeys = DefaultMaxRemovedKeys
	}
	if o.Observe == nil {
		o.Observe = func(*State) {}
	}
	return o
}
